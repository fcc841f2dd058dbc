//! The text form of level 1: [`parse`] and its inverse, [`print()`].
//! Levels 2 and 3 have theirs in [`chunked`] and [`tile`]; codes below R020 mean the same there.
//!
//! One recurrence a text. Parsing has three steps: `lex` cuts the text into tokens, `parse`
//! finds the grammar, `resolve` binds names to handles. Each goes on after an error, so that all
//! errors of a text are reported at once; what a text may *mean* is checked by `crate::verify`.
//!
//! Printing is canonical: `parse(print(x)) == x` for every recurrence whose arena is in post-order
//! (operands just before their user, no sharing), as it is after a parse, unless the text has a comparison by
//! `<` or a function that is made of others, which are printed as what they are made of.
//!
//! | code | the text |
//! |---|---|
//! | R001 | holds a character that the language does not have |
//! | R002 | holds a number that is none, or that f64 cannot hold |
//! | R003 | has another token than the grammar asks for |
//! | R004 | nests deeper than [`MAX_HEIGHT`] |
//! | R005 | gives a block twice |
//! | R010 | gives one name to two things |
//! | R011 | uses a reserved word as a name |
//! | R012 | reads a name that nothing above declares |
//! | R013 | reads something that is no value: an output, or a function without arguments |
//! | R014 | calls a function that does not exist |
//! | R015 | calls a function with the wrong number of arguments, or `pow` with an exponent that is no number |
//! | R016 | assigns to something that is no state |
//! | R017 | uses a dimension that `dims` does not declare |
//! | R018 | says `per group` of something that is no input |
//! | R019 | gives a tensor more than two dimensions |

mod call;
pub mod chunked;
mod cursor;
mod function;
mod lex;
mod nearest;
mod ops;
mod parse;
mod place;
mod print;
mod resolve;
pub mod tile;
mod words;

pub use function::functions;
pub use nearest::nearest;
pub use place::{Place, place, render};
pub use print::{expression, print, shape};
pub use words::{KEYWORDS, MAX_HEIGHT, is_reserved};

use crate::diag::Diagnostic;
use crate::recurrence::Recurrence;

/// Parses one recurrence; on failure returns every syntax and name error, in order of place.
pub fn parse(source: &str) -> Result<Recurrence, Vec<Diagnostic>> {
    let mut diagnostics = Vec::new();
    let tokens = lex::lex(source, &mut diagnostics);
    let syntax = parse::parse(source, &tokens, &mut diagnostics);
    let recurrence = resolve::resolve(syntax, &mut diagnostics);
    if diagnostics.is_empty() {
        return Ok(recurrence);
    }
    // What follows a character that means nothing is not what the grammar asks for because of it; after `#` that is all of
    // the line, which was meant as a comment.
    let unread = diagnostics.iter().filter(|d| d.code == "R001");
    let unread: Vec<usize> = unread.map(|d| d.span.end as usize).collect();
    let hash = |end: &usize| source[..*end].ends_with('#');
    let hashes: Vec<usize> = unread.iter().copied().filter(hash).collect();
    let lines: Vec<usize> = source.match_indices('\n').map(|(at, _)| at).collect();
    // The last of some places in rising order that is not beyond `at`.
    let last = |places: &[usize], at: usize| {
        let count = places.partition_point(|&place| place <= at);
        count.checked_sub(1).map(|i| places[i])
    };
    let follows = |d: &Diagnostic| {
        let at = d.span.start as usize;
        let nothing = |end| source.get(end..at).is_some_and(|b| b.trim().is_empty());
        let commented = last(&hashes, at).is_some_and(|end| last(&lines, at) < Some(end));
        commented
            || d.code == "R003" && last(&unread, at).is_some_and(|end| !hash(&end) && nothing(end))
    };
    diagnostics.retain(|d| d.code == "R001" || !follows(d));
    diagnostics.sort_by_key(|d| d.span);
    Err(diagnostics)
}
