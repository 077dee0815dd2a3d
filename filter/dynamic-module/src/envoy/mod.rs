//! Envoy's ABI for dynamic modules: types and callbacks, and safe wrappers by
//! subject.
#![allow(unsafe_code)]

pub(crate) mod abi;
pub(crate) mod attributes;
pub(crate) mod filter_config;
pub(crate) mod http_filter;
pub(crate) mod process;
pub(crate) mod scheduler;
pub(crate) mod tracer;
pub(crate) mod version;
