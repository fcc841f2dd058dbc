//! A tuning from end to end on small shapes: the gate on kernels made wrong on purpose, kills at every moment,
//! and what a device makes of the result. What is planted is given through the workshop, as the CPU is.

use baton_codegen::schedule::cost::RunShape;
use baton_codegen::schedule::{Choice, Form};
use baton_ir::{builtin, text, verify};
use baton_runtime::device::cpu::{Choices, Cpu};
use baton_runtime::{
    Call, Device, Error, Forward, Gradients, Kernel, Options, Saved, Tensor, View,
};
use baton_tune::{Entry, Journal, Outcome, Store, Subject, Terms, Workshop, tune};
use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;

/// A recurrence that is built in nowhere.
const OWN: &str = "recurrence damped {
    dims   { K, V }
    inputs { q: [K], k: [K], v: [V], g: [] }
    params { u: [K] }
    state  { S: [K, V] }
    S = sigmoid(g) * S + outer(k * u, v);
    output o: [V] = dot(q, S);
}";

fn subject(source: &str, sizes: &[usize], run: [usize; 4]) -> Subject {
    let recurrence = text::parse(source).unwrap();
    let facts = verify::verify(&recurrence).unwrap();
    let [batch, time, heads, groups] = run;
    let run = RunShape {
        batch,
        time,
        heads,
        groups,
        entering: true,
    };
    Subject::new(recurrence, facts, sizes.to_vec(), run, 1).unwrap()
}

fn small() -> Subject {
    subject(OWN, &[5, 3], [1, 230, 2, 2])
}

fn terms(seed: u64) -> Terms {
    Terms {
        rounds: 8,
        until: None,
        seed,
    }
}

/// A kernel whose backward is off in one number of one gradient, by a tenth of the largest there.
struct Wrong {
    right: Arc<dyn Kernel>,
    /// Counted over the gradients of inputs, params and states.
    tensor: usize,
}

impl Kernel for Wrong {
    fn forward(&self, call: &Call<'_>, keep: bool) -> Result<Forward, Error> {
        self.right.forward(call, keep)
    }

    fn backward(
        &self,
        call: &Call<'_>,
        saved: Option<&Saved>,
        d_outputs: &[Option<View<'_>>],
        d_states: &[Option<View<'_>>],
    ) -> Result<Gradients, Error> {
        let mut found = self.right.backward(call, saved, d_outputs, d_states)?;
        let all = found.inputs.iter_mut().chain(&mut found.params);
        let mut all = all.chain(&mut found.states);
        let data = &mut all.nth(self.tensor).unwrap().data;
        // The last number: what only a ragged end has.
        let largest = data.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        *data.last_mut().unwrap() += 0.1 * largest;
        Ok(found)
    }

    fn step(&self, call: &Call<'_>, states: &mut [Tensor]) -> Result<Vec<Tensor>, Error> {
        self.right.step(call, states)
    }
}

/// Milliseconds that are a function of the choice, so that a result is known.
fn told(choice: &Choice) -> f64 {
    let form = match choice.form {
        Form::Chunks(32) => 3.0,
        Form::Chunks(steps) => 5.0 + steps as f64,
        _ => 7.0,
    };
    form + choice.segments as f64 + choice.window as f64
}

/// The CPU's kernels, with told times.
fn workshop(subject: &Subject) -> Workshop<'_> {
    let mut workshop = Workshop::cpu(subject, "told".into());
    workshop.clock = Box::new(|choice, _| Ok(told(choice)));
    workshop
}

fn finished(outcome: Outcome) -> Entry {
    match outcome {
        Outcome::Done(entry) => *entry,
        Outcome::Unfinished(progress) => panic!("{progress:?}"),
    }
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("baton-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_wrong_candidate_is_rejected_with_its_reason() {
    let subject = small();
    let names = ["q", "k", "v", "g", "u", "S"];
    for (tensor, name) in names.iter().enumerate() {
        let plain = workshop(&subject);
        let right = plain.make;
        let make = |choice: &Choice| -> Result<Arc<dyn Kernel>, baton_tune::Error> {
            let right = right(choice)?;
            // The fastest, and wrong in one gradient.
            Ok(match choice.form == Form::Chunks(32) {
                true => Arc::new(Wrong { right, tensor }),
                false => right,
            })
        };
        let mut workshop = Workshop {
            make: Box::new(make),
            clock: plain.clock,
            machine: plain.machine,
        };
        let mut journal = Journal::in_memory();
        let seed = 7 + tensor as u64;
        let outcome = tune(
            &subject,
            &mut workshop,
            &mut journal,
            terms(seed),
            &mut |_| {},
        );
        let entry = finished(outcome.unwrap());
        let (wrong, right): (Vec<_>, Vec<_>) = entry
            .tried
            .iter()
            .partition(|tried| tried.choice.chunk == 32);
        assert!(!wrong.is_empty() && !right.is_empty());
        for tried in wrong {
            let reason = tried.rejected.as_deref().unwrap_or("none");
            assert!(reason.contains(&format!("d `{name}`")), "{name}: {reason}");
            assert!(
                tried.errors.gradients > 1e-5 && tried.measured.is_none(),
                "{tried:?}"
            );
        }
        for tried in right {
            assert_eq!(tried.rejected, None);
            assert!(
                tried.errors.gradients <= 1e-5 && tried.errors.outputs <= 2e-6,
                "{tried:?}"
            );
        }
        assert_ne!(entry.choice.map(|chosen| chosen.chunk), Some(32));
    }
}

#[test]
fn a_tuning_goes_on_from_any_kill() {
    let subject = small();
    let folder = Folder::new("kills");
    let path = folder.0.join("x.journal");
    let steps = Cell::new(0);
    let mut seeds = 100..;
    // One that stops by a failure of the device after so many kernels and times.
    let mut sitting = |most: usize| {
        let plain = workshop(&subject);
        let taken = Cell::new(0);
        let count = || {
            taken.set(taken.get() + 1);
            steps.set(steps.get() + 1);
            match taken.get() > most {
                true => Err(Error::Argument("killed".into()).into()),
                false => Ok(()),
            }
        };
        let mut workshop = Workshop {
            make: plain.make,
            clock: Box::new(|choice, _| count().map(|()| told(choice))),
            machine: plain.machine,
        };
        let mut journal = Journal::at(&path);
        let seed = seeds.next().unwrap();
        tune(
            &subject,
            &mut workshop,
            &mut journal,
            terms(seed),
            &mut |_| {},
        )
    };
    let whole = finished(sitting(usize::MAX).unwrap());
    let (all, lines) = (steps.take(), std::fs::read(&path).unwrap());
    assert_eq!(whole.seed, 100);

    // Killed again and again: each sitting keeps all but what was under way.
    std::fs::remove_file(&path).unwrap();
    let mut last = 0;
    let resumed = loop {
        let before = std::fs::read(&path).map_or(0, |text| text.len());
        assert!(before >= last);
        last = before;
        match sitting(40) {
            Ok(outcome) => break finished(outcome),
            Err(baton_tune::Error::Device(_)) => continue,
            Err(why) => panic!("{why}"),
        }
    };
    assert!(steps.take() > all);
    assert_eq!(resumed.seed, 101, "the first sitting's numbers");
    assert_eq!(resumed.tried.len(), whole.tried.len());
    assert_eq!((resumed.choice, resumed.tuned), (whole.choice, whole.tuned));

    // Cut off at any byte, a journal is that of the lines before.
    for cut in (0..lines.len()).step_by(lines.len() / 7 + 1) {
        std::fs::write(&path, &lines[..cut]).unwrap();
        let again = finished(sitting(usize::MAX).unwrap());
        assert_eq!((again.choice, again.tuned), (whole.choice, whole.tuned));
        let kept = lines[..cut]
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let file = std::fs::read(&path).unwrap();
        assert_eq!(&file[..kept], &lines[..kept]);
        assert!(steps.take() <= all);
    }
    // One of another tuning is begun anew.
    let other = String::from_utf8(lines)
        .unwrap()
        .replacen("\"threads\":1", "\"threads\":2", 1);
    std::fs::write(&path, other).unwrap();
    finished(sitting(usize::MAX).unwrap());
    assert_eq!(steps.take(), all);
    std::fs::write(&path, "no journal\n").unwrap();
    let refused = sitting(1).unwrap_err().to_string();
    assert!(
        refused.contains("x.journal") && refused.contains("remove it"),
        "{refused}"
    );
}

#[test]
fn a_device_runs_by_what_was_found_and_only_for_such_runs() {
    let subject = small();
    let mut workshop = workshop(&subject);
    let mut journal = Journal::in_memory();
    let outcome = tune(&subject, &mut workshop, &mut journal, terms(3), &mut |_| {});
    let entry = finished(outcome.unwrap());
    assert_eq!(
        entry.choice.map(|chosen| chosen.chunk),
        Some(32),
        "as was told"
    );
    assert!(entry.rank_correlation.is_some() && entry.ratio[1] < 1.0);

    let folder = Folder::new("store");
    let file = entry.write(&folder.0).unwrap();
    let store = Store::empty().with_folder(&folder.0).unwrap();
    let chosen = |store: &Store, time: usize, heads: usize| {
        let load = subject.compiler.load([time], [heads; 2]);
        store.choose(&subject.compiler, load)
    };
    // Lengths of the bucket (128, 256] and no other; heads are exact.
    for (time, there) in [
        (128, false),
        (129, true),
        (230, true),
        (256, true),
        (257, false),
    ] {
        assert_eq!(chosen(&store, time, 2).is_some(), there, "{time}");
    }
    assert_eq!(chosen(&store, 230, 3), None);
    // Other programs or tools than those that were measured: said, and not used.
    for stale in [
        Entry {
            kernel_hash: "0".into(),
            ..entry.clone()
        },
        {
            let mut stale = entry.clone();
            stale.key.tools = "baton 0.0.0".into();
            stale
        },
    ] {
        let folder = Folder::new("stale");
        stale.write(&folder.0).unwrap();
        let store = Store::empty().with_folder(&folder.0).unwrap();
        let found = store.find(&subject.compiler, subject.load()).unwrap();
        assert!(found.stale);
        assert_eq!(chosen(&store, 230, 2), None);
    }

    // The device's bits are those of the choice, for the same numbers; for other lengths those of the rules.
    let store = Arc::new(store);
    let bits = |device: &Cpu, chunk: Option<usize>, time: usize| {
        let options = Options {
            chunk,
            ..Options::default()
        };
        let run = RunShape {
            time,
            ..subject.run
        };
        let inputs =
            baton_tune::Inputs::new(&subject.recurrence, &subject.facts, &subject.sizes, run);
        let kernel = device
            .load(&subject.recurrence, &subject.sizes, &options)
            .unwrap();
        let found = kernel.forward(&inputs.call(None), true).unwrap();
        let data = found
            .outputs
            .iter()
            .flat_map(|tensor| tensor.data.iter().map(|x| x.to_bits()));
        data.collect::<Vec<_>>()
    };
    let (tuned, ruled) = (
        Cpu::new(Some(1)).unwrap().with_choices(store),
        Cpu::new(Some(1)).unwrap(),
    );
    assert!(bits(&tuned, None, 230) == bits(&ruled, Some(32), 230));
    assert!(bits(&tuned, None, 230) != bits(&ruled, None, 230));
    assert!(bits(&tuned, None, 120) == bits(&ruled, None, 120));
    let (tuned, ruled) = (bits(&tuned, Some(16), 230), bits(&ruled, Some(16), 230));
    assert!(tuned == ruled, "the caller's word holds");

    std::fs::write(&file, "{}").unwrap();
    let refused = Store::empty()
        .with_folder(&folder.0)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("remove it"), "{refused}");
}

/// Every form that built-in recurrences have passes the gate as the rules choose it, and so does whatever else there
/// is to choose: the gate is no wall in front of what is right.
#[test]
fn what_is_right_passes() {
    let shapes: [(&str, &[usize], [usize; 4]); 5] = [
        ("mamba2", &[7, 5], [1, 260, 4, 2]),
        ("gla", &[6, 4], [2, 150, 2, 2]),
        ("gated_delta_net", &[6, 5], [1, 140, 2, 2]),
        ("mamba1", &[3], [1, 90, 40, 1]),
        ("mamba3", &[4, 3], [1, 60, 4, 1]),
    ];
    for (i, (name, sizes, run)) in shapes.into_iter().enumerate() {
        let subject = subject(builtin::text(name).unwrap(), sizes, run);
        let mut workshop = workshop(&subject);
        let mut journal = Journal::in_memory();
        let outcome = tune(
            &subject,
            &mut workshop,
            &mut journal,
            terms(i as u64),
            &mut |_| {},
        );
        let entry = finished(outcome.unwrap_or_else(|why| panic!("{name}: {why}")));
        assert!(entry.tried.len() > 3, "{name}: {:?}", entry.tried);
        for tried in &entry.tried {
            assert_eq!(tried.rejected, None, "{name}: {:?}", tried.choice);
        }
    }
}
