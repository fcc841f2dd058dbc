//! Plots: one drawing as SVG for a page (light and dark), as SVG and as PNG for a file.
//!
//! A [`Figure`] is data; `lines.rs` and `heat.rs` draw it on any plotters back end. Colours are roles
//! (`ink`, `grid`, series 0 to 7) and each [`Theme`] says what they are: in a page they become
//! CSS variables, by way of a colour that stands for the role and is replaced in the text.
//!
//! Text in a PNG needs a font, and a bare machine has none: a small one is part of this crate
//! (assets/, with its licence).

mod heat;
mod lines;
mod theme;

pub use heat::HeatMap;
pub use lines::{Axis, Lines, Series};
pub use theme::PAGE_COLOURS;

use crate::Error;
use crate::files::{Target, write_whole};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;
use theme::Theme;

const FONT: &str = "sans-serif";

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

    /// An SVG element for a page that defines [`PAGE_COLOURS`].
    pub fn inline(&self) -> Result<String, Error> {
        let svg = self.svg(&Theme::roles())?;
        Ok(theme::responsive(&theme::to_variables(&svg)))
    }

    /// Writes PATH.svg and PATH.png.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let file = path.with_extension("svg");
        write_whole(&file, self.svg(&Theme::light())?.as_bytes())?;
        font()?;
        Target::with_folders(&path.with_extension("png"))?.by(".png", |part| {
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

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn font() -> Result<(), Error> {
    let font = include_bytes!("../../assets/plot-sans.ttf");
    register_font(FONT, FontStyle::Normal, font)
        .map_err(|_| Error::Config("the font of plots cannot be read".into()))
}

/// A number as short as it is clear: 512, 4k, 0.05, 1.2e6.
pub fn short(x: f64) -> String {
    let k = x / 1024.0;
    match x.abs() {
        0.0 => "0".into(),
        a if a >= 1024.0 * 1024.0 && (k / 1024.0).fract() == 0.0 => format!("{}M", k / 1024.0),
        a if a >= 1024.0 && k.fract() == 0.0 => format!("{k}k"),
        a if a >= 1e5 => format!("{x:.1e}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 1e-3 => format!("{}", (x * 1e4).round() / 1e4),
        _ => format!("{x:.0e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let all = [
            0.0,
            8.0,
            512.0,
            4096.0,
            262_144.0,
            1_048_576.0,
            0.05,
            1e-5,
            5000.0,
        ];
        let said = all.map(short);
        assert_eq!(
            said,
            ["0", "8", "512", "4k", "256k", "1M", "0.05", "1e-5", "5000"]
        );
    }

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
        assert!(svg.contains("var(--series-0)") && svg.contains("var(--ink)"));
        assert!(!svg.contains("#0"), "{svg}");
        assert!(svg.contains("A &amp; B") && svg.contains("viewBox"));
    }
}
