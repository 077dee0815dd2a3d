//! Exports as streams of the newest host.

use crate::envoy::filter_config::Config;
use crate::export::publish::publish;
use crate::export::state::with_state;
use crate::export::wakeup::WAKEUP;
use crate::system::now;
use sidespan_runtime::process::calls::Response;
use sidespan_runtime::process::per_worker::lock;
use std::cell::Cell;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

static SENDING: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_SENDING: Cell<bool> = const { Cell::new(false) };
}

/// While it lasts, no host goes, unless this very thread lets it go.
pub(crate) struct HostGuard(Option<MutexGuard<'static, ()>>);

impl HostGuard {
    pub(crate) fn new() -> Self {
        if IS_SENDING.replace(true) {
            return Self(None);
        }
        Self(Some(lock(&SENDING)))
    }
}

impl Drop for HostGuard {
    fn drop(&mut self) {
        if self.0.is_some() {
            IS_SENDING.set(false);
        }
    }
}

/// Sends every export that is ready and may be under way.
pub(crate) fn send(now: u64) {
    loop {
        // No host may go between being chosen and having its call.
        let _guard = HostGuard::new();
        let Some(dispatch) = with_state(|state| state.exports.next_dispatch(now)) else {
            return;
        };
        // Not while the state is locked: Envoy may call back.
        let target = &dispatch.target;
        let headers = target.headers.iter();
        let started = dispatch.host.start_stream(
            &target.cluster,
            headers.map(|(name, value)| (&**name, &*value.0)),
            &dispatch.callout.body,
            target.timeout,
        );
        with_state(|state| state.exports.dispatched(dispatch, started, now));
    }
}

/// Takes back what is under way by hosts that are no longer the newest.
pub(crate) fn leave_old_hosts(now: u64) {
    let _guard = HostGuard::new();
    for (host, stream) in with_state(|state| state.exports.take_old_calls(now)) {
        // Calls back at once, and the call is no longer known.
        host.reset_stream(stream);
    }
}

fn with_response(host: Config, stream: u64, f: impl FnOnce(&mut Response)) {
    with_state(|state| state.exports.response(host, stream).map(f));
}

/// The headers of a response.
pub(crate) fn on_headers(host: Config, stream: u64, headers: &[(&[u8], &[u8])]) {
    with_response(host, stream, |response| response.set_headers(headers));
}

/// A part of its body.
pub(crate) fn on_data(host: Config, stream: u64, data: &[u8]) {
    with_response(host, stream, |response| response.add_body(data));
}

/// Its trailers.
pub(crate) fn on_trailers(host: Config, stream: u64, trailers: &[(&[u8], &[u8])]) {
    with_response(host, stream, |response| response.set_trailers(trailers));
}

/// A response is complete, or was reset before.
pub(crate) fn on_end(host: Config, stream: u64, is_complete: bool) {
    WAKEUP.wake_in(Duration::from_secs(1));
    let now = now();
    let is_known = with_state(|state| state.exports.end_response(host, stream, is_complete, now));
    if !is_known {
        return;
    }
    send(now);
    let wait = with_state(|state| {
        publish(state, now);
        state.exports.next_turn(now)
    });
    WAKEUP.wake_in(wait);
}
