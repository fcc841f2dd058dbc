//! The plot of perplexity by position, as SVG and as PNG, from one drawing.
//!
//! Text in a PNG needs a font, and a bare machine has none: a small one is part of this crate
//! (assets/, with its licence).

use crate::Error;
use crate::report::Report;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::path::Path;

const FONT: &str = "sans-serif";
const SIZE: (u32, u32) = (960, 600);

/// Draws `report` to PATH.svg and PATH.png.
pub fn write(report: &Report, path: &Path) -> Result<(), Error> {
    let font = include_bytes!("../assets/plot-sans.ttf");
    register_font(FONT, FontStyle::Normal, font)
        .map_err(|_| Error::Config("the font of plots cannot be read".into()))?;
    let svg = path.with_extension("svg");
    let backend = SVGBackend::new(&svg, SIZE).into_drawing_area();
    draw(report, &backend).map_err(|e| Error::file(&svg, e))?;
    let png = path.with_extension("png");
    let backend = BitMapBackend::new(&png, SIZE).into_drawing_area();
    draw(report, &backend).map_err(|e| Error::file(&png, e))
}

fn draw<B: DrawingBackend>(
    report: &Report,
    area: &DrawingArea<B, plotters::coord::Shift>,
) -> Result<(), String> {
    curves(report, area).map_err(|e| e.to_string())
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

fn curves<B: DrawingBackend>(
    report: &Report,
    area: &DrawingArea<B, plotters::coord::Shift>,
) -> Drawn<B> {
    area.fill(&WHITE)?;
    let all = report.arms().map(|(_, arm)| &arm.loss);
    let all = || {
        all.iter()
            .flat_map(|loss| loss.iter())
            .map(|loss| loss.exp())
    };
    let (low, high) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    let margin = 0.06 * (high - low).max(0.1);
    let first = report.positions.first().copied().unwrap_or(1) as f64;
    let last = report.positions.last().copied().unwrap_or(1) as f64;
    let mut chart = ChartBuilder::on(area)
        .caption("Perplexity by position", (FONT, 26))
        .margin(18)
        .x_label_area_size(48)
        .y_label_area_size(60)
        .build_cartesian_2d(
            (first..last.max(first * 2.0)).log_scale().base(2.0),
            low - margin..high + margin,
        )?;
    chart
        .configure_mesh()
        .light_line_style(BLACK.mix(0.04))
        .x_labels(report.positions.len())
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.1}"))
        .x_desc("tokens read before the one predicted")
        .y_desc("perplexity")
        .label_style((FONT, 15))
        .axis_desc_style((FONT, 16))
        .draw()?;
    let length = report.train_length as f64;
    let wall = [(length, low - margin), (length, high + margin)];
    chart
        .draw_series(LineSeries::new(wall, BLACK.mix(0.5).stroke_width(1)))?
        .label(format!("training length, {}", report.train_length))
        .legend(|(x, y)| PathElement::new([(x, y), (x + 22, y)], BLACK.mix(0.5)));
    let colours = [
        RGBColor(200, 60, 40),
        RGBColor(120, 120, 120),
        RGBColor(30, 100, 180),
    ];
    for ((name, arm), colour) in report.arms().into_iter().zip(colours) {
        let points = report.positions.iter().zip(&arm.loss);
        let points = points.map(|(&x, loss)| (x as f64, loss.exp()));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(3)).point_size(4))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .label_font((FONT, 16))
        .draw()?;
    area.present()
}
