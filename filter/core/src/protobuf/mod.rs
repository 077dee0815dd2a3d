//! The protobuf wire format, and messages of Envoy that are read with it.

pub mod envoy_struct;
pub mod wire;
