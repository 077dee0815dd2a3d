//! Contexts in headers: one file for each format, and the propagator that
//! extracts the first valid one and injects every configured one.

pub(crate) mod b3;
pub mod composite;
pub mod extracted;
pub mod format;
pub mod settings;
mod unchanged;
pub mod w3c;
