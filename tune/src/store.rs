//! Where entries are kept: those shipped with the program, and one's own.
//!
//! One's own lie in a folder, a file each, and come before those shipped. An entry counts for a run whose
//! [`Key`] it has and whose programs have its hash; one whose programs or tools have changed is [stale](Found::stale),
//! which is said and not used.

use crate::Error;
use crate::entry::{Entry, Key};
use baton_codegen::Compiler;
use baton_codegen::schedule::{Choice, Load};
use baton_runtime::device::cpu::Choices;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// One's own.
    Own,
    /// Shipped with the program.
    Shipped,
}

/// An entry that was found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// Where it comes from.
    pub origin: Origin,
    /// The entry.
    pub entry: &'a Entry,
    /// Whether it is of other programs or tools than those of today, and so is not used.
    pub stale: bool,
}

/// Entries, in the order in which they are looked at.
#[derive(Clone, Debug, Default)]
pub struct Store(Vec<(Origin, Entry)>);

#[derive(Serialize, Deserialize)]
struct Shelf {
    entries: Vec<Entry>,
}

impl Store {
    /// Nothing: the rules choose everything.
    pub fn empty() -> Store {
        Store::default()
    }

    /// What is shipped with the program.
    pub fn shipped() -> Result<Store, Error> {
        let path = Path::new("kernels-generated/choices.json");
        let entries = parse(path, baton_kernels::CHOICES)?;
        let entries = entries.into_iter().map(|entry| (Origin::Shipped, entry));
        Ok(Store(entries.collect()))
    }

    /// The store with the entries of a folder before its own; a folder that is not there has none.
    pub fn with_folder(self, folder: &Path) -> Result<Store, Error> {
        let mut own = vec![];
        let files = match fs::read_dir(folder) {
            Ok(files) => files,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(self),
            Err(why) => return Err(Error::file(folder, why)),
        };
        let files = files.map(|file| file.map(|file| file.path()));
        let files = files.collect::<Result<Vec<_>, _>>();
        let mut files = files.map_err(|why| Error::file(folder, why))?;
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
        for file in files {
            let entry = read(&file).map_err(|why| {
                // A tuning would come to the same.
                let what = "remove it, and `baton tune` finds it anew";
                Error::file(&file, format!("no result of `baton tune`: {why}; {what}"))
            })?;
            own.push((Origin::Own, entry));
        }
        own.extend(self.0);
        Ok(Store(own))
    }

    /// One's own entries in a file that [`Store::print`] wrote, and what is shipped.
    pub fn with_file(self, file: &Path) -> Result<Store, Error> {
        let text = fs::read_to_string(file).map_err(|why| Error::file(file, why))?;
        self.with_text(file, &text)
    }

    /// The same of a text, which is called `file` in messages.
    pub fn with_text(self, file: &Path, text: &str) -> Result<Store, Error> {
        let own = parse(file, text)?.into_iter();
        let own = own.map(|entry| (Origin::Own, entry));
        Ok(Store(own.chain(self.0).collect()))
    }

    /// Every entry with its origin.
    pub fn entries(&self) -> impl Iterator<Item = (Origin, &Entry)> {
        self.0.iter().map(|(origin, entry)| (*origin, entry))
    }

    /// The entry for a load: the first that counts, else the first that would if it were not stale.
    pub fn find(&self, compiler: &Compiler, load: Load) -> Option<Found<'_>> {
        let key = Key::of(compiler, load);
        let mut stale = None;
        for (origin, entry) in self.entries() {
            let tools = key.tools.clone();
            let found = Key {
                tools: entry.key.tools.clone(),
                ..key.clone()
            };
            if entry.key != found {
                continue;
            }
            let fresh = entry.key.tools == tools && entry.is_of(compiler, load);
            let found = Found {
                origin,
                entry,
                stale: !fresh,
            };
            match fresh {
                true => return Some(found),
                false => stale = stale.or(Some(found)),
            }
        }
        stale
    }

    /// The entry of a key, whatever its programs are.
    pub fn of_key(&self, key: &Key) -> Option<&Entry> {
        let mut entries = self.0.iter().map(|(_, entry)| entry);
        entries.find(|entry| entry.key == *key)
    }

    /// Every entry as a text, a line each, without what else was tried: what a run keeps of the store it began with.
    pub fn print(&self) -> String {
        let brief = self.0.iter().map(|(_, entry)| Entry {
            tried: vec![],
            ..entry.clone()
        });
        print(&brief.collect::<Vec<_>>())
    }
}

impl Choices for Store {
    fn choose(&self, compiler: &Compiler, load: Load) -> Option<Choice> {
        let found = self.find(compiler, load)?;
        let chosen = found.entry.choice.filter(|_| !found.stale)?;
        Some(chosen.into())
    }
}

impl Entry {
    /// Whether its programs are those that the compiler makes for a load today.
    fn is_of(&self, compiler: &Compiler, load: Load) -> bool {
        let plan = match self.choice {
            Some(chosen) => compiler.chosen(&chosen.into(), load, None),
            // The rules choose by length, so their programs at the length that was measured count.
            None => {
                let [batch, time, ..] = self.run;
                let lengths = std::iter::repeat_n(time, batch);
                let measured = compiler.load(lengths, [load.heads, load.groups]);
                Some(compiler.plan(measured, None, None))
            }
        };
        plan.is_some_and(|plan| baton_kernels::hash(&compiler.texts(&plan)) == self.kernel_hash)
    }

    /// Writes it into a folder of one's own, in place of one of its key; gives the file.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let file = folder.join(format!("{}.json", self.key.file_stem()));
        write_whole(&file, &format!("{}\n", self.line()))?;
        Ok(file)
    }

    /// Writes it into a file of many, in place of one of its key; the order is that of keys.
    pub fn write_into(&self, file: &Path) -> Result<(), Error> {
        let mut entries = match fs::read_to_string(file) {
            Ok(text) => parse(file, &text)?,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => vec![],
            Err(why) => return Err(Error::file(file, why)),
        };
        let same = |entry: &Entry| {
            let tools = self.key.tools.clone();
            let key = Key {
                tools,
                ..entry.key.clone()
            };
            key == self.key
        };
        entries.retain(|entry| !same(entry));
        entries.push(self.clone());
        entries.sort_by_cached_key(|entry| entry.key.text());
        write_whole(file, &print(&entries))
    }
}

/// The folder of one's own entries: `baton/choices` where the system keeps data of programs.
pub fn own_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let data = set("XDG_DATA_HOME").map(PathBuf::from);
    let home = || set("HOME").map(|home| Path::new(&home).join(".local/share"));
    Some(data.or_else(home)?.join("baton/choices"))
}

/// The entry in a file of its own.
fn read(file: &Path) -> Result<Entry, String> {
    let text = fs::read_to_string(file).map_err(|why| why.to_string())?;
    serde_json::from_str(&text).map_err(|why| why.to_string())
}

fn parse(path: &Path, text: &str) -> Result<Vec<Entry>, Error> {
    let shelf: Shelf = serde_json::from_str(text)
        .map_err(|why| Error::file(path, format!("no list of choices: {why}")))?;
    Ok(shelf.entries)
}

fn print<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> String {
    let lines: Vec<String> = entries.into_iter().map(Entry::line).collect();
    match lines.is_empty() {
        true => "{\"entries\": []}\n".into(),
        false => format!("{{\"entries\": [\n{}\n]}}\n", lines.join(",\n")),
    }
}

/// Writes beside the place and moves there: whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let fail = |why| Error::file(path, why);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(fail)?;
    let beside = path.with_extension(format!("{}.part", std::process::id()));
    let mut file = File::create(&beside).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    fs::rename(&beside, path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_in_place_of_the_rules_plan_is_faster() {
        let store = Store::shipped().expect("it is read");
        let entries = store.entries().map(|(_, entry)| entry);
        let chosen: Vec<&Entry> = entries.filter(|entry| entry.choice.is_some()).collect();
        assert!(!chosen.is_empty());
        for entry in chosen {
            assert!(
                entry.ratio[2] < 1.0,
                "{}: {:?}",
                entry.key.text(),
                entry.ratio
            );
        }
    }
}
