//! The store as its users meet it, and the errors that need a file of the system's.

use super::saved::{header, write};
use super::spill::Spill;
use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt;

fn layout() -> Layout {
    Layout {
        landmark: 3,
        keys: 4096,
        values: 8192,
    }
}

/// Number `i` of a part of a chunk: exact in bf16.
fn number(chunk: usize, i: usize) -> f32 {
    ((chunk * 31 + i * 7) % 251) as f32 - 125.0
}

fn numbers(chunk: usize, count: usize, from: usize) -> Vec<f32> {
    (0..count).map(|i| number(chunk, from + i)).collect()
}

fn push(store: &mut Store, chunk: usize) -> Result<(), Error> {
    let Layout {
        landmark,
        keys,
        values,
    } = store.layout();
    store.push(
        &numbers(chunk, landmark, 0),
        &numbers(chunk, keys, 1),
        &numbers(chunk, values, 2),
    )
}

fn filled(keeping: Keeping, chunks: usize) -> Store {
    let mut store = Store::new(layout(), keeping);
    (0..chunks).for_each(|chunk| push(&mut store, chunk).unwrap());
    store
}

#[track_caller]
fn holds(store: &Store, chunk: usize, like: usize) {
    let Layout { keys, values, .. } = store.layout();
    let (mut k, mut v) = (vec![0.0; keys], vec![0.0; values]);
    store.read(chunk, &mut k, &mut v);
    assert!(
        k == numbers(like, keys, 1) && v == numbers(like, values, 2),
        "chunk {chunk}"
    );
    let blocks = store.landmarks();
    let block = blocks[chunk / LANDMARKS];
    let at = (chunk - block.first) * 3;
    assert_eq!(block.landmarks[at..at + 3], numbers(like, 3, 0));
}

#[test]
fn chunks_are_the_same_wherever_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let memory = filled(Keeping::default(), 500);
    for half in [false, true] {
        let keeping = Keeping {
            memory: 5 << 20,
            folder: Some(folder.path().into()),
            half,
        };
        let store = filled(keeping, 500);
        let [kept, mapped] = store.bytes();
        assert!(kept <= 10 << 20 && mapped > 0, "{kept} {mapped}");
        store.ahead([0, 150, 299]);
        for chunk in [0, 1, 84, 85, 86, 170, 255, 256, 299] {
            holds(&memory, chunk, chunk);
            holds(&store, chunk, chunk);
        }
        assert_eq!(store == memory, !half);
    }
    assert_eq!(
        folder.path().read_dir().unwrap().count(),
        0,
        "a file was left"
    );
}

#[test]
fn clones_grow_apart_and_share_what_was_before() {
    let folder = tempfile::tempdir().unwrap();
    let keeping = Keeping {
        memory: 1 << 20,
        folder: Some(folder.path().into()),
        half: false,
    };
    let mut first = filled(keeping, 100);
    let mut second = first.clone();
    for chunk in 0..200 {
        push(&mut first, 1000 + chunk).unwrap();
        push(&mut second, 2000 + chunk).unwrap();
    }
    for chunk in [0, 60, 99] {
        holds(&first, chunk, chunk);
        holds(&second, chunk, chunk);
    }
    for chunk in [0, 1, 77, 155, 199] {
        holds(&first, 100 + chunk, 1000 + chunk);
        holds(&second, 100 + chunk, 2000 + chunk);
    }
}

#[test]
fn a_saved_store_goes_on_and_a_damaged_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.chunks");
    for half in [false, true] {
        let keeping = Keeping {
            half,
            ..Keeping::default()
        };
        let mut store = filled(keeping.clone(), 271);
        store.save(&path).unwrap();
        // Whatever is asked for, the numbers are the file's.
        let mut loaded = Store::load(&path, Keeping::default()).unwrap();
        assert!(loaded == store && loaded.bytes()[0] == 0);
        for chunk in 271..400 {
            push(&mut store, chunk).unwrap();
            push(&mut loaded, chunk).unwrap();
        }
        assert!(loaded == store);
        holds(&loaded, 270, 270);
        holds(&loaded, 271, 271);
        loaded.save(&path).unwrap();
        assert!(Store::load(&path, keeping).unwrap() == store);
    }
    let bytes = std::fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        let error = Store::load(&damaged, Keeping::default()).unwrap_err();
        error.to_string()
    };
    for cut in [0, 7, 63, 64, 1000, bytes.len() - 1] {
        let said = refused(&bytes[..cut]);
        assert!(said.contains("damaged: no store of chunks"), "{said}");
    }
    let mut other = bytes.clone();
    other[70] ^= 1;
    assert!(refused(&other).contains("landmarks are not as they were written"));
    for at in 8..48 {
        let mut other = bytes.clone();
        other[at] ^= 0x81;
        refused(&other);
    }
}

/// In memory, in the file of what is beyond the bound, and in a saved one.
#[test]
fn a_store_that_is_cut_is_what_it_was_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.chunks");
    let keeping = Keeping {
        memory: 5 << 20,
        folder: Some(folder.path().into()),
        half: false,
    };
    let spilled = filled(keeping, 400);
    let memory = filled(Keeping::default(), 400);
    memory.save(&path).unwrap();
    let saved = || Store::load(&path, Keeping::default()).unwrap();
    for len in [0, 1, 84, 85, 86, 257, 400, 401] {
        let mut was = filled(Keeping::default(), len.min(400));
        let cuts = [memory.clone(), spilled.clone(), saved()].map(|store| store.cut(len));
        for cut in &cuts {
            assert!(*cut == was, "{len}");
            assert_eq!(cut.fingerprint(), was.fingerprint());
        }
        (0..90).for_each(|chunk| push(&mut was, 1000 + chunk).unwrap());
        for mut cut in cuts {
            (0..90).for_each(|chunk| push(&mut cut, 1000 + chunk).unwrap());
            assert!(cut == was, "{len}");
        }
    }
    assert!(saved() == memory && spilled == memory);
}

#[test]
fn a_full_disk_is_one_error_and_leaves_nothing() {
    let full = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let keeping = Keeping {
        memory: 1 << 20,
        folder: Some("/dev".into()),
        half: false,
    };
    let mut store = Store::new(layout(), keeping);
    *store.file.lock().unwrap() = Some(Spill::over(full(), Path::new("/dev")));
    let error = (0..400).find_map(|chunk| push(&mut store, chunk).err());
    let said = error.unwrap().to_string();
    assert!(
        said.starts_with("/dev: the chunks' file cannot grow from 0 bytes: No space left"),
        "{said}"
    );
    assert!(said.ends_with("give another folder or a larger bound of memory"));
    // What was there before is there still.
    (0..store.len()).for_each(|chunk| holds(&store, chunk, chunk));
    assert!(write(&filled(Keeping::default(), 1), &mut full()).is_err());

    let nowhere = Keeping {
        folder: None,
        ..(*store.keeping).clone()
    };
    let mut store = Store::new(layout(), nowhere);
    let error = (0..400).find_map(|chunk| push(&mut store, chunk).err());
    assert!(
        error
            .unwrap()
            .to_string()
            .contains("give a folder or a larger bound")
    );
    let error = store.save(Path::new("/nowhere/text.chunks")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/text.chunks: cannot be written")
    );
    let error = store.push(&[0.0; 3], &[0.0; 2], &[]).unwrap_err();
    assert!(error.to_string().contains("[3, 2, 0]"), "{error}");
}

#[test]
fn places_beyond_two_to_the_31_numbers_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.chunks");
    let long = Layout {
        landmark: 1,
        keys: 1 << 19,
        values: 1 << 19,
    };
    let mut store = Store::new(long, Keeping::default());
    // The file is sparse: the header and landmarks are written, and one chunk at its end.
    store.len = 2060;
    for from in (0..store.len).step_by(LANDMARKS) {
        let count = LANDMARKS.min(store.len - from);
        store.landmarks.push(Arc::new(vec![0.5; count]));
    }
    let file = File::create(&path).unwrap();
    file.write_all_at(&header(&store), 0).unwrap();
    let marks: Vec<u8> = (0..store.len).flat_map(|_| 0.5f32.to_le_bytes()).collect();
    file.write_all_at(&marks, 64).unwrap();
    let each = store.chunk() as u64;
    let begin = 64 + marks.len() as u64;
    file.set_len(begin + 2060 * each).unwrap();
    let mut chunk = Vec::new();
    for x in numbers(9, 1 << 20, 1) {
        chunk.extend_from_slice(&x.to_le_bytes());
    }
    file.write_all_at(&chunk, begin + 2055 * each).unwrap();

    let mut store = Store::load(&path, Keeping::default()).unwrap();
    assert!(store.bytes()[1] / 4 > 1 << 31);
    let (mut keys, mut values) = (vec![1.0; 1 << 19], vec![1.0; 1 << 19]);
    store.read(2055, &mut keys, &mut values);
    assert!(keys == numbers(9, 1 << 19, 1) && values[0] == number(9, 1 + (1 << 19)));
    store.read(2054, &mut keys, &mut values);
    assert!(keys.iter().chain(&values).all(|x| *x == 0.0));
    let mark = numbers(5, 1 << 19, 0);
    store.push(&[1.0], &mark, &mark).unwrap();
    store.read(2060, &mut keys, &mut values);
    assert!(keys == mark && values == mark);
}
