//! Results of tunings, for people and for programs.

use super::kit;
use super::terms::late;
use crate::choices::Choices;
use crate::context::Context;
use crate::device::Name;
use crate::failure::Failure;
use baton_tune::{Entry, Kept, Key, Origin, Progress};
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

/// What was found before, of one recurrence and for one device where these are given.
pub fn list(name: Option<&str>, device: Option<Name>, context: &Context) -> Result<(), Failure> {
    let store = Choices::Own.store()?;
    let wanted = |key: &Key| name.is_none_or(|name| key.recurrence == name);
    let on_cpu = device.is_none_or(|device| device == Name::Cpu);
    let plans = || {
        let all = store.entries().filter(|_| on_cpu);
        all.filter(|(_, entry)| wanted(&entry.key))
    };
    let mut kept = kit::kept()?;
    kept.retain(|kept| {
        wanted(&kept.entry.key) && device.is_none_or(|of| kit::is_of(&kept.entry.key, of))
    });
    let data = || {
        let plan = |(origin, entry): (Origin, &Entry)| json!({ "from": origin, "entry": entry });
        let schedule = |kept: &Kept| json!({ "from": Origin::Own, "entry": kept.entry });
        let all = plans().map(plan).chain(kept.iter().map(schedule));
        json!({ "entries": all.collect::<Vec<_>>() })
    };
    let text = || {
        let plans = plans().map(|(_, entry)| described(entry));
        let all: String = plans
            .chain(kept.iter().map(|kept| kit::described(&kept.entry)))
            .collect();
        let of = name.map(|name| format!(" of `{name}`"));
        let on = device.map(|device| format!(" for --device {}", device.text()));
        match all.is_empty() {
            true => {
                let (of, on) = (of.unwrap_or_default(), on.unwrap_or_default());
                format!("nothing was tuned yet{of}{on}\n")
            }
            false => all,
        }
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
