//! baton-macros
