//! The turn of the main thread.

use crate::documents;
use crate::export::calls::{leave_old_hosts, send};
use crate::export::publish::publish;
use crate::export::state::with_state;
use crate::export::wakeup::WAKEUP;
use crate::logger;
use crate::system::now;
use sidespan_runtime::fault_injection;
use std::time::Duration;

/// Takes what workers have, sends what is due, publishes, and schedules the next
/// turn.
pub(crate) fn on_turn() {
    // Whatever happens in this one, there is another one.
    WAKEUP.wake_in(Duration::from_secs(1));
    fault_injection::in_first_turn(|| std::env::var_os("SIDESPAN_TRAP").is_some());
    logger::update_level();
    let now = now();
    documents::confirm_all();
    with_state(|state| state.exports.collect(now));
    leave_old_hosts(now);
    send(now);
    if with_state(|state| state.exports.collect_rest()) {
        send(now);
    }
    let wait = with_state(|state| {
        publish(state, now);
        state.exports.end_orphans(now);
        state.exports.next_turn(now)
    });
    WAKEUP.wake_in(wait);
}

/// A turn that only counts, as nothing can be sent; on the thread that wakes the
/// main one, where Envoy takes no more than that.
pub(crate) fn on_turn_without_host() {
    let now = now();
    with_state(|state| {
        // Without a tracer there is nothing to come again for; a host that came
        // meanwhile has called.
        if state.hosts.is_empty() && !state.tracers.is_empty() {
            WAKEUP.wake_in(Duration::from_secs(1));
            state.exports.collect(now);
            state.exports.collect_rest();
            state.exports.unpublished.clear_export_times();
            publish(state, now);
            state.exports.throttle().warn_once(
                "no span is exported, they wait: the tracer sends its spans by way of the HTTP filter of the same module, and there is none",
            );
        }
    });
}
