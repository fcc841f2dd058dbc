//! What a step on several ranks costs, for a person.

use baton_config::TrainConfig;
use baton_train::ranks::{Cost, Seconds};

/// Bytes in a unit of three digits or so.
fn bytes(count: f64) -> String {
    let units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
    let power = (0..units.len() - 1).take_while(|&i| count >= 1000f64.powi(i as i32 + 1));
    let power = power.count();
    let number = count / 1000f64.powi(power as i32);
    let digits = if number < 10.0 && power > 0 { 1 } else { 0 };
    format!("{number:.digits$} {}", units[power])
}

/// One thing to a line.
pub fn shown(config: &TrainConfig, cost: &Cost, seconds: &Seconds) -> String {
    let Cost {
        ranks,
        cut,
        turns: [own, all],
        ..
    } = cost;
    let how = match cut {
        1 => format!(
            "each with {} of {} parts",
            config.parts / ranks,
            config.parts
        ),
        _ => format!("{} parts, each cut over {cut} of them", config.parts),
    };
    let mut lines = vec![
        format!("{ranks} ranks, {how}; a rank in the middle sends in a step"),
        format!(
            "  gradients      {}, and as much comes back",
            bytes(cost.gradients)
        ),
        format!(
            "  states         {} to the rank after in {} messages a layer, {} of their gradients to the rank before in {}",
            bytes(cost.states),
            cost.messages[0],
            bytes(cost.state_gradients),
            cost.messages[1]
        ),
        format!("  turns          {all}, at work in {own} of them"),
    ];
    if *cut > 1 {
        lines.push(format!(
            "  beside it      {} by an exchange of heads (all-to-all), {} by ring attention at this width, in two bytes an element",
            bytes(cost.all_to_all),
            bytes(cost.ring)
        ));
    }
    lines.push(format!(
        "  on H100        {:.2} s at work, {:.2} s of turns without work, {:.2} s of states, {:.2} s of gradients: {:.0} % at work, \
         estimated and not measured (docs/scale.md)",
        seconds.work,
        seconds.turns,
        seconds.states,
        seconds.gradients,
        100.0 * seconds.efficiency()
    ));
    lines.join("\n") + "\n"
}
