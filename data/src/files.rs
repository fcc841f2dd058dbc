//! Files that are there whole or not at all.
//!
//! A file is written beside its place, flushed to the disk and moved there in one step: a kill, a full disk
//! or an error at any moment leaves the old file or the new one, and nothing else but after a kill, the
//! part. A link is written through: what it points to is replaced and the link stays. What is no
//! regular file (a device, a pipe) is written where it is. A [`Target`] is made before the work that fills
//! it, so that hours of it do not end in a place that cannot be written.

use crate::Error;
use crate::given;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Links that are followed before a circle is suspected.
const LINKS: usize = 40;

/// A file that can be written.
#[derive(Debug)]
pub struct Target {
    /// As it was given, for messages.
    given: PathBuf,
    /// Behind all links.
    place: PathBuf,
}

impl Target {
    /// Refuses a place that cannot be written. Folders that do not exist are made when it is written.
    pub fn new(path: &Path) -> Result<Self, Error> {
        let target = Target::resolve(path)?;
        let mut above = folder(&target.place);
        while above.symlink_metadata().is_err() {
            above = folder(above);
        }
        if !above.is_dir() {
            let what = format!("`{}` is no folder", above.display());
            return Err(target.refuse(what));
        }
        target.try_in(above)?;
        Ok(target)
    }

    /// Where it is written, behind all links.
    pub fn path(&self) -> &Path {
        &self.place
    }

    /// Refuses to replace one of the files that are `read`, or what lies in one of the folders.
    pub fn spares<'a>(self, read: impl IntoIterator<Item = &'a Path>) -> Result<Self, Error> {
        let Ok(own) = self.place.canonicalize() else {
            return Ok(self);
        };
        let is_read = |path: &Path| {
            let whole = path.canonicalize();
            whole.is_ok_and(|path| own == path || own.parent() == Some(&path))
        };
        match read.into_iter().any(is_read) && !self.is_special() {
            true => Err(self.refuse("it is part of what is read, expected another file")),
            false => Ok(self),
        }
    }

    fn resolve(path: &Path) -> Result<Self, Error> {
        let mut target = Target {
            given: path.to_path_buf(),
            place: path.to_path_buf(),
        };
        for _ in 0..LINKS {
            match fs::read_link(&target.place) {
                // What a link of the system stands for (`/dev/stdout`) need not have a name.
                Ok(_) if target.is_special() => break,
                Ok(to) => target.place = folder(&target.place).join(to),
                Err(_) => break,
            }
        }
        let circle = !target.is_special() && fs::read_link(&target.place).is_ok();
        match target.place.file_name() {
            Some(name) if name == "-" && target.given == Path::new("-") => Err(target
                .refuse("a dash stands for nothing that is written, expected the name of a file")),
            _ if circle => {
                Err(target.refuse("its links lead nowhere, expected a file at their end"))
            }
            _ if target.place.is_dir() => {
                Err(target
                    .refuse("it is a folder and no regular file, expected the name of a file"))
            }
            None => Err(target.refuse("it names no file")),
            Some(_) => Ok(target),
        }
    }

    /// Whether it is there and is written where it is.
    fn is_special(&self) -> bool {
        fs::metadata(&self.place).is_ok_and(|found| !found.is_file() && !found.is_dir())
    }

    fn refuse(&self, why: impl std::fmt::Display) -> Error {
        Error::file(&self.given, format!("cannot be written: {why}"))
    }

    /// Fails where nothing can be made in `folder`.
    fn try_in(&self, folder: &Path) -> Result<(), Error> {
        if self.is_special() {
            return Ok(());
        }
        let probe = Part(folder.join(self.beside("")));
        File::create(&probe.0).map_err(|e| self.refuse(e))?;
        Ok(())
    }

    /// The name of the part; `ending` is for writers that go by it.
    fn beside(&self, ending: &str) -> OsString {
        let mut name = self.place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.part{ending}", std::process::id()));
        name
    }

    /// Writes it.
    pub fn write(&self, bytes: &[u8]) -> Result<(), Error> {
        if self.is_special() {
            let file = File::options().write(true).open(&self.place);
            let written = file.and_then(|mut file| file.write_all(bytes));
            return written.map_err(|e| self.refuse(e));
        }
        self.by("", |part| {
            let mut file = File::create(part)?;
            file.write_all(bytes)?;
            file.sync_all()
        })
    }

    /// Has `write` write a file of another name, which ends in `ending`, and moves it here.
    pub fn by<E: std::fmt::Display>(
        &self,
        ending: &str,
        write: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), Error> {
        let folder = folder(&self.place);
        fs::create_dir_all(folder).map_err(|e| self.refuse(e))?;
        let part = Part(folder.join(self.beside(ending)));
        write(&part.0).map_err(|e| self.refuse(e))?;
        fs::rename(&part.0, &self.place).map_err(|e| self.refuse(e))?;
        #[cfg(unix)]
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| self.refuse(e))?;
        Ok(())
    }
}

/// A file that goes away with its owner, unless it was moved.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The folder that a file lies in; that of a bare name is the one we are in.
pub fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Everything in a file that is no stand-in ([`given`]).
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    given::bytes(path).map_err(|why| Error::file(path, why))
}

/// Opens the same, for who reads by itself.
pub fn open(path: &Path) -> Result<File, Error> {
    given::file(path).map_err(|why| Error::file(path, why))
}

/// The same as text in UTF-8, without the mark that some editors begin it with.
pub fn text(path: &Path) -> Result<String, Error> {
    given::utf8(read(path)?).map_err(|why| Error::file(path, why))
}

/// Writes a file whole or not at all, with the folders above it.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    Target::resolve(path)?.write(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("baton-files-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn links_are_written_through_and_nothing_is_left_beside() {
        let scratch = scratch("links");
        let (there, link, second) = (scratch.join("there"), scratch.join("a"), scratch.join("b"));
        std::os::unix::fs::symlink("there/file", &link).unwrap();
        std::os::unix::fs::symlink("a", &second).unwrap();
        for text in ["one", "two"] {
            write_whole(&second, text.as_bytes()).unwrap();
            assert_eq!(fs::read(there.join("file")).unwrap(), text.as_bytes());
        }
        assert!(fs::read_link(&second).is_ok() && fs::read_link(&link).is_ok());
        assert_eq!((names(&scratch).len(), names(&there).len()), (3, 1));
        std::os::unix::fs::symlink("circle", scratch.join("circle")).unwrap();
        assert!(Target::new(&scratch.join("circle")).is_err());
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_refused_before_and_leaves_nothing() {
        let scratch = scratch("refused");
        let file = scratch.join("file");
        write_whole(&file, b"old").unwrap();
        for (path, why) in [
            (scratch.clone(), "it is a folder"),
            (file.join("inside"), "is no folder"),
            (PathBuf::from("-"), "a dash stands for nothing"),
            (PathBuf::from("/proc/file"), "/proc/file: cannot be written"),
        ] {
            let error = Target::new(&path).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        let spares = |read: &[&Path]| Target::new(&file).unwrap().spares(read.iter().copied());
        let error = spares(&[&scratch.join("other"), &scratch]).unwrap_err();
        assert!(
            error.to_string().contains("part of what is read"),
            "{error}"
        );
        assert!(spares(&[&file]).is_err() && spares(&[&scratch.join("other")]).is_ok());
        let failing = |part: &Path| {
            fs::write(part, b"half").unwrap();
            Err("the disk is full")
        };
        let error = Target::new(&file).unwrap().by(".png", failing).unwrap_err();
        let expected = format!("{}: cannot be written: the disk is full", file.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(
            (names(&scratch).len(), fs::read(&file).unwrap()),
            (1, b"old".to_vec())
        );
        let full = Target::new(Path::new("/dev/full")).unwrap();
        assert!(full.write(b"x").is_err());
        Target::new(Path::new("/dev/null"))
            .unwrap()
            .write(b"x")
            .unwrap();
        fs::remove_dir_all(scratch).unwrap();
    }
}
