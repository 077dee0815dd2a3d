//! Batches of encoded spans, and their limits.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The limits of the queue (OpenTelemetry specification, BatchSpanProcessor).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Spans that may wait for export.
    pub max_queue_size: usize,
    /// Bytes that they may take.
    pub max_queue_bytes: usize,
    /// Spans in one export.
    pub max_export_batch_size: usize,
    /// How long a span may wait for its batch to fill.
    pub schedule_delay: Duration,
    /// Exports that may be under way at once.
    pub max_concurrent_exports: usize,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            max_queue_size: 2048,
            max_queue_bytes: 4 << 20,
            max_export_batch_size: 512,
            schedule_delay: Duration::from_secs(1),
            max_concurrent_exports: 2,
        }
    }
}

/// Encoded spans, for one export.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The spans, and room before them for what an export puts there. An
    /// export that is under way has them, too.
    pub(super) bytes: Arc<Vec<u8>>,
    pub(super) room: usize,
    pub(crate) count: usize,
    /// When its first span ended.
    pub(super) opened_unix_nanos: u64,
    /// Exports of it that failed.
    pub(crate) failures: u32,
    /// When the first of its exports began.
    pub(crate) first_sent_unix_nanos: u64,
}

impl Batch {
    pub(super) fn spans(&self) -> &[u8] {
        self.bytes.get(self.room..).unwrap_or_default()
    }

    /// How many bytes its spans have.
    pub(crate) fn len(&self) -> usize {
        self.spans().len()
    }

    /// The body of an export: its spans behind what is given, in the same
    /// place if there is room for that.
    pub(crate) fn body(&mut self, head: &[u8]) -> Body {
        let Some(start) = self.room.checked_sub(head.len()) else {
            return [head, self.spans()].concat().into();
        };
        if let Some(room) = Arc::make_mut(&mut self.bytes).get_mut(start..self.room) {
            room.copy_from_slice(head);
        }
        Body {
            bytes: Arc::clone(&self.bytes),
            start,
        }
    }
}

/// The body of an export. It is not copied, though what is in it is kept to be
/// sent again.
#[derive(Clone)]
pub struct Body {
    bytes: Arc<Vec<u8>>,
    start: usize,
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        let bytes = Arc::new(bytes);
        Self { bytes, start: 0 }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Nanoseconds, as times are counted here: 584 years at most.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
