//! What every kind of figure is drawn with: the font, and numbers in few letters.

use baton_data::Error;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};

pub const FONT: &str = "sans-serif";

/// What came of drawing.
pub type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

/// Makes sure of the font.
pub fn font() -> Result<(), Error> {
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
    use super::short;

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
}
