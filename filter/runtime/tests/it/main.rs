//! The runtime on a host that is not there.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod configuration;
mod fake_host;
mod log_throttle;
mod logs;
mod metrics;
mod process;
mod stream;
mod workers;
