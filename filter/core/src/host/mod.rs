//! What the core asks of its host.

pub mod environment;
pub mod request_info;
pub mod response_flags;
pub mod response_info;
