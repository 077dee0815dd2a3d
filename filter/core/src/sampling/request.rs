//! A request, as everything that decides about it sees it.

use crate::headers::request::RequestHead;
use crate::host::request_info::{Direction, Told, told};
use std::cell::Cell;

/// A request, as everything that decides about it sees it.
#[derive(Debug)]
pub struct Request<'a, H, I> {
    /// All of its headers.
    pub headers: &'a H,
    /// The ones that are asked for most.
    pub head: RequestHead<'a>,
    /// What the host knows beside them.
    pub info: &'a I,
    /// The side of the proxy.
    pub direction: Cell<Told<Direction>>,
    /// Unix time in nanoseconds.
    pub now: Cell<Told<u64>>,
}

impl<H, I> Request<'_, H, I> {
    /// The side of the proxy, asked for once.
    pub fn direction(&self) -> Direction {
        told(&self.direction)
    }

    /// The time that it came, which is when this is first called.
    pub fn now(&self) -> u64 {
        told(&self.now)
    }
}
