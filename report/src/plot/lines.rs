//! Curves with bands, on linear or logarithmic axes, the legend above them.
//!
//! A logarithmic axis is a linear one of logarithms with labels at round numbers: plotters' own
//! would need a type of its own for each pair of axes.

use super::draw::{Drawn, FONT, short};
use super::theme::Theme;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

/// How numbers become places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scale {
    Linear,
    /// Of this base.
    Log(u32),
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    label: String,
    scale: Scale,
    /// Ends, whatever is drawn.
    fixed: Option<(f64, f64)>,
}

/// A curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Its colour, 0 to 7; the next after those begins again.
    pub colour: usize,
    /// Its points, x rising.
    pub points: Vec<[f64; 2]>,
    /// Lower and upper end at each point.
    pub band: Option<Vec<[f64; 2]>>,
}

/// Curves on two axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// Above the plot.
    pub title: String,
    /// Across.
    pub x: Axis,
    /// Up.
    pub y: Axis,
    /// The curves, in the order of the legend.
    pub series: Vec<Series>,
    /// Vertical lines and what they say.
    pub marks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis.
    pub fn linear(label: &str) -> Self {
        Axis {
            label: label.into(),
            scale: Scale::Linear,
            fixed: None,
        }
    }

    /// A linear axis from 0 to 1.
    pub fn share(label: &str) -> Self {
        Axis {
            fixed: Some((-0.02, 1.02)),
            ..Axis::linear(label)
        }
    }

    /// A logarithmic axis with labels at powers of two.
    pub fn log2(label: &str) -> Self {
        Axis {
            label: label.into(),
            scale: Scale::Log(2),
            fixed: None,
        }
    }

    /// A logarithmic axis with labels at 1, 2 and 5 times powers of ten.
    pub fn log10(label: &str) -> Self {
        Axis {
            label: label.into(),
            scale: Scale::Log(10),
            fixed: None,
        }
    }

    fn place(&self, x: f64) -> f64 {
        match self.scale {
            Scale::Linear => x,
            Scale::Log(base) => x.max(1e-12).log(base as f64),
        }
    }

    fn number(&self, place: f64) -> f64 {
        match self.scale {
            Scale::Linear => place,
            Scale::Log(base) => (base as f64).powf(place),
        }
    }

    /// Places of labels between two places, at most about `most`.
    fn labels(&self, low: f64, high: f64, most: usize) -> Vec<f64> {
        let within = |place: &f64| (low - 1e-9..=high + 1e-9).contains(place);
        let thin = |all: Vec<f64>| {
            let step = all.len().div_ceil(most.max(1)).max(1);
            all.into_iter().step_by(step).collect::<Vec<f64>>()
        };
        match self.scale {
            Scale::Log(2) => {
                let exponents = low.ceil() as i64..=high.floor() as i64;
                thin(exponents.map(|i| i as f64).collect())
            }
            Scale::Log(_) => {
                let at = |digits: &'static [f64]| -> Vec<f64> {
                    let exponents = low.floor() as i32..=high.ceil() as i32;
                    let all = exponents.flat_map(|e| digits.iter().map(move |d| (d, e)));
                    let places = all.map(|(d, e)| self.place(d * 10f64.powi(e)));
                    places.filter(within).collect()
                };
                let choices: [&[f64]; 4] = [
                    &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
                    &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
                    &[1.0, 2.0, 5.0],
                    &[1.0],
                ];
                let fits = choices.into_iter().map(at).find(|all| all.len() <= most);
                fits.unwrap_or_else(|| thin(at(&[1.0])))
            }
            Scale::Linear => {
                let step = round_step((high - low) / most as f64);
                let first = (low / step).ceil() as i64;
                let last = (high / step).floor() as i64;
                (first..=last).map(|i| i as f64 * step).collect()
            }
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.max(1e-12).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    let fits = steps.into_iter().find(|step| *step >= rough * 0.999);
    fits.unwrap_or(10.0 * power)
}

/// Lowest and highest place of all that is drawn, with a margin.
fn range(places: impl Iterator<Item = f64>, margin: f64) -> (f64, f64) {
    let finite = places.filter(|x| x.is_finite());
    let ends = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| {
        (low.min(x), high.max(x))
    });
    match ends {
        (low, high) if low < high => {
            let spare = margin * (high - low);
            (low - spare, high + spare)
        }
        (low, _) if low.is_finite() => (low - 0.5, low + 0.5),
        _ => (0.0, 1.0),
    }
}

/// A linear axis with labels of one's own, which plotters' `WithKeyPoints` cannot write.
struct Labelled {
    range: Range<f64>,
    labels: Vec<f64>,
}

impl Ranged for Labelled {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (first, last): (i32, i32)) -> i32 {
        let part = (value - self.range.start) / (self.range.end - self.range.start);
        first + (part * (last - first) as f64).round() as i32
    }

    fn key_points<H: KeyPointHint>(&self, _: H) -> Vec<f64> {
        self.labels.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// Draws curves.
pub fn draw<B: DrawingBackend>(
    lines: &Lines,
    area: &DrawingArea<B, Shift>,
    theme: &Theme,
) -> Drawn<B> {
    if let Some(paper) = theme.paper {
        area.fill(&paper)?;
    }
    let title = (FONT, 23).into_font().color(&theme.ink);
    area.draw(&Text::new(lines.title.clone(), (16, 12), title))?;
    let rest = legend(lines, area, theme)?;
    let (x, y) = (&lines.x, &lines.y);
    let points = || lines.series.iter().flat_map(|s| &s.points);
    let bands = lines.series.iter().flat_map(|s| s.band.iter().flatten());
    let (left, right) = range(points().map(|p| x.place(p[0])), 0.0);
    let ups = points().map(|p| p[1]).chain(bands.flatten().copied());
    let (low, high) = y
        .fixed
        .unwrap_or_else(|| range(ups.map(|up| y.place(up)), 0.05));
    let mut chart = ChartBuilder::on(&rest)
        .margin_right(24)
        .margin_left(8)
        .margin_bottom(6)
        .margin_top(6)
        .x_label_area_size(46)
        .y_label_area_size(66)
        .build_cartesian_2d(
            Labelled {
                range: left..right,
                labels: x.labels(left, right, 10),
            },
            Labelled {
                range: low..high,
                labels: y.labels(low, high, 8),
            },
        )?;
    chart
        .configure_mesh()
        .light_line_style(theme.grid)
        .bold_line_style(theme.grid)
        .axis_style(theme.faint)
        .x_labels(32)
        .y_labels(16)
        .x_label_formatter(&|place| short(x.number(*place)))
        .y_label_formatter(&|place| short(y.number(*place)))
        .x_desc(x.label.as_str())
        .y_desc(y.label.as_str())
        .label_style((FONT, 16).into_font().color(&theme.faint))
        .axis_desc_style((FONT, 17).into_font().color(&theme.ink))
        .draw()?;
    for (at, says) in &lines.marks {
        let at = x.place(*at);
        if (left..=right).contains(&at) {
            let style = theme.faint.stroke_width(1);
            let wall = [(at, low), (at, high)];
            chart.draw_series(DashedLineSeries::new(wall, 5, 5, style))?;
            let right_half = at > 0.5 * (left + right);
            let side = if right_half { HPos::Right } else { HPos::Left };
            let shift = if right_half { -6 } else { 6 };
            let text = (FONT, 15).into_font().color(&theme.faint);
            let text = text.pos(Pos::new(side, VPos::Top));
            let label = EmptyElement::at((at, high)) + Text::new(says.clone(), (shift, 4), text);
            chart.draw_series([label])?;
        }
    }
    for series in &lines.series {
        let colour = theme.series[series.colour % theme.series.len()];
        if let Some(band) = &series.band {
            let side = |end: usize| {
                let both = series.points.iter().zip(band);
                both.map(move |(p, band)| (x.place(p[0]), y.place(band[end])))
            };
            let outline: Vec<(f64, f64)> = side(1)
                .chain(side(0).collect::<Vec<_>>().into_iter().rev())
                .collect();
            chart.draw_series([Polygon::new(outline, colour.mix(0.16))])?;
        }
    }
    for series in &lines.series {
        let colour = theme.series[series.colour % theme.series.len()];
        let points = series.points.iter();
        let points: Vec<(f64, f64)> = points
            .map(|p| (x.place(p[0]), y.place(p[1])))
            .filter(|(_, up)| up.is_finite())
            .collect();
        chart.draw_series(LineSeries::new(
            points.iter().copied(),
            colour.stroke_width(2),
        ))?;
        if points.len() <= 40 {
            let dots = points.iter().map(|&at| Circle::new(at, 3, colour.filled()));
            chart.draw_series(dots)?;
        }
    }
    Ok(())
}

/// Draws the names of the curves in as many rows as they need; gives what is left of the area.
fn legend<B: DrawingBackend>(
    lines: &Lines,
    area: &DrawingArea<B, Shift>,
    theme: &Theme,
) -> Result<DrawingArea<B, Shift>, DrawingAreaErrorKind<B::ErrorType>> {
    let width = area.dim_in_pixel().0 as i32;
    let (mut left, mut top) = (20, 46);
    for series in &lines.series {
        let style = (FONT, 17).into_font().color(&theme.ink);
        let (length, _) = area.estimate_text_size(&series.name, &style)?;
        let whole = length as i32 + 56;
        if left + whole > width - 8 && left > 20 {
            (left, top) = (20, top + 22);
        }
        let colour = theme.series[series.colour % theme.series.len()];
        let line = [(left, top + 7), (left + 22, top + 7)];
        area.draw(&PathElement::new(line, colour.stroke_width(3)))?;
        area.draw(&Text::new(series.name.clone(), (left + 29, top), style))?;
        left += whole;
    }
    Ok(area.margin(top as u32 + 24, 0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_round_and_few() {
        let numbers = |axis: Axis, low: f64, high: f64, most| -> Vec<String> {
            let (low, high) = (axis.place(low), axis.place(high));
            let places = axis.labels(low, high, most).into_iter();
            places.map(|place| short(axis.number(place))).collect()
        };
        assert_eq!(
            numbers(Axis::log2("x"), 8.0, 4096.0, 5),
            ["8", "32", "128", "512", "2k"]
        );
        assert_eq!(
            numbers(Axis::log10("y"), 3.5, 150.0, 8),
            ["5", "10", "20", "50", "100"]
        );
        assert_eq!(
            numbers(Axis::linear("y"), 0.1, 2.1, 5),
            ["0.5", "1", "1.5", "2"]
        );
    }

    #[test]
    fn a_range_survives_infinity_and_equals() {
        assert_eq!(
            range([1.0, f64::INFINITY, 3.0].into_iter(), 0.0),
            (1.0, 3.0)
        );
        assert_eq!(range([2.0, 2.0].into_iter(), 0.1), (1.5, 2.5));
        assert_eq!(range(std::iter::empty(), 0.1), (0.0, 1.0));
    }
}
