//! One self-contained page: nothing is fetched, light and dark by the reader's setting.

use crate::plot::{Figure, page_colours};
use crate::{Experiment, Family, Shown, Table, figures, tables};
use baton_data::Error;
use std::fmt::Write;
use std::time::Duration;

const STYLE: &str = "
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 24px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', sans-serif; }
h1 { font-size: 30px; margin: 0 0 4px; } h2 { font-size: 23px; margin: 52px 0 12px; padding-top: 20px;
  border-top: 1px solid var(--grid); } h3 { font-size: 16px; margin: 28px 0 8px; }
p, figcaption { color: var(--faint); } p { margin: 4px 0 12px; max-width: 75ch; }
nav a { color: inherit; margin-right: 18px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(520px, 100%), 1fr)); gap: 20px; }
.maps { display: flex; flex-wrap: wrap; gap: 20px; margin-top: 20px; }
.maps figure { flex: 0 1 460px; }
figure { margin: 0; padding: 8px 10px 12px; background: var(--raised); border: 1px solid var(--grid); border-radius: 10px; }
figcaption { font-size: 13.5px; padding: 4px 8px 0; }
svg { display: block; width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { font-weight: 600; color: var(--faint); } th:first-child, td:first-child { text-align: left; }
details { margin-top: 24px; } summary { cursor: pointer; color: var(--faint); }
code { font-size: 13px; }
";

/// The page of an experiment; one that is written again and again loads itself anew after `every`.
pub fn page(experiment: &Experiment, every: Option<Duration>) -> Result<String, Error> {
    let again = every.map_or(String::new(), |every| {
        format!(
            "<meta http-equiv=\"refresh\" content=\"{}\">\n",
            every.as_secs()
        )
    });
    let name = escaped(&experiment.name);
    let families = &experiment.families;
    let arms = families.iter().flat_map(|family| &family.arms);
    let runs: Vec<_> = arms.flat_map(|arm| &arm.runs).collect();
    let measurements: usize = runs.iter().map(|run| run.measurements.len()).sum();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         {again}<title>{name}</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n\
         <h1>{name}</h1>\n<p>{} runs, {measurements} measurements. What is measured, and how: \
         docs/evaluation.md of Baton.</p>\n",
        page_colours(),
        runs.len()
    );
    if families.len() > 1 {
        page.push_str("<nav>");
        for (i, family) in families.iter().enumerate() {
            let name = escaped(&family.name);
            let _ = write!(page, "<a href=\"#family-{i}\">{name}</a>");
        }
        page.push_str("</nav>\n");
    }
    for (i, family) in families.iter().enumerate() {
        let name = escaped(&family.name);
        let _ = writeln!(page, "<section id=\"family-{i}\">\n<h2>{name}</h2>");
        section(&mut page, family)?;
        page.push_str("</section>\n");
    }
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

fn section(page: &mut String, family: &Family) -> Result<(), Error> {
    let all = figures(family);
    let is_map = |shown: &&Shown| matches!(shown.figure, Figure::HeatMap(_));
    let (maps, lines): (Vec<_>, Vec<_>) = all.iter().partition(is_map);
    for (class, shown) in [("figures", lines), ("maps", maps)] {
        if shown.is_empty() {
            continue;
        }
        let _ = writeln!(page, "<div class=\"{class}\">");
        for shown in shown {
            let (svg, caption) = (shown.figure.inline()?, escaped(&shown.caption));
            let _ = writeln!(
                page,
                "<figure>{svg}<figcaption>{caption}</figcaption></figure>"
            );
        }
        page.push_str("</div>\n");
    }
    for table in tables(family) {
        html(page, &table);
    }
    origins(page, family);
    Ok(())
}

fn html(page: &mut String, table: &Table) {
    let _ = write!(
        page,
        "<h3>{}</h3>\n<div class=\"wide\"><table>\n<tr><th></th>",
        escaped(&table.title)
    );
    for column in &table.columns {
        let _ = write!(page, "<th>{}</th>", escaped(column));
    }
    page.push_str("</tr>\n");
    for (name, cells) in &table.rows {
        let _ = write!(page, "<tr><td>{}</td>", escaped(name));
        for cell in cells {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

/// Where every number is from.
fn origins(page: &mut String, family: &Family) {
    page.push_str(
        "<details><summary>Where the numbers are from</summary>\n<div class=\"wide\"><table>\n<tr>\
         <th>run</th><th>seed</th><th>measure</th><th>weights</th><th>parameters</th>\
         <th>tokens trained on</th><th>text</th><th>options</th></tr>\n",
    );
    for arm in &family.arms {
        for run in &arm.runs {
            for (file, m) in &run.measurements {
                let tokens = m.checkpoint.progress.as_ref().map(|p| p.tokens.to_string());
                let cells = [
                    arm.name.clone(),
                    run.seed.clone(),
                    file.clone(),
                    m.checkpoint.weights.clone(),
                    m.checkpoint.parameters.to_string(),
                    tokens.unwrap_or_default(),
                    m.text.clone().unwrap_or_default(),
                    m.options.to_string(),
                ];
                page.push_str("<tr>");
                for cell in cells {
                    let _ = write!(page, "<td>{}</td>", escaped(&cell));
                }
                page.push_str("</tr>\n");
            }
        }
    }
    page.push_str("</table></div></details>\n");
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}
