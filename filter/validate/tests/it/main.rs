//! The tests of the offline checker.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod command;
mod manifests;
mod schema;
mod surroundings;
mod validate;
mod yaml;
