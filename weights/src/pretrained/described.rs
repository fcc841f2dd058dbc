//! What a configuration of any layout says.

use super::layout::{BATON, Layout};
use super::names::Names;
use super::settings::Settings;
use super::{authors, hugging_face};
use baton_config::{Error, ModelConfig};
use serde_json::{Map, Value};

/// The layout, the model and the length of training that a configuration says.
pub(super) fn described(
    settings: &Settings,
) -> Result<(Layout, ModelConfig, Option<usize>), Error> {
    let (layout, config, train_length) = match settings.text("model_type")? {
        Some(BATON) => {
            let (config, train_length) = own(settings)?;
            (Layout::Baton, config, train_length)
        }
        None if settings.has("d_model") => (Layout::Authors, authors::config(settings)?, None),
        given => {
            let class = given.map(|class| hugging_face::config(class, settings));
            match class.transpose()?.flatten() {
                Some(config) => (Layout::HuggingFace, config, None),
                None => {
                    let expected = format!(
                        "one of {}, \"{BATON}\" (or the authors' layout, which has `d_model`)",
                        hugging_face::known()
                    );
                    let given = given.map_or("nothing".into(), |given| format!("{given:?}"));
                    return Err(settings.wrong("model_type", given, &expected));
                }
            }
        }
    };
    config
        .check()
        .map_err(|e| Error::file(settings.path(), e))?;
    Ok((layout, config, train_length))
}

/// What a layout calls the weights of a model.
pub(super) fn names(layout: Layout, config: &ModelConfig, source: &Map<String, Value>) -> Names {
    match layout {
        Layout::HuggingFace => hugging_face::names(config, source),
        Layout::Authors | Layout::Baton => Names::default(),
    }
}

/// What a folder of Baton's own layout says.
fn own(settings: &Settings) -> Result<(ModelConfig, Option<usize>), Error> {
    let model = settings.get("model").cloned().unwrap_or_default();
    let config = serde_json::from_value(model)
        .map_err(|e| Error::file(settings.path(), format!("`model` is no model: {e}")))?;
    Ok((config, settings.size("train_length")?))
}
