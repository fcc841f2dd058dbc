//! Stories with questions: qa1 to qa5 of bAbI, simulated and put into words.
//!
//! A story has five questions among its statements; a sample is one of them with all statements
//! before it, as BABILong cuts them. The verbs are those of the simulator and of the released text
//! together.

use super::world::{Action, Deed, Knowledge, OBJECTS, ROOMS, World};
use baton_data::rng::Rng;

/// Questions in a story.
const QUESTIONS: usize = 5;
const PEOPLE: [&str; 4] = ["John", "Mary", "Sandra", "Daniel"];
/// The people of qa5.
const GIVERS: [&str; 4] = ["Fred", "Mary", "Jeff", "Bill"];
const GO: [&str; 5] = [
    "went to",
    "journeyed to",
    "travelled to",
    "moved to",
    "went back to",
];
const GET: [&str; 4] = ["grabbed", "took", "got", "picked up"];
const DROP: [&str; 4] = ["dropped", "put down", "let go of", "discarded"];
const GIVE: [&str; 3] = ["gave", "passed", "handed"];
/// Directions and their opposites.
const DIRECTIONS: [[&str; 2]; 2] = [["north", "south"], ["east", "west"]];

/// Statements, a question after them, and its answer of one word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// One sentence each.
    pub facts: Vec<String>,
    /// The question.
    pub question: String,
    /// Its answer.
    pub answer: String,
}

/// A sample of task `qa`, 1 to 5.
pub fn sample(qa: usize, rng: &mut Rng) -> Sample {
    let which = rng.below(QUESTIONS);
    match qa {
        1 => where_is_person(which, rng),
        2 => where_is_object(which, false, rng),
        3 => where_is_object(which, true, rng),
        4 => direction(rng),
        _ => who_gave(which, rng),
    }
}

fn say(action: Action, people: &[&str; 4], rng: &mut Rng) -> String {
    let verb = |verbs: &[&'static str], rng: &mut Rng| *rng.pick(verbs);
    match action {
        Action::Go { who, room } => {
            format!("{} {} the {}.", people[who], verb(&GO, rng), ROOMS[room])
        }
        Action::Get { who, what } => {
            format!("{} {} the {}.", people[who], verb(&GET, rng), OBJECTS[what])
        }
        Action::Drop { who, what } => {
            format!(
                "{} {} the {}.",
                people[who],
                verb(&DROP, rng),
                OBJECTS[what]
            )
        }
        Action::Give { who, what, to } => {
            let (giver, object) = (people[who], OBJECTS[what]);
            format!(
                "{giver} {} the {object} to {}.",
                verb(&GIVE, rng),
                people[to]
            )
        }
    }
}

/// What happens, what is said of it, and what a reader knows.
#[derive(Default)]
struct Story {
    world: World,
    known: Knowledge,
    facts: Vec<String>,
}

impl Story {
    fn go_on(&mut self, deeds: &[Deed], people: &[&str; 4], rng: &mut Rng) -> Action {
        let action = self.world.random(deeds, rng);
        self.world.act(action);
        self.known.hear(action);
        self.facts.push(say(action, people, rng));
        action
    }

    fn ask(self, question: String, answer: &str) -> Sample {
        Sample {
            facts: self.facts,
            question,
            answer: answer.into(),
        }
    }
}

/// qa1: two walks before each question.
fn where_is_person(which: usize, rng: &mut Rng) -> Sample {
    let mut story = Story::default();
    for _ in 0..2 * (which + 1) {
        story.go_on(&[Deed::Go], &PEOPLE, rng);
    }
    let known = (0..PEOPLE.len()).filter_map(|who| Some((who, story.known.room_of_person(who)?)));
    let known: Vec<(usize, usize)> = known.collect();
    let &(who, room) = rng.pick(&known);
    story.ask(format!("Where is {}?", PEOPLE[who]), ROOMS[room])
}

/// qa2 and qa3: where an object is, or was before.
fn where_is_object(which: usize, before: bool, rng: &mut Rng) -> Sample {
    let mut story = Story::default();
    let mut asked = 0;
    loop {
        story.go_on(&[Deed::Get, Deed::Drop, Deed::Go], &PEOPLE, rng);
        if story.facts.len() <= 2 || rng.below(2) == 0 {
            continue;
        }
        let rooms = (0..OBJECTS.len()).filter_map(|what| match before {
            true => Some((what, story.known.last_two(what)?)),
            false => Some((what, [story.known.room_of(what)?; 2])),
        });
        let rooms: Vec<(usize, [usize; 2])> = rooms.collect();
        if rooms.is_empty() {
            continue;
        }
        let &(what, [answer, last]) = rng.pick(&rooms);
        if asked < which {
            asked += 1;
            continue;
        }
        let (object, last) = (OBJECTS[what], ROOMS[last]);
        let question = match before {
            true => format!("Where was the {object} before the {last}?"),
            false => format!("Where is the {object}?"),
        };
        return story.ask(question, ROOMS[answer]);
    }
}

/// qa4: three rooms in a line, said by two neighbourhoods; one of them is asked about.
fn direction(rng: &mut Rng) -> Sample {
    let [forth, back] = *rng.pick(&DIRECTIONS);
    let line: Vec<&str> = rng
        .distinct(ROOMS.len(), 3)
        .into_iter()
        .map(|r| ROOMS[r])
        .collect();
    let mut facts: Vec<String> = (line.windows(2))
        .map(|pair| match rng.below(2) {
            0 => format!("The {} is {forth} of the {}.", pair[0], pair[1]),
            _ => format!("The {} is {back} of the {}.", pair[1], pair[0]),
        })
        .collect();
    rng.shuffle(&mut facts);
    let first = rng.below(2);
    let (a, b) = (line[first], line[first + 1]);
    let (a, b, way) = match rng.below(2) {
        0 => (a, b, forth),
        _ => (b, a, back),
    };
    let (question, answer) = match rng.below(2) {
        0 => (format!("What is {way} of the {b}?"), a),
        _ => (format!("What is the {a} {way} of?"), b),
    };
    Sample {
        facts,
        question,
        answer: answer.into(),
    }
}

/// qa5: after a gift, some other deeds, then a question about the latest gift.
fn who_gave(which: usize, rng: &mut Rng) -> Sample {
    let mut story = Story::default();
    let mut asked = 0;
    loop {
        let action = story.go_on(&[Deed::Get, Deed::Give, Deed::Go], &GIVERS, rng);
        let Action::Give { who, what, to } = action else {
            continue;
        };
        for _ in 0..rng.below(6) {
            story.go_on(&[Deed::Get, Deed::Go], &GIVERS, rng);
        }
        if asked < which {
            asked += 1;
            continue;
        }
        let [giver, taker] = [who, to].map(|person| GIVERS[person]);
        let object = OBJECTS[what];
        let (question, answer) = match rng.below(5) {
            0 => (format!("What did {giver} give to {taker}?"), object),
            1 => (format!("Who did {giver} give the {object} to?"), taker),
            2 => (format!("Who gave the {object} to {taker}?"), giver),
            3 => (format!("Who gave the {object}?"), giver),
            _ => (format!("Who received the {object}?"), taker),
        };
        return story.ask(question, answer);
    }
}
