//! A text that is cut and gone on with on another day is the text in one piece; sequences side by side are
//! those alone.

use super::*;
use crate::eval::tests::{micro, micro_config};
use crate::eval::{Checkpoint, argmax};
use baton_data::files::Target;
use baton_data::tokenizer::Tokenizer;
use std::path::PathBuf;

fn subject() -> Subject {
    Subject {
        model: micro(),
        checkpoint: Checkpoint {
            run: "micro".into(),
            weights: "0123456789abcdef".into(),
            parameters: 1,
            train_length: None,
            config: None,
            progress: None,
        },
        config: micro_config(),
        tokenizer: Tokenizer::Bytes,
        ends: Ok(Vec::new()),
        data: None,
    }
}

fn options(tokens: usize) -> Options {
    let sampling = Sampling {
        temperature: 1.3,
        top_k: 200,
        top_p: 0.99,
        repetition_penalty: 1.2,
        ..Sampling::default()
    };
    Options {
        sampling,
        tokens,
        ..Options::default()
    }
}

const PROMPT: &[u32] = &[72, 101, 32, 108, 111, 97, 115, 116, 32, 97, 121, 46];

fn made(subject: &Subject, place: Place, prompt: &[u32], tokens: usize) -> Made {
    let begun = begin(subject, place, prompt, &mut |_| {}).unwrap();
    let all = go_on(subject, vec![begun], &options(tokens), &mut |_, _| {
        ControlFlow::Continue(())
    });
    all.unwrap().remove(0)
}

fn file(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("baton-{name}-{}.safetensors", std::process::id()))
}

#[test]
fn a_text_in_pieces_is_the_text_in_one() {
    let subject = subject();
    let whole = made(&subject, Place::default(), PROMPT, 24);
    assert_eq!((whole.tokens.len(), whole.end), (24, End::Length));
    let path = file("pieces");
    let target = Target::new(&path).unwrap();
    for first in [0, 1, 2, 11, 23] {
        let one = made(&subject, Place::default(), PROMPT, first);
        assert_eq!(one.tokens, whole.tokens[..first]);
        Place::write(std::slice::from_ref(&one.place), &subject, &target).unwrap();
        let place = Place::open(&path, &subject).unwrap().remove(0);
        assert_eq!(place.past, one.place.past);
        let two = match first {
            // Nothing was said, so there is nothing to go on with but another prompt.
            0 => {
                let error = begin(&subject, place, &[], &mut |_| {})
                    .unwrap_err()
                    .to_string();
                assert!(error.starts_with("an empty prompt given"), "{error}");
                let half = made(&subject, Place::default(), &PROMPT[..5], 0).place;
                made(&subject, half, &PROMPT[5..], 24)
            }
            _ => made(&subject, place, &[], 24 - first),
        };
        assert_eq!([one.tokens, two.tokens].concat(), whole.tokens, "{first}");
        assert_eq!([one.text, two.text].concat(), whole.text);
        assert_eq!(two.place.past, whole.place.past);
    }
    let other = Subject {
        checkpoint: Checkpoint {
            weights: "another".into(),
            ..subject.checkpoint.clone()
        },
        ..self::subject()
    };
    let error = Place::open(&path, &other).unwrap_err().to_string();
    assert!(
        error.contains("weights 0123456789abcdef, expected those of another"),
        "{error}"
    );
    std::fs::remove_file(path).unwrap();
}

#[test]
fn sequences_side_by_side_are_drawn_alone_and_end_alone() {
    let subject = subject();
    let prompts = [PROMPT, &PROMPT[3..], &PROMPT[..1]];
    let begun = |prompt| begin(&subject, Place::default(), prompt, &mut |_| {}).unwrap();
    let all = prompts.map(begun).to_vec();
    let mut heard = vec![Vec::new(); 3];
    let mut options = options(12);
    let made = go_on(&subject, all.clone(), &options, &mut |row, news| {
        heard[row].extend_from_slice(news);
        ControlFlow::Continue(())
    });
    let made = made.unwrap();
    for (row, (made, heard)) in made.iter().zip(&heard).enumerate() {
        assert_eq!(&made.text, heard);
        let mut alone = options.clone();
        alone.sampling.seed += row as u64;
        let one = go_on(&subject, vec![all[row].clone()], &alone, &mut |_, _| {
            ControlFlow::Continue(())
        });
        assert_eq!(one.unwrap()[0].tokens, made.tokens, "{row}");
    }
    // The first ends at its third token, the second at a text, the last when nobody wants more.
    options.ends = vec![made[0].tokens[2]];
    let stop: Vec<u8> = made[1].tokens[3..5].iter().map(|&t| t as u8).collect();
    options.stops = String::from_utf8(stop).into_iter().collect();
    let mut news = 0;
    let cut = go_on(&subject, all, &options, &mut |row, _| {
        news += usize::from(row == 2);
        match news {
            0..8 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    });
    let cut = cut.unwrap();
    let first = made[0]
        .tokens
        .iter()
        .position(|t| *t == options.ends[0])
        .unwrap();
    assert_eq!(cut[0].tokens, made[0].tokens[..=first]);
    assert_eq!((cut[0].end, cut[0].text.len()), (End::Stop, first));
    assert_eq!(cut[0].place.past.unread, [options.ends[0]]);
    assert_eq!(cut[0].place.past.read, (PROMPT.len() + first) as u64);
    if cut[2].end == End::Length {
        assert_eq!(cut[2].tokens, made[2].tokens[..8]);
    }
}

#[test]
fn greedy_is_the_likeliest_token_each_time() {
    let subject = subject();
    let begun = begin(&subject, Place::default(), PROMPT, &mut |_| {}).unwrap();
    let options = Options {
        tokens: 5,
        ..Options::default()
    };
    let made = go_on(&subject, vec![begun], &options, &mut |_, _| {
        ControlFlow::Continue(())
    });
    let mut read = PROMPT.to_vec();
    for &token in &made.unwrap()[0].tokens {
        let mut stream = Stream::new(&subject.model, 1, None).unwrap();
        assert_eq!(argmax(&stream.feed_last(&read).unwrap()), token);
        read.push(token);
    }
}
