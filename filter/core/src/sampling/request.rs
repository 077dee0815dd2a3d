//! A request, as everything that decides about it sees it.

use crate::headers::request::RequestHead;
use crate::host::request_info::{Direction, RequestInfo};
use std::cell::OnceCell;

/// A request, as everything that decides about it sees it.
#[derive(Debug)]
pub struct Request<'a, H, I> {
    /// All of its headers.
    pub headers: &'a H,
    /// The ones that are asked for most.
    pub head: RequestHead<'a>,
    /// What the host knows beside them.
    pub info: &'a I,
    pub(crate) direction: OnceCell<Direction>,
    now: OnceCell<u64>,
}

impl<'a, H, I: RequestInfo> Request<'a, H, I> {
    /// A request whose direction and time are read from the host on first use.
    pub fn new(headers: &'a H, head: RequestHead<'a>, info: &'a I) -> Self {
        Self {
            headers,
            head,
            info,
            direction: OnceCell::new(),
            now: OnceCell::new(),
        }
    }

    /// The traffic direction of the listener, read once.
    pub fn direction(&self) -> Direction {
        *self
            .direction
            .get_or_init(|| self.info.listener_direction())
    }

    /// The direction, if anything has read it.
    pub(crate) fn known_direction(&self) -> Option<Direction> {
        self.direction.get().copied()
    }

    /// The time of the first call, which is the start of the span. Unix
    /// nanoseconds.
    pub fn now(&self) -> u64 {
        *self.now.get_or_init(|| self.info.now())
    }
}
