//! A recurrence in tokens: run, recorded, stepped and pulled back by field name.

use baton_macros::recurrence;
use baton_runtime::typed::Definition;
use baton_runtime::{Interpreter, Tensor};

recurrence! {
    /// A leaky sum of what comes in, with a gain of its own for each head.
    recurrence leaky {
        dims   { P }
        inputs { x: [P], g: [] }
        params { gain: [] }
        state  { s: [P] }       // a vector, not a matrix
        s = sigmoid(g) * s + x;
        output y: [P] = gain * s;
        output total: [] = sum(s) / P;
    }
}

fn tensor(shape: &[usize], data: &[f32]) -> Tensor {
    Tensor {
        shape: shape.to_vec(),
        data: data.to_vec(),
    }
}

#[test]
fn a_definition_in_tokens_runs() -> Result<(), baton_runtime::Error> {
    // sigmoid(0) = 1/2; B = 1, T = 2, H = 1, P = 2.
    let inputs = leaky::Inputs {
        x: tensor(&[1, 2, 1, 2], &[1.0, 2.0, 3.0, 4.0]),
        g: tensor(&[1, 2, 1], &[0.0, 0.0]),
    };
    let params = leaky::Params {
        gain: tensor(&[1], &[2.0]),
    };
    let (run, tape) = leaky::record(&Interpreter, inputs.clone(), params.clone(), None)?;
    assert_eq!(run.outputs.y.data, [2.0, 4.0, 7.0, 10.0]);
    assert_eq!(run.outputs.total.data, [1.5, 4.25]);
    assert_eq!(run.states.s, tensor(&[1, 1, 2], &[3.5, 5.0]));

    let d_outputs = leaky::Outputs {
        y: Tensor::full(&[1, 2, 1, 2], 0.0),
        total: tensor(&[1, 2, 1], &[0.0, 2.0]),
    };
    let gradients = tape.backward(Some(d_outputs.clone()), None)?;
    assert_eq!(gradients.inputs.x.data, [0.5, 0.5, 1.0, 1.0]);
    assert_eq!(gradients.params.gain.data, [0.0]);
    assert_eq!(gradients.states.s.data, [0.25, 0.25]);
    let again = leaky::backward(
        &Interpreter,
        inputs,
        params.clone(),
        None,
        Some(d_outputs),
        None,
    )?;
    assert_eq!(again.inputs.g, gradients.inputs.g);

    let step = leaky::Inputs {
        x: tensor(&[1, 1, 1, 2], &[1.0, 2.0]),
        g: tensor(&[1, 1, 1], &[0.0]),
    };
    let loaded = leaky::load(&Interpreter, leaky::Sizes { P: 2 })?;
    let run = loaded.step(step.clone(), params.clone(), run.states)?;
    assert_eq!(run.states.s.data, [2.75, 4.5]);
    let run = leaky::step(&Interpreter, step, params, run.states)?;
    assert_eq!(run.states.s.data, [2.375, 4.25]);
    assert_eq!(leaky::Definition::recurrence().name, "leaky");
    Ok(())
}
