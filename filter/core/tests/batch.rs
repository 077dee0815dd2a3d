//! From the end of a span to what became of it: bounds, exports, books.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    missing_docs
)]

mod common;

use common::{Headers, Info, Response, count, hex, request, spans, take_stats};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use proptest::prelude::*;
use prost::Message as _;
use sidespan_core::batch::BatchConfig;
use sidespan_core::exporter::{Callout, CalloutId, CalloutOutcome, Failure, Notice};
use sidespan_core::request::Direction;
use sidespan_core::stats::Stat;
use sidespan_core::tracer::Tracer;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

fn tracer(batch: BatchConfig) -> Tracer {
    let mut config = common::default_config();
    config.batch = batch;
    common::tracer(&config)
}

/// Ends a span whose path has `length` bytes and gives its id.
fn end_span(tracer: &mut Tracer, length: usize) -> String {
    let path = "p".repeat(length);
    let lines = Headers::from_wire([(":method", "GET"), (":path", path.as_str())]);
    let (stream, upstream) = request(tracer, &lines, &Info::default(), Direction::Inbound, 1);
    tracer.on_end(stream.unwrap(), &Response::status(200), 2);
    common::read_upstream(&upstream).unwrap().span_id
}

/// A short stream ends.
fn end_span_at(tracer: &mut Tracer, now: u64) {
    let lines = Headers::from_wire([(":method", "GET")]);
    let (stream, _) = request(tracer, &lines, &Info::default(), Direction::Inbound, now);
    tracer.on_end(stream.unwrap(), &Response::status(200), now);
}

/// The bytes that a span with such a path takes in an export, as OTLP's own
/// types count them: the span, its length, and the key in front.
fn span_bytes(length: usize) -> usize {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 1,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, length);
    let span = spans(&tracer.next_callout().unwrap()).remove(0);
    let len = span.encoded_len();
    1 + prost::length_delimiter_len(len) + len
}

fn ids(callout: &Callout) -> Vec<String> {
    spans(callout).iter().map(|s| hex(&s.span_id)).collect()
}

fn partial(rejected_spans: i64, error_message: &str) -> Vec<u8> {
    let response = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        }),
    };
    response.encode_to_vec()
}

const OK: CalloutOutcome<'static> = CalloutOutcome::Answered(&[]);

// ------------------------------------------------------------------ bounds

/// `max_queue_size` spans fit, exactly; the newest beyond are dropped and
/// counted, and what waited longest is what is exported.
#[test]
fn the_bound_in_spans_is_exact() {
    for max_queue_size in [1, 2, 7, 100] {
        let mut tracer = tracer(BatchConfig {
            max_queue_size,
            max_export_batch_size: max_queue_size,
            ..BatchConfig::default()
        });
        let sent: Vec<String> = (0..max_queue_size + 5)
            .map(|_| end_span(&mut tracer, 10))
            .collect();
        assert_eq!(tracer.pending_spans(), (max_queue_size, 0));
        let counted = take_stats(&mut tracer);
        assert_eq!(
            count(&counted, Stat::SpansCreated),
            max_queue_size as u64 + 5
        );
        assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 5);

        tracer.flush();
        let callout = tracer.next_callout().unwrap();
        assert_eq!(ids(&callout), sent[..max_queue_size], "the oldest go");
        end_span(&mut tracer, 10);
        assert_eq!(
            tracer.pending_spans(),
            (1, max_queue_size),
            "what is on its way takes no room in the queue"
        );
    }
}

/// `max_queue_bytes` is exact to the byte.
#[test]
fn the_bound_in_bytes_is_exact() {
    let one = span_bytes(200);
    for (limit, fit) in [
        (one - 1, 0),
        (one, 1),
        (2 * one - 1, 1),
        (2 * one, 2),
        (5 * one, 5),
        (5 * one + one - 1, 5),
    ] {
        let mut tracer = tracer(BatchConfig {
            max_queue_bytes: limit,
            ..BatchConfig::default()
        });
        for _ in 0..8 {
            end_span(&mut tracer, 200);
        }
        assert_eq!(tracer.pending_spans().0, fit, "{limit} bytes");
        let counted = take_stats(&mut tracer);
        assert_eq!(
            count(&counted, Stat::SpansDroppedQueueFull),
            8 - fit as u64,
            "{limit} bytes"
        );
    }
}

/// A span that is too large for what room is left is dropped; a smaller one
/// after it still finds room.
#[test]
fn a_small_span_fits_where_a_large_one_does_not() {
    let (small, large) = (span_bytes(0), span_bytes(1000));
    assert!(large > 2 * small);
    let mut tracer = tracer(BatchConfig {
        max_queue_bytes: large + small,
        ..BatchConfig::default()
    });
    let first = end_span(&mut tracer, 1000);
    end_span(&mut tracer, 1000);
    let second = end_span(&mut tracer, 0);
    end_span(&mut tracer, 0);
    tracer.flush();
    let callout = tracer.next_callout().unwrap();
    assert_eq!(ids(&callout), [first, second]);
    let counted = take_stats(&mut tracer);
    assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 2);
}

/// A batch that was taken leaves its room to others, in spans and in bytes,
/// again and again.
#[test]
fn a_taken_batch_leaves_its_room() {
    for by_bytes in [false, true] {
        let mut batch = BatchConfig {
            max_queue_size: 4,
            max_export_batch_size: 2,
            max_concurrent_exports: 1000,
            ..BatchConfig::default()
        };
        if by_bytes {
            batch.max_queue_size = 1000;
            batch.max_queue_bytes = 4 * span_bytes(50);
        }
        let mut tracer = tracer(batch);
        for _ in 0..4 {
            end_span(&mut tracer, 50);
        }
        for _ in 0..50 {
            assert_eq!(spans(&tracer.next_callout().unwrap()).len(), 2);
            for _ in 0..3 {
                end_span(&mut tracer, 50);
            }
            assert_eq!(tracer.pending_spans().0, 4, "by bytes: {by_bytes}");
        }
        let counted = take_stats(&mut tracer);
        assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 50);
    }
}

/// A batch goes when it is full or when it is flushed, not before.
#[test]
fn a_batch_waits_until_it_is_full_or_flushed() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 3,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, 1);
    end_span(&mut tracer, 1);
    assert!(tracer.next_callout().is_none());
    assert!(!tracer.is_idle());
    end_span(&mut tracer, 1);
    assert_eq!(spans(&tracer.next_callout().unwrap()).len(), 3);
    end_span(&mut tracer, 1);
    assert!(tracer.next_callout().is_none());
    tracer.flush();
    tracer.flush();
    assert_eq!(spans(&tracer.next_callout().unwrap()).len(), 1);
    assert!(tracer.next_callout().is_none(), "a batch goes once");
}

const SECOND: u64 = 1_000_000_000;

/// The host is asked to tick at least once a second, and no less often than
/// the delay.
#[test]
fn the_host_is_told_how_often_to_tick() {
    for (delay, period) in [(1, 1), (250, 250), (999, 999), (1000, 1000), (30_000, 1000)] {
        let tracer = tracer(BatchConfig {
            schedule_delay: Duration::from_millis(delay),
            ..BatchConfig::default()
        });
        assert_eq!(tracer.tick_period(), Duration::from_millis(period));
    }
}

/// No span waits longer than `schedule_delay`, if the host ticks as it is
/// asked to, wherever between two ticks the span ended; and a batch is not
/// sent with every tick where the delay is longer than that.
#[test]
fn no_span_waits_longer_than_the_delay() {
    for delay in [1, 2, 5, 30] {
        for ended in [1, SECOND / 3, SECOND - 1, SECOND] {
            let mut tracer = tracer(BatchConfig {
                schedule_delay: Duration::from_secs(delay),
                ..BatchConfig::default()
            });
            let start = 100 * SECOND;
            end_span_at(&mut tracer, start + ended);
            let mut flushed = None;
            for tick in 1..100 {
                let now = start + tick * SECOND;
                // Later spans do not put the first one off.
                end_span_at(&mut tracer, now);
                tracer.on_tick(now);
                if tracer.next_callout().is_some() {
                    flushed = Some(now - start - ended);
                    break;
                }
            }
            let waited = flushed.expect("it was flushed");
            let delay = delay * SECOND;
            assert!(waited <= delay, "{waited} of {delay}");
            assert!(waited + SECOND >= delay, "{waited} of {delay}");
        }
    }
}

/// A tick without spans sends nothing, and the next batch waits its own time.
#[test]
fn every_batch_waits_its_own_time() {
    let mut tracer = tracer(BatchConfig {
        schedule_delay: Duration::from_secs(10),
        max_concurrent_exports: 100,
        ..BatchConfig::default()
    });
    for round in 1..4 {
        let start = round * 1000 * SECOND;
        tracer.on_tick(start - SECOND);
        assert!(tracer.next_callout().is_none());
        end_span_at(&mut tracer, start);
        tracer.on_tick(start + SECOND);
        assert!(tracer.next_callout().is_none(), "it has only begun to wait");
        tracer.on_tick(start + 10 * SECOND);
        assert_eq!(spans(&tracer.next_callout().unwrap()).len(), 1);
    }
}

/// A clock that was set back does not keep spans for as long as it was set
/// back by: they go within twice the delay.
#[test]
fn a_clock_that_was_set_back() {
    let mut tracer = tracer(BatchConfig {
        schedule_delay: Duration::from_secs(2),
        ..BatchConfig::default()
    });
    end_span_at(&mut tracer, 5000 * SECOND);
    for tick in 1..=4 {
        tracer.on_tick(1000 * SECOND + tick * SECOND);
    }
    assert!(tracer.next_callout().is_some());
}

/// The largest bounds that a document can name are bounds like others, also
/// where a span is as large as its headers let it be.
#[test]
fn large_bounds() {
    let mut tracer = tracer(BatchConfig {
        max_queue_size: 1_000_000,
        max_queue_bytes: 0x7fff_ffff,
        max_export_batch_size: 1_000_000,
        ..BatchConfig::default()
    });
    for _ in 0..10 {
        end_span(&mut tracer, 1024);
    }
    assert_eq!(tracer.pending_spans(), (10, 0));
    tracer.flush();
    assert_eq!(spans(&tracer.next_callout().unwrap()).len(), 10);
}

/// A batch size times a span's length may be more than an address can be: on
/// wasm32 a million times 5 KiB is.
#[test]
fn bounds_beyond_every_address() {
    let mut tracer = tracer(BatchConfig {
        max_queue_size: usize::MAX,
        max_queue_bytes: 1 << 20,
        max_export_batch_size: usize::MAX / 100,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, 1024);
    assert_eq!(tracer.pending_spans(), (1, 0));
}

// ----------------------------------------------------------------- exports

/// No more than `max_concurrent_exports` are under way; each end makes room
/// for one, however it ended.
#[test]
fn exports_at_once() {
    for max_concurrent_exports in [1, 2, 5] {
        let mut tracer = tracer(BatchConfig {
            max_export_batch_size: 1,
            max_concurrent_exports,
            ..BatchConfig::default()
        });
        for _ in 0..20 {
            end_span(&mut tracer, 1);
        }
        let mut under_way = VecDeque::new();
        while let Some(callout) = tracer.next_callout() {
            under_way.push_back(callout.id);
        }
        assert_eq!(under_way.len(), max_concurrent_exports);
        assert_eq!(
            tracer.pending_spans(),
            (20 - max_concurrent_exports, max_concurrent_exports)
        );
        for outcome in [OK, CalloutOutcome::Failed(14), CalloutOutcome::NotSent] {
            let id = under_way.pop_front().unwrap();
            tracer.on_callout_end(id, outcome);
            under_way.push_back(tracer.next_callout().expect("there is room").id);
            assert!(tracer.next_callout().is_none(), "but for one only");
        }
    }
}

/// Every callout has a name of its own, and may end in any order.
#[test]
fn exports_end_in_any_order() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 1,
        max_concurrent_exports: 10,
        ..BatchConfig::default()
    });
    for _ in 0..10 {
        end_span(&mut tracer, 1);
    }
    let mut names = Vec::new();
    while let Some(callout) = tracer.next_callout() {
        names.push(callout.id);
    }
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 10);
    names.swap(0, 9);
    names.swap(3, 7);
    for (i, id) in names.into_iter().enumerate() {
        assert!(!tracer.is_idle());
        tracer.on_callout_end(id, OK);
        assert_eq!(tracer.pending_spans(), (0, 9 - i));
    }
    assert!(tracer.is_idle());
    let counted = take_stats(&mut tracer);
    assert_eq!(count(&counted, Stat::SpansAcknowledged), 10);
    assert_eq!(count(&counted, Stat::ExportsSucceeded), 10);
}

/// One batch of ten, exported, and how it ended.
fn export_ten(
    tracer: &mut Tracer,
    outcome: CalloutOutcome<'_>,
) -> (Vec<(Stat, u64)>, Option<Notice>) {
    for _ in 0..10 {
        end_span(tracer, 1);
    }
    take_stats(tracer);
    let id = tracer.next_callout().unwrap().id;
    let notice = tracer.on_callout_end(id, outcome);
    (take_stats(tracer), notice)
}

fn tracer_of_tens() -> Tracer {
    tracer(BatchConfig {
        max_export_batch_size: 10,
        ..BatchConfig::default()
    })
}

/// A partial success is booked as the collector says, as far as that can be,
/// and is no failure: nothing is sent again.
#[test]
fn partial_successes() {
    for (what, answer, rejected, told) in [
        ("everything was taken", vec![], 0, None),
        (
            "an empty partial success says the same",
            partial(0, ""),
            0,
            None,
        ),
        ("a warning", partial(0, "slow down"), 0, Some("slow down")),
        (
            "some were refused",
            partial(3, "bad ids"),
            3,
            Some("bad ids"),
        ),
        ("and no reason given", partial(3, ""), 3, Some("")),
        ("all were refused", partial(10, "no"), 10, Some("no")),
        ("more than were sent", partial(11, "no"), 10, Some("no")),
        ("far more", partial(i64::MAX, "no"), 10, Some("no")),
        ("a negative number", partial(-1, ""), 0, None),
        ("the smallest number", partial(i64::MIN, "?"), 0, Some("?")),
        ("an answer that cannot be read", vec![0xff; 10], 0, None),
        (
            "an answer that was cut",
            partial(3, "bad ids")[..5].to_vec(),
            0,
            None,
        ),
        ("fields of a later version", vec![0x7a, 0x01, 0x00], 0, None),
    ] {
        let mut tracer = tracer_of_tens();
        let (counted, notice) = export_ten(&mut tracer, CalloutOutcome::Answered(&answer));
        assert_eq!(count(&counted, Stat::SpansRejected), rejected, "{what}");
        assert_eq!(
            count(&counted, Stat::SpansAcknowledged),
            10 - rejected,
            "{what}"
        );
        assert_eq!(count(&counted, Stat::ExportsSucceeded), 1, "{what}");
        assert_eq!(count(&counted, Stat::ExportsFailed), 0, "{what}");
        let expected = told.map(|message: &str| Notice::Rejected {
            spans: usize::try_from(rejected).unwrap(),
            message: message.to_owned(),
        });
        assert_eq!(notice, expected, "{what}");
        assert!(tracer.is_idle(), "nothing is sent again");
    }
}

/// The spans of an export that failed are counted as dropped.
#[test]
fn failed_exports() {
    let outcomes = (1..=16)
        .map(|code| (CalloutOutcome::Failed(code), Failure::Status(code)))
        .chain([(CalloutOutcome::NotSent, Failure::NotSent)]);
    for (outcome, failure) in outcomes {
        let mut tracer = tracer_of_tens();
        let (counted, notice) = export_ten(&mut tracer, outcome);
        assert_eq!(count(&counted, Stat::SpansDroppedExportFailed), 10);
        assert_eq!(count(&counted, Stat::ExportsFailed), 1);
        assert_eq!(count(&counted, Stat::SpansAcknowledged), 0);
        assert_eq!(count(&counted, Stat::ExportsSucceeded), 0);
        assert_eq!(notice, Some(Notice::Failing(failure)), "{outcome:?}");
        assert!(tracer.is_idle());
    }
}

/// An operator reads of the first failure and of the recovery, once each.
#[test]
fn a_failure_is_told_once() {
    let mut tracer = tracer_of_tens();
    let failed = CalloutOutcome::Failed(14);
    let failing = |code| Some(Notice::Failing(Failure::Status(code)));
    for round in 0..2 {
        assert_eq!(export_ten(&mut tracer, OK).1, None, "{round}");
        assert_eq!(export_ten(&mut tracer, failed).1, failing(14), "{round}");
        assert_eq!(export_ten(&mut tracer, failed).1, None, "{round}");
        let other = CalloutOutcome::Failed(4);
        assert_eq!(export_ten(&mut tracer, other).1, None, "{round}");
        let not_sent = CalloutOutcome::NotSent;
        assert_eq!(export_ten(&mut tracer, not_sent).1, None, "{round}");
        let recovered = Some(Notice::Recovered);
        assert_eq!(export_ten(&mut tracer, OK).1, recovered, "{round}");
    }
}

/// A host that tells of a callout twice, or of none that is under way, changes
/// nothing.
#[test]
fn an_unknown_callout_changes_nothing() {
    let mut tracer = tracer_of_tens();
    for _ in 0..20 {
        end_span(&mut tracer, 1);
    }
    let first = tracer.next_callout().unwrap().id;
    let second = tracer.next_callout().unwrap().id;
    assert_eq!(tracer.on_callout_end(first, OK), None);
    take_stats(&mut tracer);
    for outcome in [OK, CalloutOutcome::Failed(14), CalloutOutcome::NotSent] {
        assert_eq!(tracer.on_callout_end(first, outcome), None);
        assert_eq!(take_stats(&mut tracer), []);
        assert_eq!(tracer.pending_spans(), (0, 10));
    }
    let notice = tracer.on_callout_end(second, CalloutOutcome::Failed(14));
    assert!(notice.is_some(), "what failed before was not under way");
}

/// Counts are handed over once, under names that differ.
#[test]
fn stats_are_taken_once() {
    let mut tracer = tracer_of_tens();
    end_span(&mut tracer, 1);
    assert_eq!(count(&take_stats(&mut tracer), Stat::Sampled), 1);
    assert_eq!(take_stats(&mut tracer), []);
    let names: HashSet<&str> = Stat::ALL.iter().map(|stat| stat.name()).collect();
    assert_eq!(names.len(), Stat::ALL.len());
    assert!(names.iter().all(|name| name.starts_with("sidespan.")));
}

// ------------------------------------------------------------------- books

/// What happens to a tracer.
#[derive(Clone, Debug)]
enum Op {
    /// A stream ends whose path has so many bytes.
    End(usize),
    /// A request that is not sampled.
    Unsampled,
    Flush,
    /// The host sends what is ready.
    Send,
    /// One of those under way ends; the second number says how.
    Finish(usize, Outcome),
    /// A host that tells of one that has ended already.
    FinishAgain(usize),
}

#[derive(Clone, Debug)]
enum Outcome {
    Ok,
    Rejected(i64),
    Garbage(Vec<u8>),
    Failed(u32),
    NotSent,
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        4 => Just(Outcome::Ok),
        2 => prop_oneof![-2..10_i64, Just(i64::MAX)].prop_map(Outcome::Rejected),
        1 => prop::collection::vec(any::<u8>(), 0..20).prop_map(Outcome::Garbage),
        2 => (1..20_u32).prop_map(Outcome::Failed),
        1 => Just(Outcome::NotSent),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop_oneof![Just(0), Just(100), Just(1000)].prop_map(Op::End),
        1 => Just(Op::Unsampled),
        2 => Just(Op::Flush),
        4 => Just(Op::Send),
        4 => (any::<usize>(), outcome()).prop_map(|(at, how)| Op::Finish(at, how)),
        1 => any::<usize>().prop_map(Op::FinishAgain),
    ]
}

fn limits() -> impl Strategy<Value = BatchConfig> {
    (1..20_usize, 0..5000_usize, 1..8_usize, 1..4_usize).prop_map(
        |(max_queue_size, max_queue_bytes, batch, max_concurrent_exports)| BatchConfig {
            max_queue_size,
            max_queue_bytes,
            max_export_batch_size: batch.min(max_queue_size),
            max_concurrent_exports,
            ..BatchConfig::default()
        },
    )
}

/// The queue as one would write it without a thought for what it costs.
#[derive(Default)]
struct Twin {
    /// The length of each span that waits for its batch to fill.
    open: Vec<usize>,
    ready: VecDeque<Vec<usize>>,
    under_way: Vec<(CalloutId, usize)>,
    ended: Vec<CalloutId>,
    created: u64,
    acknowledged: u64,
    rejected: u64,
    dropped_full: u64,
    dropped_failed: u64,
}

impl Twin {
    fn queued(&self) -> usize {
        self.open.len() + self.ready.iter().map(Vec::len).sum::<usize>()
    }

    fn queued_bytes(&self) -> usize {
        self.open.iter().chain(self.ready.iter().flatten()).sum()
    }

    fn in_flight(&self) -> usize {
        self.under_way.iter().map(|(_, spans)| spans).sum()
    }

    fn flush(&mut self) {
        if !self.open.is_empty() {
            self.ready.push_back(std::mem::take(&mut self.open));
        }
    }

    fn end(&mut self, bytes: usize, limits: &BatchConfig) {
        self.created += 1;
        if self.queued() + 1 > limits.max_queue_size
            || self.queued_bytes() + bytes > limits.max_queue_bytes
        {
            self.dropped_full += 1;
            return;
        }
        self.open.push(bytes);
        if self.open.len() == limits.max_export_batch_size {
            self.flush();
        }
    }

    fn finish(&mut self, at: usize, outcome: &Outcome) -> CalloutId {
        let (id, spans) = self.under_way.remove(at);
        self.ended.push(id);
        let spans = spans as u64;
        match outcome {
            Outcome::Ok | Outcome::Garbage(_) => self.acknowledged += spans,
            Outcome::Rejected(n) => {
                let rejected = u64::try_from(*n).unwrap_or(0).min(spans);
                self.rejected += rejected;
                self.acknowledged += spans - rejected;
            }
            Outcome::Failed(_) | Outcome::NotSent => self.dropped_failed += spans,
        }
        id
    }
}

fn tell(tracer: &mut Tracer, id: CalloutId, outcome: &Outcome) {
    let answer = match outcome {
        Outcome::Rejected(n) => partial(*n, "refused"),
        Outcome::Garbage(bytes) => bytes.clone(),
        _ => Vec::new(),
    };
    let outcome = match outcome {
        Outcome::Failed(code) => CalloutOutcome::Failed(*code),
        Outcome::NotSent => CalloutOutcome::NotSent,
        _ => CalloutOutcome::Answered(&answer),
    };
    tracer.on_callout_end(id, outcome);
}

/// Garbage that happens to be a partial success is none.
fn is_garbage(bytes: &[u8]) -> bool {
    match ExportTraceServiceResponse::decode(bytes) {
        Ok(response) => response.partial_success.is_none(),
        Err(_) => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order: every span that was created is
    /// acknowledged, rejected, dropped, queued or in flight, the queue is
    /// within its bounds, and it is the twin's queue.
    #[test]
    fn the_books_balance(limits in limits(), ops in prop::collection::vec(op(), 0..80)) {
        let bytes_of: Vec<usize> = [0, 100, 1000].map(span_bytes).to_vec();
        let mut tracer = tracer(limits.clone());
        let mut twin = Twin::default();
        let mut total = std::collections::HashMap::new();
        let mut drain = vec![Op::Flush];
        drain.extend((0..40).flat_map(|_| [Op::Send, Op::Finish(0, Outcome::Ok)]));
        for op in ops.into_iter().chain(drain) {
            match op {
                Op::End(length) => {
                    end_span(&mut tracer, length);
                    twin.end(bytes_of[[0, 100, 1000].iter().position(|&l| l == length).unwrap()], &limits);
                }
                Op::Unsampled => {
                    let lines = Headers::from_wire([("b3", "0")]);
                    let (stream, _) = request(&mut tracer, &lines, &Info::default(), Direction::Inbound, 1);
                    prop_assert!(stream.is_none());
                }
                Op::Flush => {
                    tracer.flush();
                    twin.flush();
                }
                Op::Send => {
                    while let Some(callout) = tracer.next_callout() {
                        let batch = twin.ready.pop_front().expect("the twin has a batch ready");
                        prop_assert_eq!(spans(&callout).len(), batch.len());
                        twin.under_way.push((callout.id, batch.len()));
                    }
                    prop_assert!(twin.under_way.len() == limits.max_concurrent_exports || twin.ready.is_empty());
                }
                Op::Finish(at, outcome) if !twin.under_way.is_empty() => {
                    let outcome = match outcome {
                        Outcome::Garbage(bytes) if !is_garbage(&bytes) => Outcome::Ok,
                        outcome => outcome,
                    };
                    let id = twin.finish(at % twin.under_way.len(), &outcome);
                    tell(&mut tracer, id, &outcome);
                }
                Op::FinishAgain(at) if !twin.ended.is_empty() => {
                    let id = twin.ended[at % twin.ended.len()];
                    tell(&mut tracer, id, &Outcome::NotSent);
                }
                Op::Finish(..) | Op::FinishAgain(_) => {}
            }
            for (stat, n) in take_stats(&mut tracer) {
                *total.entry(stat.name()).or_insert(0) += n;
            }
            let get = |stat: Stat| total.get(stat.name()).copied().unwrap_or(0);
            prop_assert_eq!(get(Stat::SpansCreated), twin.created);
            prop_assert_eq!(get(Stat::SpansAcknowledged), twin.acknowledged);
            prop_assert_eq!(get(Stat::SpansRejected), twin.rejected);
            prop_assert_eq!(get(Stat::SpansDroppedQueueFull), twin.dropped_full);
            prop_assert_eq!(get(Stat::SpansDroppedExportFailed), twin.dropped_failed);
            let (queued, in_flight) = tracer.pending_spans();
            prop_assert_eq!((queued, in_flight), (twin.queued(), twin.in_flight()));
            prop_assert!(queued <= limits.max_queue_size);
            prop_assert_eq!(
                get(Stat::SpansCreated),
                get(Stat::SpansAcknowledged)
                    + get(Stat::SpansRejected)
                    + get(Stat::SpansDroppedQueueFull)
                    + get(Stat::SpansDroppedExportFailed)
                    + queued as u64
                    + in_flight as u64
            );
            prop_assert_eq!(tracer.is_idle(), queued + in_flight == 0);
        }
        prop_assert!(tracer.is_idle(), "all was sent in the end");
    }
}
