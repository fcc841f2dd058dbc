//! The one text of an experiment: its runs are compared with each other, so that all of them read the same.
//!
//! Every `run.json` has a fingerprint of it, and every checkpoint says where its data was. Where no text is given it is that
//! of the runs that are there; one that differs from theirs is refused before anything is trained.

use super::jobs::{Job, RunFile};
use crate::Error;
use baton_data::{Source, Text, novels};
use baton_tasks::measures::RUN;
use baton_weights::checkpoint::CHECKPOINT;
use baton_weights::head::Head;
use baton_weights::origin::{Known, Origin};
use std::path::Path;

/// The text of the runs of `jobs` below `folder`: what is `given`, else what those that are there read, else the novels.
pub fn text(jobs: &[Job], folder: &Path, given: Option<&Path>) -> Result<(Text, Origin), Error> {
    let origin = match given {
        Some(path) => Origin::Text {
            path: path.canonicalize().map_err(|e| Error::file(path, e))?,
            documents: false,
            reset: false,
            field: None,
        },
        None => own(jobs, folder)?,
    };
    let text = match &origin {
        Origin::Text { path, .. } => Text::read(path),
        _ => novels::austen(),
    };
    let text = text.map_err(|why| match given {
        Some(_) => Error::from(why),
        None => Error::Config(format!(
            "{why}; the runs in {} read it: expected it there, or its new place by --text",
            folder.display()
        )),
    })?;
    check(jobs, folder, &text, &origin)?;
    Ok((text, origin))
}

/// Where the runs that are there say that their text is.
fn own(jobs: &[Job], folder: &Path) -> Result<Origin, Error> {
    let mut unplaced = None;
    for job in jobs {
        let Some(known) = known(job, folder)? else {
            continue;
        };
        match &known.origin {
            Some(origin @ (Origin::Text { .. } | Origin::Novels)) => return Ok(origin.clone()),
            _ => unplaced = unplaced.or(Some((job, known))),
        }
    }
    // Runs of older programs on the novels do not say so.
    match unplaced {
        Some((job, known)) if known.fingerprint != novels::austen()?.fingerprint() => {
            Err(Error::Config(format!(
                "no --text given, and {} does not say where {} is, which it read: expected it by --text",
                folder.join(&job.folder).display(),
                known.name()
            )))
        }
        _ => Ok(Origin::Novels),
    }
}

/// Refuses `text` where a run that is there read another.
pub(super) fn check(
    jobs: &[Job],
    folder: &Path,
    text: &Text,
    origin: &Origin,
) -> Result<(), Error> {
    let now = text.fingerprint();
    for job in jobs {
        match known(job, folder)? {
            Some(known) if known.fingerprint != now => {
                return Err(Error::Config(format!(
                    "{} ({now}) given, but {} read {}: runs of one experiment are compared, so expected the same text for all \
                     of them, or another --folder",
                    origin.name(),
                    folder.join(&job.folder).display(),
                    known.name()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the run of `job` says of the experiment's text, if it is there and says anything.
fn known(job: &Job, folder: &Path) -> Result<Option<Known>, Error> {
    let folder = folder.join(&job.folder);
    let said = match folder.join(RUN).exists() {
        true => RunFile::read(&folder)?.data,
        false => None,
    };
    // What a task reads is not the text, and a checkpoint that is none is for whoever goes on from it to refuse.
    let head = Head::read(&folder.join(CHECKPOINT)).ok();
    let stored = head.and_then(|head| head.data);
    let stored = stored.filter(|known| job.task.is_none() && !known.is_task());
    Ok(match said {
        None => stored,
        Some(fingerprint) => Some(Known {
            fingerprint,
            origin: stored.and_then(|known| known.origin),
        }),
    })
}
