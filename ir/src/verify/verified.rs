//! The mark of what the verifier accepted.
//!
//! A level-2 or level-3 program is a [`Verified`] draft. It can be read like the draft and not
//! changed, and only the verifier makes one: so whoever holds one, a pass or a back end, holds a
//! well-formed program, and reports no ill-formed one.

use std::ops::Deref;

/// A draft that the verifier accepted, read through it.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(super) fn new(draft: T) -> Self {
        Self(draft)
    }

    /// The draft again, to be changed; what comes of it is to be verified anew.
    pub fn into_draft(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
