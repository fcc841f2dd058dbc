//! Colours by role.
//!
//! On a page a role is a CSS variable, so that one drawing serves a light and a dark page. Plotters
//! knows only colours: each role has one that stands for it and for nothing else, and the page's style has a rule for
//! each, which goes before the attributes of an SVG.

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

    /// For pages: colours that [`page_colours`] has rules for.
    pub fn roles() -> Self {
        Theme {
            paper: None,
            ink: role(1),
            faint: role(2),
            grid: role(3),
            series: std::array::from_fn(|i| role(FIRST + i as u8)),
        }
    }
}

/// The role of the first curve.
const FIRST: u8 = 16;

/// What a page defines: the variables, for light pages and for dark ones.
const VARIABLES: &str = "\
:root { color-scheme: light dark; --paper: #ffffff; --raised: #f6f7f9; --ink: #202328; --faint: #60646c; --grid: #e4e6ea;
  --series-0: #c83c28; --series-1: #787c84; --series-2: #1c68b8; --series-3: #1e8c58; --series-4: #cd8214;
  --series-5: #7e54b4; --series-6: #1096a0; --series-7: #b44682; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16181c; --raised: #1e2126; --ink: #e6e8ec; --faint: #9ba1ac; --grid: #30343c;
  --series-0: #ff7a66; --series-1: #a4a9b3; --series-2: #6cb2ff; --series-3: #56cf95; --series-4: #f2b04a;
  --series-5: #b897ee; --series-6: #4fd0da; --series-7: #f08cc0; }
}
";

/// The style that a page with figures needs: variables, and for each role what it is drawn in.
pub fn page_colours() -> String {
    let Theme {
        ink,
        faint,
        grid,
        series,
        ..
    } = Theme::roles();
    let named = [("ink", ink), ("faint", faint), ("grid", grid)];
    let named = named.map(|(name, colour)| (name.to_string(), colour));
    let curves = series.into_iter().enumerate();
    let curves = curves.map(|(i, colour)| (format!("series-{i}"), colour));
    let rules = named.into_iter().chain(curves).map(|(name, RGBColor(r, g, b))| {
        let rule = |attribute| {
            format!("svg [{attribute}=\"#{r:02X}{g:02X}{b:02X}\"] {{ {attribute}: var(--{name}); }}\n")
        };
        ["fill", "stroke"].map(rule).concat()
    });
    format!("{VARIABLES}{}", rules.collect::<String>())
}
