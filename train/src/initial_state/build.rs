//! From a configuration to the policy that it says.

use super::{
    After, FittedNoise, InitialState, Mixed, Noise, PerLayer, StatePassing, TruncatedBptt, WarmUp,
    Zero,
};
use crate::Error;
use baton_config::InitialStateConfig;

/// The policy that `config` says, for a model of so many layers.
pub fn build(config: &InitialStateConfig, layers: usize) -> Result<Box<dyn InitialState>, Error> {
    config.check(layers)?;
    Ok(built(config))
}

fn built(config: &InitialStateConfig) -> Box<dyn InitialState> {
    use InitialStateConfig as Config;
    match config {
        Config::Zero => Box::new(Zero),
        &Config::Noise { std, p_zero } => Box::new(Noise::new(std, p_zero)),
        &Config::FittedNoise {
            momentum,
            fit,
            p_zero,
        } => Box::new(FittedNoise::new(momentum, fit, p_zero)),
        &Config::StatePassing { p_zero, conv } => Box::new(StatePassing::new(p_zero, conv)),
        &Config::TruncatedBptt { p_zero, conv } => Box::new(TruncatedBptt::new(p_zero, conv)),
        Config::Mixed { of } => {
            let weights = of.iter().map(|share| share.weight).collect();
            let all = of.iter().map(|share| built(&share.policy)).collect();
            Box::new(Mixed::new(weights, all))
        }
        Config::WarmUp { steps, policy } => Box::new(WarmUp::new(*steps, built(policy))),
        Config::After { step, policy } => Box::new(After::new(*step, built(policy))),
        Config::Layers { of } => {
            let all = of
                .iter()
                .map(|some| (some.layers.clone(), built(&some.policy)));
            Box::new(PerLayer::new(all.collect()))
        }
    }
}
