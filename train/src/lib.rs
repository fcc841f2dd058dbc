//! baton-train
