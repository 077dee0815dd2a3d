//! Contexts in headers: one file for each format, and the propagator that
//! extracts the first valid one and injects every configured one.

pub mod b3;
pub mod composite;
mod unchanged;
pub mod w3c;
