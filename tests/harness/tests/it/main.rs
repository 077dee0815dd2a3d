//! The tests of the harness.

mod collector;
mod collector_http;
mod envoy;
mod mesh;
mod servers;
