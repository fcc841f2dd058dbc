//! A heat map: a share from 0 to 1 in each cell, as colour and as number.
//!
//! Colours are the same on light and dark pages: what a colour means must not depend on the page.

use super::draw::{Drawn, FONT};
use super::theme::Theme;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

const CELL: (i32, i32) = (64, 34);
const CORNER: (i32, i32) = (96, 50);

/// From 0 to 1, evenly spaced.
const COLOURS: [(u8, u8, u8); 6] = [
    (247, 236, 226),
    (244, 199, 163),
    (226, 160, 120),
    (120, 170, 165),
    (44, 126, 148),
    (14, 72, 110),
];

/// Cells of a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatMap {
    /// Above it.
    pub title: String,
    /// What the columns are.
    pub x: String,
    /// What the rows are.
    pub y: String,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Names of the rows, the first at the top.
    pub rows: Vec<String>,
    /// Shares from 0 to 1 by row and column; absent: not measured, or not finite.
    pub values: Vec<Vec<Option<f64>>>,
}

impl HeatMap {
    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        let width = CORNER.0 + CELL.0 * self.columns.len().max(1) as i32 + 20;
        let height = CORNER.1 + CELL.1 * self.rows.len().max(1) as i32 + 58;
        (width.max(380) as u32, height as u32)
    }
}

fn colour(share: f64) -> RGBColor {
    let place = share.clamp(0.0, 1.0) * (COLOURS.len() - 1) as f64;
    let left = (place as usize).min(COLOURS.len() - 2);
    let part = place - left as f64;
    let mix = |a: u8, b: u8| (a as f64 + part * (b as f64 - a as f64)).round() as u8;
    let (a, b) = (COLOURS[left], COLOURS[left + 1]);
    RGBColor(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

/// Draws the cells.
pub fn draw<B: DrawingBackend>(
    map: &HeatMap,
    area: &DrawingArea<B, Shift>,
    theme: &Theme,
) -> Drawn<B> {
    if let Some(paper) = theme.paper {
        area.fill(&paper)?;
    }
    let style = |size: i32, colour: &RGBColor, across, up| {
        let style = (FONT, size).into_font().color(colour);
        style.pos(Pos::new(across, up))
    };
    let title = style(20, &theme.ink, HPos::Left, VPos::Top);
    area.draw(&Text::new(map.title.clone(), (14, 12), title))?;
    let place = |row: usize, column: usize| {
        let left = CORNER.0 + CELL.0 * column as i32;
        (left, CORNER.1 + CELL.1 * row as i32)
    };
    for (row, values) in map.values.iter().enumerate() {
        for (column, value) in values.iter().enumerate() {
            let (left, top) = place(row, column);
            let corners = [(left + 1, top + 1), (left + CELL.0 - 1, top + CELL.1 - 1)];
            let middle = (left + CELL.0 / 2, top + CELL.1 / 2);
            let Some(share) = *value else {
                area.draw(&Rectangle::new(corners, theme.grid.filled()))?;
                continue;
            };
            area.draw(&Rectangle::new(corners, colour(share).filled()))?;
            let ink = match share > 0.55 {
                true => RGBColor(255, 255, 255),
                false => RGBColor(40, 30, 24),
            };
            let text = style(17, &ink, HPos::Center, VPos::Center);
            area.draw(&Text::new(format!("{:.0}", 100.0 * share), middle, text))?;
        }
    }
    let names = style(16, &theme.faint, HPos::Right, VPos::Center);
    for (row, name) in map.rows.iter().enumerate() {
        let (left, top) = place(row, 0);
        let at = (left - 8, top + CELL.1 / 2);
        area.draw(&Text::new(name.clone(), at, names.clone()))?;
    }
    let (_, bottom) = place(map.rows.len(), 0);
    let names = style(16, &theme.faint, HPos::Center, VPos::Top);
    for (column, name) in map.columns.iter().enumerate() {
        let at = (place(0, column).0 + CELL.0 / 2, bottom + 7);
        area.draw(&Text::new(name.clone(), at, names.clone()))?;
    }
    let middle = CORNER.0 + CELL.0 * map.columns.len() as i32 / 2;
    let words = style(17, &theme.ink, HPos::Center, VPos::Top);
    area.draw(&Text::new(map.x.clone(), (middle, bottom + 30), words))?;
    let words = style(17, &theme.ink, HPos::Right, VPos::Center);
    area.draw(&Text::new(
        map.y.clone(),
        (CORNER.0 - 8, CORNER.1 - 8),
        words,
    ))
}
