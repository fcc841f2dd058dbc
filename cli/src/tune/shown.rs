//! Results of tunings, for people and for programs.

use super::terms::late;
use crate::choices::Choices;
use crate::context::Context;
use crate::failure::Failure;
use baton_tune::{Entry, Progress};
use serde_json::{Value, json};
use std::fmt::Write;

/// What became of a job.
pub enum Ended {
    /// It has a result, of now or of before.
    Entry { entry: Box<Entry>, before: bool },
    /// The rules' own plan is off.
    Refused { what: String, why: String },
    /// The time was up.
    Unfinished {
        what: String,
        progress: Progress,
        again: bool,
    },
}

/// What was found before, of one recurrence where a name is given.
pub fn list(name: Option<&str>, context: &Context) -> Result<(), Failure> {
    let store = Choices::Own.store()?;
    let wanted = |entry: &Entry| name.is_none_or(|name| entry.key.recurrence == name);
    let all = || store.entries().filter(|(_, entry)| wanted(entry));
    let data = || {
        let one = |(origin, entry): (_, &Entry)| json!({ "from": origin, "entry": entry });
        json!({ "entries": all().map(one).collect::<Vec<_>>() })
    };
    let text = || match (all().count(), name) {
        (0, None) => "nothing was tuned yet\n".to_string(),
        (0, Some(name)) => format!("nothing was tuned yet of `{name}`\n"),
        _ => all().map(|(_, entry)| described(entry)).collect(),
    };
    context.output.result(data, text)
}

impl Ended {
    pub fn data(&self) -> Value {
        match self {
            Ended::Entry { entry, before } => json!({ "entry": entry, "before": before }),
            Ended::Refused { what, why } => json!({ "refused": what, "why": why }),
            Ended::Unfinished { what, progress, .. } => json!({
                "unfinished": what,
                "judged": progress.judged,
                "field": progress.field,
                "steps": progress.done,
                "steps_at_most": progress.of,
            }),
        }
    }

    pub fn text(&self) -> String {
        match self {
            Ended::Entry {
                entry,
                before: false,
            } => described(entry),
            Ended::Entry {
                entry,
                before: true,
            } => format!(
                "{}  tuned before; --again measures anew\n",
                described(entry)
            ),
            Ended::Refused { what, why } => format!("{what}: {why}\n"),
            Ended::Unfinished {
                what,
                progress,
                again,
            } => format!("{what}: {}\n", late(progress, *again)),
        }
    }
}

fn described(entry: &Entry) -> String {
    let [batch, time, heads, groups] = entry.run;
    let sizes = entry
        .key
        .sizes
        .iter()
        .map(|(dim, size)| format!(" {dim}={size}"));
    let groups = match entry.per_group || groups != heads {
        true => format!(" G={groups}"),
        false => String::new(),
    };
    let mut text = format!(
        "{}{} B={batch} T={time} H={heads}{groups}, {} threads of {}\n",
        entry.key.recurrence,
        sizes.collect::<String>(),
        entry.threads,
        entry.machine
    );
    let rules = entry.tried.first().map(|tried| tried.choice.text());
    let rejected = entry.tried.iter().filter(|tried| tried.rejected.is_some());
    let line = |what: &str, plan: &str, m: &baton_tune::Measured| {
        format!(
            "  {what:<6} {:>9.3} ms ({:.3} to {:.3}, {} rounds)  {plan}\n",
            m.median, m.p10, m.p90, m.rounds
        )
    };
    text += &line("rules", &rules.unwrap_or_default(), &entry.default);
    match &entry.choice {
        Some(chosen) => text += &line("tuned", &chosen.text(), &entry.tuned),
        None => text += "  tuned      the rules' plan: nothing is faster beyond the noise\n",
    }
    let [low, middle, high] = entry.ratio;
    let correlation = entry
        .rank_correlation
        .map_or("-".into(), |r| format!("{r:.2}"));
    // What is shipped has no list of what lost.
    let tried = match entry.tried.len() {
        0 => String::new(),
        count => format!("{count} tried, {} rejected; ", rejected.clone().count()),
    };
    let _ = writeln!(
        text,
        "  ratio {middle:.3} ({low:.3} to {high:.3}); errors {:.1e} outputs, {:.1e} gradients; {tried}\
         model's rank correlation {correlation}; {:.0} s",
        entry.errors.outputs, entry.errors.gradients, entry.seconds
    );
    for tried in rejected {
        let reason = tried.rejected.as_deref().unwrap_or_default();
        let _ = writeln!(text, "  rejected   {}: {reason}", tried.choice.text());
    }
    text
}
