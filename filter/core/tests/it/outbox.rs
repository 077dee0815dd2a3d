//! Spans of several workers on their way into one delivery.

use crate::common::exports::{NOW, SECOND};
use crate::common::{Headers, Host, Info, Response, default_config, hex, spans};
use proptest::prelude::*;
use sidespan_core::config::Config;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::pipeline::Delivery;
use sidespan_core::export::queue::BatchSpanProcessor;
use sidespan_core::host::request_info::Direction;
use sidespan_core::source::SpanSource;
use sidespan_core::stats::{Level, Stat, Stats};
use std::collections::HashSet;

struct Worker {
    source: SpanSource,
    outbox: BatchSpanProcessor,
    limits: BatchConfig,
    stats: Stats,
}

impl Worker {
    fn new(config: &Config, delivery: &Delivery, number: u8) -> Self {
        Self {
            source: SpanSource::new(config.clone(), &Host::default(), [number + 1; 32]),
            outbox: delivery.outbox(config.batch.clone()),
            limits: config.batch.clone(),
            stats: Stats::default(),
        }
    }

    fn end_span(&mut self, now: u64) {
        let lines = Headers::from_wire([(":method", "GET"), (":path", "/")]);
        let mut upstream = lines.clone();
        let info = Info::default();
        let started =
            self.source
                .on_request(&lines, &info.at(Direction::Inbound, now), &mut upstream);
        let stream = started.stream.expect("sampled");
        let ended = self.source.on_end(stream, &Response::status(200), now);
        self.outbox
            .add(&ended.expect("sampled"), &mut self.stats, now);
    }

    /// What the main thread takes.
    fn hand_over(&mut self, delivery: &mut Delivery) {
        let empty = delivery.outbox(self.limits.clone());
        delivery.take_in(std::mem::replace(&mut self.outbox, empty));
    }
}

fn set_up(batch: BatchConfig, workers: u8) -> (Delivery, Vec<Worker>) {
    let mut config = default_config();
    config.batch = batch;
    let delivery = Delivery::new(config.delivery(), &Host::default());
    let workers = (0..workers).map(|number| Worker::new(&config, &delivery, number));
    let workers = workers.collect();
    (delivery, workers)
}

/// Every span that may go now, by export.
fn exports(delivery: &mut Delivery, now: u64) -> Vec<Vec<String>> {
    std::iter::from_fn(|| delivery.next_callout(now))
        .map(|callout| spans(&callout).iter().map(|s| hex(&s.span_id)).collect())
        .collect()
}

fn dropped(delivery: &mut Delivery) -> u64 {
    let counted = delivery.stats().take();
    let full = counted.filter(|(stat, _)| *stat == Stat::SpansDroppedQueueFull);
    full.map(|(_, n)| n).sum()
}

#[test]
fn what_few_workers_have_little_of_goes_as_one_export() {
    let (mut delivery, mut workers) = set_up(BatchConfig::default(), 4);
    for worker in &mut workers {
        for _ in 0..3 {
            worker.end_span(NOW);
        }
        assert!(!worker.outbox.is_ready());
        worker.hand_over(&mut delivery);
    }
    assert_eq!(delivery.level(Level::SpansQueued), 12);
    delivery.on_tick(NOW + SECOND);
    let exports = exports(&mut delivery, NOW + SECOND);
    let sizes: Vec<_> = exports.iter().map(Vec::len).collect();
    assert_eq!(sizes, [12]);
}

/// A worker that has a whole batch says so, and it goes at once.
#[test]
fn a_batch_that_is_full_goes_as_it_is() {
    let batch = BatchConfig {
        max_export_batch_size: 5,
        ..BatchConfig::default()
    };
    let (mut delivery, mut workers) = set_up(batch, 2);
    for _ in 0..5 {
        assert!(!workers[0].outbox.is_ready());
        workers[0].end_span(NOW);
    }
    assert!(workers[0].outbox.is_ready());
    workers[1].end_span(NOW);
    for worker in &mut workers {
        worker.hand_over(&mut delivery);
    }
    let sizes: Vec<_> = exports(&mut delivery, NOW).iter().map(Vec::len).collect();
    assert_eq!(sizes, [5], "the sixth waits for its time");
}

/// The delay counts from the end of the oldest span, whichever worker had it
/// and for however long.
#[test]
fn no_span_waits_longer_for_having_been_with_a_worker() {
    let (mut delivery, mut workers) = set_up(BatchConfig::default(), 2);
    workers[0].end_span(NOW);
    workers[1].end_span(NOW + SECOND / 2);
    workers[1].hand_over(&mut delivery);
    workers[0].hand_over(&mut delivery);
    delivery.on_tick(NOW + SECOND - 1);
    assert_eq!(exports(&mut delivery, NOW + SECOND - 1).len(), 0);
    delivery.on_tick(NOW + SECOND);
    assert_eq!(exports(&mut delivery, NOW + SECOND)[0].len(), 2);
}

/// A host that goes takes its calls along: their spans go again at once, and
/// the collector is not taken to be failing.
#[test]
fn what_a_host_forgot_is_sent_again_and_is_no_failure() {
    let (mut delivery, mut workers) = set_up(BatchConfig::default(), 1);
    for _ in 0..3 {
        workers[0].end_span(NOW);
    }
    workers[0].hand_over(&mut delivery);
    let now = NOW + SECOND;
    delivery.on_tick(now);
    let first = delivery.next_callout(now).expect("an export");
    assert!(delivery.next_callout(now).is_none());
    delivery.recall(first.id, now);
    // Nobody knows it any more.
    delivery.recall(first.id, now);
    assert_eq!(delivery.level(Level::SpansInFlight), 0);
    let second = delivery.next_callout(now).expect("the same again");
    assert_eq!(spans(&second), spans(&first));
    let counted: Vec<_> = delivery.stats().take().collect();
    assert_eq!(counted, [(Stat::Retries, 1)]);
}

proptest! {
    /// Whatever workers do: the bound holds, and each span is in an export or
    /// counted, once.
    #[test]
    fn the_books_of_all_workers_balance(
        steps in prop::collection::vec((0_usize..3, 1_usize..9, any::<bool>()), 1..60),
        max_queue_size in 1_usize..40,
        max_export_batch_size in 1_usize..12,
    ) {
        let batch = BatchConfig {
            max_queue_size,
            max_export_batch_size: max_export_batch_size.min(max_queue_size),
            max_concurrent_exports: 10_000,
            ..BatchConfig::default()
        };
        let (mut delivery, mut workers) = set_up(batch, 3);
        let (mut made, mut seen, mut exported) = (0_u64, HashSet::new(), 0_u64);
        let mut lost = 0;
        for (worker, count, goes) in steps {
            for _ in 0..count {
                workers[worker].end_span(NOW);
                made += 1;
            }
            workers[worker].hand_over(&mut delivery);
            prop_assert!(delivery.level(Level::SpansQueued) <= max_queue_size as u64);
            if goes {
                for id in exports(&mut delivery, NOW).into_iter().flatten() {
                    exported += 1;
                    prop_assert!(seen.insert(id), "each once");
                }
            }
        }
        delivery.on_tick(u64::MAX);
        exported += exports(&mut delivery, u64::MAX).concat().len() as u64;
        lost += dropped(&mut delivery);
        for worker in &mut workers {
            for (stat, n) in worker.stats.take() {
                if stat == Stat::SpansDroppedQueueFull {
                    lost += n;
                }
            }
        }
        prop_assert_eq!(made, exported + lost);
    }
}
