//! The modifiers of one mnemonic, ticked off as they are understood.

use crate::types::Type;

pub(crate) struct Modifiers<'a> {
    parts: Vec<&'a str>,
    used: Vec<bool>,
}

impl<'a> Modifiers<'a> {
    pub fn new(mnemonic: &'a str) -> Modifiers<'a> {
        let parts: Vec<_> = mnemonic.split('.').skip(1).collect();
        let used = vec![false; parts.len()];
        Modifiers { parts, used }
    }

    /// Whether the modifier is there.
    pub fn flag(&mut self, name: &str) -> bool {
        self.one_of(&[name]).is_some()
    }

    /// The first modifier that is among the names.
    pub fn one_of(&mut self, names: &[&str]) -> Option<&'a str> {
        self.find(|part| names.contains(&part).then_some(part))
    }

    /// The next type.
    pub fn ty(&mut self) -> Option<Type> {
        self.find(Type::named)
    }

    /// The first modifier not yet used that the function knows.
    pub fn find<T>(&mut self, know: impl Fn(&'a str) -> Option<T>) -> Option<T> {
        for (part, used) in self.parts.iter().zip(&mut self.used) {
            if *used {
                continue;
            }
            if let Some(found) = know(part) {
                *used = true;
                return Some(found);
            }
        }
        None
    }

    /// A modifier that nothing understood.
    pub fn unused(&self) -> Option<&'a str> {
        let mut left = self.parts.iter().zip(&self.used);
        left.find(|(_, used)| !**used).map(|(part, _)| *part)
    }
}
