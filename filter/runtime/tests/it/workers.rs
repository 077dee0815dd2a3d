//! Contexts of one VM: configured, called, drained, adopted, dropped.

use crate::fake_host::{FakeEnvironment, FakeHost, Inbound, Ordinary};
use crate::logs;
use sidespan_core::export::callout::CalloutOutcome;
use sidespan_core::headers::serialized_map::{Pairs, serialize};
use sidespan_runtime::configuration::Plugin;
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::metrics::Metrics;
use sidespan_runtime::stream::HttpStream;
use sidespan_runtime::workers::{Configured, Workers};
use std::time::Duration;

const GOOD: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "collector"}, "batch": {"max_export_batch_size": 32}}}"#;
const NEXT: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "collector"}}, "service_name": "b"}"#;
const BAD: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "collector"}, "batch": 1}}"#;

const OK: CalloutOutcome<'_> = CalloutOutcome::Answered {
    headers: &[(b":status", b"200"), (b"content-type", b"application/grpc")],
    body: &[0, 0, 0, 0, 0],
    trailers: &[(b"grpc-status", b"0")],
};

/// A VM on a host.
struct Vm {
    host: FakeHost,
    metrics: Metrics<usize>,
    workers: Workers<Ordinary, ()>,
}

impl Vm {
    fn new() -> Self {
        logs::capture();
        let host = FakeHost::new();
        Self {
            metrics: Metrics::define(&host),
            host,
            workers: Workers::default(),
        }
    }

    fn configure(&mut self, context_id: u32, document: &str) -> bool {
        self.configure_in(context_id, document, &[])
    }

    fn configure_in(
        &mut self,
        context_id: u32,
        document: &str,
        variables: &[(&'static str, &'static str)],
    ) -> bool {
        self.host.current.set(context_id);
        self.workers.create(context_id);
        let configured = Configured {
            context_id,
            plugin: &Plugin {
                description: "plugin \"a\"".to_owned(),
                has_identity: true,
            },
            key_prefix: "a/".to_owned(),
            document: document.as_bytes().to_vec(),
            environment: &FakeEnvironment(variables.to_vec()),
            seed: [7; 32],
        };
        self.workers
            .configure(&self.host, &self.metrics, configured, |_, _| ())
    }

    fn tick(&mut self, context_id: u32) {
        self.host.current.set(context_id);
        self.workers.on_tick(&self.host, &self.metrics, context_id);
    }

    /// Requests go through a context.
    fn requests(&mut self, context_id: u32, count: usize) {
        let lines = [(":method", "GET"), (":path", "/")];
        let request = Pairs(serialize(lines.into_iter()));
        for _ in 0..count {
            // The callback of a stream.
            self.host.current.set(1000);
            let worker = self.workers.get(context_id).expect("a configuration");
            let mut stream = HttpStream::default();
            let (source, ()) = worker.parts();
            stream.start(source, &request, &Inbound, &mut (), None);
            let stream = stream.end().expect("sampled");
            let now = self.host.now.get();
            worker.end_deferrable(&self.host, &self.metrics, stream, Ordinary, now);
        }
    }

    fn done(&mut self, context_id: u32) -> bool {
        self.host.current.set(context_id);
        self.workers.on_done(&self.host, &self.metrics, context_id)
    }

    /// The response to an export comes.
    fn answer(&mut self, token: u32, outcome: CalloutOutcome<'_>) {
        let sent = self.host.sent.borrow();
        let context_id = sent[token as usize - 1].context_id;
        drop(sent);
        self.host.current.set(context_id);
        self.workers
            .on_export_end(&self.host, &self.metrics, context_id, token, outcome);
    }

    fn sent(&self) -> usize {
        self.host.sent.borrow().len()
    }

    fn period(&self, context_id: u32) -> Option<Duration> {
        self.host.tick_periods.borrow().get(&context_id).copied()
    }

    /// Created, acknowledged, dropped at a shutdown, queued, in flight.
    fn accounts(&self) -> [i64; 5] {
        [
            "spans_created",
            "spans_acknowledged",
            "spans_dropped.shutdown",
            "spans_queued",
            "spans_in_flight",
        ]
        .map(|name| self.host.metric(name).expect(name))
    }
}

#[test]
fn full_batch_is_sent_by_its_own_context_at_once() {
    let mut vm = Vm::new();
    assert!(vm.configure(1, GOOD));
    vm.requests(1, 31);
    assert_eq!(vm.sent(), 0);
    vm.requests(1, 1);
    let sent = vm.host.sent.borrow()[0].clone();
    assert_eq!((sent.context_id, &*sent.cluster), (1, "collector"));
    assert!(!sent.body.is_empty());
    vm.answer(1, OK);
    assert_eq!(vm.accounts(), [32, 32, 0, 0, 0]);
}

#[test]
fn deferred_spans_are_built_by_the_next_tick() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.requests(1, 3);
    assert_eq!(vm.accounts()[0], 0, "none is built");
    vm.tick(1);
    assert_eq!(vm.accounts(), [3, 0, 0, 3, 0]);
    vm.host.advance(Duration::from_secs(2));
    vm.tick(1);
    assert_eq!(vm.accounts(), [3, 0, 0, 0, 3]);
}

#[test]
fn first_tick_is_at_once_and_later_ones_when_something_is_due() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    assert_eq!(vm.period(1), Some(Duration::from_millis(1)));
    vm.tick(1);
    let period = vm.period(1).expect("a period");
    assert!((1000..1002).contains(&period.as_millis()), "{period:?}");
}

#[test]
fn shutdown_under_load_delivers_every_span_before_the_context_goes() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.configure(2, NEXT);
    vm.requests(1, 70);
    assert_eq!(vm.sent(), 2, "two batches are full");
    assert!(!vm.done(1), "exports are under way");
    assert_eq!(vm.sent(), 2, "two exports at once");
    vm.answer(1, OK);
    assert_eq!(vm.sent(), 3, "the rest");
    vm.answer(2, OK);
    assert!(vm.host.done.borrow().is_empty());
    vm.answer(3, OK);
    assert_eq!(*vm.host.done.borrow(), [1]);
    assert_eq!(vm.period(1), Some(Duration::ZERO), "it is called no more");
    assert_eq!(vm.accounts(), [70, 70, 0, 0, 0]);
    assert!(vm.workers.get(1).is_none() && vm.workers.get(2).is_some());
}

#[test]
fn context_without_spans_goes_at_once() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.configure(2, NEXT);
    assert!(vm.done(1));
    assert_eq!(vm.period(1), Some(Duration::ZERO));
}

#[test]
fn draining_context_gives_up_after_thirty_seconds() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.configure(2, NEXT);
    vm.host.refusal.set(Some(DispatchError::NoEndpoint));
    vm.requests(1, 5);
    assert!(!vm.done(1));
    for _ in 0..31 {
        vm.host.advance(Duration::from_secs(1));
        vm.tick(1);
    }
    assert_eq!(*vm.host.done.borrow(), [1]);
    assert_eq!(vm.accounts(), [5, 0, 5, 0, 0]);
}

/// The host forgets a context for the next one with the same document, and its
/// exports with it.
#[test]
fn draining_context_is_adopted_by_the_next_one_with_its_document() {
    let mut vm = Vm::new();
    for context_id in [1, 2, 3] {
        vm.configure(context_id, GOOD);
    }
    vm.requests(1, 40);
    assert!(!vm.done(1));
    assert_eq!(vm.accounts(), [40, 0, 0, 0, 40]);
    vm.requests(2, 1);
    assert!(!vm.done(2), "it has the spans of both");
    assert_eq!(*vm.host.done.borrow(), [1], "the first may go");
    assert_eq!(
        vm.host.current.get(),
        2,
        "the callback is that of the second"
    );
    // The exports of the first are sent again, by the second.
    let sent = vm.host.sent.borrow().clone();
    let (first, second): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent.context_id == 1);
    assert_eq!(first[0].body, second[0].body);
    let mut token = first.len();
    while token < vm.sent() {
        token += 1;
        vm.answer(u32::try_from(token).unwrap(), OK);
    }
    assert_eq!(vm.accounts(), [41, 41, 0, 0, 0]);
    assert_eq!(*vm.host.done.borrow(), [1, 2]);
}

#[test]
fn fallback_context_drops_what_it_adopts() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    for context_id in [2, 3, 4] {
        vm.configure(context_id, BAD);
    }
    vm.requests(2, 5);
    vm.host.refusal.set(Some(DispatchError::NoEndpoint));
    assert!(!vm.done(2));
    vm.host.refusal.set(None);
    vm.done(3);
    // The last good document may have been another one for the second context.
    assert_eq!(vm.accounts()[2], 5);
}

#[test]
fn last_context_drops_and_counts_what_is_left() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.configure(2, NEXT);
    vm.requests(1, 40);
    vm.requests(2, 3);
    assert!(!vm.done(1));
    assert!(vm.done(2), "the host ends the VM");
    assert_eq!(vm.accounts(), [43, 0, 43, 0, 0]);
    let lines = logs::texts();
    let drops = lines
        .iter()
        .filter(|line| line.contains("spans_dropped.shutdown"));
    assert_eq!(drops.count(), 2, "{lines:?}");
}

#[test]
fn missing_cluster_is_reported_and_its_spans_are_retried() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.host.refusal.set(Some(DispatchError::NoCluster));
    logs::take();
    vm.requests(1, 32);
    assert_eq!(
        vm.host.metric("exports.failed"),
        Some(0),
        "published with the tick"
    );
    vm.tick(1);
    assert_eq!(vm.host.metric("exports.failed"), Some(1));
    let lines = logs::texts();
    assert!(lines[0].contains("there is no such cluster"), "{lines:?}");
    assert_eq!(vm.accounts(), [32, 0, 0, 32, 0]);
    vm.host.refusal.set(None);
    vm.host.advance(Duration::from_secs(30));
    vm.tick(1);
    vm.answer(1, OK);
    assert_eq!(vm.accounts(), [32, 32, 0, 0, 0]);
    assert!(logs::texts().len() == 1, "it has recovered");
}

#[test]
fn context_that_the_host_deleted_sends_nothing() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.host.deleted.borrow_mut().push(1);
    vm.requests(1, 32);
    assert_eq!(vm.sent(), 0);
    vm.tick(1);
    assert_eq!(vm.host.metric("exports.failed"), Some(1));
}

#[test]
fn unknown_tokens_and_contexts_change_nothing() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.requests(1, 32);
    vm.workers.on_export_end(&vm.host, &vm.metrics, 1, 99, OK);
    vm.workers.on_export_end(&vm.host, &vm.metrics, 7, 1, OK);
    vm.tick(7);
    assert!(vm.done(7), "a stream, or an unknown context, may go");
    vm.answer(1, OK);
    assert_eq!(vm.accounts(), [32, 32, 0, 0, 0]);
}

#[test]
fn earlier_response_brings_the_next_tick_forward() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.tick(1);
    vm.requests(1, 32);
    vm.answer(1, CalloutOutcome::Reset);
    let period = vm.period(1).expect("a period");
    assert!(period <= Duration::from_secs(1), "{period:?}");
    assert_eq!(vm.accounts(), [32, 0, 0, 32, 0]);
}

#[test]
fn rejected_document_without_predecessor_has_no_configuration_and_slow_ticks() {
    let mut vm = Vm::new();
    assert!(vm.configure(1, BAD), "it is not refused");
    assert!(vm.workers.get(1).is_none());
    assert_eq!(vm.host.metric("config_rejected"), Some(1));
    vm.tick(1);
    assert_eq!(vm.period(1), Some(Duration::from_secs(1)));
}

#[test]
fn strict_host_refuses_a_rejected_document() {
    let mut vm = Vm::new();
    assert!(!vm.configure_in(1, BAD, &[("SIDESPAN_STRICT", "1")]));
    assert_eq!(vm.host.metric("config_rejected"), Some(1));
    assert!(vm.configure_in(2, GOOD, &[("SIDESPAN_STRICT", "1")]));
}

/// One context is the main thread's, which serves no request.
#[test]
fn stale_workers_are_counted_without_the_main_thread() {
    let mut vm = Vm::new();
    vm.configure(1, GOOD);
    vm.tick(1);
    for context_id in [2, 3, 4] {
        vm.configure(context_id, BAD);
        vm.tick(context_id);
    }
    assert_eq!(vm.host.metric("config_stale"), Some(2));
    assert!(vm.workers.get(2).is_some(), "the last good one is in force");
    // A newer document takes its place.
    vm.configure(5, NEXT);
    for context_id in [5, 2, 3, 4] {
        vm.tick(context_id);
    }
    assert_eq!(vm.host.metric("config_stale"), Some(0));
}

#[test]
fn stale_worker_that_goes_is_no_longer_counted() {
    let mut vm = Vm::new();
    vm.configure(9, NEXT);
    for context_id in [2, 3] {
        vm.configure(context_id, BAD);
        vm.tick(context_id);
    }
    assert_eq!(vm.host.metric("config_stale"), Some(1));
    vm.done(3);
    vm.done(2);
    assert_eq!(vm.host.metric("config_stale"), Some(0));
}
