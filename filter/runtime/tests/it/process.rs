//! The exporters of a process: fed by workers, sent by hosts that come and go.

use crate::fake_host::{FakeEnvironment, FakeHost, Inbound, Ordinary, SECOND, START};
use crate::logs;
use sidespan_core::config::Config;
use sidespan_core::headers::serialized_map::{Pairs, serialize};
use sidespan_core::recording::snapshot::Settled;
use sidespan_core::source::SpanSource;
use sidespan_core::stats::Stat;
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::metrics::Metrics;
use sidespan_runtime::process::export_state::ExportState;
use sidespan_runtime::process::panic_guard;
use sidespan_runtime::process::per_worker::PerWorker;
use sidespan_runtime::process::worker_queues::{FinishedItem, WorkerQueues};
use sidespan_runtime::stream::HttpStream;
use std::sync::Arc;
use std::time::Duration;

const WORKERS: usize = 2;

/// A process with a filter on each of its workers.
struct Process {
    host: FakeHost,
    metrics: Metrics<usize>,
    state: ExportState<u32>,
    config: Config,
    source: SpanSource,
    queues: Option<Arc<WorkerQueues>>,
    /// Streams that a host has open: host, stream, bytes.
    open: Vec<(u32, u64, usize)>,
    next_stream: u64,
    refusal: Option<DispatchError>,
    now: u64,
}

impl Process {
    fn new(batch: &str) -> Self {
        logs::capture();
        let document = format!(
            r#"{{"exporter": {{"otlp_grpc": {{"cluster": "collector"}}, "batch": {{{batch}}}}}}}"#
        );
        let config = sidespan_config::parse(document.as_bytes()).expect("a valid document");
        let host = FakeHost::new();
        let environment = FakeEnvironment::default();
        let mut state = ExportState::new([1; 32]);
        let queues = state.exporter(config.delivery(), WORKERS, &environment);
        Self {
            metrics: Metrics::define(&host),
            host,
            source: SpanSource::new(config.clone(), &environment, [2; 32]),
            state,
            config,
            queues: Some(queues),
            open: Vec::new(),
            next_stream: 0,
            refusal: None,
            now: START,
        }
    }

    /// Requests end on a worker. Returns whether the main thread was called.
    fn requests(&mut self, worker: usize, count: usize) -> bool {
        let lines = [(":method", "GET"), (":path", "/")];
        let request = Pairs(serialize(lines.into_iter()));
        let mut is_called = false;
        for _ in 0..count {
            let mut stream = HttpStream::default();
            stream.start(&mut self.source, &request, &Inbound, &mut (), None);
            let recorded = stream.end().expect("sampled");
            let recorder = Arc::clone(self.source.recorder());
            let response = Settled::read(&recorder, &recorded, &Ordinary).expect("ordinary");
            let item = FinishedItem::Stream(recorder, recorded, response);
            let queues = self.queues.as_ref().expect("queues");
            is_called |= queues.defer(worker, item, self.now);
        }
        is_called
    }

    fn send(&mut self) {
        while let Some(dispatch) = self.state.next_dispatch(self.now) {
            let started = match self.refusal {
                Some(error) => Err(error),
                None => {
                    self.next_stream += 1;
                    let bytes = dispatch.callout.body.len();
                    self.open.push((dispatch.host, self.next_stream, bytes));
                    Ok(self.next_stream)
                }
            };
            self.state.dispatched(dispatch, started, self.now);
        }
    }

    /// The main thread's turn.
    fn turn(&mut self) {
        self.state.collect(self.now);
        self.send();
        if self.state.collect_rest() {
            self.send();
        }
        self.publish();
        self.state.end_orphans(self.now);
    }

    fn publish(&mut self) {
        self.state.count_levels(self.now);
        self.state.unpublished.publish(&self.host, &self.metrics);
    }

    /// The collector accepts the oldest export.
    fn accept(&mut self) {
        let (host, stream, _) = self.open.remove(0);
        let response = self.state.response(host, stream).expect("an export");
        response.set_headers(&[(b":status", b"200"), (b"content-type", b"application/grpc")]);
        response.add_body(&[0, 0, 0, 0, 0]);
        response.set_trailers(&[(b"grpc-status", b"0")]);
        assert!(self.state.end_response(host, stream, true, self.now));
        self.send();
        self.publish();
    }

    fn advance(&mut self, seconds: u64) {
        self.now += seconds * SECOND;
    }

    /// Created, acknowledged, dropped as queue_full, dropped at a shutdown, queued,
    /// in flight.
    fn accounts(&self) -> [i64; 6] {
        [
            "spans_created",
            "spans_acknowledged",
            "spans_dropped.queue_full",
            "spans_dropped.shutdown",
            "spans_queued",
            "spans_in_flight",
        ]
        .map(|name| self.host.metric(name).expect(name))
    }
}

#[test]
fn full_batch_calls_the_main_thread_once() {
    let mut process = Process::new(r#""max_export_batch_size": 32"#);
    process.state.register_host(1);
    assert!(!process.requests(0, 31));
    assert!(process.requests(0, 1), "a batch is full");
    assert!(!process.requests(0, 64), "it was called");
    process.turn();
    assert_eq!(process.accounts(), [96, 0, 0, 0, 0, 96]);
    assert!(process.requests(1, 32), "it has come");
}

#[test]
fn spans_of_all_workers_are_one_export() {
    let mut process = Process::new("");
    process.state.register_host(1);
    process.requests(0, 3);
    process.requests(1, 4);
    process.turn();
    process.advance(2);
    process.turn();
    assert_eq!(process.open.len(), 1);
    process.accept();
    assert_eq!(process.accounts(), [7, 7, 0, 0, 0, 0]);
}

/// A full batch leaves the queue before the spans behind it need its space.
#[test]
fn queue_keeps_spans_that_a_full_batch_makes_space_for() {
    let mut process = Process::new(r#""max_queue_size": 8, "max_export_batch_size": 8"#);
    process.state.register_host(1);
    process.requests(0, 6);
    process.turn();
    assert_eq!(process.accounts(), [6, 0, 0, 0, 6, 0]);
    process.requests(0, 8);
    process.requests(1, 8);
    process.turn();
    assert_eq!(process.accounts(), [22, 0, 0, 0, 6, 16]);
}

/// The main thread comes late: the worker's queue is full, and streams are deferred
/// behind it.
#[test]
fn deferred_spans_need_no_space_in_a_full_worker_queue() {
    let mut process = Process::new(r#""max_queue_size": 16, "max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 16);
    process.requests(0, 3);
    process.turn();
    assert_eq!(process.accounts(), [19, 0, 0, 0, 3, 16]);
}

#[test]
fn queue_is_bounded_while_exports_hang() {
    let mut process = Process::new(
        r#""max_queue_size": 10, "max_export_batch_size": 5, "max_concurrent_exports": 1"#,
    );
    process.state.register_host(1);
    for _ in 0..20 {
        process.requests(0, 5);
        process.turn();
    }
    // One export of each worker is under way, and each has ten spans queued.
    assert_eq!(process.accounts(), [100, 0, 70, 0, 20, 10]);
    let lines = logs::texts();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("spans_dropped.queue_full")),
        "{lines:?}"
    );
}

/// Exports go with the configuration that sends them.
#[test]
fn exports_of_a_host_that_goes_are_sent_by_the_next_one() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.state.register_host(2);
    process.requests(0, 16);
    process.turn();
    assert_eq!(process.open[0].0, 2, "the newest");
    assert!(process.state.unregister_host(2, false, process.now));
    process.turn();
    assert_eq!(process.open[1].0, 1);
    assert_eq!(process.open[0].2, process.open[1].2, "the same spans");
    process.open.remove(0);
    process.accept();
    assert_eq!(process.accounts(), [16, 16, 0, 0, 0, 0]);
    assert!(
        !process.state.unregister_host(2, false, process.now),
        "it is gone"
    );
}

#[test]
fn last_host_drops_and_counts_what_is_left() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 20);
    process.turn();
    process.requests(1, 3);
    process.state.unregister_host(1, false, process.now);
    process.publish();
    assert_eq!(process.accounts(), [23, 0, 0, 23, 0, 0]);
}

/// A tracer's spans wait for a filter that can send them.
#[test]
fn spans_are_kept_without_a_host_while_a_tracer_is_there() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 20);
    process.turn();
    process.state.unregister_host(1, true, process.now);
    process.turn();
    assert_eq!(process.accounts(), [20, 0, 0, 0, 20, 0]);
    process.open.clear();
    process.state.register_host(2);
    process.advance(10);
    process.turn();
    while !process.open.is_empty() {
        process.accept();
    }
    assert_eq!(process.accounts(), [20, 20, 0, 0, 0, 0]);
}

#[test]
fn exports_of_older_hosts_are_taken_back_after_two_seconds() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 16);
    process.turn();
    process.state.register_host(2);
    process.advance(2);
    assert!(process.state.take_old_calls(process.now).is_empty());
    process.advance(1);
    assert_eq!(process.state.take_old_calls(process.now), [(1, 1)]);
    process.turn();
    assert_eq!(process.open[1].0, 2);
    assert!(
        !process.state.end_response(1, 1, false, process.now),
        "it is forgotten"
    );
}

/// The configuration goes while spans are queued and under way.
#[test]
fn shutdown_under_load_delivers_every_span() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 40);
    process.turn();
    process.requests(1, 7);
    process.queues = None;
    process.turn();
    for _ in 0..4 {
        process.turn();
        while !process.open.is_empty() {
            process.accept();
        }
    }
    assert_eq!(process.accounts(), [47, 47, 0, 0, 0, 0]);
    // The next configuration has an exporter of its own.
    let environment = FakeEnvironment::default();
    let next = process
        .state
        .exporter(process.config.delivery(), WORKERS, &environment);
    assert_eq!(Arc::strong_count(&next), 2);
}

#[test]
fn orphan_gives_up_after_thirty_seconds() {
    let mut process = Process::new("");
    process.state.register_host(1);
    process.refusal = Some(DispatchError::NoEndpoint);
    process.requests(0, 5);
    process.queues = None;
    for _ in 0..35 {
        process.turn();
        process.advance(1);
    }
    assert_eq!(process.accounts(), [5, 0, 0, 5, 0, 0]);
}

#[test]
fn configurations_with_equal_destinations_share_an_exporter() {
    let mut process = Process::new("");
    let environment = FakeEnvironment::default();
    let same = process
        .state
        .exporter(process.config.delivery(), WORKERS, &environment);
    assert!(Arc::ptr_eq(&same, process.queues.as_ref().unwrap()));
    let mut other = process.config.delivery();
    other.service_name = "b".to_owned();
    let other = process.state.exporter(other, WORKERS, &environment);
    assert!(!Arc::ptr_eq(&same, &other));
}

#[test]
fn missing_cluster_is_reported_and_its_spans_are_retried() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.refusal = Some(DispatchError::NoCluster);
    process.requests(0, 16);
    process.turn();
    assert_eq!(process.host.metric("exports.failed"), Some(1));
    let lines = logs::texts();
    assert!(
        lines
            .iter()
            .any(|line| line.contains("there is no such cluster")),
        "{lines:?}"
    );
    process.refusal = None;
    process.advance(30);
    process.turn();
    process.accept();
    assert_eq!(process.accounts(), [16, 16, 0, 0, 0, 0]);
}

#[test]
fn reset_export_is_retried() {
    let mut process = Process::new(r#""max_export_batch_size": 16"#);
    process.state.register_host(1);
    process.requests(0, 16);
    process.turn();
    assert!(process.state.end_response(1, 1, false, process.now));
    process.publish();
    assert_eq!(process.accounts(), [16, 0, 0, 0, 16, 0]);
    assert!(process.state.next_turn(process.now) <= Duration::from_millis(1001));
}

#[test]
fn counts_wait_for_a_publisher() {
    let mut process = Process::new("");
    process.queues.as_ref().unwrap().count(0, Stat::Sampled);
    process.state.count_rejected();
    process.state.collect(process.now);
    process.state.count_levels(process.now);
    assert!(process.host.metrics().is_empty());
    process
        .state
        .unpublished
        .publish(&process.host, &process.metrics);
    assert_eq!(process.host.metric("sampled"), Some(1));
    assert_eq!(process.host.metric("config_rejected"), Some(1));
}

#[test]
fn threads_beyond_the_workers_share_a_value() {
    let values = PerWorker::new(WORKERS, || 0);
    for worker in 0..5 {
        *values.of(worker).expect("a value") += 1;
    }
    let all: Vec<i32> = values.each().map(|value| *value).collect();
    assert_eq!(all, [3, 2]);
    assert!(PerWorker::<()>::new(0, || ()).of(0).is_none());
}

#[test]
fn panic_becomes_a_value_and_is_counted() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    panic_guard::take_caught();
    assert_eq!(panic_guard::call(7, || panic!("a bug")), 7);
    std::panic::set_hook(hook);
    assert_eq!(panic_guard::call(7, || 8), 8);
    assert_eq!(panic_guard::take_caught(), 1);
    assert_eq!(panic_guard::take_caught(), 0);
}
