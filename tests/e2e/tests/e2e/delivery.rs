//! What becomes of spans, and of requests, when the collector does not do
//! what it should, under full load with two workers. `make soak` is longer.

use super::stage::{PATIENCE, Stage, stat_name};
use harness::load::{self, LoadReport};
use harness::{Behaviour, Code, Garbage, MockCollector, client};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Everything that the filter says of its spans.
#[derive(Debug, PartialEq, Eq)]
pub struct Books {
    pub created: u64,
    pub acknowledged: u64,
    pub rejected: u64,
    pub dropped: u64,
    pub queued: u64,
    pub in_flight: u64,
}

impl Books {
    pub fn of(stage: &Stage) -> Self {
        let stats = stage.envoy.stats(&format!("^{}", stat_name("spans_")));
        let stat = |name: &str| {
            let full = stat_name(&format!("spans_{name}"));
            *stats
                .get(&full)
                .unwrap_or_else(|| panic!("there is no stat {full}"))
        };
        let causes = [
            "queue_full",
            "retry_exhausted",
            "permanent",
            "shutdown",
            "encoding",
        ];
        Self {
            created: stat("created"),
            acknowledged: stat("acknowledged"),
            rejected: stat("rejected"),
            dropped: causes
                .map(|cause| stat(&format!("dropped.{cause}")))
                .iter()
                .sum(),
            queued: stat("queued"),
            in_flight: stat("in_flight"),
        }
    }

    fn is_balanced(&self) -> bool {
        let known = self.acknowledged + self.rejected + self.dropped;
        self.created == known + self.queued + self.in_flight
    }

    /// Waits until nothing is left to deliver, and gives what is said then.
    pub fn closed(stage: &Stage, created: u64, patience: Duration) -> Self {
        harness::eventually(patience, "that all spans are accounted for", || {
            let books = Self::of(stage);
            (books.created == created && books.queued == 0 && books.in_flight == 0).then_some(books)
        })
    }
}

/// Of two workers, with room for all that is lost without, and a quick retry.
pub const ROOMY: &str = "exporter: { otlp_grpc: { cluster: otel-collector, timeout: 2s }, \
    batch: { max_queue_size: 1000000, max_queue_bytes: 1024MiB, schedule_delay: 50ms }, \
    retry: { initial_interval: 200ms, max_interval: 1s } }";

pub fn stage(exporter: &str) -> Stage {
    let stage = Stage::edge_with(|edge| {
        edge.concurrency(2)
            .replace(super::stage::EXPORTER, exporter)
    });
    stage.upstream.record(false);
    stage.collector.keep_only_ids();
    stage
}

fn full_load(addr: SocketAddr, requests: u64) -> LoadReport {
    load::run(addr, "/bytes/10", 16, requests, &[])
}

#[track_caller]
fn assert_unharmed(report: &LoadReport, requests: u64) {
    let seen = (report.ok, report.failed);
    assert_eq!(seen, (requests, 0), "{:?}", report.statuses);
}

/// A load while something is wrong with the collector, which is well again in
/// the end: no request fails, no span is lost, each is there.
fn nothing_is_lost(stage: &Stage, requests: u64, during: impl FnOnce() + Send) {
    let addr = stage.addr();
    let report = std::thread::scope(|scope| {
        let load = scope.spawn(move || full_load(addr, requests));
        during();
        load.join().expect("the load")
    });
    assert_unharmed(&report, requests);
    stage.collector.set_behaviour(Behaviour::Accept);
    let books = Books::closed(stage, requests, 6 * PATIENCE);
    let (acknowledged, dropped) = (books.acknowledged, books.dropped);
    assert_eq!((acknowledged, dropped), (requests, 0), "{books:?}");
    assert_eq!(stage.collector.distinct_span_count() as u64, requests);
}

/// Spans that are built together fit into what a small queue has left: two of
/// each of these requests, and four that are queued already.
#[test]
fn a_small_queue_holds_what_is_made_at_once() {
    const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector }, \
        batch: { max_queue_size: 16, schedule_delay: 5s } }";
    let stage = Stage::gateway_with(|edge| edge.replace(super::stage::EXPORTER, EXPORTER));
    let request = |n: usize| {
        for _ in 0..n {
            assert_eq!(client::get(stage.addr(), "/").status, 200);
        }
    };
    request(2);
    harness::eventually(PATIENCE, "that four spans are queued", || {
        (Books::of(&stage).queued == 4).then_some(())
    });
    request(10);
    let books = Books::closed(&stage, 24, PATIENCE);
    assert_eq!((books.acknowledged, books.dropped), (24, 0), "{books:?}");
}

fn refuse() -> Behaviour {
    Behaviour::Fail(Code::Unavailable, "not now".to_owned())
}

#[test]
fn a_healthy_collector_gets_each_span_once() {
    let requests = 20_000;
    let stage = stage(super::stage::EXPORTER);
    assert_unharmed(&full_load(stage.addr(), requests), requests);
    let books = Books::closed(&stage, requests, PATIENCE);
    assert_eq!((books.acknowledged, books.dropped), (requests, 0));
    let ids = stage.collector.ids();
    let distinct: HashSet<_> = ids.iter().collect();
    let seen = (ids.len() as u64, distinct.len() as u64);
    assert_eq!(seen, (requests, requests), "each once");
    assert_eq!(stage.stat("retries"), 0);
}

#[test]
fn nothing_is_lost_while_the_collector_is_away() {
    let requests = 30_000;
    let mut stage = stage(ROOMY);
    let addr = stage.collector.addr();
    stage.collector.stop();
    let load = {
        let addr = stage.addr();
        std::thread::spawn(move || full_load(addr, requests))
    };
    stage.wait_stat("exports.failed", |n| n > 0);
    stage.collector = MockCollector::start_on(addr);
    stage.collector.keep_only_ids();
    assert_unharmed(&load.join().expect("the load"), requests);
    let books = Books::closed(&stage, requests, 6 * PATIENCE);
    assert_eq!((books.acknowledged, books.dropped), (requests, 0));
    assert_eq!(stage.collector.distinct_span_count() as u64, requests);
    assert!(stage.stat("retries") > 0);
    stage.envoy.wait_log("works again", PATIENCE);
}

#[test]
fn nothing_is_lost_while_every_second_call_is_refused() {
    let stage = stage(ROOMY);
    stage.collector.set_cycle(vec![Behaviour::Accept, refuse()]);
    let requests = 20_000;
    nothing_is_lost(&stage, requests, || ());
    assert_eq!(stage.collector.span_count() as u64, requests, "each once");
    // Flapping is told, and not with every call.
    let log = stage.envoy.log();
    let lines = log.lines().filter(|line| line.contains("sidespan: export"));
    assert!(lines.count() <= 2);
}

#[test]
fn nothing_is_lost_when_the_collector_asks_for_time() {
    let stage = stage(ROOMY);
    let later = Behaviour::FailWithRetryInfo(Code::ResourceExhausted, Duration::from_millis(300));
    stage
        .collector
        .set_cycle(vec![later, Behaviour::Accept, Behaviour::Accept]);
    nothing_is_lost(&stage, 20_000, || ());
}

#[test]
fn nothing_is_lost_to_a_collector_that_never_answers() {
    let stage = stage(ROOMY);
    stage.collector.set_behaviour(Behaviour::Hang);
    nothing_is_lost(&stage, 20_000, || {
        stage.wait_stat("exports.failed", |n| n > 0);
        stage.collector.set_behaviour(Behaviour::Accept);
    });
}

#[test]
fn nothing_is_lost_to_a_collector_that_answers_late() {
    let exporter = ROOMY.replace("timeout: 2s", "timeout: 10s").replace(
        "schedule_delay: 50ms",
        "schedule_delay: 50ms, max_concurrent_exports: 16",
    );
    let stage = stage(&exporter);
    let late = Duration::from_millis(500);
    stage.collector.set_behaviour(Behaviour::Delay(late));
    let requests = 20_000;
    nothing_is_lost(&stage, requests, || ());
    assert_eq!(stage.collector.span_count() as u64, requests, "each once");
    assert_eq!(stage.stat("retries"), 0);
}

#[test]
fn nothing_is_lost_when_connections_end_in_the_middle() {
    let stage = stage(ROOMY);
    let behaviours = vec![
        Behaviour::Accept,
        Behaviour::Accept,
        Behaviour::DropConnection,
    ];
    stage.collector.set_cycle(behaviours);
    nothing_is_lost(&stage, 20_000, || ());
    assert!(stage.stat("retries") > 0);
}

#[test]
fn nothing_is_lost_to_something_that_speaks_garbage_in_the_collectors_place() {
    let mut stage = stage(ROOMY);
    let addr = stage.collector.addr();
    stage.collector.stop();
    let mut garbage = Garbage::start_on(addr);
    let requests = 20_000;
    assert_unharmed(&full_load(stage.addr(), requests), requests);
    stage.wait_stat("exports.failed", |n| n > 0);
    assert!(garbage.connections() > 0);
    garbage.stop();
    stage.collector = MockCollector::start_on(addr);
    stage.collector.keep_only_ids();
    let books = Books::closed(&stage, requests, 6 * PATIENCE);
    assert_eq!((books.acknowledged, books.dropped), (requests, 0));
    assert_eq!(stage.collector.distinct_span_count() as u64, requests);
}

#[test]
fn what_is_rejected_is_counted_and_not_sent_again() {
    let requests = 20_000;
    let stage = stage(ROOMY);
    stage.collector.set_behaviour(Behaviour::PartialSuccess {
        rejected: 3,
        message: "three too many".to_owned(),
    });
    assert_unharmed(&full_load(stage.addr(), requests), requests);
    let books = Books::closed(&stage, requests, PATIENCE);
    let calls = stage.collector.calls();
    let rejected: usize = calls.iter().map(|call| call.span_count.min(3)).sum();
    assert_eq!(books.rejected, rejected as u64);
    assert_eq!(books.acknowledged, requests - books.rejected);
    assert_eq!(stage.collector.span_count() as u64, requests, "each once");
    assert_eq!(stage.stat("exports.partial"), calls.len() as u64);
}

/// What the collector refuses for good is lost, and counted as such; the
/// exports beside it are not.
#[test]
fn what_is_refused_for_good_is_counted_and_not_sent_again() {
    let requests = 20_000;
    let stage = stage(ROOMY);
    let never = Behaviour::Fail(Code::InvalidArgument, "I do not like it".to_owned());
    stage.collector.set_cycle(vec![Behaviour::Accept, never]);
    assert_unharmed(&full_load(stage.addr(), requests), requests);
    let books = Books::closed(&stage, requests, PATIENCE);
    assert_eq!(books.acknowledged, stage.collector.span_count() as u64);
    assert_eq!(stage.stat("spans_dropped.permanent"), books.dropped);
    assert_eq!(books.acknowledged + books.dropped, requests);
    assert_eq!(stage.stat("retries"), 0);
    let log = stage.envoy.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("refused an export"))
        .collect();
    assert!(lines[0].contains("gRPC status 3 INVALID_ARGUMENT: \"I do not like it\""));
    assert!(lines.len() == 1, "{lines:#?}");
}

/// A collector that is dead for long: the queue fills, memory stays bounded,
/// the books balance at every moment, and what waited arrives in the end.
#[test]
fn a_dead_collector_costs_what_the_queue_cannot_hold_and_no_more() {
    let requests = 60_000;
    let healthy = stage(super::stage::EXPORTER);
    assert_unharmed(&full_load(healthy.addr(), requests), requests);
    let healthy_bytes = healthy.envoy.rss_bytes();
    drop(healthy);

    let mut stage = stage(super::stage::EXPORTER);
    let addr = stage.collector.addr();
    stage.collector.stop();
    let load = {
        let addr = stage.addr();
        std::thread::spawn(move || full_load(addr, requests))
    };
    let mut looks = 0;
    while !load.is_finished() {
        let books = Books::of(&stage);
        // A look may fall between what the two workers publish.
        if !books.is_balanced() {
            harness::eventually(PATIENCE, "books that balance", || {
                Books::of(&stage).is_balanced().then_some(())
            });
        }
        looks += 1;
    }
    assert!(looks > 3, "{looks}");
    assert_unharmed(&load.join().expect("the load"), requests);
    stage.wait_stat("spans_created", |n| n == requests);
    let grown = stage.envoy.rss_bytes().saturating_sub(healthy_bytes);
    assert!(grown < 16 << 20, "{grown} bytes over the healthy run");

    let books = Books::of(&stage);
    assert!(books.is_balanced(), "{books:?}");
    assert!(books.dropped > 0 && books.dropped == stage.stat("spans_dropped.queue_full"));
    // Two workers' queues of 2048, and what returned of two exports of 512 each.
    assert!(
        (4096..=4096 + 2048).contains(&(books.queued + books.in_flight)),
        "{books:?}"
    );
    stage
        .envoy
        .wait_log("spans are lost, the queue is full", PATIENCE);

    stage.collector = MockCollector::start_on(addr);
    let closed = Books::closed(&stage, requests, 6 * PATIENCE);
    assert_eq!(closed.acknowledged + closed.dropped, requests);
    let had = stage.collector.distinct_span_count() as u64;
    assert_eq!((had, closed.dropped), (closed.acknowledged, books.dropped));
}
