//! What of a step is whose: units of work in one order, as many of them to every rank.

use super::group::Group;
use crate::Error;
use std::ops::Range;

/// The units of one rank, each a segment of a part: all segments of some parts, or some of one part.
pub(crate) struct Units {
    own: Range<usize>,
    segments: usize,
}

impl Units {
    /// Refuses what so many ranks cannot share evenly.
    pub fn check(size: usize, parts: usize, segments: usize) -> Result<(), Error> {
        let cut = size.is_multiple_of(parts) && segments.is_multiple_of(size / parts);
        if size == 0 || !parts.is_multiple_of(size) && !cut {
            return Err(Error::Config(format!(
                "parts {parts} of {segments} segments given with {size} ranks, expected a multiple of {size} parts, or \
                 {size} a multiple of the parts and as many segments for each: every rank runs as much of a step"
            )));
        }
        Ok(())
    }

    /// Those of `parts` with so many `segments` each.
    pub fn new(group: &dyn Group, parts: usize, segments: usize) -> Result<Self, Error> {
        let size = group.size();
        Self::check(size, parts, segments)?;
        let each = parts * segments / size;
        let own = group.rank() * each..(group.rank() + 1) * each;
        Ok(Units { own, segments })
    }

    /// The parts that they are of.
    pub fn parts(&self) -> Range<usize> {
        self.own.start / self.segments..self.own.end.div_ceil(self.segments)
    }

    /// Segments of one of these parts.
    pub fn segments(&self, part: usize) -> Range<usize> {
        let first = self.own.start.saturating_sub(part * self.segments);
        first..(self.own.end - part * self.segments).min(self.segments)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::together;
    use super::*;

    #[test]
    fn every_unit_is_done_once_and_in_order() {
        for (parts, segments) in [(1, 1), (1, 12), (2, 6), (4, 3), (12, 1)] {
            let whole: Vec<(usize, usize)> = (0..parts)
                .flat_map(|part| (0..segments).map(move |segment| (part, segment)))
                .collect();
            for size in [1, 2, 3, 4, 6, 12] {
                let found = together(size, |group| {
                    let units = Units::new(&*group, parts, segments).ok()?;
                    let all = units.parts();
                    let cut = all.len() > 1 && units.segments(all.start).len() < segments;
                    assert!(!cut, "whole parts, or some segments of one");
                    let of = |part| units.segments(part).map(move |segment| (part, segment));
                    Some(all.flat_map(of).collect::<Vec<_>>())
                });
                let fits = parts % size == 0 || size % parts == 0 && segments % (size / parts) == 0;
                let found: Option<Vec<_>> = found.into_iter().collect();
                let found = found.map(|all| all.concat());
                assert_eq!(
                    found,
                    fits.then(|| whole.clone()),
                    "{parts} of {segments}, {size}"
                );
            }
        }
    }
}
