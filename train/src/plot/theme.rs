//! Colours by role.
//!
//! On a page a role is a CSS variable, so that one drawing serves a light and a dark page. Plotters
//! knows only colours: each role has one that stands for it and for nothing else.

use plotters::style::RGBColor;

/// What colours are.
pub struct Theme {
    /// Behind everything; none on a page, which has its own.
    pub paper: Option<RGBColor>,
    /// Text.
    pub ink: RGBColor,
    /// Less important text, and axes.
    pub faint: RGBColor,
    /// Lines of the grid.
    pub grid: RGBColor,
    /// Curves.
    pub series: [RGBColor; 8],
}

const fn role(number: u8) -> RGBColor {
    RGBColor(0, 7, number)
}

const LIGHT: [(u8, u8, u8); 8] = [
    (200, 60, 40),
    (120, 124, 132),
    (28, 104, 184),
    (30, 140, 88),
    (205, 130, 20),
    (126, 84, 180),
    (16, 150, 160),
    (180, 70, 130),
];

impl Theme {
    /// For files.
    pub fn light() -> Self {
        Theme {
            paper: Some(RGBColor(255, 255, 255)),
            ink: RGBColor(32, 35, 40),
            faint: RGBColor(96, 100, 108),
            grid: RGBColor(228, 230, 234),
            series: LIGHT.map(|(r, g, b)| RGBColor(r, g, b)),
        }
    }

    /// For pages: colours that [`to_variables`] replaces.
    pub fn roles() -> Self {
        let mut number = 15;
        Theme {
            paper: None,
            ink: role(1),
            faint: role(2),
            grid: role(3),
            series: LIGHT.map(|_| {
                number += 1;
                role(number)
            }),
        }
    }
}

/// The variables, for light pages and for dark ones.
pub const PAGE_COLOURS: &str = "\
:root { color-scheme: light dark; --paper: #ffffff; --raised: #f6f7f9; --ink: #202328; --faint: #60646c; --grid: #e4e6ea;
  --series-0: #c83c28; --series-1: #787c84; --series-2: #1c68b8; --series-3: #1e8c58; --series-4: #cd8214;
  --series-5: #7e54b4; --series-6: #1096a0; --series-7: #b44682; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --raised: #1e2126; --ink: #e6e8ec; --faint: #9ba1ac; --grid: #30343c;
  --series-0: #ff7a66; --series-1: #a4a9b3; --series-2: #6cb2ff; --series-3: #56cf95; --series-4: #f2b04a;
  --series-5: #b897ee; --series-6: #4fd0da; --series-7: #f08cc0; }
}
";

/// Replaces the colours of [`Theme::roles`] by variables.
pub fn to_variables(svg: &str) -> String {
    let mut svg = svg.to_string();
    let names = ["ink", "faint", "grid"].map(String::from).into_iter();
    let names = names.chain((0..8).map(|i| format!("series-{i}")));
    for (number, name) in [1, 2, 3].into_iter().chain(16..24).zip(names) {
        let variable = format!("var(--{name})");
        svg = svg.replace(&format!("#0007{number:02X}"), &variable);
    }
    svg
}

/// Without a size of its own: as wide as its place.
pub fn responsive(svg: &str) -> String {
    let Some((head, rest)) = svg.split_once('>') else {
        return svg.to_string();
    };
    let keeps = |word: &&str| !word.starts_with("width=") && !word.starts_with("height=");
    let mut quoted = String::new();
    // The view box is the one attribute with spaces in it; all others are single words.
    let (before, view) = head.split_once("viewBox=\"").unwrap_or((head, ""));
    let words: Vec<&str> = before.split_whitespace().filter(keeps).collect();
    quoted.push_str(&words.join(" "));
    if let Some((view, after)) = view.split_once('"') {
        let words: Vec<&str> = after.split_whitespace().filter(keeps).collect();
        quoted.push_str(&format!(" viewBox=\"{view}\" {}", words.join(" ")));
    }
    format!("{}>{rest}", quoted.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_gives_way_to_the_view_box() {
        let svg = "<svg width=\"860\" height=\"460\" viewBox=\"0 0 860 460\" xmlns=\"x\">\n<g/>";
        assert_eq!(
            responsive(svg),
            "<svg viewBox=\"0 0 860 460\" xmlns=\"x\">\n<g/>"
        );
    }
}
