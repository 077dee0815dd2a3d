//! Spans that are kept by what became of their request, though the decision
//! at its start was no.

use crate::host::response_flags::ResponseFlags;
use std::time::Duration;

/// What is kept; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Streams whose own span has the status ERROR: a 5xx, a gRPC error, a
    /// reset, and of a client a 4xx.
    pub errors: bool,
    /// Streams that lasted longer.
    pub slower_than: Option<Duration>,
    /// Streams that Envoy has something to say about.
    pub response_flags: bool,
    /// Responses with one of these.
    pub status_codes: Vec<u16>,
    /// Requests that were sent more than once.
    pub retried: bool,
}

/// What became of a request, as far as its span knows.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Its own span has the status ERROR.
    pub is_error: bool,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// How long it took.
    pub duration: Duration,
    /// What Envoy has to say about it.
    pub flags: ResponseFlags,
    /// How often the request was sent upstream.
    pub attempts: u64,
}

impl Keep {
    /// Whether anything is ever kept, so that it is worth recording.
    pub fn is_anything(&self) -> bool {
        *self != Self::default()
    }

    /// Why a span is kept, for `sidespan.keep_reason`; `None` if it is not.
    pub fn reason(&self, ending: Ending) -> Option<&'static str> {
        if self.errors && ending.is_error {
            Some("error")
        } else if ending
            .status
            .is_some_and(|status| self.status_codes.contains(&status))
        {
            Some("status_code")
        } else if self
            .slower_than
            .is_some_and(|bound| ending.duration > bound)
        {
            Some("slow")
        } else if self.response_flags && !ending.flags.is_empty() {
            Some("response_flags")
        } else if self.retried && ending.attempts > 1 {
            Some("retried")
        } else {
            None
        }
    }
}
