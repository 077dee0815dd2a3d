//! Panics that a test asks for, to show what they cost.
//!
//! Without the feature `fault-injection`, which no release has, every function
//! here is empty.

/// The request header that names the place of a panic.
pub const HEADER: &[u8] = b"x-trap";

#[cfg(feature = "fault-injection")]
mod enabled {
    #![allow(clippy::panic)]

    use std::sync::atomic::{AtomicBool, Ordering};

    /// The next span that is built panics.
    static IS_SPAN_ARMED: AtomicBool = AtomicBool::new(false);

    #[track_caller]
    pub(super) fn at(place: &[u8], requested: Option<&[u8]>) {
        if requested == Some(place) {
            panic!("as the request asked");
        }
    }

    pub(super) fn arm_span(requested: Option<&[u8]>) {
        if requested == Some(b"told") {
            IS_SPAN_ARMED.store(true, Ordering::Relaxed);
        }
    }

    #[track_caller]
    pub(super) fn in_span() {
        if IS_SPAN_ARMED.swap(false, Ordering::Relaxed) {
            panic!("as the request asked");
        }
    }

    #[track_caller]
    pub(super) fn in_first_turn(is_requested: bool) {
        static IS_OVER: AtomicBool = AtomicBool::new(false);
        if is_requested && !IS_OVER.swap(true, Ordering::Relaxed) {
            panic!("as the environment asked");
        }
    }
}

/// Panics, as its caller, if a request names this place. `requested` reads the
/// [`HEADER`].
#[track_caller]
#[inline]
pub fn at<'a>(place: &[u8], requested: impl FnOnce() -> Option<&'a [u8]>) {
    #[cfg(feature = "fault-injection")]
    enabled::at(place, requested());
    #[cfg(not(feature = "fault-injection"))]
    let _ = (place, requested);
}

/// Has the next span that is built panic, if a request asks for it with `told`.
#[inline]
pub fn arm_span<'a>(requested: impl FnOnce() -> Option<&'a [u8]>) {
    #[cfg(feature = "fault-injection")]
    enabled::arm_span(requested());
    #[cfg(not(feature = "fault-injection"))]
    let _ = requested;
}

/// Panics if this is that span.
#[track_caller]
#[inline]
pub fn in_span() {
    #[cfg(feature = "fault-injection")]
    enabled::in_span();
}

/// Panics in the first turn of the main thread, if the environment asks for it.
#[track_caller]
#[inline]
pub fn in_first_turn(requested: impl FnOnce() -> bool) {
    #[cfg(feature = "fault-injection")]
    enabled::in_first_turn(requested());
    #[cfg(not(feature = "fault-injection"))]
    let _ = requested;
}

/// A panic that a request asked for at a later place.
#[derive(Debug, Default)]
pub struct Armed {
    #[cfg(feature = "fault-injection")]
    is_armed: bool,
}

impl Armed {
    /// Arms the panic if the request names this place.
    #[inline]
    pub fn read<'a>(place: &[u8], requested: impl FnOnce() -> Option<&'a [u8]>) -> Self {
        #[cfg(not(feature = "fault-injection"))]
        let _ = (place, requested);
        Self {
            #[cfg(feature = "fault-injection")]
            is_armed: requested() == Some(place),
        }
    }

    /// Panics if it is armed.
    #[track_caller]
    #[inline]
    pub fn trip(&self) {
        #[cfg(feature = "fault-injection")]
        enabled::at(b"", self.is_armed.then_some(b""));
    }
}
