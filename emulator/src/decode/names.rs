//! Scopes: what a name means where it stands. A block in braces opens one, for registers, variables and
//! labels alike, because inlined assembly repeats its names.

use std::collections::HashMap;

use crate::op::Slot;
use crate::types::{Space, Type};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Binding {
    Register { slot: Slot, ty: Type },
    Variable { space: Space, address: u64 },
}

/// A label's number; its position is known when its statement is reached.
pub(crate) type Label = usize;

#[derive(Default)]
pub(crate) struct Scope {
    names: HashMap<String, Binding>,
    /// `%r<4>`: the prefix, the first slot, the count.
    ranges: HashMap<String, (Slot, u32, Type)>,
    pub labels: HashMap<String, Label>,
    pub targets: HashMap<String, Vec<String>>,
}

impl Scope {
    pub fn bind(&mut self, name: &str, binding: Binding) {
        self.names.insert(name.to_string(), binding);
    }

    pub fn bind_range(&mut self, prefix: &str, first: Slot, count: u32, ty: Type) {
        self.ranges.insert(prefix.to_string(), (first, count, ty));
    }

    fn find(&self, name: &str) -> Option<Binding> {
        if let Some(&binding) = self.names.get(name) {
            return Some(binding);
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        (name.len() - digits..name.len()).find_map(|cut| {
            let &(first, count, ty) = self.ranges.get(&name[..cut])?;
            let index: u32 = name[cut..].parse().ok()?;
            let plain = name.len() - cut == 1 || !name[cut..].starts_with('0');
            (plain && index < count).then(|| Binding::Register {
                slot: first + index,
                ty,
            })
        })
    }
}

/// The scopes of one function, outermost first.
pub(crate) type Scopes = Vec<Scope>;

/// The innermost meaning of a name.
pub(crate) fn find(scopes: &Scopes, name: &str) -> Option<Binding> {
    scopes.iter().rev().find_map(|scope| scope.find(name))
}
