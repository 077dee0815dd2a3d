//! Export, on the main thread: one exporter for the whole process and each
//! collector, fed by all workers.
//!
//! Envoy lets a *configuration* of a filter send requests of its own, on the main
//! thread and until the configuration goes; nothing else in a module can. So all
//! spans are exported by whichever configuration is the newest, and when that goes,
//! by another.
//!
//! Envoy has no timer either: a thread sleeps until something is due and has the
//! main thread take its turn.

pub(crate) mod calls;
pub(crate) mod hosts;
pub(crate) mod publish;
pub(crate) mod state;
pub(crate) mod turn;
pub(crate) mod wakeup;
pub(crate) mod worker;
