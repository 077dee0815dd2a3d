//! The queue between the end of a span and its export: bounded in spans and
//! in bytes, cut into batches.

use crate::otlp::{put_span, scope_span_len};
use crate::span::Span;
use std::collections::VecDeque;
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

/// Encoded spans, the body of one export.
#[derive(Debug, Default)]
pub struct Batch {
    pub(crate) spans: Vec<u8>,
    pub(crate) count: usize,
    /// When its first span ended.
    opened_unix_nanos: u64,
}

/// The queue was full and the span is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

/// Queues spans, encoded, and hands them out in batches. The newest are
/// refused when the queue is full: what waits longest is what the collector
/// is about to get.
#[derive(Debug)]
pub struct BatchSpanProcessor {
    config: BatchConfig,
    full: VecDeque<Batch>,
    open: Batch,
    queued_spans: usize,
    queued_bytes: usize,
}

impl BatchSpanProcessor {
    /// An empty queue.
    pub fn new(config: BatchConfig) -> Self {
        Self {
            config,
            full: VecDeque::new(),
            open: Batch::default(),
            queued_spans: 0,
            queued_bytes: 0,
        }
    }

    /// Encodes a span that ended at `end_unix_nanos` into the queue.
    pub fn on_end(&mut self, span: &Span, end_unix_nanos: u64) -> Result<(), QueueFull> {
        let len = scope_span_len(span);
        if self.queued_spans >= self.config.max_queue_size
            || self.queued_bytes + len > self.config.max_queue_bytes
        {
            return Err(QueueFull);
        }
        if self.open.spans.capacity() == 0 {
            // The first span foretells the size of the others; what a batch
            // allocates never passes what the queue may hold.
            let expected = len.saturating_mul(self.config.max_export_batch_size);
            self.open
                .spans
                .reserve(expected.min(self.config.max_queue_bytes));
        }
        if self.open.count == 0 {
            self.open.opened_unix_nanos = end_unix_nanos;
        }
        put_span(span, end_unix_nanos, &mut self.open.spans);
        self.open.count += 1;
        self.queued_spans += 1;
        self.queued_bytes += len;
        if self.open.count >= self.config.max_export_batch_size {
            self.close_batch();
        }
        Ok(())
    }

    /// How often [`on_tick`](Self::on_tick) is to be called: at least once a
    /// second, so that what is published meanwhile is fresh.
    pub fn tick_period(&self) -> Duration {
        self.config.schedule_delay.min(Duration::from_secs(1))
    }

    /// Flushes what would have waited longer than the schedule's delay by the
    /// next tick, and what is younger than nothing since the clock was set
    /// back.
    pub fn on_tick(&mut self, now_unix_nanos: u64) {
        let waited = now_unix_nanos.checked_sub(self.open.opened_unix_nanos);
        let is_due =
            |nanos| Duration::from_nanos(nanos) + self.tick_period() > self.config.schedule_delay;
        if waited.is_none_or(is_due) {
            self.flush();
        }
    }

    /// Makes what waits for its batch to fill ready to be taken.
    pub fn flush(&mut self) {
        if self.open.count > 0 {
            self.close_batch();
        }
    }

    /// The oldest batch that is ready.
    pub fn take(&mut self) -> Option<Batch> {
        let batch = self.full.pop_front()?;
        self.queued_spans -= batch.count;
        self.queued_bytes -= batch.spans.len();
        Some(batch)
    }

    /// Spans that wait.
    pub fn queued_spans(&self) -> usize {
        self.queued_spans
    }

    /// The limits.
    pub fn config(&self) -> &BatchConfig {
        &self.config
    }

    fn close_batch(&mut self) {
        self.full.push_back(std::mem::take(&mut self.open));
    }
}
