//! Where a sequence stands, in memory and in a file.
//!
//! The file holds the states of all its sequences under their published names (`eval/logits.rs`), so that
//! every verb that begins at states takes it, and beside them what only a generation needs: which
//! model's they are, how many tokens were read, those that were said and not read, and those that
//! have been there.

use crate::Error;
use crate::eval::logits::{Named, initial, published};
use crate::eval::{Stream, Subject};
use crate::initial_state::sequences;
use crate::models::HostStates;
use crate::models::hybrid::{Kept, Memory};
use baton_data::files::{self, Target};
use baton_data::plain;
use baton_runtime::Tensor;
use baton_weights::checkpoint::finite;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Tokens that are read at once.
const SEGMENT: usize = 1024;
/// Tokens in whose sight a text goes on.
const TAIL: usize = 16;
/// The one metadata entry.
const ENTRY: &str = "baton";

/// Where one sequence stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place {
    /// After all tokens that were read; absent before the first.
    pub(super) states: Option<HostStates>,
    /// Before the last of them, which a window of a convolution shows.
    pub(super) before: Option<HostStates>,
    /// What tells it from others.
    pub(super) past: Past,
}

/// What a sequence remembers beside its states.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    /// Tokens that were read.
    pub read: u64,
    /// The last that were read, which a decoder may join with the next; files of older programs do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last: Vec<u32>,
    /// Said and not read yet.
    pub unread: Vec<u32>,
    /// All that have been there.
    pub seen: BTreeSet<u32>,
}

impl Past {
    /// The last that were read when `more` are.
    pub fn last_with(&self, more: &[u32]) -> Vec<u32> {
        let all = [&self.last[..], more].concat();
        all[all.len().saturating_sub(TAIL)..].to_vec()
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// The fingerprint of the weights.
    weights: String,
    sequences: Vec<Past>,
    /// Of layers that cut or choose chunks; these lie in files beside this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    memories: Vec<Kept>,
}

impl Header {
    /// Refuses the states in a file of a model with other weights than those of the fingerprint `own`.
    fn is_of(&self, own: &str, path: &Path) -> Result<(), Error> {
        let given = &self.weights;
        match given == own {
            true => Ok(()),
            false => Err(Error::file(
                path,
                format!("states of a model with weights {given}, expected those of {own}"),
            )),
        }
    }
}

impl Place {
    /// Reads what was not read yet and `prompt`; logits after the last token, [V]. `each` hears the tokens done.
    pub(super) fn read(
        &mut self,
        subject: &Subject,
        prompt: &[u32],
        each: &mut dyn FnMut(usize),
    ) -> Result<Vec<f32>, Error> {
        let tokens = [&std::mem::take(&mut self.past.unread)[..], prompt].concat();
        let Some((last, first)) = tokens.split_last() else {
            return Err(Error::Config(
                "an empty prompt given, expected at least one token to begin with: --prompt or --prompt-file says \
                 it, --state-in goes on without".into(),
            ));
        };
        let vocabulary = subject.config.vocab_size;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= vocabulary) {
            return Err(Error::Config(format!(
                "token {token} given, expected less than the model's vocabulary of {vocabulary}"
            )));
        }
        let mut stream = Stream::new(&subject.model, 1, self.states.take())?;
        for segment in first.chunks(SEGMENT) {
            stream.skip(segment)?;
            each(segment.len());
        }
        self.before = stream.states();
        let logits = stream.feed_last(&[*last])?;
        each(1);
        self.states = stream.states();
        self.past.read += tokens.len() as u64;
        self.past.last = self.past.last_with(&tokens);
        self.past.seen.extend(tokens);
        Ok(logits)
    }

    /// Writes sequences of the model `subject`, every one of which has read a token.
    pub fn write(places: &[Place], subject: &Subject, to: &Target) -> Result<(), Error> {
        let join = |of: fn(&Place) -> &Option<HostStates>| -> Option<HostStates> {
            let all: Option<Vec<HostStates>> = places.iter().map(|p| of(p).clone()).collect();
            all.filter(|all| !all.is_empty()).map(sequences::join)
        };
        let states = join(|place| &place.states).ok_or_else(|| {
            Error::Config("a sequence that has read nothing given, expected states".into())
        })?;
        let named = published(
            &subject.config,
            &states,
            join(|place| &place.before).as_ref(),
        );
        for (name, tensor) in &named {
            finite(name, tensor)?;
        }
        let memories = states.iter().enumerate().filter_map(|(layer, state)| {
            let memory = state.memory.as_ref()?;
            Some(memory.save(to.path(), layer))
        });
        let header = Header {
            weights: subject.checkpoint.weights.clone(),
            sequences: places.iter().map(|place| place.past.clone()).collect(),
            memories: memories.collect::<Result<_, Error>>()?,
        };
        let fail = |e: &dyn ToString| Error::Config(format!("states: {}", e.to_string()));
        let header = serde_json::to_string(&header).map_err(|e| fail(&e))?;
        let bytes = |tensor: &Tensor| tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        let all: Vec<(&String, &Tensor, Vec<u8>)> =
            named.iter().map(|(name, t)| (name, t, bytes(t))).collect();
        let views = all.iter().map(|(name, tensor, bytes)| {
            TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (*name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| fail(&e))?;
        let metadata = HashMap::from([(ENTRY.to_string(), header)]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| fail(&e))?;
        Ok(to.write(&file)?)
    }

    /// Refuses a file of [`write`](Self::write) of which the tensors alone say too little: of a model with other weights than those with the
    /// fingerprint `weights`, where that is given, or with chunks, which lie in files beside it.
    pub fn in_tensors(path: &Path, weights: Option<&str>) -> Result<(), Error> {
        let bytes = files::read(path)?;
        let header = SafeTensors::read_metadata(&bytes)
            .ok()
            .and_then(|(_, all)| {
                let text = all.metadata().as_ref()?.get(ENTRY)?.clone();
                serde_json::from_str::<Header>(&text).ok()
            });
        let Some(header) = header else {
            return Ok(());
        };
        if let Some(own) = weights {
            header.is_of(own, path)?;
        }
        match header.memories.is_empty() {
            true => Ok(()),
            false => Err(Error::file(
                path,
                "states of a model with chunks of what it has read, which only `baton generate --state-in` takes up",
            )),
        }
    }

    /// The sequences of a file, which must be of the model `subject`; of states that came from elsewhere
    /// nothing else is known, so a model with chunks takes none.
    pub fn open(path: &Path, subject: &Subject) -> Result<Vec<Place>, Error> {
        let bytes = files::read(path)?;
        let damaged = |why: &str| {
            let what = "expected a file that `baton generate --state-out` or `baton eval logits --states` wrote";
            Error::file(path, format!("no states: {why}; {what}"))
        };
        let unread = |e| damaged(&plain::safetensors(&e));
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(unread)?;
        let file = SafeTensors::deserialize(&bytes).map_err(unread)?;
        let mut named = Named::new();
        let mut count = 0;
        for (name, view) in file
            .tensors()
            .into_iter()
            .filter(|(name, _)| name != "logits")
        {
            if view.dtype() != Dtype::F32 {
                let given = view.dtype();
                return Err(damaged(&format!(
                    "tensor `{name}` holds {given:?}, expected F32"
                )));
            }
            let data = view.data().chunks_exact(4);
            let tensor = Tensor {
                shape: view.shape().to_vec(),
                data: data
                    .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect(),
            };
            finite(&name, &tensor).map_err(|e| Error::file(path, e))?;
            count = tensor.shape.first().copied().unwrap_or(0);
            named.insert(name, tensor);
        }
        let header = metadata.metadata().as_ref().and_then(|m| m.get(ENTRY));
        let header = match header {
            Some(text) => serde_json::from_str::<Header>(text)
                .map_err(|_| damaged("a file of this program that holds something else"))?,
            None if subject.model.has_memory() => {
                return Err(damaged("the chunks of what was read are not said"));
            }
            None => Header {
                weights: subject.checkpoint.weights.clone(),
                sequences: vec![Past::default(); count],
                memories: Vec::new(),
            },
        };
        header.is_of(&subject.checkpoint.weights, path)?;
        if header.sequences.is_empty() || header.sequences.len() != count {
            let what = format!(
                "{} sequences with states of {count}",
                header.sequences.len()
            );
            return Err(damaged(&what));
        }
        let mut states =
            initial(&subject.config, count, named).map_err(|e| Error::file(path, e))?;
        for kept in header.memories {
            let (layer, memory) = Memory::load(kept, path, &subject.model.keeping())?;
            match states.get_mut(layer) {
                Some(state) if memory.sequences() == count => state.memory = Some(memory),
                _ => {
                    return Err(damaged(&format!(
                        "chunks of layer {layer} for {count} sequences"
                    )));
                }
            }
        }
        let place = |(row, past)| Place {
            states: Some(sequences::rows(&states, row..row + 1)),
            before: None,
            past,
        };
        Ok(header
            .sequences
            .into_iter()
            .enumerate()
            .map(place)
            .collect())
    }
}
