//! The best checkpoint of a folder: only a better one takes its place, whatever the run goes on from.

use crate::long::{done, header, train};
use crate::program::{Folder, baton};
use serde_json::Value;
use std::fs;

/// A run of three steps, and the paths of its last checkpoint and of its best one.
fn begun(folder: &Folder) -> [String; 3] {
    let line = "--steps 3 --rate 0.02 --schedule constant --eval-every 1";
    let run = train(folder, "run", &line.split(' ').collect::<Vec<_>>());
    let [last, best] = ["checkpoint", "best"].map(|name| format!("{run}/{name}.safetensors"));
    [run, last, best]
}

/// Goes on with the run by other options; what is said at the end.
fn change(run: &str, more: &str) -> String {
    let place = [
        "train",
        "--change",
        "--folder",
        run,
        "--threads",
        "1",
        "--quiet",
    ];
    let line: Vec<&str> = place.into_iter().chain(more.split(' ')).collect();
    done(&line).stdout
}

fn step(path: &str) -> Value {
    header(path)["progress"]["step"].clone()
}

#[test]
fn a_change_keeps_the_best_of_the_folder_until_a_better_one_comes() {
    let folder = Folder::new("best-change");
    let [run, last, best] = begun(&folder);
    let early = fs::read(&last).expect("a checkpoint");
    change(&run, "--steps 60 --eval-every 60");
    assert_eq!(step(&best), 60);
    let kept = fs::read(&best).expect("the best one");
    // As a kill leaves a folder: the best state is of a step after the checkpoint.
    fs::write(&last, early).expect("written");
    for (more, steps) in [
        ("--steps 6 --eval-every 1", 6),
        ("--steps 8 --eval-every 1 --length 16", 8),
        ("--steps 9 --eval-every 1 --eval-sequences 2", 9),
    ] {
        let said = change(&run, more);
        assert!(said.contains("after 60 steps, best.safetensors"), "{said}");
        assert!(fs::read(&best).expect("the best one") == kept, "{more}");
        assert_eq!(step(&last), steps);
    }
    change(&run, "--steps 400 --eval-every 400 --length 8");
    assert_eq!(step(&best), 400);
}

#[test]
fn a_change_is_waited_for_anew() {
    let folder = Folder::new("best-patience");
    let [run, last, _] = begun(&folder);
    change(&run, "--steps 50 --rate 0 --eval-every 1 --patience 2");
    let ended = step(&last).as_u64().expect("a step");
    assert!(ended < 8, "nothing gets better at a rate of zero: {ended}");
    change(&run, "--rate 1e-9 --eval-every 1 --patience 2");
    assert!(step(&last).as_u64() > Some(ended));
}

#[test]
fn a_best_checkpoint_that_cannot_be_compared_is_not_replaced() {
    let folder = Folder::new("best-damaged");
    let [run, last, best] = begun(&folder);
    let before = fs::read(&last).expect("a checkpoint");
    fs::write(&best, "no checkpoint").expect("written");
    let line = "train --change --steps 5 --eval-every 1 --quiet --folder";
    let line: Vec<&str> = line.split(' ').chain([run.as_str()]).collect();
    let refused = baton(&line);
    assert_eq!(refused.code, 2);
    for part in [
        "best.safetensors: no checkpoint of this program; ",
        "remove it",
    ] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
    assert!(fs::read(&last).expect("a checkpoint") == before);
    fs::remove_file(&best).expect("removed");
    done(&line);
    assert_eq!(step(&last), 5);
}
