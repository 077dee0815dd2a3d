//! From an export to the collector's word that it has it: what is sent, when
//! it is sent again, and what an operator reads.

use crate::common;
use crate::common::exports::{
    Books, HOUR, MILLI, NOW, Reply, SECOND, all_callouts, counted, end_span, framed, ids, nanos,
    next_due, partial, throttled, tracer_of,
};
use crate::common::{Host, count, message, take_stats};
use miniz_oxide::inflate::decompress_to_vec;
use serde_json::{Value, json};
use sidespan_core::config::Config;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::callout::{Callout, CalloutId};
use sidespan_core::export::event::Notice;
use sidespan_core::export::response::{Failure, FailureKind};
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings::{Protocol, default_authority};
use sidespan_core::stats::{Level, Stat};
use sidespan_core::tracer::Tracer;
use std::collections::BTreeMap;
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Each span is a batch.
fn singles(max_concurrent_exports: usize) -> BatchConfig {
    BatchConfig {
        max_export_batch_size: 1,
        max_concurrent_exports,
        ..BatchConfig::default()
    }
}

fn tracer(max_concurrent_exports: usize, retry: RetryConfig, seed: u8) -> Tracer {
    tracer_of(singles(max_concurrent_exports), retry, Protocol::Grpc, seed)
}

/// One that never gives up.
fn patient() -> RetryConfig {
    RetryConfig {
        max_elapsed_time: seconds(1_000_000),
        ..RetryConfig::default()
    }
}

/// A span ends, and its export goes.
fn sent(tracer: &mut Tracer, now: u64) -> Callout {
    end_span(tracer, 1, now);
    tracer.next_callout(now).expect("a slot is free")
}

/// One export fails so often in a row, each time as soon as it is sent. Gives
/// when it went and when it may go again.
fn fail_often(tracer: &mut Tracer, times: usize, reply: &Reply) -> Vec<(u64, u64)> {
    let first = sent(tracer, NOW);
    let (mut id, mut now) = (first.id, NOW);
    let mut waits = Vec::new();
    for _ in 0..times {
        reply.tell(tracer, id, now);
        let due = next_due(tracer, now);
        assert!(tracer.next_callout(due - 1).is_none(), "not before");
        let again = tracer.next_callout(due).expect("it is due");
        assert_eq!(*again.body, *first.body, "the same bytes");
        waits.push((now, due));
        (id, now) = (again.id, due);
    }
    waits
}

// ----------------------------------------------------------------- backoff

/// Waits grow by half up to the largest, each is between half and one and a
/// half of its interval, and different proxies do not come at once.
#[test]
fn waits_grow_and_are_spread() {
    let retry = RetryConfig {
        initial_interval: Duration::from_millis(200),
        max_interval: seconds(2),
        ..patient()
    };
    let mut spread = vec![Vec::new(); 12];
    for seed in 1..60 {
        let mut tracer = tracer(2, retry.clone(), seed);
        let waits = fail_often(&mut tracer, 12, &Reply::grpc(14));
        for (n, (from, to)) in waits.into_iter().enumerate() {
            let interval = (0.2 * 1.5_f64.powi(n as i32)).min(2.0);
            let of_interval = (to - from) as f64 / 1e9 / interval;
            assert!(
                (0.499_999..1.500_001).contains(&of_interval),
                "wait {n}: {of_interval}"
            );
            spread[n].push(of_interval);
        }
    }
    for (n, mut spread) in spread.into_iter().enumerate() {
        spread.sort_by(f64::total_cmp);
        assert!(spread[0] < 0.65, "wait {n}: {spread:?}");
        assert!(spread[58] > 1.35, "wait {n}: {spread:?}");
        spread.dedup();
        assert!(spread.len() > 50, "wait {n}: {spread:?}");
    }
}

/// At least what the collector asked for and at most half more, spread, and
/// not less than what the batch would wait anyway.
#[test]
fn a_collector_that_asks_is_given_as_long() {
    let wait = |retry: &RetryConfig, asked: i64, seed: u8| {
        let mut tracer = tracer(2, retry.clone(), seed);
        let (from, to) = fail_often(&mut tracer, 1, &throttled(14, asked))[0];
        (to - from) as f64 / 1e9
    };
    for (asked, least, most) in [
        (10, 10.0, 15.0),
        (3600, 3600.0, 5400.0),
        (9999, 9999.0, 14998.5),
    ] {
        let waits: Vec<f64> = (1..60).map(|seed| wait(&patient(), asked, seed)).collect();
        let (low, high) = (least * 1.1, most * 0.93);
        assert!(
            waits.iter().all(|w| (least..=most).contains(w)),
            "{waits:?}"
        );
        assert!(waits.iter().any(|w| *w < low), "{waits:?}");
        assert!(waits.iter().any(|w| *w > high), "{waits:?}");
    }
    let slow = RetryConfig {
        initial_interval: seconds(100),
        max_interval: seconds(100),
        ..patient()
    };
    assert!((1..10).all(|seed| wait(&slow, 1, seed) >= 50.0));
}

/// Each of many exports of one batch has the same bytes and is counted.
#[test]
fn every_try_is_counted() {
    let mut tracer = tracer(2, patient(), 7);
    fail_often(&mut tracer, 10, &Reply::grpc(14));
    let all = take_stats(&mut tracer);
    assert_eq!(count(&all, Stat::ExportsFailed), 10);
    assert_eq!(count(&all, Stat::Retries), 10);
    assert_eq!(count(&all, Stat::SpansCreated), 1);
    assert_eq!(tracer.level(Level::SpansInFlight), 1);
    let mut tracer = self::tracer(2, patient(), 7);
    let call = sent(&mut tracer, NOW);
    Reply::OK.tell(&mut tracer, call.id, NOW);
    assert_eq!(counted(&mut tracer, Stat::Retries), 0);
}

/// A batch is given up when it would be sent again later than
/// `max_elapsed_time` after its first export, to the nanosecond.
#[test]
fn a_batch_is_given_up_in_time() {
    for tries in [1, 2, 5] {
        // The same seed waits the same.
        let (_, last) = fail_often(&mut tracer(2, patient(), 7), tries, &Reply::Reset)[tries - 1];
        for (less, is_lost) in [(0, false), (1, true)] {
            let retry = RetryConfig {
                max_elapsed_time: Duration::from_nanos(last - NOW - less),
                ..patient()
            };
            let mut tracer = tracer(2, retry, 7);
            // What it waited before its first export does not count.
            end_span(&mut tracer, 1, NOW - HOUR);
            let mut call = tracer.next_callout(NOW).unwrap();
            let mut now = NOW;
            for _ in 1..tries {
                Reply::Reset.tell(&mut tracer, call.id, now);
                now = next_due(&tracer, now);
                call = tracer.next_callout(now).unwrap();
            }
            take_stats(&mut tracer);
            let notice = Reply::Reset.notice(&mut tracer, call.id, now);
            let kind = FailureKind::Reset;
            let message = String::new();
            assert_eq!(notice, Some(Notice::Failing(Failure { kind, message })));
            let mut expected = vec![(Stat::ExportsFailed, 1)];
            if is_lost {
                expected.insert(0, (Stat::SpansDroppedRetryExhausted, 1));
            }
            assert_eq!(take_stats(&mut tracer), expected, "{tries} tries");
            assert_eq!(tracer.is_idle(), is_lost);
        }
    }
}

/// A batch that comes back is never refused: its spans were let in once.
#[test]
fn a_full_queue_takes_back_what_it_let_in() {
    let batch = BatchConfig {
        max_queue_size: 2,
        ..singles(2)
    };
    let mut tracer = tracer_of(batch, patient(), Protocol::Grpc, 7);
    let mut books = Books::default();
    let calls = [(); 2].map(|()| sent(&mut tracer, NOW));
    for _ in 0..3 {
        end_span(&mut tracer, 1, NOW);
    }
    for call in &calls {
        Reply::Reset.tell(&mut tracer, call.id, NOW);
    }
    end_span(&mut tracer, 1, NOW);
    books.balance(&mut tracer);
    assert_eq!(tracer.level(Level::SpansQueued), 4);
    assert_eq!(books.get(Stat::SpansDroppedQueueFull), 2);
}

// ---------------------------------------------------- a collector that is down

/// A batch that fails holds up no other.
#[test]
fn a_batch_that_waits_is_passed_by() {
    let mut tracer = tracer(1, patient(), 7);
    for _ in 0..4 {
        let call = sent(&mut tracer, NOW);
        Reply::grpc(14).tell(&mut tracer, call.id, NOW);
        let other = sent(&mut tracer, NOW);
        Reply::OK.tell(&mut tracer, other.id, NOW);
    }
    assert_eq!(tracer.level(Level::SpansQueued), 4);
}

/// What comes back goes before what is new, and of both the oldest first.
#[test]
fn the_oldest_goes_first() {
    let mut tracer = tracer(3, patient(), 7);
    let calls = [(); 3].map(|()| sent(&mut tracer, NOW));
    let mut due = Vec::new();
    for call in calls {
        Reply::Reset.tell(&mut tracer, call.id, NOW);
        due.push(call.body.to_vec());
    }
    // Jitter decided about their order: by what each of them waits.
    let mut order = Vec::new();
    let mut now = NOW;
    let mut other = self::tracer(3, patient(), 7);
    for call in [(); 3].map(|()| sent(&mut other, NOW)) {
        Reply::Reset.tell(&mut other, call.id, NOW);
    }
    for _ in 0..3 {
        now = next_due(&other, now);
        order.push(other.next_callout(now).unwrap().body.to_vec());
    }
    assert_ne!(order, due, "this seed would prove nothing");
    let new: Vec<String> = (0..2).map(|_| end_span(&mut tracer, 1, NOW)).collect();
    let again = all_callouts(&mut tracer, NOW + HOUR);
    let bodies: Vec<Vec<u8>> = again.iter().map(|call| call.body.to_vec()).collect();
    assert_eq!(bodies, order);
    for call in again {
        Reply::OK.tell(&mut tracer, call.id, NOW + HOUR);
    }
    let last = all_callouts(&mut tracer, NOW + HOUR);
    assert_eq!(last.iter().flat_map(ids).collect::<Vec<_>>(), new);
}

/// After five failures in a row one call at a time asks whether the collector
/// is back, and what is new waits behind it.
#[test]
fn a_collector_that_is_down_is_asked_by_one_call() {
    let mut tracer = tracer(4, patient(), 7);
    for _ in 0..5 {
        let call = sent(&mut tracer, NOW);
        Reply::NoEndpoint.tell(&mut tracer, call.id, NOW);
    }
    for _ in 0..10 {
        end_span(&mut tracer, 1, NOW);
    }
    assert!(tracer.next_callout(NOW).is_none(), "new ones wait");
    let mut now = NOW;
    let mut last = 0;
    for _ in 0..30 {
        now = next_due(&tracer, now);
        assert!(now > last, "not all at once");
        last = now;
        let call = tracer.next_callout(now).expect("one asks");
        assert!(tracer.next_callout(now + HOUR).is_none(), "one only");
        Reply::grpc(14).tell(&mut tracer, call.id, now);
        assert!(tracer.next_callout(now).is_none(), "and not at once");
    }
    assert_eq!(tracer.level(Level::SpansQueued), 15);
}

/// Calls that were under way go on; there is room for one when none is.
#[test]
fn calls_under_way_end_when_the_collector_goes_down() {
    let mut tracer = tracer(6, patient(), 7);
    let mut calls: Vec<CalloutId> = (0..6).map(|_| sent(&mut tracer, NOW).id).collect();
    for _ in 0..4 {
        Reply::Reset.tell(&mut tracer, calls.remove(0), NOW);
        calls.push(sent(&mut tracer, NOW).id);
    }
    while let Some(id) = calls.pop() {
        Reply::Reset.tell(&mut tracer, id, NOW);
        let next = tracer.next_callout(NOW + HOUR);
        assert_eq!(next.is_some(), calls.is_empty(), "{} are left", calls.len());
    }
}

/// If nothing waits because all was given up, a new batch asks.
#[test]
fn a_new_batch_asks_if_no_other_can() {
    let retry = RetryConfig {
        max_elapsed_time: Duration::from_nanos(1),
        ..RetryConfig::default()
    };
    let mut tracer = tracer(4, retry, 7);
    for _ in 0..8 {
        let call = sent(&mut tracer, NOW);
        Reply::Reset.tell(&mut tracer, call.id, NOW);
    }
    end_span(&mut tracer, 1, NOW);
    end_span(&mut tracer, 1, NOW);
    assert_eq!(all_callouts(&mut tracer, NOW).len(), 1, "one at a time");
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedRetryExhausted), 8);
}

/// Failures count in a row only.
#[test]
fn a_success_between_failures_begins_the_count_again() {
    let mut tracer = tracer(4, patient(), 7);
    for n in 0..12 {
        let call = sent(&mut tracer, NOW);
        let reply = if n % 5 == 4 { Reply::OK } else { Reply::Reset };
        reply.tell(&mut tracer, call.id, NOW);
    }
    end_span(&mut tracer, 1, NOW);
    assert!(tracer.next_callout(NOW).is_some());
}

/// Any word of the collector, a refusal too, is one that it is back: what is
/// new goes at once, and what waited within the first interval, spread.
#[test]
fn a_collector_that_is_back_gets_what_waited() {
    for reply in [
        Reply::OK,
        Reply::grpc(0).body(framed(&partial(1, "no"))),
        Reply::grpc(3),
    ] {
        let retry = RetryConfig {
            max_interval: seconds(600),
            ..patient()
        };
        let mut tracer = tracer(50, retry, 7);
        let mut now = NOW;
        let calls: Vec<CalloutId> = (0..20).map(|_| sent(&mut tracer, NOW).id).collect();
        for id in calls {
            Reply::Reset.tell(&mut tracer, id, now);
        }
        // Each of them has failed often, and waits long.
        for _ in 0..300 {
            now = next_due(&tracer, now);
            let call = tracer.next_callout(now).unwrap();
            Reply::Reset.tell(&mut tracer, call.id, now);
        }
        now = next_due(&tracer, now);
        let call = tracer.next_callout(now).unwrap();
        end_span(&mut tracer, 1, now);
        reply.tell(&mut tracer, call.id, now);

        assert_eq!(all_callouts(&mut tracer, now).len(), 1, "the new one");
        let mut sizes = Vec::new();
        for tenth in 1..=10 {
            sizes.push(all_callouts(&mut tracer, now + tenth * SECOND / 10).len());
        }
        assert_eq!(sizes.iter().sum::<usize>(), 19, "{sizes:?}");
        assert!(sizes.iter().filter(|n| **n > 0).count() > 4, "{sizes:?}");
    }
}

/// And never later than it would have been.
#[test]
fn a_collector_that_is_back_puts_nothing_off() {
    let mut tracer = tracer(5, patient(), 7);
    let calls = [(); 5].map(|()| sent(&mut tracer, NOW));
    for call in calls {
        Reply::Reset.tell(&mut tracer, call.id, NOW);
    }
    // All of them are due within one and a half of the first interval.
    let latest = NOW + 3 * SECOND / 2;
    let call = tracer.next_callout(latest - MILLI).unwrap();
    Reply::OK.tell(&mut tracer, call.id, latest - MILLI);
    assert_eq!(all_callouts(&mut tracer, latest).len(), 4);
}

/// What waits after a few failures is not hastened by others' success.
#[test]
fn a_success_hastens_nothing_while_the_collector_is_up() {
    let mut tracer = tracer(2, patient(), 7);
    let call = sent(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, call.id, NOW);
    let due = next_due(&tracer, NOW);
    let call = sent(&mut tracer, NOW);
    Reply::OK.tell(&mut tracer, call.id, NOW);
    assert_eq!(next_due(&tracer, NOW), due);
}

// ----------------------------------------------------------------- silence

/// A collector that asks for a pause gets one, of the whole exporter.
#[test]
fn a_collector_that_asks_for_silence_has_it() {
    let http = Protocol::Http {
        path: "/v1/traces".to_owned(),
        gzip: false,
    };
    let after = |status: u16| Reply::http(status).header("retry-after", "10");
    for (protocol, reply) in [
        (Protocol::Grpc, throttled(8, 10)),
        (Protocol::Grpc, throttled(14, 10)),
        (http.clone(), after(429)),
        (http.clone(), after(503)),
    ] {
        let mut tracer = tracer_of(singles(3), patient(), protocol, 7);
        let [first, second] = [(); 2].map(|()| sent(&mut tracer, NOW));
        reply.tell(&mut tracer, first.id, NOW);
        end_span(&mut tracer, 1, NOW);
        // A success of what was under way does not end it.
        Reply::OK.tell(&mut tracer, second.id, NOW + SECOND);
        assert!(tracer.next_callout(NOW + 10 * SECOND - 1).is_none());
        let due = next_due(&tracer, NOW + SECOND);
        assert!(due <= NOW + 15 * SECOND);
        assert_eq!(all_callouts(&mut tracer, due).len(), 2, "{reply:?}");
    }
}

/// A shorter wish does not end a longer silence.
#[test]
fn the_longest_silence_counts() {
    let mut tracer = tracer(2, patient(), 7);
    let calls = [(); 2].map(|()| sent(&mut tracer, NOW));
    throttled(8, 100).tell(&mut tracer, calls[0].id, NOW);
    throttled(8, 10).tell(&mut tracer, calls[1].id, NOW);
    assert!(tracer.next_callout(NOW + 99 * SECOND).is_none());
}

/// Nor does one for no pause at all.
#[test]
fn a_wish_for_no_pause_ends_no_silence() {
    let mut tracer = tracer(2, patient(), 7);
    let calls = [(); 2].map(|()| sent(&mut tracer, NOW));
    throttled(8, 100).tell(&mut tracer, calls[0].id, NOW);
    throttled(8, 0).tell(&mut tracer, calls[1].id, NOW + SECOND);
    assert!(tracer.next_callout(NOW + 99 * SECOND).is_none());
}

/// No failure without a wish silences others.
#[test]
fn nothing_else_is_a_silence() {
    for reply in [
        Reply::grpc(14),
        Reply::grpc(8),
        Reply::grpc(3),
        throttled(3, 10),
        throttled(0, 10),
        Reply::http(503).header("retry-after", "10"),
        Reply::Reset,
        Reply::NoCluster,
        Reply::NoEndpoint,
    ] {
        let mut tracer = tracer(2, patient(), 7);
        let call = sent(&mut tracer, NOW);
        reply.tell(&mut tracer, call.id, NOW);
        sent(&mut tracer, NOW);
    }
}

/// Who asks for no pause silences nobody; the batch waits as ever.
#[test]
fn a_wish_for_no_pause_is_no_silence() {
    let after = |when: &str| Reply::http(503).header("retry-after", when);
    for reply in [
        throttled(14, 0),
        throttled(8, 0),
        throttled(8, -5),
        after("0"),
        // Now is 14:13:20.
        after("Mon, 21 Sep 2026 14:13:20 GMT"),
        after("Mon, 21 Sep 2026 13:13:20 GMT"),
    ] {
        let protocol = match &reply {
            Reply::Answered { trailers, .. } if trailers.is_empty() => Protocol::Http {
                path: "/v1/traces".to_owned(),
                gzip: false,
            },
            _ => Protocol::Grpc,
        };
        let mut tracer = tracer_of(singles(3), patient(), protocol, 7);
        let call = sent(&mut tracer, NOW);
        reply.tell(&mut tracer, call.id, NOW);
        assert_ne!(*sent(&mut tracer, NOW).body, *call.body, "{reply:?}");
        let due = next_due(&tracer, NOW);
        assert!(due >= NOW + SECOND / 2, "{reply:?}");
        assert_eq!(*tracer.next_callout(due).unwrap().body, *call.body);
    }
}

/// The collector's wish is one thing, how long the batch waits another.
#[test]
fn a_silence_is_no_longer_than_was_asked() {
    let retry = RetryConfig {
        initial_interval: seconds(30),
        ..patient()
    };
    let mut silences = Vec::new();
    for seed in 1..60 {
        let mut tracer = tracer(2, retry.clone(), seed);
        let call = sent(&mut tracer, NOW);
        throttled(14, 4).tell(&mut tracer, call.id, NOW);
        end_span(&mut tracer, 1, NOW);
        let over = next_due(&tracer, NOW);
        silences.push(over - NOW);
        let next = tracer.next_callout(over).expect("it is over");
        assert_ne!(*next.body, *call.body);
        assert!(next_due(&tracer, over) >= NOW + 15 * SECOND);
    }
    let (least, most) = (silences.iter().min(), silences.iter().max());
    let (least, most) = (*least.unwrap(), *most.unwrap());
    assert!((4000..4200).contains(&(least / MILLI)), "{least}");
    assert!((5800..6000).contains(&(most / MILLI)), "{most}");
}

/// A collector that asks for longer than `max_elapsed_time` is honoured for as
/// long as that: the batch is lost, and what comes later is sent after it. A log
/// line and a gauge say until when.
#[test]
fn pause_longer_than_max_elapsed_time_is_cut_and_reported() {
    let mut tracer = tracer(2, RetryConfig::default(), 7);
    let call = sent(&mut tracer, NOW);
    let end = throttled(8, 600)
        .tell(&mut tracer, call.id, NOW)
        .expect("it was under way");
    let pause = end.pause.expect("a pause");
    let until = NOW + 300 * SECOND;
    assert_eq!(pause.until_unix_nanos, until);
    assert_eq!(
        tracer.level(Level::ExportsPausedUntil),
        until.div_ceil(SECOND)
    );
    let line = pause.line("otel");
    assert!(
        line.starts_with("exports to cluster \"otel\" pause until ")
            && line.ends_with(
                " GMT: the collector asked for 600 s, of which retry.max_elapsed_time allows 300 s"
            ),
        "{line}"
    );
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedRetryExhausted), 1);
    end_span(&mut tracer, 1, NOW);
    assert!(tracer.next_callout(until - 1).is_none());
    assert!(tracer.next_callout(until).is_some());
}

// ----------------------------------------------------------------- notices

/// An operator reads of each failure, once of a recovery and of the very first
/// success, of what was refused or rejected, and of nothing else.
#[test]
fn what_an_operator_reads() {
    let mut tracer = tracer(1, patient(), 7);
    let mut tell = |reply: Reply| {
        let call = sent(&mut tracer, NOW);
        reply.notice(&mut tracer, call.id, NOW)
    };
    let failure = |kind, message: &str| Failure {
        kind,
        message: message.to_owned(),
    };
    for round in 0..3 {
        let first = (round == 0).then_some(Notice::Recovered);
        assert_eq!(tell(Reply::OK), first, "{round}");
        let down = || Reply::grpc(14).trailer("grpc-message", "down");
        let failing = || Some(Notice::Failing(failure(FailureKind::Grpc(14), "down")));
        assert_eq!(tell(down()), failing());
        assert_eq!(tell(down()), failing());
        let kind = FailureKind::NoCluster;
        assert_eq!(
            tell(Reply::NoCluster),
            Some(Notice::Failing(failure(kind, "")))
        );
        assert_eq!(tell(Reply::OK), Some(Notice::Recovered));
        assert_eq!(tell(Reply::OK), None);
        let refused = Notice::Refused {
            spans: 1,
            failure: failure(FailureKind::Grpc(16), "no token"),
        };
        let no_token = Reply::grpc(16).trailer("grpc-message", "no token");
        assert_eq!(tell(no_token), Some(refused));
        assert_eq!(
            tell(Reply::OK),
            None,
            "a refusal is no failure to recover from"
        );
        for (spans, words) in [(1, "no"), (1, ""), (0, "slow")] {
            let rejected = Notice::Rejected {
                spans,
                message: words.to_owned(),
            };
            let body = framed(&partial(spans as i64, words));
            assert_eq!(tell(Reply::grpc(0).body(body)), Some(rejected));
        }
        assert_eq!(tell(Reply::grpc(0).body(framed(&partial(0, "")))), None);
    }
}

/// Who read of failures reads of their end, whatever came first; they may
/// have been those of an exporter before this one.
#[test]
fn a_recovery_is_told_in_the_end() {
    for first in [
        Reply::grpc(3),
        Reply::grpc(0).body(framed(&partial(1, "no"))),
        Reply::grpc(0).body(framed(&partial(0, "slow"))),
    ] {
        for fails in [true, false] {
            let mut tracer = tracer(1, patient(), 7);
            let mut tell = |reply: &Reply| {
                let call = sent(&mut tracer, NOW);
                reply.notice(&mut tracer, call.id, NOW)
            };
            if fails {
                tell(&Reply::Reset);
            }
            tell(&first);
            assert_eq!(tell(&Reply::OK), Some(Notice::Recovered), "{first:?}");
            assert_eq!(tell(&Reply::OK), None);
        }
    }
}

/// A refused export stops no other.
#[test]
fn a_refusal_stops_nothing() {
    let mut tracer = tracer(2, patient(), 7);
    for n in 0..20 {
        let call = sent(&mut tracer, NOW);
        let notice = Reply::grpc(3).notice(&mut tracer, call.id, NOW);
        assert!(matches!(notice, Some(Notice::Refused { spans: 1, .. })));
        assert!(tracer.is_idle(), "{n}");
    }
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedPermanent), 20);
}

/// From its own start, and no time at all if the clock was set back.
#[test]
fn how_long_an_export_took() {
    let mut tracer = tracer(3, patient(), 7);
    let ids = [0, 7, 1].map(|at| sent(&mut tracer, NOW + at * MILLI).id);
    let mut took = |id, at| {
        let end = Reply::OK.tell(&mut tracer, id, at);
        end.unwrap().took
    };
    assert_eq!(took(ids[1], NOW + 9 * MILLI), Duration::from_millis(2));
    assert_eq!(
        took(ids[0], NOW + 9 * MILLI + 5),
        Duration::new(0, 9_000_005)
    );
    assert_eq!(took(ids[2], NOW - HOUR), Duration::ZERO);
    // That of a retry is its own.
    let call = sent(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, call.id, NOW);
    let due = next_due(&tracer, NOW);
    let call = tracer.next_callout(due).unwrap();
    let end = Reply::Reset
        .tell(&mut tracer, call.id, due + MILLI)
        .unwrap();
    assert_eq!(end.took, Duration::from_millis(1));
}

// ------------------------------------------------------------------- clock

/// A clock that is set back by an hour: what waits goes with the next tick,
/// in turn, and waits as long as ever if it fails again.
#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    for reply in [Reply::Reset, throttled(8, 600)] {
        let mut tracer = tracer(20, patient(), 7);
        tracer.on_tick(NOW);
        let calls = [(); 2].map(|()| sent(&mut tracer, NOW));
        for call in &calls {
            reply.tell(&mut tracer, call.id, NOW);
        }
        let now = NOW - HOUR;
        assert!(tracer.next_callout(now).is_none());
        tracer.on_tick(now);
        let again = all_callouts(&mut tracer, now);
        assert_eq!(again.len(), 2, "{reply:?}");
        for call in again {
            Reply::grpc(1).tell(&mut tracer, call.id, now);
        }
        let due = next_due(&tracer, now);
        assert!(due < now + 3 * SECOND);
        tracer.on_tick(due);
        let last = all_callouts(&mut tracer, now + 5 * SECOND);
        assert_eq!(last.len(), 2, "{reply:?}");
    }
}

/// A tick at the same time, or later, hastens nothing.
#[test]
fn a_clock_that_goes_on_hastens_nothing() {
    let mut tracer = tracer(2, patient(), 7);
    tracer.on_tick(NOW);
    let call = sent(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, call.id, NOW);
    let due = next_due(&tracer, NOW);
    for now in [NOW, NOW, NOW + MILLI] {
        tracer.on_tick(now);
        assert_eq!(next_due(&tracer, now), due);
    }
}

/// `max_elapsed_time` is a time of the batch's and not of the clock's.
#[test]
fn a_clock_that_is_set_back_does_not_keep_a_batch() {
    let mut tracer = tracer(1, RetryConfig::default(), 7);
    tracer.on_tick(NOW);
    let call = sent(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, call.id, NOW);
    let mut now = NOW - HOUR;
    while !tracer.is_idle() {
        now += SECOND;
        tracer.on_tick(now);
        if let Some(call) = tracer.next_callout(now) {
            Reply::Reset.tell(&mut tracer, call.id, now);
        }
        assert!(now < NOW - HOUR + 301 * SECOND, "five minutes");
    }
    assert!(
        now > NOW - HOUR + 250 * SECOND,
        "and no less, but for a wait"
    );
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_a_tracer() {
    let mut tracer = tracer(1, patient(), 7);
    tracer.on_tick(NOW);
    sent(&mut tracer, NOW);
    tracer.shutdown(NOW);
    for n in 0..30 {
        tracer.on_tick(NOW - HOUR + n * SECOND);
        assert!(!tracer.is_idle(), "after {n} seconds");
    }
    tracer.on_tick(NOW - HOUR + 30 * SECOND);
    assert!(tracer.is_idle(), "after thirty seconds");
}

// --------------------------------------------------------------------- end

/// The open batch goes at once, and what fails is tried again, for so long.
#[test]
fn a_shutdown_delivers_what_it_can() {
    let batch = BatchConfig {
        schedule_delay: seconds(30),
        ..BatchConfig::default()
    };
    let mut tracer = tracer_of(batch, patient(), Protocol::Grpc, 7);
    let span = end_span(&mut tracer, 1, NOW);
    assert!(tracer.next_callout(NOW).is_none());
    tracer.shutdown(NOW);
    let call = tracer.next_callout(NOW).expect("at once");
    assert_eq!(ids(&call), [span]);
    Reply::grpc(14).tell(&mut tracer, call.id, NOW + SECOND);
    assert!(!tracer.is_idle());
    let due = next_due(&tracer, NOW + SECOND);
    tracer.on_tick(due);
    let again = tracer.next_callout(due).expect("retries go on");
    assert_eq!(*again.body, *call.body);
    Reply::OK.tell(&mut tracer, again.id, due);
    assert!(tracer.is_idle());
    tracer.on_tick(NOW + HOUR);
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedShutdown), 0);
}

/// As a host drives it: ticks when it is asked to, and calls that fail, each
/// after so long, until the collector is back. One span ends each second.
/// Gives how long after its shutdown the tracer had delivered all.
fn deliver_at_the_end(seed: u8, call_takes: u64, down: u64, end: u64) -> Option<u64> {
    let batch = BatchConfig::default();
    let mut tracer = tracer_of(batch, RetryConfig::default(), Protocol::Grpc, seed);
    let mut books = Books::default();
    let mut under_way = Vec::new();
    let (mut now, mut next_span, mut next_tick) = (NOW, NOW, NOW);
    let (mut is_ending, mut spans) = (false, 0);
    loop {
        if !is_ending && now >= NOW + end {
            tracer.shutdown(now);
            is_ending = true;
        }
        if !is_ending && now >= next_span {
            end_span(&mut tracer, 1, now);
            spans += 1;
            next_span += SECOND;
        }
        let (ended, rest): (Vec<_>, Vec<_>) = under_way.into_iter().partition(|(at, _)| *at <= now);
        under_way = rest;
        for (_, id) in ended {
            let reply = match now < NOW + down + call_takes {
                true => Reply::NoEndpoint,
                false => Reply::OK,
            };
            reply.tell(&mut tracer, id, now);
        }
        if now >= next_tick {
            tracer.on_tick(now);
            next_tick = u64::MAX;
        }
        for call in all_callouts(&mut tracer, now) {
            // What is sent to one that is there is answered soon.
            let takes = match now < NOW + down {
                true => call_takes,
                false => 5 * MILLI,
            };
            under_way.push((now + takes, call.id));
        }
        books.balance(&mut tracer);
        if is_ending && tracer.is_idle() {
            let all = books.get(Stat::SpansAcknowledged) == spans;
            return all.then_some(now - NOW - end);
        }
        next_tick = next_tick.min(now + nanos(tracer.next_tick(now)) / MILLI * MILLI);
        let ends = under_way.iter().map(|(at, _)| *at).min();
        let next = next_tick.min(ends.unwrap_or(u64::MAX));
        now = match is_ending {
            true => next,
            false => next.min(next_span).min(NOW + end),
        };
    }
}

/// A collector that was down for minutes and is back a second after the
/// shutdown gets everything.
#[test]
fn a_shutdown_delivers_to_a_collector_that_comes_back() {
    for seed in 1..=40 {
        for call_takes in [MILLI, 10 * SECOND] {
            let took = deliver_at_the_end(seed, call_takes, 151 * SECOND, 150 * SECOND);
            let took = took.unwrap_or_else(|| panic!("seed {seed} lost spans"));
            assert!(took < 30 * SECOND, "seed {seed}: {took}");
        }
    }
}

/// What waits comes within the first interval, or three seconds if that is
/// longer, spread; none waits for long again.
#[test]
fn a_shutdown_hastens_what_waits() {
    for (initial, max, spread, longest) in [
        (seconds(1), seconds(600), 1000, 4500),
        (seconds(20), seconds(600), 3000, 4500),
        (Duration::from_millis(200), seconds(1), 200, 1500),
    ] {
        let retry = RetryConfig {
            initial_interval: initial,
            max_interval: max,
            ..patient()
        };
        let mut tracer = tracer(50, retry, 7);
        // Never so many failures in a row that the collector counts as down.
        let calls: Vec<CalloutId> = (0..40).map(|_| sent(&mut tracer, NOW).id).collect();
        for (n, id) in calls.into_iter().enumerate() {
            let reply = if n % 4 == 3 { Reply::OK } else { Reply::Reset };
            reply.tell(&mut tracer, id, NOW);
        }
        let now = NOW + MILLI;
        tracer.shutdown(now);
        let mut sizes = Vec::new();
        let mut again = Vec::new();
        for tenth in 0..=10 {
            let calls = all_callouts(&mut tracer, now + tenth * spread * MILLI / 10);
            sizes.push(calls.len());
            again.extend(calls);
        }
        assert_eq!(sizes.iter().sum::<usize>(), 30, "{sizes:?}");
        assert!(sizes.iter().filter(|n| **n > 0).count() > 5, "{sizes:?}");

        // One of them, until it has failed ten times.
        let mut now = now + spread * MILLI;
        let mut id = again.pop().unwrap().id;
        let mut waits = Vec::new();
        for call in again {
            Reply::OK.tell(&mut tracer, call.id, now);
        }
        for _ in 0..10 {
            Reply::Reset.tell(&mut tracer, id, now);
            let due = next_due(&tracer, now);
            waits.push((due - now) / MILLI);
            id = tracer.next_callout(due).unwrap().id;
            now = due;
        }
        assert!(waits.iter().all(|wait| *wait <= longest), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait > longest / 2), "{waits:?}");
    }
}

/// And never later than it would have come.
#[test]
fn a_shutdown_puts_nothing_off() {
    for seed in 1..20 {
        let mut tracer = tracer(2, patient(), seed);
        let call = sent(&mut tracer, NOW);
        Reply::Reset.tell(&mut tracer, call.id, NOW);
        let due = next_due(&tracer, NOW);
        tracer.shutdown(due - 10 * MILLI);
        assert!(next_due(&tracer, due - 10 * MILLI) <= due);
    }
}

/// A collector that asked for a pause has it, whoever ends.
#[test]
fn a_shutdown_breaks_no_silence() {
    let mut tracer = tracer(2, patient(), 7);
    let call = sent(&mut tracer, NOW);
    throttled(8, 10).tell(&mut tracer, call.id, NOW);
    tracer.shutdown(NOW);
    assert!(tracer.next_callout(NOW + 10 * SECOND - 1).is_none());
    assert!(tracer.next_callout(NOW + 15 * SECOND).is_some());
}

/// Who is asked twice to end has no more time.
#[test]
fn a_second_shutdown_puts_no_end_off() {
    let mut tracer = tracer(1, patient(), 7);
    sent(&mut tracer, NOW);
    tracer.shutdown(NOW);
    tracer.shutdown(NOW + 20 * SECOND);
    tracer.on_tick(NOW + 30 * SECOND - 1);
    assert!(!tracer.is_idle());
    tracer.on_tick(NOW + 30 * SECOND);
    assert!(tracer.is_idle());
}

/// Spans wait, are to be sent again, and are on their way.
fn tracer_with_all_kinds(seed: u8) -> (Tracer, CalloutId) {
    let batch = BatchConfig {
        max_export_batch_size: 2,
        max_concurrent_exports: 2,
        ..BatchConfig::default()
    };
    let mut tracer = tracer_of(batch, patient(), Protocol::Grpc, seed);
    for _ in 0..9 {
        end_span(&mut tracer, 1, NOW);
    }
    let failed = tracer.next_callout(NOW).unwrap();
    Reply::Reset.tell(&mut tracer, failed.id, NOW);
    let call = tracer.next_callout(NOW).unwrap();
    assert_eq!(tracer.level(Level::SpansQueued), 2 + 4 + 1);
    assert_eq!(tracer.level(Level::SpansInFlight), 2);
    (tracer, call.id)
}

/// After thirty seconds all that is left is given up and counted, and the
/// tracer is idle; a late answer changes nothing.
#[test]
fn a_shutdown_ends() {
    let (mut tracer, id) = tracer_with_all_kinds(7);
    let mut books = Books::default();
    tracer.shutdown(NOW);
    tracer.on_tick(NOW + 30 * SECOND - 1);
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansDroppedShutdown), 0);
    tracer.on_tick(NOW + 30 * SECOND);
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansDroppedShutdown), 9);
    assert!(tracer.is_idle());
    assert_eq!(tracer.level(Level::BytesQueued), 0);
    assert!(tracer.next_callout(NOW + HOUR).is_none());
    for reply in [Reply::OK, Reply::Reset] {
        assert!(reply.tell(&mut tracer, id, NOW + HOUR).is_none());
        assert_eq!(take_stats(&mut tracer), []);
    }
    // A stream that ends after all is no secret.
    end_span(&mut tracer, 1, NOW + HOUR);
    tracer.on_tick(NOW + HOUR);
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansDroppedShutdown), 10);
}

/// A tracer that must go at once says what is lost.
#[test]
fn what_is_given_up_is_counted() {
    let (mut tracer, id) = tracer_with_all_kinds(7);
    tracer.give_up();
    assert!(tracer.is_idle());
    assert!(Reply::OK.tell(&mut tracer, id, NOW).is_none());
    let mut books = Books::default();
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansDroppedShutdown), 9);
}

/// A tracer takes over what another one has not delivered, and what it has
/// not published; nothing of its own changes.
#[test]
fn a_tracer_adopts_another_one() {
    let (mut tracer, id) = tracer_with_all_kinds(7);
    let (other, _) = tracer_with_all_kinds(8);
    let bytes = tracer.level(Level::BytesQueued);
    tracer.adopt(other, NOW);
    assert_eq!(tracer.level(Level::SpansQueued), 7 + 9);
    assert_eq!(tracer.level(Level::SpansInFlight), 2);
    assert!(tracer.level(Level::BytesQueued) > 2 * bytes);
    let mut books = Books::default();
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansCreated), 18);
    assert_eq!(books.get(Stat::Sampled), 18);
    assert_eq!(books.get(Stat::ExportsFailed), 2);

    Reply::OK.tell(&mut tracer, id, NOW);
    let mut now = NOW;
    for _ in 0..20 {
        now += SECOND;
        tracer.on_tick(now);
        for call in all_callouts(&mut tracer, now) {
            Reply::OK.tell(&mut tracer, call.id, now);
        }
    }
    books.balance(&mut tracer);
    assert_eq!(books.get(Stat::SpansAcknowledged), 18);
}

/// How long a batch was tried for is remembered, whether it waits or is under
/// way.
#[test]
fn an_adopted_batch_is_not_young_again() {
    for has_failed in [true, false] {
        let mut other = tracer(1, RetryConfig::default(), 8);
        let call = sent(&mut other, NOW);
        if has_failed {
            Reply::Reset.tell(&mut other, call.id, NOW);
        }
        let mut tracer = tracer(1, RetryConfig::default(), 7);
        let late = NOW + 300 * SECOND;
        tracer.adopt(other, late);
        let call = tracer.next_callout(late).expect("at once");
        Reply::Reset.tell(&mut tracer, call.id, late);
        let all = take_stats(&mut tracer);
        assert_eq!(count(&all, Stat::SpansDroppedRetryExhausted), 1);
        assert_eq!(count(&all, Stat::Retries), 1);
    }
}

/// What was under way goes again at once, with the same bytes, before what is
/// new, and is counted as sent again; what was not sent is not.
#[test]
fn an_adopted_call_is_a_retry() {
    let mut other = tracer(3, patient(), 8);
    let calls = [(); 3].map(|()| sent(&mut other, NOW));
    end_span(&mut other, 1, NOW);
    let mut tracer = tracer(4, patient(), 7);
    end_span(&mut tracer, 1, NOW);
    let now = NOW + SECOND;
    tracer.adopt(other, now);
    assert_eq!(counted(&mut tracer, Stat::Retries), 0, "not yet");
    let again = all_callouts(&mut tracer, now);
    let mut bodies: Vec<&[u8]> = again.iter().take(3).map(|call| &*call.body).collect();
    let mut expected: Vec<&[u8]> = calls.iter().map(|call| &*call.body).collect();
    bodies.sort();
    expected.sort();
    assert_eq!(bodies, expected);
    assert_eq!(again.len(), 4);
    assert_eq!(counted(&mut tracer, Stat::Retries), 3);
    for call in again {
        Reply::OK.tell(&mut tracer, call.id, now);
    }
    assert_eq!(all_callouts(&mut tracer, now).len(), 1);
    assert_eq!(counted(&mut tracer, Stat::Retries), 0);
}

/// What came back elsewhere goes on waiting.
#[test]
fn an_adopted_batch_waits_for_as_long() {
    let mut other = tracer(1, patient(), 8);
    let call = sent(&mut other, NOW);
    Reply::Reset.tell(&mut other, call.id, NOW);
    let due = next_due(&other, NOW);
    let mut tracer = tracer(1, patient(), 7);
    tracer.adopt(other, NOW + MILLI);
    assert_eq!(next_due(&tracer, NOW + MILLI), due);
    assert!(tracer.next_callout(due - 1).is_none());
    assert_eq!(*tracer.next_callout(due).unwrap().body, *call.body);
}

/// A collector that asked for a pause has it of whoever comes after; the
/// longer one of two.
#[test]
fn a_silence_is_adopted() {
    for (own, its) in [(0, 100), (100, 0), (10, 100), (100, 10)] {
        let silent = |asked: i64, seed: u8| {
            let mut tracer = tracer(2, patient(), seed);
            let call = sent(&mut tracer, NOW);
            match asked {
                0 => Reply::OK.tell(&mut tracer, call.id, NOW),
                _ => throttled(8, asked).tell(&mut tracer, call.id, NOW),
            };
            tracer
        };
        let mut tracer = silent(own, 7);
        tracer.adopt(silent(its, 8), NOW);
        end_span(&mut tracer, 1, NOW);
        assert!(tracer.next_callout(NOW + 100 * SECOND - 1).is_none());
        assert!(tracer.next_callout(NOW + 150 * SECOND).is_some());
    }
}

/// A tracer that ends gives up what it adopts in its own time.
#[test]
fn a_tracer_that_ends_may_adopt() {
    let (mut tracer, _) = tracer_with_all_kinds(7);
    tracer.shutdown(NOW);
    let (other, _) = tracer_with_all_kinds(8);
    tracer.adopt(other, NOW + 29 * SECOND);
    tracer.on_tick(NOW + 30 * SECOND);
    assert!(tracer.is_idle());
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedShutdown), 18);
}

/// An end that has begun elsewhere is not put off, however often it is handed
/// on: who adopts has no more time.
#[test]
fn an_adopted_end_is_not_put_off() {
    let (mut first, _) = tracer_with_all_kinds(7);
    first.shutdown(NOW);
    let (mut second, _) = tracer_with_all_kinds(8);
    second.adopt(first, NOW + 10 * SECOND);
    second.shutdown(NOW + 20 * SECOND);
    let (mut third, _) = tracer_with_all_kinds(9);
    third.adopt(second, NOW + 25 * SECOND);
    third.shutdown(NOW + 25 * SECOND);
    third.on_tick(NOW + 30 * SECOND - 1);
    assert_eq!(counted(&mut third, Stat::SpansDroppedShutdown), 0);
    assert!(!third.is_idle());
    third.on_tick(NOW + 30 * SECOND);
    assert_eq!(counted(&mut third, Stat::SpansDroppedShutdown), 27);
    assert!(third.is_idle());
}

/// Without an end elsewhere there is none here until a shutdown.
#[test]
fn an_adoption_ends_nobody() {
    let (other, _) = tracer_with_all_kinds(8);
    let (mut tracer, _) = tracer_with_all_kinds(7);
    tracer.adopt(other, NOW);
    tracer.on_tick(NOW + 20 * SECOND);
    tracer.shutdown(NOW + 20 * SECOND);
    tracer.on_tick(NOW + 50 * SECOND - 1);
    assert!(!tracer.is_idle());
    tracer.on_tick(NOW + 50 * SECOND);
    assert_eq!(counted(&mut tracer, Stat::SpansDroppedShutdown), 18);
}

// -------------------------------------------------------- what goes to whom

fn parse(exporter: &Value) -> Config {
    let document = json!({"exporter": exporter}).to_string();
    sidespan_config::parse(document.as_bytes()).unwrap_or_else(|faults| panic!("{faults}"))
}

/// All headers of a target, each of which stands there once.
fn headers(tracer: &Tracer) -> BTreeMap<String, String> {
    let headers = &tracer.target().headers;
    let map: BTreeMap<_, _> = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.0.clone()))
        .collect();
    assert_eq!(map.len(), headers.len(), "a header stands there twice");
    map
}

fn map(lines: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    lines.iter().map(own).collect()
}

const USER_AGENT: &str = concat!("Sidespan-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));

#[test]
fn a_grpc_call_is_one() {
    let config = parse(&json!({"otlp_grpc": {
        "cluster": "outbound|4317||otel.svc",
        "timeout": "2500ms",
        "headers": [{"name": "X-Tenant", "value": "shop"}],
    }}));
    let tracer = common::tracer(&config);
    let expected = map(&[
        (":method", "POST"),
        (
            ":path",
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        ),
        (":authority", "otel.svc"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("grpc-timeout", "2500m"),
        ("user-agent", USER_AGENT),
        ("x-tenant", "shop"),
    ]);
    assert_eq!(headers(&tracer), expected);
    assert_eq!(tracer.target().cluster, "outbound|4317||otel.svc");
    assert_eq!(tracer.target().timeout, Duration::from_millis(2500));
    let warnings = tracer.warnings();
    assert_eq!(warnings.len(), 1, "of the service's name: {warnings:?}");
}

/// "TimeoutValue → {positive integer as ASCII string of at most 8 digits}".
#[test]
fn a_grpc_timeout_has_eight_digits() {
    for (millis, text) in [
        (1, "1m"),
        (10_000, "10000m"),
        (99_999_999, "99999999m"),
        (100_000_000, "99999999m"),
        (u64::MAX, "99999999m"),
    ] {
        let mut config = common::default_config();
        config.exporter.timeout = Duration::from_millis(millis);
        assert_eq!(headers(&common::tracer(&config))["grpc-timeout"], text);
    }
}

#[test]
fn an_http_call_is_one() {
    for (more, path, encoding) in [
        (json!({}), "/v1/traces", None),
        (
            json!({"path": "/otlp/v1/traces?x=1", "compression": "gzip"}),
            "/otlp/v1/traces?x=1",
            Some("gzip"),
        ),
        (json!({"compression": "none"}), "/v1/traces", None),
    ] {
        let mut http = json!({"cluster": "otel", "authority": "otel.example:4318"});
        http.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let tracer = common::tracer(&parse(&json!({"otlp_http": http})));
        let mut expected = map(&[
            (":method", "POST"),
            (":path", path),
            (":authority", "otel.example:4318"),
            ("content-type", "application/x-protobuf"),
            ("user-agent", USER_AGENT),
        ]);
        expected.extend(encoding.map(|e| ("content-encoding".to_owned(), e.to_owned())));
        assert_eq!(headers(&tracer), expected);
    }
}

#[test]
fn authorities_of_clusters() {
    for (cluster, authority) in [
        ("otel", "otel"),
        ("outbound|4317||otel.svc", "otel.svc"),
        ("outbound|4317|v1|otel.svc", "otel.svc"),
        ("outbound|4317||", "outbound|4317||"),
        ("|", "|"),
        ("", ""),
    ] {
        assert_eq!(default_authority(cluster), authority);
    }
}

const SECRET: &str = "s3cr3t-t0k3n";

/// Headers by value and by the environment, whose lines may end; of what is
/// missing or cannot be sent an operator reads the names, never the value.
#[test]
fn headers_of_the_environment() {
    let line = format!("  {SECRET}\r\n");
    let broken = format!("{SECRET}\nx: y");
    let control = format!("{SECRET}\u{7f}");
    let leak = |text: &str| -> &'static str { text.to_owned().leak() };
    let host = Host {
        variables: BTreeMap::from([
            ("TOKEN", leak(&line)),
            ("BROKEN", leak(&broken)),
            ("CONTROL", leak(&control)),
        ]),
        ..Host::default()
    };
    let from = |name: &str, variable: &str| json!({"name": name, "environment": variable});
    let config = parse(&json!({"otlp_grpc": {"cluster": "c", "headers": [
        {"name": "x-plain", "value": SECRET},
        from("authorization", "TOKEN"),
        from("x-broken", "BROKEN"),
        from("x-control", "CONTROL"),
        from("x-missing", "MISSING"),
    ]}}));
    let mut tracer = Tracer::new(config.clone(), &host, [7; 32]);
    let headers = headers(&tracer);
    assert_eq!(headers["x-plain"], SECRET);
    assert_eq!(headers["authorization"], SECRET);
    for name in ["x-broken", "x-control", "x-missing"] {
        assert_eq!(headers.get(name), None);
    }
    let warnings = tracer.warnings();
    assert_eq!(warnings.len(), 4, "one of the service's name: {warnings:?}");
    for (warning, (variable, name)) in warnings.iter().zip([
        ("BROKEN", "x-broken"),
        ("CONTROL", "x-control"),
        ("MISSING", "x-missing"),
    ]) {
        assert!(warning.contains(variable) && warning.contains(name));
        assert!(!warning.contains(SECRET) && !warning.contains('\n'));
    }

    // Nothing that is shown shows a secret.
    let call = sent_any(&mut tracer);
    let shown = [
        format!("{config:?}"),
        format!("{config:#?}"),
        format!("{:?}", tracer.target()),
        format!("{tracer:?}"),
        format!("{tracer:#?}"),
        format!("{call:?}"),
        format!("{:?}", Reply::grpc(16).notice(&mut tracer, call.id, NOW)),
    ];
    assert!(shown.iter().all(|text| !text.contains(SECRET)));
    assert!(shown[0].contains("x-plain"), "names are no secrets");
}

/// All that waits goes in one export.
fn sent_any(tracer: &mut Tracer) -> Callout {
    end_span(tracer, 1, NOW);
    common::flush(tracer).expect("it waited")
}

// ------------------------------------------------------------------ bodies

/// CRC-32 as RFC 1952 has it, bit by bit.
fn crc32(data: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// The message is the same however it is carried: framed by gRPC, as it is,
/// or as a member of gzip (RFC 1952).
#[test]
fn one_message_however_it_is_carried() {
    for (spans, length) in [(1, 0), (1, 1000), (100, 10), (500, 500)] {
        let body = |protocol: Protocol| {
            let batch = BatchConfig {
                max_export_batch_size: spans,
                ..BatchConfig::default()
            };
            let mut tracer = tracer_of(batch, patient(), protocol, 7);
            for _ in 0..spans {
                end_span(&mut tracer, length, NOW);
            }
            tracer.next_callout(NOW).unwrap()
        };
        let http = |gzip| {
            let path = "/v1/traces".to_owned();
            body(Protocol::Http { path, gzip }).body.to_vec()
        };
        let grpc = body(Protocol::Grpc);
        let plain = http(false);
        assert_eq!(message(&grpc), plain);
        assert_eq!(*grpc.body, framed(&plain));

        let zipped = http(true);
        // No flags, no time, from any system.
        assert_eq!(zipped[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
        let (deflated, end) = zipped[10..].split_at(zipped.len() - 18);
        assert_eq!(decompress_to_vec(deflated).unwrap(), plain);
        assert_eq!(end[..4], crc32(&plain).to_le_bytes());
        assert_eq!(end[4..], u32::try_from(plain.len()).unwrap().to_le_bytes());
        if spans > 10 {
            assert!(zipped.len() < plain.len() / 2, "it is smaller");
        }
    }
}

/// What is retried is what was sent, compressed or not.
#[test]
fn a_retry_is_the_same_by_http() {
    for gzip in [false, true] {
        let path = "/v1/traces".to_owned();
        let protocol = Protocol::Http { path, gzip };
        let mut tracer = tracer_of(singles(1), patient(), protocol, 7);
        let call = sent(&mut tracer, NOW);
        Reply::http(503).tell(&mut tracer, call.id, NOW);
        let due = NOW + nanos(seconds(2));
        assert_eq!(*tracer.next_callout(due).unwrap().body, *call.body);
    }
}
