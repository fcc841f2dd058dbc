//! Logits, states, the run from a Gaussian state, gradients of weights and of that state: the published ones.

use super::{CLASSES, Values, apart, device, golden, largest};
use baton_runtime::Tensor;
use baton_train::eval::logits::{initial, logits, published};
use baton_train::models::{HostState, HostStates, LayerState, gradients};
use baton_train::op::{Value, cross_entropy};
use baton_train::pretrained::{Pretrained, model, open};
use baton_weights::pretrained::read;
use burn::Tensor as BurnTensor;
use burn::tensor::{Device as Place, TensorData};
use std::collections::BTreeMap;

/// The bound that logits in f32 are held to; they reach about ten.
const LOGITS: f64 = 2e-5;
/// That of Gated DeltaNet, whose own program is 2.3e-5 away in f32: what roundings around the recurrence
/// and in its chunks leave is 1.8e-5 and 2.0e-5.
const LOGITS_DELTA: f64 = 3e-5;
/// That of states and gradients, over their largest.
const RELATIVE: f64 = 2e-5;

fn bound(class: &str) -> f64 {
    match class {
        "gated_deltanet_fla" => LOGITS_DELTA,
        _ => LOGITS,
    }
}

fn host(states: &[LayerState]) -> HostStates {
    states.iter().map(LayerState::to_host).collect()
}

fn number(loss: &BurnTensor<1>) -> f64 {
    Value::new(loss.clone()).unwrap().to_host().data[0] as f64
}

/// The mean cross-entropy of the next token.
fn loss(logits: BurnTensor<3>, ids: &[u32], [batch, time]: [usize; 2]) -> BurnTensor<1> {
    let rows = ids.chunks(time);
    let targets = rows.flat_map(|row| row[1..].to_vec()).collect();
    cross_entropy(logits.slice([0..batch, 0..time - 1]), targets).unwrap()
}

#[test]
fn logits_and_states_are_the_published_ones() {
    for (class, states, inputs) in CLASSES {
        let values = Values::of(class);
        let (ids, [batch, time]) = values.ids();
        let Pretrained { model, config, .. } = open(&golden(class), &device()).unwrap();
        let all = logits(&model, &config, &ids, [batch, time], None, true);
        let all = all.unwrap();
        let layers = config.num_hidden_layers;
        assert_eq!(all.len(), 1 + layers * (states.len() + inputs.len()));
        let error = apart(&all["logits"], &values.tensor("logits_f64"));
        assert!(error < bound(class), "{class}: {error:e}");
        for name in states.iter().chain(inputs) {
            for layer in 0..layers {
                let name = format!("{name}.{layer}");
                let want = values.tensor(&format!("whole.{name}"));
                let error = apart(&all[&name], &want) / largest(&want);
                assert!(error < RELATIVE, "{class}: {name}: {error:e}");
            }
        }
    }
}

/// A state as a leaf of a graph.
enum Leaf {
    Two(BurnTensor<2>),
    Three(BurnTensor<3>),
    Four(BurnTensor<4>),
}

fn leaf<const D: usize>(state: &Tensor) -> BurnTensor<D> {
    let data = TensorData::new(state.data.clone(), state.shape.clone());
    BurnTensor::from_data(data, &Place::flex().autodiff()).require_grad()
}

impl Leaf {
    fn new(state: &Tensor) -> Self {
        match state.shape.len() {
            2 => Leaf::Two(leaf(state)),
            3 => Leaf::Three(leaf(state)),
            _ => Leaf::Four(leaf(state)),
        }
    }

    fn value(&self) -> Value {
        let value = match self {
            Leaf::Two(t) => Value::new(t.clone()),
            Leaf::Three(t) => Value::new(t.clone()),
            Leaf::Four(t) => Value::new(t.clone()),
        };
        value.unwrap()
    }

    fn gradient(&self, all: &mut burn::tensor::Gradients) -> Tensor {
        let value = match self {
            Leaf::Two(t) => Value::new(t.grad_remove(all).unwrap()),
            Leaf::Three(t) => Value::new(t.grad_remove(all).unwrap()),
            Leaf::Four(t) => Value::new(t.grad_remove(all).unwrap()),
        };
        value.unwrap().to_host()
    }
}

#[test]
fn a_run_from_a_gaussian_state_and_its_gradient_are_the_published_ones() {
    for (class, states, _) in CLASSES {
        let values = Values::of(class);
        let (ids, shape) = values.ids();
        let stored = read(&golden(class)).unwrap();
        let (config, model) = (stored.config.clone(), model(stored, &device()).unwrap());
        let layers = config.num_hidden_layers;
        let first = initial(&config, shape[0], values.first(states, layers)).unwrap();
        let leaves: Vec<Vec<Leaf>> = first
            .iter()
            .map(|layer| layer.recurrence.iter().map(Leaf::new).collect())
            .collect();
        let given = leaves.iter().map(|layer| LayerState {
            recurrence: layer.iter().map(Leaf::value).collect(),
            conv: None,
            memory: None,
        });
        let (logits, last) = model.forward(&ids, shape, Some(given.collect())).unwrap();
        let got = Value::new(logits.clone()).unwrap().to_host();
        let error = apart(&got, &values.tensor("rand_h0.logits_f64"));
        assert!(error < bound(class), "{class}: {error:e}");
        let finals = published(&config, &host(&last), None);
        for name in states {
            for layer in 0..layers {
                let want = values.tensor(&format!("rand_h0.final.{name}.{layer}"));
                let error = apart(&finals[&format!("{name}.{layer}")], &want) / largest(&want);
                assert!(error < RELATIVE, "{class}: {name}.{layer}: {error:e}");
            }
        }
        let loss = loss(logits, &ids, shape);
        let want = values.tensor("rand_h0.loss").data[0] as f64;
        assert!((number(&loss) / want - 1.0).abs() < 1e-6, "{class}");
        let mut all = loss.backward();
        let arrived = leaves.iter().map(|layer| HostState {
            recurrence: layer.iter().map(|leaf| leaf.gradient(&mut all)).collect(),
            conv: None,
            memory: None,
        });
        let arrived = published(&config, &arrived.collect(), None);
        for layer in 0..layers {
            // mLSTM's n and m scale an output whose norm follows: what f32 leaves of their gradient is
            // measured by that of the layer's states together.
            let wanted = |name: &&&str| values.gradient(states, name, layer);
            let scale = states.iter().map(|name| largest(&wanted(&name)));
            let scale = scale.fold(0.0, f64::max);
            for name in states {
                let want = wanted(&name);
                let error = apart(&arrived[&format!("{name}.{layer}")], &want) / scale;
                assert!(
                    error < RELATIVE,
                    "{class}: d {name}.{layer}: {error:e}, {scale:e}"
                );
            }
        }
    }
}

#[test]
fn gradients_are_the_published_ones() {
    for (class, ..) in CLASSES {
        let values = Values::of(class);
        let (ids, shape) = values.ids();
        let stored = read(&golden(class)).unwrap();
        let model = model(stored.clone(), &device()).unwrap();
        let (logits, _) = model.forward(&ids, shape, None).unwrap();
        let loss = loss(logits, &ids, shape);
        let want = values.tensor("loss").data[0] as f64;
        assert!((number(&loss) / want - 1.0).abs() < 1e-6, "{class}");
        let found = gradients(&model, &mut loss.backward());
        let found: BTreeMap<_, _> = found.into_iter().map(|p| (p.name, p.value)).collect();
        let found = stored.named(&found);
        let wanted = values.names();
        let wanted: Vec<&str> = wanted
            .iter()
            .filter_map(|name| name.strip_prefix("grad."))
            .collect();
        assert!(wanted.len() > 10, "{class}");
        let size = |name: &str| largest(&values.tensor(&format!("grad.{name}")));
        for &name in &wanted {
            // A bias's gradient is the sum of the terms of which its matrix's are, and may cancel: to 1.3e-3 beside 0.56
            // at xLSTM's input gate. So it is held to the larger of both.
            let matrix = name
                .strip_suffix("bias")
                .map(|layer| format!("{layer}weight"));
            let matrix = matrix.filter(|matrix| wanted.contains(&&**matrix));
            let size = matrix.map_or(0.0, |matrix| size(&matrix)).max(size(name));
            let error = apart(&found[name], &values.tensor(&format!("grad.{name}"))) / size;
            assert!(error < RELATIVE, "{class}: {name}: {error:e}");
        }
    }
}
