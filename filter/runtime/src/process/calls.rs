//! Exports under way, and as much of their responses as came.

use crate::dispatch::MAX_RESPONSE_BODY;
use crate::process::worker_queues::WorkerQueues;
use sidespan_core::export::callout::CalloutId;
use std::sync::Arc;

/// The exports of all hosts that are under way.
#[derive(Debug)]
pub(crate) struct Calls<H>(Vec<Call<H>>);

/// An export under way.
#[derive(Debug)]
pub(crate) struct Call<H> {
    pub(crate) host: H,
    /// What the host names it by.
    pub(crate) stream: u64,
    pub(crate) queues: Arc<WorkerQueues>,
    pub(crate) id: CalloutId,
    pub(crate) began_unix_nanos: u64,
    pub(crate) response: Response,
}

/// As much of a response as came.
#[derive(Debug, Default)]
pub struct Response {
    headers: OwnedLines,
    pub(crate) body: Vec<u8>,
    trailers: OwnedLines,
}

type OwnedLines = Vec<(Vec<u8>, Vec<u8>)>;

type Lines<'a> = Vec<(&'a [u8], &'a [u8])>;

fn owned(lines: &[(&[u8], &[u8])]) -> OwnedLines {
    let own = |(name, value): &(&[u8], &[u8])| (name.to_vec(), value.to_vec());
    lines.iter().map(own).collect()
}

fn borrowed(lines: &OwnedLines) -> Lines<'_> {
    let lines = lines.iter();
    lines.map(|(name, value)| (&**name, &**value)).collect()
}

impl Response {
    /// Sets its headers.
    pub fn set_headers(&mut self, headers: &[(&[u8], &[u8])]) {
        self.headers = owned(headers);
    }

    /// Adds a part of its body, as far as an export reads it.
    pub fn add_body(&mut self, data: &[u8]) {
        let space = MAX_RESPONSE_BODY.saturating_sub(self.body.len());
        self.body.extend(data.iter().take(space));
    }

    /// Sets its trailers.
    pub fn set_trailers(&mut self, trailers: &[(&[u8], &[u8])]) {
        self.trailers = owned(trailers);
    }

    /// Its headers and its trailers.
    pub(crate) fn lines(&self) -> (Lines<'_>, Lines<'_>) {
        (borrowed(&self.headers), borrowed(&self.trailers))
    }
}

impl<H> Default for Calls<H> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<H: PartialEq> Calls<H> {
    /// Adds an export that began now.
    pub(crate) fn add(
        &mut self,
        host: H,
        stream: u64,
        queues: Arc<WorkerQueues>,
        id: CalloutId,
        now: u64,
    ) {
        self.0.push(Call {
            host,
            stream,
            queues,
            id,
            began_unix_nanos: now,
            response: Response::default(),
        });
    }

    fn position(&self, host: H, stream: u64) -> Option<usize> {
        let mut calls = self.0.iter();
        calls.position(|call| call.host == host && call.stream == stream)
    }

    /// Returns an export.
    pub(crate) fn get(&mut self, host: H, stream: u64) -> Option<&mut Call<H>> {
        let index = self.position(host, stream)?;
        self.0.get_mut(index)
    }

    /// Removes an export.
    pub(crate) fn remove(&mut self, host: H, stream: u64) -> Option<Call<H>> {
        let index = self.position(host, stream)?;
        Some(self.0.swap_remove(index))
    }

    /// Removes the exports that a test holds for.
    pub(crate) fn take(&mut self, test: impl Fn(&Call<H>) -> bool) -> Vec<Call<H>> {
        let (taken, left) = std::mem::take(&mut self.0).into_iter().partition(test);
        self.0 = left;
        taken
    }
}
