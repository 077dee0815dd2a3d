//! The workers' side of an exporter: a queue for each.

use crate::fault_injection;
use crate::process::panic_guard;
use crate::process::per_worker::PerWorker;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::deferred_spans::DeferredSpans;
use sidespan_core::export::pipeline::Delivery;
use sidespan_core::export::queue::BatchSpanProcessor;
use sidespan_core::recording::envoy_span::TaggedSpan;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::recording::recorder::Recorder;
use sidespan_core::recording::snapshot::Settled;
use sidespan_core::recording::stream::{Ended, StreamTracer};
use sidespan_core::stats::{Stat, Stats};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the spans of all workers wait for the main thread. Exists once for each
/// resource and collector.
#[derive(Debug)]
pub struct WorkerQueues {
    /// Only the main thread takes a worker's lock beside the worker itself, and for
    /// no longer than it takes to put an empty queue in its place.
    queues: PerWorker<WorkerQueue>,
    /// The main thread was called and has not come yet.
    is_called: AtomicBool,
}

/// What a worker has for the main thread: spans, and what is counted with them, so
/// that the accounts balance at every moment.
#[derive(Debug)]
pub(crate) struct WorkerQueue {
    deferred: DeferredSpans<FinishedItem>,
    pub(crate) queue: BatchSpanProcessor,
    pub(crate) stats: Stats,
}

/// What has ended, and has no span yet.
#[derive(Debug)]
pub enum FinishedItem {
    /// A stream of the filter.
    Stream(Arc<Recorder>, StreamTracer, Settled),
    /// A span of Envoy's own tracing.
    Span(Arc<SpanTagger>, TaggedSpan),
}

impl FinishedItem {
    fn end(self, now: u64) -> Option<Ended> {
        match self {
            Self::Stream(recorder, stream, response) => recorder.end(stream, &response, now),
            Self::Span(tagger, span) => tagger.end(span),
        }
    }
}

impl WorkerQueue {
    /// An empty queue with the limits that the document has for each worker.
    pub(crate) fn new(delivery: &Delivery, limits: &BatchConfig) -> Self {
        Self {
            deferred: DeferredSpans::default(),
            queue: delivery.outbox(limits.clone()),
            stats: Stats::default(),
        }
    }

    /// Builds the deferred spans. A panic costs the one that it is in.
    pub(crate) fn build_deferred(&mut self) {
        let Self {
            deferred,
            queue,
            stats,
        } = self;
        for (item, end) in deferred.drain() {
            panic_guard::call((), || {
                fault_injection::in_span();
                if let Some(ended) = item.end(end) {
                    queue.add(&ended, stats, end);
                }
            });
        }
    }
}

impl WorkerQueues {
    /// Empty queues for so many workers.
    pub(crate) fn new(workers: usize, delivery: &Delivery, limits: &BatchConfig) -> Self {
        Self {
            queues: PerWorker::new(workers, || WorkerQueue::new(delivery, limits)),
            is_called: AtomicBool::new(false),
        }
    }

    /// Counts what the main thread is to publish.
    pub fn count(&self, worker: usize, stat: Stat) {
        if let Some(mut queue) = self.queues.of(worker) {
            queue.stats.add(stat, 1);
        }
    }

    /// Queues the spans of a stream that ended. Returns whether the main thread
    /// must be called.
    pub fn queue(&self, worker: usize, ended: &Ended, now: u64) -> bool {
        let Some(mut own) = self.queues.of(worker) else {
            return false;
        };
        let WorkerQueue { queue, stats, .. } = &mut *own;
        queue.add(ended, stats, now);
        self.is_call_due(queue.is_ready())
    }

    /// Defers what ended at `now`. Returns whether the main thread must be called.
    pub fn defer(&self, worker: usize, item: FinishedItem, now: u64) -> bool {
        let Some(mut own) = self.queues.of(worker) else {
            return false;
        };
        let WorkerQueue {
            deferred, queue, ..
        } = &mut *own;
        if !deferred.push(item, now, queue) {
            return false;
        }
        own.build_deferred();
        self.is_call_due(own.queue.is_ready())
    }

    fn is_call_due(&self, is_ready: bool) -> bool {
        is_ready && !self.is_called.swap(true, Ordering::Relaxed)
    }

    /// Takes what each worker has, for the main thread.
    pub(crate) fn take(
        &self,
        mut empty: impl FnMut() -> WorkerQueue,
        mut merge: impl FnMut(WorkerQueue),
    ) {
        // Before the queues are looked at: what comes later calls again.
        self.is_called.store(false, Ordering::Relaxed);
        for mut own in self.queues.each() {
            let mut filled = std::mem::replace(&mut *own, empty());
            drop(own);
            let deferred = std::mem::take(&mut filled.deferred);
            merge(filled);
            // In a queue of their own: the worker's may be full.
            if !deferred.is_empty() {
                let mut own = empty();
                own.deferred = deferred;
                own.build_deferred();
                merge(own);
            }
        }
    }
}
