//! baton-codegen
