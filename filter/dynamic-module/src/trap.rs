//! Panics where a test asks for them, to show what they cost. Only in a build
//! for tests.
#![allow(clippy::panic)]

use std::sync::atomic::{AtomicBool, Ordering};

/// Panics, as its caller, if this is the place that a request asked for.
#[track_caller]
pub(crate) fn at(place: &[u8], asked: Option<&[u8]>) {
    if asked == Some(place) {
        panic!("as the request asked");
    }
}

/// A request asked for a panic as the next span is made.
static IS_SPAN_NEXT: AtomicBool = AtomicBool::new(false);

/// Has the next span panic that is made, if the request asked for it.
pub(crate) fn in_next_span(asked: Option<&[u8]>) {
    if asked == Some(b"told") {
        IS_SPAN_NEXT.store(true, Ordering::Relaxed);
    }
}

/// Panics if this is that span.
#[track_caller]
pub(crate) fn in_span() {
    if IS_SPAN_NEXT.swap(false, Ordering::Relaxed) {
        panic!("as the request asked");
    }
}

/// Panics in the first turn, if the environment asks for it.
#[track_caller]
pub(crate) fn in_first_turn() {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    if std::env::var_os("SIDESPAN_TRAP").is_some() && !IS_OVER.swap(true, Ordering::Relaxed) {
        panic!("as the environment asked");
    }
}
