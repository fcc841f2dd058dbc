//! A recurrence from a file, without params and with a keyword for a name.

use baton_macros::recurrence;
use baton_runtime::{Interpreter, Tensor};

recurrence!(file = "it/macros/keyword.rec");

#[test]
fn a_file_defines_a_module() -> Result<(), baton_runtime::Error> {
    let r#in = Tensor {
        shape: vec![1, 3, 1],
        data: vec![1.0, 2.0, 3.0],
    };
    let inputs = keyword::Inputs { r#in };
    let run = keyword::forward(&Interpreter, inputs, keyword::Params::default(), None)?;
    assert_eq!(run.outputs.out.data, [1.0, 3.0, 6.0]);
    assert!(keyword::TEXT.starts_with("recurrence keyword {\n    inputs { in: [] }"));

    let inputs = keyword::Inputs {
        r#in: Tensor::full(&[1, 3], 0.0),
    };
    let error = keyword::forward(&Interpreter, inputs, keyword::Params::default(), None);
    let error = error.err().expect("the rank is wrong").to_string();
    assert_eq!(error, "tensor `in` has shape [1, 3], expected [B, T, H]");
    Ok(())
}
