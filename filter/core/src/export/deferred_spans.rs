//! Finished streams whose spans have not been built yet.

use crate::export::queue::BatchSpanProcessor;

/// Finished streams whose spans have not been built yet, with the time when each
/// ended.
///
/// Span construction is evicted from the instruction cache between two requests,
/// so an adapter builds the spans of up to 16 streams together.
#[derive(Debug)]
pub struct DeferredSpans<T> {
    finished: Vec<(T, u64)>,
}

impl<T> Default for DeferredSpans<T> {
    fn default() -> Self {
        Self {
            finished: Vec::new(),
        }
    }
}

impl<T> DeferredSpans<T> {
    /// Adds a stream that ended at `end_unix_nanos`. Returns whether the spans
    /// must be built now.
    pub fn push(&mut self, stream: T, end_unix_nanos: u64, queue: &BatchSpanProcessor) -> bool {
        self.finished.push((stream, end_unix_nanos));
        self.finished.len() >= queue.streams_at_once()
    }

    /// Removes all streams, the first one first, for their spans to be built.
    pub fn drain(&mut self) -> impl Iterator<Item = (T, u64)> {
        self.finished.drain(..)
    }

    /// Whether no stream is left.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty()
    }
}
