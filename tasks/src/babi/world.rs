//! The world of bAbI: people who walk between rooms, take, drop and hand over objects.
//!
//! A [`World`] knows everything; [`Knowledge`] is what a reader of the statements can know: rooms
//! of people who were said to go somewhere, and of objects that such people hold or dropped. Only
//! what a reader knows is asked.

use baton_data::rng::Rng;

/// Rooms, the answers of qa1 to qa4.
pub const ROOMS: [&str; 6] = [
    "bedroom", "kitchen", "garden", "hallway", "bathroom", "office",
];
/// Objects.
pub const OBJECTS: [&str; 3] = ["apple", "football", "milk"];
/// Where each object lies at first.
const OBJECTS_AT: [usize; 3] = [1, 2, 1];
/// Where each person stands at first.
const PEOPLE_AT: [usize; 4] = [1, 0, 2, 3];

/// Something that happens; people, objects and rooms by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Someone walks to another room.
    Go {
        /// Who.
        who: usize,
        /// To which room.
        room: usize,
    },
    /// Someone takes an object that lies in the same room.
    Get {
        /// Who.
        who: usize,
        /// Which object.
        what: usize,
    },
    /// Someone drops an object that they hold.
    Drop {
        /// Who.
        who: usize,
        /// Which object.
        what: usize,
    },
    /// Someone hands an object that they hold to another person in the same room.
    Give {
        /// Who.
        who: usize,
        /// Which object.
        what: usize,
        /// To whom.
        to: usize,
    },
}

/// Kinds of actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// [`Action::Go`].
    Go,
    /// [`Action::Get`].
    Get,
    /// [`Action::Drop`].
    Drop,
    /// [`Action::Give`].
    Give,
}

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Room(usize),
    Held(usize),
}

/// Everything as it is.
#[derive(Clone, Debug)]
pub struct World {
    people: [usize; 4],
    objects: [At; 3],
}

impl Default for World {
    fn default() -> Self {
        World {
            people: PEOPLE_AT,
            objects: OBJECTS_AT.map(At::Room),
        }
    }
}

impl World {
    /// Whether an action can happen.
    pub fn allows(&self, action: Action) -> bool {
        match action {
            Action::Go { who, room } => self.people[who] != room,
            Action::Get { who, what } => self.objects[what] == At::Room(self.people[who]),
            Action::Drop { who, what } => self.objects[what] == At::Held(who),
            Action::Give { who, what, to } => {
                who != to
                    && self.objects[what] == At::Held(who)
                    && self.people[who] == self.people[to]
            }
        }
    }

    /// Lets it happen.
    pub fn act(&mut self, action: Action) {
        match action {
            Action::Go { who, room } => self.people[who] = room,
            Action::Get { who, what } => self.objects[what] = At::Held(who),
            Action::Drop { who, what } => self.objects[what] = At::Room(self.people[who]),
            Action::Give { what, to, .. } => self.objects[what] = At::Held(to),
        }
    }

    /// A random action of one of `deeds` that can happen: the kind is drawn evenly, then who and
    /// what, and all again until it can happen.
    pub fn random(&self, deeds: &[Deed], rng: &mut Rng) -> Action {
        loop {
            let (who, to) = (rng.below(PEOPLE_AT.len()), rng.below(PEOPLE_AT.len()));
            let (what, room) = (rng.below(OBJECTS.len()), rng.below(ROOMS.len()));
            let action = match rng.pick(deeds) {
                Deed::Go => Action::Go { who, room },
                Deed::Get => Action::Get { who, what },
                Deed::Drop => Action::Drop { who, what },
                Deed::Give => Action::Give { who, what, to },
            };
            if self.allows(action) {
                return action;
            }
        }
    }
}

/// What a reader knows.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    people: [Option<usize>; 4],
    objects: [Option<At>; 3],
    /// Known rooms of each object, in order, without repetition.
    history: [Vec<usize>; 3],
}

impl Knowledge {
    /// Reads one statement.
    pub fn hear(&mut self, action: Action) {
        match action {
            Action::Go { who, room } => self.people[who] = Some(room),
            Action::Get { who, what } => self.objects[what] = Some(At::Held(who)),
            Action::Drop { who, what } => self.objects[what] = self.people[who].map(At::Room),
            Action::Give { what, to, .. } => self.objects[what] = Some(At::Held(to)),
        }
        for what in 0..OBJECTS.len() {
            if let Some(room) = self.room_of(what)
                && self.history[what].last() != Some(&room)
            {
                self.history[what].push(room);
            }
        }
    }

    /// The room of a person.
    pub fn room_of_person(&self, who: usize) -> Option<usize> {
        self.people[who]
    }

    /// The room of an object.
    pub fn room_of(&self, what: usize) -> Option<usize> {
        match self.objects[what]? {
            At::Room(room) => Some(room),
            At::Held(who) => self.people[who],
        }
    }

    /// The last two rooms of an object whose room is known: the one before, and the last.
    pub fn last_two(&self, what: usize) -> Option<[usize; 2]> {
        self.room_of(what)?;
        match self.history[what].as_slice() {
            [.., before, last] => Some([*before, *last]),
            _ => None,
        }
    }
}
