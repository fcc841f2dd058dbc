//! Tokenised text on the disk, read by memory map.
//!
//! A folder holds `train-00000.safetensors`, .. and `held-out-00000.safetensors`, ..; the tokens of
//! a part are those of its files in order. Each file has `tokens` (U16 where the vocabulary allows,
//! else U32), `documents` (U64, places in this file where one begins), and under `baton` in its
//! metadata the vocabulary's size, the tokenizer's name, a hash of its contents, its number, how many files there
//! are, and a hash of all hashes. So a folder whose files are not those that were written together, each
//! once and as it was, and no other, is refused; that reads every file once, and several processes share it out
//! ([`Reader`]). Nothing is read later but what a batch asks for.

use crate::corpus::hash;
use crate::files::{self, write_whole};
use crate::shard::Shard;
use crate::{Corpus, Error, Tokens, fnv};
use memmap2::Mmap;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The one metadata entry.
const ENTRY: &str = "baton";
/// Tokens of a file when nothing else is asked for: 128 MiB at two bytes each.
pub const SHARD_TOKENS: usize = 1 << 26;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    name: String,
    tokenizer: String,
    vocab_size: usize,
    /// Of this file's tokens and documents.
    hash: String,
    /// Which of the part's files it is; older files do not say.
    #[serde(default)]
    place: Option<Place>,
}

/// One of the files of a part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    /// From zero on.
    number: usize,
    /// Of all of them.
    count: usize,
    /// Of the hashes of all of them, in order.
    all: String,
}

/// The parts of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// To evaluate on.
    HeldOut,
}

impl Part {
    /// What the names of its files begin with.
    fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::HeldOut => "held-out",
        }
    }

    fn path(self, folder: &Path, number: usize) -> PathBuf {
        folder.join(format!("{}-{number:05}.safetensors", self.name()))
    }

    /// The number of the file of this name, if it is one of the part's.
    fn number(self, name: &str) -> Option<usize> {
        let rest = name.strip_prefix(self.name())?.strip_prefix('-')?;
        let digits = rest.strip_suffix(".safetensors")?;
        let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| all)
    }
}

/// One of several processes that open the same folder: each reads its own files through and of the others no token, so
/// that all together have read every file. One that finds a damaged file has to end the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Which it is, from zero on.
    pub number: usize,
    /// How many there are.
    pub count: usize,
}

impl Reader {
    /// A process by itself.
    pub const ALONE: Reader = Reader {
        number: 0,
        count: 1,
    };

    /// Who asks what a folder holds and reads none of it.
    pub const NONE: Reader = Reader {
        number: 1,
        count: 1,
    };
}

/// Refuses a folder that has a part, which [`write()`] would refuse.
pub fn lacks(folder: &Path, part: Part) -> Result<(), Error> {
    let first = part.path(folder, 0);
    match first.exists() {
        true => Err(Error::file(
            &first,
            "is there already, expected a folder without shards",
        )),
        false => Ok(()),
    }
}

/// Writes a part of `corpus` in files of up to `shard_tokens`; refuses a folder that has one.
pub fn write(
    corpus: &Corpus,
    tokenizer: &str,
    folder: &Path,
    part: Part,
    shard_tokens: usize,
) -> Result<usize, Error> {
    lacks(folder, part)?;
    let all = corpus.tokens.len();
    let count = all.div_ceil(shard_tokens.max(1)).max(1);
    let range = |number| number * shard_tokens..all.min((number + 1) * shard_tokens);
    let hashes: Vec<String> = (0..count).map(|n| contents(corpus, range(n)).2).collect();
    // The first file last: its name is what says that the part is there.
    for number in (0..count).rev() {
        let place = Place {
            number,
            count,
            all: together(hashes.iter()),
        };
        let path = part.path(folder, number);
        if let Err(error) = write_one(corpus, tokenizer, range(number), place, &path) {
            remove(folder, part, number + 1..count);
            return Err(error);
        }
    }
    Ok(count)
}

/// Removes files of a part that was not written to its end.
pub fn remove(folder: &Path, part: Part, numbers: Range<usize>) {
    for number in numbers {
        let _ = std::fs::remove_file(part.path(folder, number));
    }
}

/// The tokens of a range, where documents begin in it, and the hash of both.
fn contents(corpus: &Corpus, range: Range<usize>) -> (Vec<u32>, Vec<usize>, String) {
    let starts = corpus
        .documents
        .iter()
        .filter(|start| range.contains(start));
    let starts: Vec<usize> = starts.map(|start| start - range.start).collect();
    let tokens = corpus.tokens.read(range);
    let hash = format!("{:016x}", hash(&tokens, &starts));
    (tokens, starts, hash)
}

/// One hash of many.
fn of_all<'a>(hashes: impl Iterator<Item = &'a String>) -> u64 {
    fnv(hashes.flat_map(|hash| hash.bytes().map(u64::from)))
}

/// The same as text.
fn together<'a>(hashes: impl Iterator<Item = &'a String>) -> String {
    format!("{:016x}", of_all(hashes))
}

fn write_one(
    corpus: &Corpus,
    tokenizer: &str,
    range: Range<usize>,
    place: Place,
    path: &Path,
) -> Result<(), Error> {
    let fail = |e: &dyn ToString| Error::file(path, e.to_string());
    let (tokens, starts, hash) = contents(corpus, range);
    let header = Header {
        name: corpus.name.clone(),
        tokenizer: tokenizer.to_string(),
        vocab_size: corpus.vocab_size,
        hash,
        place: Some(place),
    };
    let small = corpus.vocab_size <= 1 << 16;
    let (dtype, bytes) = match small {
        true => (
            Dtype::U16,
            tokens
                .iter()
                .flat_map(|&t| (t as u16).to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        false => (
            Dtype::U32,
            tokens.iter().flat_map(|&t| t.to_le_bytes()).collect(),
        ),
    };
    let places: Vec<u8> = (starts.iter().flat_map(|&at| (at as u64).to_le_bytes())).collect();
    let views = [
        ("tokens", TensorView::new(dtype, vec![tokens.len()], &bytes)),
        (
            "documents",
            TensorView::new(Dtype::U64, vec![starts.len()], &places),
        ),
    ];
    let views = views
        .into_iter()
        .map(|(name, view)| Ok((name, view.map_err(|e| fail(&e))?)));
    let views = views.collect::<Result<Vec<_>, Error>>()?;
    let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
    let metadata = HashMap::from([(ENTRY.to_string(), header)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
    write_whole(path, &file)
}

/// The same where the part was written at all.
pub fn open_if_there(folder: &Path, part: Part, reader: Reader) -> Result<Option<Corpus>, Error> {
    match folder.is_dir() && past(folder, part, 0)?.is_some() {
        true => open(folder, part, reader).map(Some),
        false => Ok(None),
    }
}

/// Maps a part of a folder that [`write()`] wrote, whole and as it was written.
pub fn open(folder: &Path, part: Part, reader: Reader) -> Result<Corpus, Error> {
    let paths: Vec<PathBuf> = (0..)
        .map(|number| part.path(folder, number))
        .take_while(|path| path.symlink_metadata().is_ok())
        .collect();
    let own = |number: usize| number % reader.count == reader.number;
    let read = paths.par_iter().enumerate();
    let read: Vec<_> = read.map(|(i, path)| open_one(path, own(i))).collect();
    let read = read.into_iter().collect::<Result<Vec<_>, _>>()?;
    let Some((_, first, _)) = read.first() else {
        return Err(match folder.is_dir() {
            true => Error::file(
                &part.path(folder, 0),
                "no such file, expected a tokenised text, as `baton tokenize` writes it",
            ),
            false => Error::file(
                folder,
                "no folder, expected the one that `baton tokenize` wrote",
            ),
        });
    };
    let headers: Vec<&Header> = read.iter().map(|(_, header, _)| header).collect();
    belong(folder, part, &paths, &headers)?;
    let mut corpus = Corpus {
        name: first.name.clone(),
        tokens: Tokens::Mapped(Vec::new()),
        documents: Vec::new(),
        vocab_size: first.vocab_size,
        hash: of_all(headers.iter().map(|header| &header.hash)),
        reset: false,
    };
    for (shard, _, documents) in read {
        let base = corpus.tokens.len();
        let starts = documents.iter().map(|at| at + base);
        corpus.documents.extend(starts);
        if let Tokens::Mapped(shards) = &mut corpus.tokens {
            shards.push(shard);
        }
    }
    Ok(corpus)
}

/// Refuses files that were not written together: one that is missing, there twice, or another's.
fn belong(folder: &Path, part: Part, paths: &[PathBuf], headers: &[&Header]) -> Result<(), Error> {
    let first = headers[0];
    for (number, (path, header)) in paths.iter().zip(headers).enumerate() {
        let wrong = |what: String| Err(Error::file(path, what));
        if (&first.tokenizer, first.vocab_size) != (&header.tokenizer, header.vocab_size) {
            return wrong(format!(
                "tokens of {} ({}) given, expected those of {} ({}) as in the first file",
                header.tokenizer, header.vocab_size, first.tokenizer, first.vocab_size
            ));
        }
        let of = |header: &Header| header.place.clone().map(|place| (place.count, place.all));
        if of(first) != of(header) {
            return wrong("it is of another text, expected a file written with the first".into());
        }
        if let Some(place) = header.place.as_ref().filter(|place| place.number != number) {
            return wrong(format!(
                "it is file {} of the text, expected file {number}",
                place.number
            ));
        }
    }
    let past = past(folder, part, headers.len())?;
    let Some(place) = &first.place else {
        return match past {
            Some(past) => {
                let what = format!("no such file, expected it before {}", past.display());
                Err(Error::file(&part.path(folder, headers.len()), what))
            }
            None => Ok(()),
        };
    };
    // Files past a gap have not been looked at.
    if headers.len() < place.count {
        let path = part.path(folder, headers.len());
        let what = format!("no such file, expected all {} of the text", place.count);
        return Err(Error::file(&path, what));
    }
    if let Some(past) = past {
        let what = format!(
            "it is no file of the text, which has {}: expected those alone",
            place.count
        );
        return Err(Error::file(&past, what));
    }
    match together(headers.iter().map(|header| &header.hash)) == place.all {
        true => Ok(()),
        false => Err(Error::file(
            folder,
            "its files are not those that were written together, expected them as they were",
        )),
    }
}

/// A file of the part past the first `count`, the first one of them.
fn past(folder: &Path, part: Part, count: usize) -> Result<Option<PathBuf>, Error> {
    let mut first: Option<(usize, PathBuf)> = None;
    for entry in std::fs::read_dir(folder).map_err(|e| Error::file(folder, e))? {
        let entry = entry.map_err(|e| Error::file(folder, e))?;
        let number = part.number(&entry.file_name().to_string_lossy());
        if let Some(number) = number.filter(|&number| number >= count)
            && first.as_ref().is_none_or(|(least, _)| number < *least)
        {
            first = Some((number, entry.path()));
        }
    }
    Ok(first.map(|(_, path)| path))
}

/// A file, read through if it is to be `checked`.
fn open_one(path: &Path, checked: bool) -> Result<(Shard, Header, Vec<usize>), Error> {
    let damaged =
        |e: &dyn ToString| Error::file(path, format!("no tokenised text: {}", e.to_string()));
    let file = files::open(path)?;
    // Sound as long as nobody writes into the file while it is mapped; ours are never written
    // again once they have their name.
    let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::file(path, e))?;
    let (_, metadata) = SafeTensors::read_metadata(&map).map_err(|e| damaged(&e))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(ENTRY));
    let header = header.ok_or_else(|| damaged(&format!("no `{ENTRY}` in its metadata")))?;
    let header: Header = serde_json::from_str(header).map_err(|e| damaged(&e))?;
    let tensors = SafeTensors::deserialize(&map).map_err(|e| damaged(&e))?;
    let tokens = tensors.tensor("tokens").map_err(|e| damaged(&e))?;
    let width = match tokens.dtype() {
        Dtype::U16 => 2,
        Dtype::U32 => 4,
        other => {
            return Err(damaged(&format!(
                "tokens of {other:?}, expected U16 or U32"
            )));
        }
    };
    let from = tokens.data().as_ptr() as usize - map.as_ptr() as usize;
    let range = from..from + tokens.data().len();
    let count = range.len() / width;
    let documents = tensors.tensor("documents").map_err(|e| damaged(&e))?;
    let places = documents.data().chunks_exact(8);
    let places = places.map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")) as usize);
    let documents: Vec<usize> = places.collect();
    if !documents.is_sorted_by(|a, b| a < b) || documents.last().is_some_and(|&at| at >= count) {
        return Err(damaged(&format!(
            "documents do not begin at rising places below {count}"
        )));
    }
    let shard = Shard {
        tokens: range,
        width,
        map,
    };
    if !checked {
        return Ok((shard, header, documents));
    }
    let mut tokens = Vec::with_capacity(count);
    shard.read(0..count, &mut tokens);
    let found = format!("{:016x}", hash(&tokens, &documents));
    match found == header.hash {
        true => Ok((shard, header, documents)),
        false => Err(damaged(&"its tokens are not as they were written")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::Tokenizer;
    use crate::{Document, Order, Sampling, Source};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn shards_are_the_stream_they_were_cut_from() {
        let folder = folder("shards");
        let document = |n: usize| Document {
            path: "it".into(),
            bytes: (0..n).map(|i| (i * 7 + n) as u8).collect(),
        };
        let documents = [30, 1, 55, 200, 17].map(document);
        let mut corpus = Corpus::new("it", &documents, &Tokenizer::Bytes, None).unwrap();
        for wide in [false, true] {
            let folder = folder.join(wide.to_string());
            if wide {
                corpus.vocab_size = 70_000;
            }
            assert_eq!(
                write(&corpus, "bytes", &folder, Part::Train, 64).unwrap(),
                5
            );
            let mut mapped = open(&folder, Part::Train, Reader::ALONE).unwrap();
            assert_eq!(mapped.vocab_size, corpus.vocab_size);
            assert_eq!(mapped.documents, corpus.documents);
            let all = corpus.tokens.read(0..303);
            assert_eq!(mapped.tokens.len(), 303);
            for range in [0..303, 0..64, 63..65, 60..200, 302..303, 5..5] {
                assert_eq!(mapped.tokens.read(range.clone()), all[range]);
            }
            let sampling = Sampling {
                seed: 3,
                batch: 4,
                length: 16,
                order: Order::Random,
            };
            (corpus.reset, mapped.reset) = (true, true);
            let read = |corpus: &Corpus| corpus.batch(5, &sampling).unwrap();
            assert_eq!(read(&mapped), read(&corpus));
            let error = write(&corpus, "bytes", &folder, Part::Train, 64).unwrap_err();
            assert!(error.to_string().contains("is there already"), "{error}");
            assert!(open(&folder, Part::HeldOut, Reader::ALONE).is_err());
            let path = Part::Train.path(&folder, 2);
            let bytes = std::fs::read(&path).unwrap();
            let mut other = bytes.clone();
            *other.last_mut().unwrap() ^= 1; // the header and all sizes stay
            std::fs::write(&path, &other).unwrap();
            let error = open(&folder, Part::Train, Reader::ALONE)
                .unwrap_err()
                .to_string();
            assert!(error.contains("not as they were written"), "{error}");
            std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
            let error = open(&folder, Part::Train, Reader::ALONE)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("train-00002.safetensors: no tokenised text"),
                "{error}"
            );
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// Of two processes one reads two of five files through: what is wrong in the others it does not see, and neither in
    /// what it reads of a batch.
    #[test]
    fn files_are_read_by_whose_they_are() {
        let folder = folder("readers");
        let bytes = (0..300).map(|i| (i * 7) as u8).collect();
        let path = "it".into();
        let corpus = Corpus::new("it", &[Document { path, bytes }], &Tokenizer::Bytes, None);
        let corpus = corpus.unwrap();
        write(&corpus, "bytes", &folder, Part::Train, 64).unwrap();
        let reader = |number| Reader { number, count: 2 };
        let sampling = Sampling {
            seed: 3,
            batch: 4,
            length: 16,
            order: Order::Contiguous,
        };
        for (damaged, rows) in [(0, 1..4), (3, 0..2)] {
            let path = Part::Train.path(&folder, damaged);
            let whole = std::fs::read(&path).unwrap();
            let mut other = whole.clone();
            other
                .iter_mut()
                .rev()
                .take(2 * 64)
                .for_each(|byte| *byte ^= 1);
            std::fs::write(&path, &other).unwrap();
            let error = open(&folder, Part::Train, reader(damaged % 2)).unwrap_err();
            assert!(
                error.to_string().contains("not as they were written"),
                "{error}"
            );
            let mapped = open(&folder, Part::Train, reader(1 - damaged % 2)).unwrap();
            let share = |corpus: &Corpus| corpus.share(0, &sampling, rows.clone(), 0..16).unwrap();
            assert_eq!(share(&mapped), share(&corpus));
            let all = |corpus: &Corpus| corpus.batch(0, &sampling).unwrap();
            assert_ne!(all(&mapped), all(&corpus));
            open(&folder, Part::Train, Reader::NONE).unwrap();
            std::fs::write(&path, &whole).unwrap();
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
