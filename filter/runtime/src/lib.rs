//! What every adapter does, over host traits.
//!
//! An adapter translates the callbacks of one host. What those callbacks mean is
//! here, so that it is tested with a host that is not there:
//!
//! ```text
//! document  ─▶ configuration::load ─▶ Config, the last good one, none, or a refusal
//! request   ─▶ stream::HttpStream ─▶ recorded, or untraced
//! end       ─▶ Worker::end ─▶ deferred, or queued ─▶ WorkerHost::dispatch
//! response  ─▶ Worker::complete_export ─▶ LogThrottle, Metrics
//! done      ─▶ Workers::on_done ─▶ drained, adopted by a successor, or dropped and counted
//! ```
//!
//! [`worker`] and [`workers`] serve a host whose workers share nothing, as VMs of
//! proxy-wasm. [`process`] serves one whose workers share memory and export
//! through the main thread, as Envoy's dynamic modules do.

pub mod configuration;
pub mod dispatch;
pub mod fault_injection;
pub mod log_throttle;
pub mod logger;
pub mod metrics;
pub mod process;
pub mod shared_state;
mod stale_documents;
pub mod stream;
pub mod worker;
pub mod workers;
