//! Spans as OTLP messages.

pub mod encode;
