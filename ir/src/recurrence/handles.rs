//! What a recurrence's own vectors are indexed by.

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u32);

        impl $name {
            /// Position in the owner's vector.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}
pub(crate) use handle;

handle!(
    /// A dimension, as in `dims { K, V }`.
    DimId
);
handle!(
    /// An input, as in `inputs { q: [K] }`.
    InputId
);
handle!(
    /// A parameter, as in `params { d: [] }`.
    ParamId
);
handle!(
    /// A state, as in `state { S: [K, V] }`.
    StateId
);
handle!(
    /// A `let` binding, in order of its statement.
    LetId
);
handle!(
    /// An output, in order of its statement.
    OutputId
);
