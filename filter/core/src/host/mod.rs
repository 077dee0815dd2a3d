//! What the core asks of its host.

pub mod response_flags;
