//! Plots: one drawing as SVG for a page (light and dark), as SVG and as PNG for a file.
//!
//! A [`Figure`] is data; `lines.rs` and `heat.rs` draw it on any plotters back end. Colours are roles
//! (`ink`, `grid`, series 0 to 7) and each `Theme` says what they are: on a page a colour stands for a role, and the
//! page's style says what becomes of it.
//!
//! Text in a PNG needs a font, and a bare machine has none: a small one is part of this crate
//! (assets/, with its licence).

mod draw;
mod heat;
mod lines;
mod theme;

pub use draw::short;
pub use heat::HeatMap;
pub use lines::{Axis, Lines, Series};
pub use theme::page_colours;

use baton_data::Error;
use baton_data::files::{Target, write_whole};
use draw::font;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;
use theme::Theme;

/// A plot.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// Curves over an axis.
    Lines(Lines),
    /// Cells of a grid, each a share from 0 to 1.
    HeatMap(HeatMap),
}

impl Figure {
    /// Width and height in pixels.
    fn size(&self) -> (u32, u32) {
        match self {
            Figure::Lines(_) => (680, 430),
            Figure::HeatMap(map) => map.size(),
        }
    }

    /// An SVG element for a page whose style has [`page_colours`].
    pub fn inline(&self) -> Result<String, Error> {
        self.svg(&Theme::roles())
    }

    /// Writes PATH.svg and PATH.png.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let file = path.with_extension("svg");
        write_whole(&file, self.svg(&Theme::light())?.as_bytes())?;
        font()?;
        Target::new(&path.with_extension("png"))?.by(".png", |part| {
            let area = BitMapBackend::new(part, self.size()).into_drawing_area();
            self.draw(&area, &Theme::light())
        })
    }

    fn svg(&self, theme: &Theme) -> Result<String, Error> {
        font()?;
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, self.size()).into_drawing_area();
            self.draw(&area, theme).map_err(Error::Config)?;
        }
        Ok(svg)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        theme: &Theme,
    ) -> Result<(), String> {
        let drawn = match self {
            Figure::Lines(lines) => lines::draw(lines, area, theme),
            Figure::HeatMap(map) => heat::draw(map, area, theme),
        };
        drawn
            .and_then(|()| area.present())
            .map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_on_a_page_names_roles_and_no_colour() {
        let figure = Figure::Lines(Lines {
            title: "A & B".into(),
            x: Axis::log2("tokens"),
            y: Axis::linear("loss"),
            series: vec![Series {
                name: "base".into(),
                colour: 0,
                points: vec![[8.0, 1.0], [64.0, 3.0]],
                band: Some(vec![[0.5, 1.5], [2.0, 4.0]]),
            }],
            marks: vec![(16.0, "training length".into())],
        });
        let svg = figure.inline().unwrap();
        assert!(svg.contains("A &amp; B") && svg.contains("viewBox"));
        // Every colour in it is one that the page gives a variable for, which has a value.
        let style = page_colours();
        let mut found = std::collections::BTreeSet::new();
        for part in svg.split(['"']).filter(|part| part.starts_with('#')) {
            for attribute in ["fill", "stroke"] {
                let rule = format!("svg [{attribute}=\"{part}\"] {{ {attribute}: var(");
                let (_, rest) = style.split_once(&rule).expect(part);
                let (variable, _) = rest.split_once(')').unwrap();
                assert_eq!(
                    style.matches(&format!("{variable}: #")).count(),
                    2,
                    "{variable}"
                );
                found.insert(variable);
            }
        }
        assert!(
            found.contains("--series-0") && found.contains("--ink"),
            "{found:?}"
        );
    }
}
