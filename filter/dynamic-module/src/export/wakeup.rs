//! A thread that calls the main one.

use crate::envoy::process;
use crate::envoy::scheduler::Scheduler;
use sidespan_runtime::logger::LogLevel;
use sidespan_runtime::process::panic_guard;
use sidespan_runtime::process::per_worker::lock;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A thread that sleeps until something is due.
pub(crate) struct Wakeup {
    state: Mutex<WakeupState>,
    changed: Condvar,
}

struct WakeupState {
    due: Option<Instant>,
    scheduler: Option<Arc<Scheduler>>,
    is_running: bool,
}

pub(crate) static WAKEUP: Wakeup = Wakeup {
    state: Mutex::new(WakeupState {
        due: None,
        scheduler: None,
        is_running: false,
    }),
    changed: Condvar::new(),
};

impl Wakeup {
    /// Has the main thread take its turn in a while, or earlier if that is due
    /// already.
    pub(crate) fn wake_in(&self, after: Duration) {
        let due = Instant::now() + after;
        let mut state = lock(&self.state);
        if state.due.is_none_or(|earlier| due < earlier) {
            state.due = Some(due);
            self.changed.notify_one();
        }
    }

    /// Calls the main thread by this scheduler from now on.
    pub(crate) fn set_scheduler(&self, scheduler: Option<Arc<Scheduler>>) {
        lock(&self.state).scheduler = scheduler;
        self.wake_in(Duration::ZERO);
    }

    /// Starts the thread, which lasts as long as the process. Where there is no
    /// scheduler it calls `otherwise` itself.
    pub(crate) fn start(&'static self, otherwise: fn()) {
        let mut state = lock(&self.state);
        if state.is_running {
            return;
        }
        let thread = std::thread::Builder::new().name("sidespan".to_owned());
        match thread.spawn(move || self.run(otherwise)) {
            Ok(_) => state.is_running = true,
            Err(error) => process::log(
                LogLevel::Critical,
                &format!("sidespan: no thread for exports, no span is exported: {error}"),
            ),
        }
    }

    fn run(&self, otherwise: fn()) {
        let mut state = lock(&self.state);
        loop {
            let wait = state
                .due
                .map(|due| due.saturating_duration_since(Instant::now()));
            state = match wait {
                Some(Duration::ZERO) => {
                    state.due = None;
                    let scheduler = state.scheduler.clone();
                    // The call may destroy the host, which sets a scheduler here.
                    drop(state);
                    match scheduler {
                        Some(scheduler) => scheduler.commit(),
                        None => panic_guard::call((), otherwise),
                    }
                    lock(&self.state)
                }
                Some(wait) => {
                    let waited = self.changed.wait_timeout(state, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}
