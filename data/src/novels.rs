//! Real text without a manual step: Jane Austen's six novels, which are part of this crate (novels/).
//!
//! *Emma* is held out whole: training never sees it.

use crate::{Error, Text, gzip};

/// To train on, in the order of their titles.
const TRAIN: [&[u8]; 5] = [
    include_bytes!("../novels/mansfield-park.txt.gz"),
    include_bytes!("../novels/northanger-abbey.txt.gz"),
    include_bytes!("../novels/persuasion.txt.gz"),
    include_bytes!("../novels/pride-and-prejudice.txt.gz"),
    include_bytes!("../novels/sense-and-sensibility.txt.gz"),
];
const HELD_OUT: &[u8] = include_bytes!("../novels/emma.txt.gz");

/// What they are called in reports.
const NAME: &str = "6 novels by Jane Austen, EMMA held out";

/// All six.
pub fn austen() -> Result<Text, Error> {
    let train = TRAIN.map(unpacked).into_iter();
    Ok(Text {
        name: NAME.into(),
        train: train.collect::<Result<Vec<_>, _>>()?.concat(),
        held_out: unpacked(HELD_OUT)?,
    })
}

fn unpacked(novel: &[u8]) -> Result<Vec<u8>, Error> {
    gzip::unpacked(novel.to_vec())
        .map_err(|why| Error::Config(format!("a novel of this program cannot be read: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    /// A run keeps the fingerprint of its text, and goes on with the same bytes alone.
    #[test]
    fn they_have_the_bytes_that_runs_on_them_keep() {
        let text = austen().unwrap();
        assert_eq!(text.fingerprint(), "3142001 bytes, 3a30e93c99314359");
        assert_eq!(text.held_out.len(), 883_028);
        assert!(text.held_out.starts_with(b"EMMA\n\nBy Jane Austen\n"));
        assert!(text.train.starts_with(b"MANSFIELD PARK\n"));
    }
}
