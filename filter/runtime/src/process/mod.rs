//! A process whose workers share memory and export through its main thread.

pub mod calls;
pub mod export_state;
pub mod panic_guard;
pub mod per_worker;
pub mod unpublished;
pub mod worker_queues;
