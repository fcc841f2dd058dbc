//! A model of layers of different kinds, in order.

use super::checks::not_zero;
use crate::Error;
use serde::{Deserialize, Serialize};

/// Layers in order, and the chunks that they share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hybrid<B> {
    /// Positions of a chunk, the landmark's own among them where there is one.
    pub chunk: usize,
    /// What a chunk is found by.
    pub landmark: Landmark,
    /// First to last.
    pub layers: Vec<Layer<B>>,
}

/// What becomes a chunk's landmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Landmark {
    /// A position of the stream after the chunk's tokens, which all layers see; no token is its.
    Position,
    /// A vector that the encoder puts after the chunk.
    Encoder,
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Layer<B> {
    /// A recurrence, as models have it that stack one.
    Recurrent {
        /// The block.
        block: B,
        /// Inner width of the feed-forward; absent is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mlp: Option<usize>,
    },
    /// Attention with a window.
    Attention {
        /// Its sizes.
        #[serde(flatten)]
        attention: AttentionConfig,
        /// Inner width of the feed-forward; absent is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mlp: Option<usize>,
    },
    /// Cuts the stream into chunks and gives them landmarks, keys and values; changes nothing.
    Chunking(ChunkingConfig),
    /// Chooses chunks for the layers after it; changes nothing.
    Retrieval(RetrievalConfig),
    /// Grouped cross attention: attention with a window, then attention to what was chosen.
    Grouped {
        /// The window's.
        #[serde(flatten)]
        attention: AttentionConfig,
        /// Heads of the queries to chunks.
        queries: usize,
        /// Whether one is added to each chunk's denominator.
        one: bool,
        /// Whether what was found reaches the stream through the feed-forward alone.
        bypass: bool,
        /// Inner width of the feed-forward.
        mlp: usize,
    },
    /// Hierarchical sparse attention: attention to what was chosen.
    Sparse {
        /// Heads of the queries to chunks.
        queries: usize,
        /// Whether one is added to each chunk's denominator.
        #[serde(default)]
        one: bool,
        /// Whether what was found reaches the stream through the feed-forward alone, where there is one.
        #[serde(default)]
        bypass: bool,
        /// Inner width of the feed-forward; absent is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mlp: Option<usize>,
    },
}

/// Attention with a window to the left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttentionConfig {
    /// Heads of queries, a divisor of the stream's width.
    pub heads: usize,
    /// Heads of keys and values, a divisor of those.
    pub kv_heads: usize,
    /// Positions that are seen to the left of one's own.
    pub window: usize,
    /// How positions are told apart.
    pub positions: Positions,
}

/// How positions are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// A slope of each head, 2^(-8 i / heads), by distance.
    Alibi,
    /// Queries and keys are turned, base 10000.
    Rotary,
    /// They are not.
    None,
}

/// A layer that cuts chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkingConfig {
    /// Layers of the encoder, which sees a chunk in both directions.
    pub encoder: usize,
    /// Its heads.
    pub heads: usize,
    /// Inner width of its feed-forward.
    pub mlp: usize,
    /// Heads of a chunk's keys and values.
    pub kv_heads: usize,
    /// Numbers of each.
    pub head_dim: usize,
    /// Numbers that a landmark is projected to; absent: the stream's, as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retrieval: Option<usize>,
}

/// Who chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// A chunk's last position, for the chunk after it.
    Chunk,
    /// Every position, for itself.
    Token,
}

/// How the chosen are weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weighing {
    /// By the softmax of their scores.
    Softmax,
    /// By breaking a stick, the most recent first.
    StickBreaking,
}

/// A layer that chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrievalConfig {
    /// Who chooses.
    pub per: Per,
    /// The most chunks that are chosen.
    pub top: usize,
    /// Heads that choose, 1 or one for each head of the chunks' keys.
    pub heads: usize,
    /// How they are weighed.
    pub weights: Weighing,
    /// Whether Gumbel noise is added to scores for the choice in training.
    pub noise: bool,
}

/// What is asked of the block of a layer.
pub trait Block {
    /// What its recurrence is called.
    fn name(&self) -> &str;

    /// Sizes of each of its states without the batch, for a stream of `hidden`.
    fn states(&self, hidden: usize) -> Vec<Vec<usize>>;

    /// About as many weights as it has.
    fn about_weights(&self, hidden: usize) -> f64;

    /// Refuses sizes that do not fit together.
    fn check(&self, hidden: usize) -> Result<(), Error>;

    /// Whether it passes nothing beside the stream.
    fn stands_alone(&self) -> bool;
}

impl<B> Hybrid<B> {
    /// The layer that cuts chunks.
    pub fn chunking(&self) -> Option<(usize, &ChunkingConfig)> {
        let mut layers = self.layers.iter().enumerate();
        layers.find_map(|(i, layer)| match layer {
            Layer::Chunking(chunking) => Some((i, chunking)),
            _ => None,
        })
    }
}

impl<B> Hybrid<B> {
    /// The fewest tokens of which one attends to a chunk, where some layer chooses chunks. A position by itself sees what was
    /// complete before it; one chunk's last position sees the chunks before its own, and chooses for the one after.
    pub fn reach(&self) -> Option<usize> {
        let tokens = match self.landmark {
            Landmark::Position => self.chunk.saturating_sub(1),
            Landmark::Encoder => self.chunk,
        };
        let chunks = self.layers.iter().filter_map(|layer| match layer {
            Layer::Retrieval(RetrievalConfig {
                per: Per::Token, ..
            }) => Some(1),
            Layer::Retrieval(_) => Some(2),
            _ => None,
        });
        chunks.max().map(|chunks| tokens.saturating_mul(chunks) + 1)
    }
}

impl<B: Block> Hybrid<B> {
    /// Sizes of every state of each layer without the batch, for a stream of `hidden`.
    pub(super) fn states(&self, hidden: usize) -> Vec<Vec<Vec<usize>>> {
        let window = |attention: &AttentionConfig| {
            let one = [
                attention.kv_heads,
                attention.window,
                hidden / attention.heads,
            ];
            vec![one.to_vec(), one.to_vec(), vec![1, attention.window]]
        };
        let states = self.layers.iter().map(|layer| match layer {
            Layer::Recurrent { block, .. } => block.states(hidden),
            Layer::Attention { attention, .. } | Layer::Grouped { attention, .. } => {
                window(attention)
            }
            _ => Vec::new(),
        });
        states.collect()
    }

    /// About as many weights as the layers have.
    pub(super) fn about_weights(&self, hidden: usize) -> f64 {
        let width = hidden as f64;
        let square = |count: f64| count * width * width;
        let mlp = |inner: Option<usize>| 3.0 * width * inner.unwrap_or(0) as f64;
        let all = self.layers.iter().map(|layer| match layer {
            Layer::Recurrent { block, mlp: inner } => block.about_weights(hidden) + mlp(*inner),
            Layer::Attention { mlp: inner, .. } => square(4.0) + mlp(*inner),
            Layer::Chunking(own) => {
                let each = square(4.0) + mlp(Some(own.mlp));
                let keys = 2.0 * width * own.kv_heads as f64 * own.head_dim as f64;
                own.encoder as f64 * each + keys + width * own.retrieval.unwrap_or(0) as f64
            }
            Layer::Retrieval(_) => square(1.0),
            Layer::Grouped { mlp: inner, .. } => square(6.0) + mlp(Some(*inner)),
            Layer::Sparse { mlp: inner, .. } => square(2.0) + mlp(*inner),
        });
        all.sum()
    }

    /// Refuses layers that do not fit together.
    pub(super) fn check(&self, hidden: usize, layers: usize) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        if self.layers.len() != layers {
            let own = self.layers.len();
            return wrong(format!(
                "num_hidden_layers {layers} given for a block of {own} layers, expected {own}, or nothing: the layers say it"
            ));
        }
        not_zero(&[("layers", layers)])?;
        if self.chunk < 2 {
            return wrong(format!("chunk {} given, expected at least 2", self.chunk));
        }
        let mut chunks: Option<&ChunkingConfig> = None;
        let mut choice: Option<&RetrievalConfig> = None;
        for (i, layer) in self.layers.iter().enumerate() {
            let at = |what: String| Error::Config(format!("layer {i}: {what}"));
            let attention =
                |own: &AttentionConfig| own.check(hidden).map_err(|e| at(e.to_string()));
            let finds = |queries: usize, chunks: Option<&ChunkingConfig>| {
                let (Some(chunks), Some(_)) = (chunks, choice) else {
                    return Err(at(
                        "attention to chunks given, expected a chunking and a retrieval layer before it"
                            .into(),
                    ));
                };
                match queries > 0 && queries.is_multiple_of(chunks.kv_heads) {
                    true => Ok(()),
                    false => Err(at(format!(
                        "queries {queries} given, expected a multiple of the chunks' kv_heads {}",
                        chunks.kv_heads
                    ))),
                }
            };
            match layer {
                Layer::Recurrent { block, mlp } => {
                    if !block.stands_alone() {
                        let name = block.name();
                        return Err(at(format!(
                            "the block {name} given, expected one that passes nothing beside the stream"
                        )));
                    }
                    block.check(hidden).map_err(|e| at(e.to_string()))?;
                    not_zero(&[("mlp", mlp.unwrap_or(1))]).map_err(|e| at(e.to_string()))?;
                }
                Layer::Attention {
                    attention: own,
                    mlp,
                } => {
                    attention(own)?;
                    not_zero(&[("mlp", mlp.unwrap_or(1))]).map_err(|e| at(e.to_string()))?;
                }
                Layer::Chunking(own) => {
                    if chunks.is_some() {
                        return Err(at("a second chunking layer given, expected one".into()));
                    }
                    own.check(hidden).map_err(|e| at(e.to_string()))?;
                    if self.landmark == Landmark::Encoder && own.encoder == 0 {
                        return Err(at(
                            "encoder 0 given, expected at least 1 layer for the landmark `encoder`"
                                .into(),
                        ));
                    }
                    chunks = Some(own);
                }
                Layer::Retrieval(own) => {
                    let Some(chunks) = chunks else {
                        return Err(at(
                            "retrieval given, expected a chunking layer before it".into()
                        ));
                    };
                    let width = chunks.retrieval.unwrap_or(hidden);
                    let fits = (own.heads == 1 || own.heads == chunks.kv_heads)
                        && width.is_multiple_of(own.heads.max(1));
                    if own.top == 0 || !fits {
                        return Err(at(format!(
                            "top {} and heads {} given, expected at least 1, and heads of 1 or the chunks' \
                             kv_heads {} that divide the {width} numbers of a landmark",
                            own.top, own.heads, chunks.kv_heads
                        )));
                    }
                    choice = Some(own);
                }
                Layer::Grouped {
                    attention: own,
                    queries,
                    mlp,
                    ..
                } => {
                    attention(own)?;
                    finds(*queries, chunks)?;
                    not_zero(&[("mlp", *mlp)]).map_err(|e| at(e.to_string()))?;
                }
                Layer::Sparse { queries, mlp, .. } => {
                    finds(*queries, chunks)?;
                    not_zero(&[("mlp", mlp.unwrap_or(1))]).map_err(|e| at(e.to_string()))?;
                }
            }
        }
        Ok(())
    }
}

impl AttentionConfig {
    fn check(&self, hidden: usize) -> Result<(), Error> {
        let Self {
            heads, kv_heads, ..
        } = *self;
        let fits = heads > 0
            && kv_heads > 0
            && hidden.is_multiple_of(heads)
            && heads.is_multiple_of(kv_heads);
        let even = self.positions != Positions::Rotary || (hidden / heads.max(1)).is_multiple_of(2);
        if !fits || !even || self.window == 0 {
            return Err(Error::Config(format!(
                "heads {heads}, kv_heads {kv_heads}, window {} given, expected heads that divide hidden_size \
                 {hidden} (into even parts for rotary positions), kv_heads that divide heads, and a window of \
                 at least 1",
                self.window
            )));
        }
        Ok(())
    }
}

impl ChunkingConfig {
    fn check(&self, hidden: usize) -> Result<(), Error> {
        let sizes = [
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("retrieval", self.retrieval.unwrap_or(1)),
            ("mlp", if self.encoder == 0 { 1 } else { self.mlp }),
        ];
        not_zero(&sizes)?;
        let fits = self.heads > 0
            && hidden.is_multiple_of(self.heads)
            && (hidden / self.heads).is_multiple_of(2);
        match fits || self.encoder == 0 {
            true => Ok(()),
            false => Err(Error::Config(format!(
                "heads {} given, expected a divisor of hidden_size {hidden} into even parts",
                self.heads
            ))),
        }
    }
}

impl<B> Hybrid<B> {
    /// The same with what `settle` makes of each block.
    pub(super) fn each<C>(
        self,
        settle: impl Fn(B) -> Result<C, Error>,
    ) -> Result<Hybrid<C>, Error> {
        let layers = self.layers.into_iter().map(|layer| {
            Ok(match layer {
                Layer::Recurrent { block, mlp } => Layer::Recurrent {
                    block: settle(block)?,
                    mlp,
                },
                Layer::Attention { attention, mlp } => Layer::Attention { attention, mlp },
                Layer::Chunking(own) => Layer::Chunking(own),
                Layer::Retrieval(own) => Layer::Retrieval(own),
                Layer::Grouped {
                    attention,
                    queries,
                    one,
                    bypass,
                    mlp,
                } => Layer::Grouped {
                    attention,
                    queries,
                    one,
                    bypass,
                    mlp,
                },
                Layer::Sparse {
                    queries,
                    one,
                    bypass,
                    mlp,
                } => Layer::Sparse {
                    queries,
                    one,
                    bypass,
                    mlp,
                },
            })
        });
        Ok(Hybrid {
            chunk: self.chunk,
            landmark: self.landmark,
            layers: layers.collect::<Result<_, Error>>()?,
        })
    }
}
