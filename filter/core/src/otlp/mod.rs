//! Spans as OTLP messages.

pub(crate) mod encode;
mod fields;
