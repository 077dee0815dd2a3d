//! The queue between the end of a span and the collector's word that it has
//! it: bounded in spans and in bytes, cut into batches.

use crate::export::batch::{Batch, BatchConfig, nanos};
use crate::otlp::encode::{put_span, scope_span_len, scope_spans};
use crate::recording::stream::Ended;
use crate::span::span::Span;
use crate::stats::{Stat, Stats};
use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::iter::once;
use std::sync::Arc;

/// A batch whose export failed, and when it may be sent again.
#[derive(Debug)]
struct Waiting {
    due_unix_nanos: u64,
    batch: Batch,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due_unix_nanos.cmp(&other.due_unix_nanos)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

/// Why a span does not get into the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no room for it.
    QueueFull,
    /// It would not fit into any message.
    TooLarge,
}

impl Refusal {
    /// The counter of spans that were refused for it.
    pub(crate) fn stat(self) -> Stat {
        match self {
            Self::QueueFull => Stat::SpansDroppedQueueFull,
            Self::TooLarge => Stat::SpansDroppedEncoding,
        }
    }
}

/// Queues spans, encoded, and hands them out in batches. The newest are
/// refused when the queue is full: what waits longest is what the collector
/// is about to get.
///
/// A batch that was taken has left the queue, and one that comes back is
/// never refused: its spans were let in once. So the bounds may be passed by
/// the exports that were under way, until there is room again for new spans.
#[derive(Debug)]
pub struct BatchSpanProcessor {
    config: BatchConfig,
    /// How many bytes of spans fit into a message.
    max_batch_bytes: usize,
    /// How many bytes an export puts before them.
    head_room: usize,
    ready: VecDeque<Batch>,
    open: Batch,
    /// Of the open batch.
    encoded: Vec<u8>,
    /// The open batch has waited long enough.
    open_is_due: bool,
    waiting: BinaryHeap<Reverse<Waiting>>,
    queued_spans: usize,
    queued_bytes: usize,
}

impl BatchSpanProcessor {
    /// An empty queue, whose batches have so many bytes at most, and room for
    /// so many before them.
    pub(crate) fn new(config: BatchConfig, max_batch_bytes: usize, head_room: usize) -> Self {
        Self {
            config,
            max_batch_bytes,
            head_room,
            ready: VecDeque::new(),
            open: Batch::default(),
            encoded: Vec::new(),
            open_is_due: false,
            waiting: BinaryHeap::new(),
            queued_spans: 0,
            queued_bytes: 0,
        }
    }

    /// Takes the spans of a stream that ended at `now`, and counts them.
    pub fn add(&mut self, ended: &Ended, stats: &mut Stats, now: u64) {
        // If there is room for one only, the other one has its parent.
        for span in once(&ended.span).chain(&ended.upstream) {
            if !span.context.flags.is_sampled() {
                stats.add(Stat::Kept, 1);
            }
            stats.add(Stat::SpansCreated, 1);
            // The system's clock can be set back while a stream lasts.
            let end = now.max(span.start_unix_nanos);
            if let Err(refusal) = self.on_end(span, end) {
                stats.add(refusal.stat(), 1);
            }
        }
    }

    /// Encodes a span that ended at `end_unix_nanos` into the queue.
    fn on_end(&mut self, span: &Span, end_unix_nanos: u64) -> Result<(), Refusal> {
        let len = scope_span_len(span);
        let encoded = self.room(len, end_unix_nanos)?;
        put_span(span, end_unix_nanos, encoded);
        self.has_grown();
        Ok(())
    }

    /// A place for an encoded span of so many bytes, in the open batch.
    fn room(&mut self, len: usize, end_unix_nanos: u64) -> Result<&mut Vec<u8>, Refusal> {
        if len > self.max_batch_bytes {
            return Err(Refusal::TooLarge);
        }
        if self.queued_spans >= self.config.max_queue_size
            || self.queued_bytes + len > self.config.max_queue_bytes
        {
            return Err(Refusal::QueueFull);
        }
        let open_len = self.encoded.len().saturating_sub(self.head_room);
        if open_len + len > self.max_batch_bytes {
            self.close();
        }
        if self.open.count == 0 {
            self.open.opened_unix_nanos = end_unix_nanos;
            // The first span foretells the size of the others; what a batch
            // allocates never passes what the queue may hold, nor a message.
            let expected = len.saturating_mul(self.config.max_export_batch_size);
            let most = self.config.max_queue_bytes.min(self.max_batch_bytes);
            self.encoded.reserve(self.head_room + expected.min(most));
            self.encoded.resize(self.head_room, 0);
        }
        self.open.count += 1;
        self.queued_spans += 1;
        self.queued_bytes += len;
        Ok(&mut self.encoded)
    }

    fn has_grown(&mut self) {
        if self.open.count >= self.config.max_export_batch_size {
            self.close();
        }
    }

    /// Takes what another queue has, of which nothing was taken yet, as far as
    /// there is space. Returns the other queue with the spans that have none.
    pub(crate) fn take_in(&mut self, mut other: Self) -> Self {
        other.close();
        (other.queued_spans, other.queued_bytes) = (0, 0);
        for batch in std::mem::take(&mut other.ready) {
            self.take_in_batch(batch, &mut other);
        }
        other
    }

    fn take_in_batch(&mut self, batch: Batch, rest: &mut Self) {
        let is_full = batch.count >= self.config.max_export_batch_size;
        if is_full
            && self.queued_spans + batch.count <= self.config.max_queue_size
            && self.queued_bytes + batch.len() <= self.config.max_queue_bytes
        {
            self.enter(&batch);
            self.ready.push_back(batch);
            return;
        }
        for span in scope_spans(batch.spans()) {
            if self.append(span, batch.opened_unix_nanos).is_err() {
                // The other queue had it, and has space for it.
                let _ = rest.append(span, batch.opened_unix_nanos);
            }
        }
        // It may be older than what was here.
        if self.open.count > 0 {
            let opened = &mut self.open.opened_unix_nanos;
            *opened = batch.opened_unix_nanos.min(*opened);
        }
    }

    /// Adds an encoded span to the open batch.
    fn append(&mut self, span: &[u8], end_unix_nanos: u64) -> Result<(), Refusal> {
        let encoded = self.room(span.len(), end_unix_nanos)?;
        encoded.extend_from_slice(span);
        self.has_grown();
        Ok(())
    }

    /// Time goes by: the open batch goes if it has waited for the schedule's
    /// delay, or is younger than nothing since the clock was set back.
    pub(crate) fn on_tick(&mut self, now: u64) {
        let waited = now.checked_sub(self.open.opened_unix_nanos);
        if waited.is_none_or(|waited| waited >= nanos(self.config.schedule_delay)) {
            self.flush();
        }
    }

    /// Lets the open batch go though it is not full.
    pub(crate) fn flush(&mut self) {
        self.open_is_due = self.open.count > 0;
    }

    /// The batch that is to be sent next: one that comes back and has waited,
    /// else the oldest. The open one stays open, and grows, until somebody
    /// has time for it.
    pub(crate) fn take(&mut self, now: u64) -> Option<Batch> {
        if let Some(batch) = self.take_waiting(now) {
            return Some(batch);
        }
        if self.ready.is_empty() && self.open_is_due {
            self.close();
        }
        let batch = self.ready.pop_front()?;
        Some(self.leave(batch))
    }

    /// A batch that comes back and has waited.
    pub(crate) fn take_waiting(&mut self, now: u64) -> Option<Batch> {
        if self.next_waiting()? > now {
            return None;
        }
        let Reverse(Waiting { batch, .. }) = self.waiting.pop()?;
        Some(self.leave(batch))
    }

    /// Has a batch wait until its export may be tried again.
    pub(crate) fn give_back(&mut self, batch: Batch, due_unix_nanos: u64) {
        self.enter(&batch);
        self.waiting.push(Reverse(Waiting {
            due_unix_nanos,
            batch,
        }));
    }

    /// Has none that came back wait longer than until `latest` says.
    pub(crate) fn hasten(&mut self, mut latest: impl FnMut() -> u64) {
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let hastened = waiting.map(|Reverse(mut waiting)| {
            waiting.due_unix_nanos = waiting.due_unix_nanos.min(latest());
            Reverse(waiting)
        });
        self.waiting = hastened.collect();
    }

    /// The number of ended streams whose spans a host builds together. Span
    /// construction is evicted from the instruction cache between requests, so
    /// 16 streams in a row cost less than 16 single ones; more gain nothing.
    ///
    /// Their spans, two a stream, never exceed one export, nor the free space of
    /// the queue: spans that are built one by one leave a full queue in an
    /// export before the next one is added.
    pub fn streams_at_once(&self) -> usize {
        let BatchConfig {
            max_queue_size,
            max_export_batch_size,
            ..
        } = self.config;
        let most = (max_export_batch_size / 2).clamp(1, 16);
        match max_queue_size.saturating_sub(self.queued_spans).div_ceil(2) {
            0 => most,
            free => free.min(most),
        }
    }

    /// Whether a batch that never was sent may go.
    pub fn is_ready(&self) -> bool {
        self.open_is_due || !self.ready.is_empty()
    }

    /// When the next that came back may be sent, in Unix nanoseconds.
    pub(crate) fn next_waiting(&self) -> Option<u64> {
        self.waiting.peek().map(|Reverse(next)| next.due_unix_nanos)
    }

    /// When the open batch will have waited long enough, in Unix nanoseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let delay = nanos(self.config.schedule_delay);
        (self.open.count > 0 && !self.open_is_due)
            .then(|| self.open.opened_unix_nanos.saturating_add(delay))
    }

    /// Forgets everything that waits, and gives the number of its spans.
    pub(crate) fn clear(&mut self) -> usize {
        self.ready.clear();
        self.waiting.clear();
        self.open = Batch::default();
        self.encoded = Vec::new();
        self.open_is_due = false;
        self.queued_bytes = 0;
        std::mem::take(&mut self.queued_spans)
    }

    /// Takes over all that waits elsewhere; what came back there goes on
    /// waiting.
    pub(crate) fn adopt(&mut self, mut other: Self) {
        other.close();
        self.ready.extend(other.ready);
        self.waiting.append(&mut other.waiting);
        self.queued_spans += other.queued_spans;
        self.queued_bytes += other.queued_bytes;
    }

    /// Spans that wait.
    pub(crate) fn queued_spans(&self) -> usize {
        self.queued_spans
    }

    /// Bytes that they take.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The limits.
    pub(crate) fn config(&self) -> &BatchConfig {
        &self.config
    }

    fn close(&mut self) {
        self.open_is_due = false;
        let mut batch = std::mem::take(&mut self.open);
        if batch.count > 0 {
            let mut encoded = std::mem::take(&mut self.encoded);
            // It may wait long, and what it reserved for others is not counted.
            encoded.shrink_to_fit();
            batch.bytes = Arc::new(encoded);
            batch.room = self.head_room;
            self.ready.push_back(batch);
        }
    }

    fn enter(&mut self, batch: &Batch) {
        self.queued_spans += batch.count;
        self.queued_bytes += batch.len();
    }

    fn leave(&mut self, batch: Batch) -> Batch {
        self.queued_spans -= batch.count;
        self.queued_bytes -= batch.len();
        batch
    }
}
