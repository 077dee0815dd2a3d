//! What a collector's answer means: the spans are taken, wait, or are refused.
//!
//! <https://opentelemetry.io/docs/specs/otlp/>

use crate::common::exports::{
    Any, Books, NOW, Reply, RetryInfo, Status, all_callouts, details, end_span, framed, nanos,
    next_due, partial, retry_info, throttled, tracer_of,
};
use crate::common::take_stats;
use proptest::prelude::*;
use prost::Message as _;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::event::Notice;
use sidespan_core::export::response::FailureKind::{Grpc, Http};
use sidespan_core::export::response::{Failure, FailureKind};
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings::Protocol;
use sidespan_core::stats::Stat;
use sidespan_core::tracer::Tracer;
use std::time::Duration;

/// What comes of an export of ten spans.
#[derive(Clone, Debug)]
enum Means {
    /// So many were rejected, with these words.
    Taken(u64, String),
    /// They wait, for as long as was asked.
    Wait(Option<Duration>, FailureKind, String),
    /// They are lost: the collector asked for longer than `max_elapsed_time`.
    Lost(FailureKind, String),
    Refused(FailureKind, String),
}

fn taken(rejected: u64, words: &str) -> Means {
    Means::Taken(rejected, words.to_owned())
}

fn wait(kind: FailureKind, words: &str) -> Means {
    Means::Wait(None, kind, words.to_owned())
}

fn asked(millis: u64, kind: FailureKind, words: &str) -> Means {
    Means::Wait(Some(Duration::from_millis(millis)), kind, words.to_owned())
}

fn lost(kind: FailureKind) -> Means {
    Means::Lost(kind, String::new())
}

fn refused(kind: FailureKind, words: &str) -> Means {
    Means::Refused(kind, words.to_owned())
}

const MAX_ELAPSED_TIME: Duration = Duration::from_secs(100_000);

fn http() -> Protocol {
    Protocol::Http {
        path: "/v1/traces".to_owned(),
        gzip: false,
    }
}

/// Its own waits are so short that only what is asked for is seen.
fn tracer(protocol: &Protocol) -> Tracer {
    let batch = BatchConfig {
        max_export_batch_size: 10,
        ..BatchConfig::default()
    };
    let millisecond = Duration::from_millis(1);
    let retry = RetryConfig {
        initial_interval: millisecond,
        max_interval: millisecond,
        max_elapsed_time: MAX_ELAPSED_TIME,
    };
    tracer_of(batch, retry, protocol.clone(), 7)
}

/// A row: why, what came, what it means.
type Row = (&'static str, Reply, Means);

fn check((why, reply, means): &Row, protocol: &Protocol) {
    let mut tracer = tracer(protocol);
    for _ in 0..20 {
        end_span(&mut tracer, 1, NOW);
    }
    let first = tracer.next_callout(NOW).unwrap();
    take_stats(&mut tracer);
    let notice = reply.notice(&mut tracer, first.id, NOW);
    let failure = |kind: &FailureKind, message: &String| Failure {
        kind: *kind,
        message: message.clone(),
    };
    let (expected, counted) = match means {
        Means::Taken(0, words) if words.is_empty() => (
            Some(Notice::Recovered),
            vec![(Stat::SpansAcknowledged, 10), (Stat::ExportsAccepted, 1)],
        ),
        Means::Taken(rejected, message) => {
            let spans = usize::try_from(*rejected).unwrap();
            let message = message.clone();
            let export = match rejected {
                0 => Stat::ExportsAccepted,
                _ => Stat::ExportsPartial,
            };
            let mut counted = vec![
                (Stat::SpansAcknowledged, 10 - rejected),
                (Stat::SpansRejected, *rejected),
                (export, 1),
            ];
            counted.retain(|(_, n)| *n > 0);
            (Some(Notice::Rejected { spans, message }), counted)
        }
        Means::Wait(_, kind, words) => (
            Some(Notice::Failing(failure(kind, words))),
            vec![(Stat::ExportsFailed, 1)],
        ),
        Means::Lost(kind, words) => (
            Some(Notice::Failing(failure(kind, words))),
            vec![
                (Stat::SpansDroppedRetryExhausted, 10),
                (Stat::ExportsFailed, 1),
            ],
        ),
        Means::Refused(kind, words) => {
            let (spans, failure) = (10, failure(kind, words));
            (
                Some(Notice::Refused { spans, failure }),
                vec![(Stat::SpansDroppedPermanent, 10), (Stat::ExportsRefused, 1)],
            )
        }
    };
    assert_eq!(notice, expected, "{why}");
    assert_eq!(take_stats(&mut tracer), counted, "{why}");

    // What it does to this batch and to the next one.
    match means {
        Means::Wait(Some(asked), ..) if !asked.is_zero() => {
            assert!(tracer.next_callout(NOW).is_none(), "{why}: silence");
            let due = next_due(&tracer, NOW);
            let waited = Duration::from_nanos(due - NOW);
            assert!(waited >= *asked, "{why}: {waited:?}");
            assert!(waited <= asked.mul_f64(1.5), "{why}: {waited:?}");
            assert!(tracer.next_callout(due - 1).is_none(), "{why}");
            let calls = all_callouts(&mut tracer, due);
            assert_eq!(*calls[0].body, *first.body, "{why}: the same again");
            assert_eq!(calls.len(), 2, "{why}");
        }
        Means::Lost(..) => {
            let end = NOW + nanos(MAX_ELAPSED_TIME);
            assert!(tracer.next_callout(end - 1).is_none(), "{why}: silence");
            let calls = all_callouts(&mut tracer, end);
            assert_eq!(calls.len(), 1, "{why}: what is lost is not sent again");
        }
        Means::Wait(..) => {
            assert!(tracer.next_callout(NOW).is_some(), "{why}: others go on");
            let again = all_callouts(&mut tracer, NOW + 1_500_000);
            let is_there = again.iter().any(|call| *call.body == *first.body);
            assert!(is_there, "{why}: it is sent again");
        }
        Means::Taken(..) | Means::Refused(..) => {
            let next = tracer.next_callout(NOW).expect("others go on");
            Reply::http(200)
                .header("grpc-status", "0")
                .tell(&mut tracer, next.id, NOW);
            assert!(tracer.is_idle(), "{why}: nothing is sent again");
        }
    }
}

#[track_caller]
fn check_all(rows: &[Row], protocol: &Protocol) {
    assert!(!rows.is_empty());
    for row in rows {
        check(row, protocol);
    }
}

const DETAILS: &str = "grpc-status-details-bin";

/// RESOURCE_EXHAUSTED with these details.
fn exhausted(list: Vec<Any>) -> Reply {
    Reply::grpc(8).trailer(DETAILS, details(list))
}

fn any_of(type_url: &str, value: Vec<u8>) -> Any {
    let type_url = type_url.to_owned();
    Any { type_url, value }
}

// -------------------------------------------------------------------- gRPC

/// "The client SHOULD treat" these as retryable, and no others (OTLP
/// specification, "Failures"; RESOURCE_EXHAUSTED with RetryInfo only).
#[test]
fn every_grpc_code_is_taken_as_otlp_says() {
    let retryable = [1, 4, 10, 11, 14, 15];
    for code in 0..=20 {
        let means = |words: &str| match code {
            0 => taken(0, ""),
            _ if retryable.contains(&code) => wait(Grpc(code), words),
            _ => refused(Grpc(code), words),
        };
        let in_trailers = Reply::grpc(code).trailer("grpc-message", "no");
        let in_headers = Reply::http(200)
            .header("content-type", "application/grpc")
            .header("grpc-status", code.to_string())
            .header("grpc-message", "no");
        let rows = [
            ("in the trailers", in_trailers, means("no")),
            ("trailers only", in_headers, means("no")),
            ("no words", Reply::grpc(code), means("")),
            (
                "a wait is asked for",
                throttled(code, 7),
                match code {
                    0 => taken(0, ""),
                    8 => asked(7000, Grpc(8), ""),
                    _ if retryable.contains(&code) => asked(7000, Grpc(code), ""),
                    _ => refused(Grpc(code), ""),
                },
            ),
        ];
        check_all(&rows, &Protocol::Grpc);
    }
}

#[test]
fn grpc_successes() {
    let ok = |body: &[u8]| Reply::grpc(0).body(body);
    let some = partial(3, "bad ids");
    let cut = framed(&some);
    let rows = [
        ("no message", ok(b""), taken(0, "")),
        ("an empty message", ok(&framed(b"")), taken(0, "")),
        (
            "an empty partial success is a whole one",
            ok(&framed(&partial(0, ""))),
            taken(0, ""),
        ),
        (
            "zero with words is a warning",
            ok(&framed(&partial(0, "slow down"))),
            taken(0, "slow down"),
        ),
        ("a part", ok(&framed(&some)), taken(3, "bad ids")),
        ("no words", ok(&framed(&partial(3, ""))), taken(3, "")),
        ("all", ok(&framed(&partial(10, "no"))), taken(10, "no")),
        (
            "more than were sent are all",
            ok(&framed(&partial(11, "no"))),
            taken(10, "no"),
        ),
        (
            "the largest number",
            ok(&framed(&partial(i64::MAX, "no"))),
            taken(10, "no"),
        ),
        ("cut", ok(&cut[..cut.len() - 1]), taken(0, "")),
        ("its prefix is cut", ok(&cut[..4]), taken(0, "")),
        (
            "more was to come, so it is not whole",
            ok(&[&[0, 0, 0, 1, 0], &some[..]].concat()),
            taken(0, ""),
        ),
        (
            "the first message counts",
            ok(&[cut.clone(), framed(&partial(5, "five"))].concat()),
            taken(3, "bad ids"),
        ),
        (
            "nobody was told that it may be compressed",
            ok(&[&[1], &cut[1..]].concat()),
            taken(0, ""),
        ),
        ("no frame", ok(&some), taken(0, "")),
        ("garbage", ok(&framed(&[0xff; 10])), taken(0, "")),
        (
            "fields of a later version",
            ok(&framed(&[&some[..], &[0x7a, 1, 0]].concat())),
            taken(3, "bad ids"),
        ),
        (
            "of a field that stands there twice the last one counts",
            ok(&framed(&[partial(1, "one"), partial(3, "three")].concat())),
            taken(3, "three"),
        ),
        (
            "of a number, too",
            ok(&framed(&[0x0a, 4, 0x08, 1, 0x08, 2])),
            taken(2, ""),
        ),
        (
            "fields of every type in front",
            ok(&framed(
                &[
                    &[0x29][..],
                    &[0xff; 8],
                    &[0x35],
                    &[0xff; 4],
                    &[0x38, 0xff, 1],
                    &some,
                ]
                .concat(),
            )),
            taken(3, "bad ids"),
        ),
        (
            "words that are no text",
            ok(&framed(&[0x0a, 5, 0x08, 2, 0x12, 1, 0xff])),
            taken(2, "\u{fffd}"),
        ),
        (
            "trailers win",
            ok(&framed(&some)).header("grpc-status", "14"),
            taken(3, "bad ids"),
        ),
    ];
    check_all(&rows, &Protocol::Grpc);
}

#[test]
fn grpc_words() {
    let said = |words: &[u8]| Reply::grpc(3).trailer("grpc-message", words);
    let means = |words: &str| refused(Grpc(3), words);
    let rows = [
        (
            "percent-encoded",
            said(b"no%20more %E2%82%AC"),
            means("no more €"),
        ),
        (
            "a percent sign alone stands for itself",
            said(b"100% of %zz%2"),
            means("100% of %zz%2"),
        ),
        ("no UTF-8", said(b"a%ffb"), means("a\u{fffd}b")),
        ("raw bytes", said(b"a\xffb"), means("a\u{fffd}b")),
        ("white space around", said(b"%20a%0a"), means("a")),
    ];
    check_all(&rows, &Protocol::Grpc);
}

#[test]
fn a_broken_grpc_status_is_unknown() {
    let unknown = refused(Grpc(2), "");
    let rows = ["", "x", "-1", "1.0", " 14", "99999999999", "14 14", "0x0"]
        .map(|status| ("not a number", Reply::grpc(status), unknown.clone()));
    check_all(&rows, &Protocol::Grpc);
    let none = refused(Grpc(2), "no grpc-status came");
    check(&("none", Reply::http(200), none), &Protocol::Grpc);
}

/// A proxy that speaks no gRPC answered (gRPC, "HTTP to gRPC Status Code
/// Mapping").
#[test]
fn http_answers_to_grpc_calls() {
    for (status, code) in [
        ("400", 13),
        ("401", 16),
        ("403", 7),
        ("404", 12),
        ("429", 14),
        ("502", 14),
        ("503", 14),
        ("504", 14),
        ("500", 2),
        ("302", 2),
        ("204", 2),
        ("501", 2),
        ("505", 2),
    ] {
        let words = format!("HTTP status {status} no healthy upstream");
        let means = match code {
            14 => wait(Grpc(code), &words),
            _ => refused(Grpc(code), &words),
        };
        let reply = Reply::http(status)
            .header("content-type", "text/plain")
            .header("retry-after", "30")
            .body("no healthy upstream\n");
        check(&("the proxy's own words", reply, means), &Protocol::Grpc);
    }
    for status in ["", "x", "70000"] {
        let words = refused(Grpc(2), "HTTP status 0");
        check(&("no status", Reply::http(status), words), &Protocol::Grpc);
    }
    let nothing = Reply::Answered {
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
    };
    let words = refused(Grpc(2), "HTTP status 0");
    check(&("nothing at all", nothing, words), &Protocol::Grpc);
    // Envoy's own answer to a gRPC call.
    let local = Reply::http(200)
        .header("grpc-status", "14")
        .header("grpc-message", "no healthy upstream");
    let means = wait(Grpc(14), "no healthy upstream");
    check(&("a local reply", local, means), &Protocol::Grpc);
}

/// "only if the server signals that the recovery from resource exhaustion is
/// possible" (OTLP specification, "Failures").
#[test]
fn how_long_a_grpc_status_asks_to_wait() {
    let waits = |millis| asked(millis, Grpc(8), "");
    let never = || refused(Grpc(8), "");
    let other = || any_of("type.googleapis.com/google.rpc.DebugInfo", vec![1, 2, 3]);
    let value = retry_info(7, 0).value;
    let unpadded = details(vec![retry_info(7, 0)])
        .trim_end_matches('=')
        .to_owned();
    let padded = ["x", "xx", "xxx"].map(|words| {
        let status = Status {
            code: 8,
            message: words.to_owned(),
            details: vec![retry_info(7, 0)],
        };
        base64::Engine::encode(&base64::prelude::BASE64_STANDARD, status.encode_to_vec())
    });
    let lengths: Vec<usize> = padded.iter().map(|b| b.matches('=').count()).collect();
    assert!([0, 1, 2].iter().all(|n| lengths.contains(n)), "{lengths:?}");
    let raw = |details: &str| Reply::grpc(8).trailer(DETAILS, details);
    let mut rows = vec![
        ("seconds", exhausted(vec![retry_info(7, 0)]), waits(7000)),
        (
            "and nanoseconds",
            exhausted(vec![retry_info(7, 500_000_000)]),
            waits(7500),
        ),
        (
            "less than a second",
            exhausted(vec![retry_info(0, 900_000_000)]),
            waits(900),
        ),
        (
            "among others",
            exhausted(vec![other(), retry_info(7, 0), other()]),
            waits(7000),
        ),
        (
            "whatever host the type has",
            exhausted(vec![any_of(
                "example.com/google.rpc.RetryInfo",
                value.clone(),
            )]),
            waits(7000),
        ),
        (
            "in the headers",
            Reply::http(200)
                .header("grpc-status", "8")
                .header(DETAILS, &unpadded),
            waits(7000),
        ),
        (
            "no wait is not for ever",
            exhausted(vec![retry_info(0, 0)]),
            waits(0),
        ),
        (
            "a negative one is none",
            exhausted(vec![retry_info(-7, 0)]),
            waits(0),
        ),
        (
            "negative nanoseconds, too",
            exhausted(vec![retry_info(0, -7)]),
            waits(0),
        ),
        (
            "longer than max_elapsed_time",
            exhausted(vec![retry_info(1_000_000_000, 0)]),
            lost(Grpc(8)),
        ),
        (
            "an hour exactly",
            exhausted(vec![retry_info(3600, 0)]),
            waits(3_600_000),
        ),
        ("no details", Reply::grpc(8), never()),
        ("none of them", exhausted(vec![]), never()),
        ("others only", exhausted(vec![other()]), never()),
        (
            "a type that only sounds like it",
            exhausted(vec![any_of(
                "example.com/a.google.rpc.RetryInfo",
                value.clone(),
            )]),
            never(),
        ),
        (
            "a type without a host is none",
            exhausted(vec![any_of("RetryInfo", value)]),
            never(),
        ),
        ("empty", raw(""), never()),
        ("no base64", raw("%%%"), never()),
        (
            "another base64",
            raw(&unpadded.replace(['B', 'C'], "_")),
            never(),
        ),
        ("no protobuf", raw("/////w=="), never()),
        ("cut", raw(&unpadded[..12]), never()),
    ];
    for details in padded {
        rows.push(("padded", raw(&details), waits(7000)));
        let unpadded = details.trim_end_matches('=');
        rows.push(("not padded", raw(unpadded), waits(7000)));
    }
    check_all(&rows, &Protocol::Grpc);
}

// -------------------------------------------------------------------- HTTP

const PROTOBUF: &str = "application/x-protobuf";

#[test]
fn http_successes() {
    let mut rows = Vec::new();
    for status in ["200", "202", "204", "299"] {
        let ok = |body: &[u8]| {
            Reply::http(status)
                .header("content-type", PROTOBUF)
                .body(body)
        };
        let some = partial(3, "bad ids");
        rows.extend([
            ("no message", ok(b""), taken(0, "")),
            ("a warning", ok(&partial(0, "slow")), taken(0, "slow")),
            ("a part", ok(&some), taken(3, "bad ids")),
            ("too many", ok(&partial(i64::MAX, "")), taken(10, "")),
            ("cut", ok(&some[..some.len() - 1]), taken(0, "")),
            ("garbage", ok(&[0xff; 100]), taken(0, "")),
            ("JSON", ok(b"{\"partialSuccess\":{}}"), taken(0, "")),
            (
                "a gRPC status means nothing",
                ok(b"").header("grpc-status", "14"),
                taken(0, ""),
            ),
        ]);
    }
    check_all(&rows, &http());
}

#[test]
fn http_failures() {
    let status = Status {
        code: 3,
        message: "no such tenant".to_owned(),
        details: vec![retry_info(7, 0)],
    };
    let status = status.encode_to_vec();
    let mut rows = Vec::new();
    for code in [
        100, 101, 300, 302, 304, 400, 401, 403, 404, 405, 408, 413, 415, 418, 428, 429, 430, 499,
        500, 501, 502, 503, 504, 505, 599,
    ] {
        let means = |words: &str| match code {
            429 | 502 | 503 | 504 => wait(Http(code), words),
            _ => refused(Http(code), words),
        };
        let reply = |body: &[u8]| Reply::http(code).body(body);
        let protobuf = |body: &[u8]| reply(body).header("content-type", PROTOBUF);
        rows.extend([
            ("without words", reply(b""), means("")),
            ("a Status", protobuf(&status), means("no such tenant")),
            ("a broken one", protobuf(&[0xff; 9]), means("")),
            ("an empty one", protobuf(b""), means("")),
            ("text", reply(b" try later\r\n"), means("try later")),
            ("no text", reply(b"a\xffb"), means("a\u{fffd}b")),
        ]);
    }
    let unknown = refused(Http(0), "?");
    for status in ["", "x", "-200", "99999"] {
        rows.push(("no status", Reply::http(status).body("?"), unknown.clone()));
    }
    let nothing = Reply::Answered {
        headers: Vec::new(),
        body: Vec::new(),
        trailers: Vec::new(),
    };
    rows.push(("no headers", nothing.body("?"), unknown));
    check_all(&rows, &http());
}

/// In seconds or as a date (RFC 9110, 10.2.3).
#[test]
fn how_long_retry_after_asks_to_wait() {
    let mut rows = Vec::new();
    for code in [429, 502, 503, 504] {
        let after = |value: &str| Reply::http(code).header("retry-after", value);
        let waits = |millis| asked(millis, Http(code), "");
        let none = || wait(Http(code), "");
        rows.extend([
            ("seconds", after("7"), waits(7000)),
            (
                "longer than max_elapsed_time",
                after("999999999"),
                lost(Http(code)),
            ),
            (
                "the largest number",
                after("18446744073709551615"),
                lost(Http(code)),
            ),
            ("at once", after("0"), waits(0)),
            // Now is 14:13:20.
            (
                "a date",
                after("Mon, 21 Sep 2026 14:14:50 GMT"),
                waits(90_000),
            ),
            (
                "as RFC 850 has it",
                after("Monday, 21-Sep-26 14:14:50 GMT"),
                waits(90_000),
            ),
            (
                "as asctime() has it",
                after("Mon Sep 21 14:14:50 2026"),
                waits(90_000),
            ),
            (
                "far away",
                after("Tue, 21 Sep 2027 14:14:50 GMT"),
                lost(Http(code)),
            ),
            ("past", after("Mon, 21 Sep 2026 14:13:19 GMT"), waits(0)),
            (
                "long past",
                after("Thu, 01 Jan 1970 00:00:00 GMT"),
                waits(0),
            ),
            ("words", after("soon"), none()),
            ("negative", after("-7"), none()),
            ("a fraction", after("1.5"), none()),
            ("empty", after(""), none()),
            (
                "beyond any number",
                after("18446744073709551616"),
                lost(Http(code)),
            ),
            (
                "a date that is none",
                after("Mon, 31 Feb 2026 14:14:50 GMT"),
                none(),
            ),
        ]);
    }
    for code in [200, 400, 500] {
        let means = match code {
            200 => taken(0, ""),
            _ => refused(Http(code), ""),
        };
        let reply = Reply::http(code).header("retry-after", "7");
        rows.push(("of no use", reply, means));
    }
    check_all(&rows, &http());
}

// -------------------------------------------------------------------- both

/// A connection that broke, a cluster that may come by discovery, an endpoint
/// that may become healthy: all may pass.
#[test]
fn no_answer_may_pass() {
    for protocol in [Protocol::Grpc, http()] {
        let rows = [
            ("reset", Reply::Reset, wait(FailureKind::Reset, "")),
            ("none", Reply::NoCluster, wait(FailureKind::NoCluster, "")),
            ("no", Reply::NoEndpoint, wait(FailureKind::NoEndpoint, "")),
        ];
        check_all(&rows, &protocol);
    }
}

/// A log line shows so many characters of a collector's words.
#[test]
fn long_words_are_cut() {
    for (letter, length, is_cut) in [("x", 256, false), ("x", 257, true), ("€", 300, true)] {
        let said = letter.repeat(length);
        let words = match is_cut {
            false => said.clone(),
            true => format!("{}…", letter.repeat(256)),
        };
        let status = Status {
            message: said.clone(),
            ..Status::default()
        };
        let rows = [
            (
                "grpc-message",
                Reply::grpc(3).trailer("grpc-message", &said),
                refused(Grpc(3), &words),
            ),
            (
                "a partial success",
                Reply::grpc(0).body(framed(&partial(1, &said))),
                taken(1, &words),
            ),
        ];
        check_all(&rows, &Protocol::Grpc);
        let rows = [
            (
                "a Status",
                Reply::http(400)
                    .header("content-type", PROTOBUF)
                    .body(status.encode_to_vec()),
                refused(Http(400), &words),
            ),
            (
                "text",
                Reply::http(400).body(&said),
                refused(Http(400), &words),
            ),
            (
                "a partial success",
                Reply::http(200).body(partial(1, &said)),
                taken(1, &words),
            ),
        ];
        check_all(&rows, &http());
    }
}

/// What an operator reads is one line, whatever was sent.
#[test]
fn failures_in_words() {
    let names = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    let failure = |kind, message: &str| {
        let message = message.to_owned();
        Failure { kind, message }.to_string()
    };
    for (code, name) in (0..).zip(names) {
        let words = format!("gRPC status {code} {name}");
        assert_eq!(failure(Grpc(code), ""), words);
    }
    assert_eq!(failure(Grpc(17), ""), "gRPC status 17");
    assert_eq!(failure(Http(503), ""), "HTTP status 503");
    assert_eq!(failure(Http(503), "a\n\"b"), r#"HTTP status 503: "a\n\"b""#);
    for kind in [
        FailureKind::Reset,
        FailureKind::NoCluster,
        FailureKind::NoEndpoint,
    ] {
        let words = failure(kind, "");
        assert!(words.len() > 10 && !words.contains(['\n', ':']), "{words}");
    }
}

// ------------------------------------------------------------------ edges

/// The number has a sign.
#[test]
fn a_negative_number_of_rejected_spans_is_none() {
    for n in [-1, i64::MIN] {
        let body = framed(&partial(n, "no"));
        let reply = Reply::grpc(0).body(body);
        check(&("negative", reply, taken(0, "no")), &Protocol::Grpc);
        let reply = Reply::http(200).body(partial(n, "no"));
        check(&("negative", reply, taken(0, "no")), &http());
    }
}

/// An `Any` of an empty message has no value, and a `RetryInfo` without a
/// delay is empty.
#[test]
fn a_retry_info_without_a_delay_says_that_trying_again_helps() {
    let value = RetryInfo { retry_delay: None }.encode_to_vec();
    assert!(value.is_empty());
    let info = any_of("type.googleapis.com/google.rpc.RetryInfo", value);
    let row = ("empty", exhausted(vec![info]), asked(0, Grpc(8), ""));
    check(&row, &Protocol::Grpc);
}

/// A `google.protobuf.Duration` goes up to 315 576 000 000 seconds.
#[test]
fn longest_retry_info_is_longer_than_any_pause() {
    let reply = exhausted(vec![retry_info(315_576_000_000, 0)]);
    let row = ("10000 years", reply, lost(Grpc(8)));
    check(&row, &Protocol::Grpc);
}

#[test]
fn a_sign_is_no_digit() {
    let row = ("a sign", Reply::grpc("+0"), refused(Grpc(2), ""));
    check(&row, &Protocol::Grpc);
    let reply = Reply::http(503).header("retry-after", "+7");
    check(&("a sign", reply, wait(Http(503), "")), &http());
}

/// Media types have parameters and are the same in upper case (RFC 9110,
/// 8.3.1).
#[test]
fn a_media_type_may_have_parameters() {
    let status = Status {
        message: "no such tenant".to_owned(),
        ..Status::default()
    };
    for media_type in [
        "application/x-protobuf; charset=utf-8",
        "Application/X-Protobuf",
    ] {
        let reply = Reply::http(400)
            .header("content-type", media_type)
            .body(status.encode_to_vec());
        let means = refused(Http(400), "no such tenant");
        check(&(media_type, reply, means), &http());
    }
}

// ----------------------------------------------------------------- hostile

/// Bytes that were a valid message once, or never.
fn bytes_like(valid: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<usize>(), any::<u8>()), 0..4);
    let broken = (changes, any::<usize>()).prop_map(move |(changes, cut)| {
        let mut bytes = valid.clone();
        let len = bytes.len().max(1);
        for (at, byte) in changes {
            if let Some(b) = bytes.get_mut(at % len) {
                *b = byte;
            }
        }
        bytes.truncate(cut % (2 * len));
        bytes
    });
    prop_oneof![3 => broken, 1 => prop::collection::vec(any::<u8>(), 0..64)]
}

fn lines(is_ok: bool) -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
    let names = [
        ":status",
        "grpc-status",
        "grpc-message",
        DETAILS,
        "retry-after",
        "content-type",
    ];
    let names: Vec<&str> = names
        .into_iter()
        .filter(|n| !is_ok || n.len() > 11)
        .collect();
    let info = details(vec![retry_info(7, 7)]).into_bytes();
    let value = prop_oneof![
        2 => bytes_like(info),
        1 => "[0-9]{1,4}".prop_map(String::into_bytes),
        1 => Just(PROTOBUF.into()),
        1 => Just(b"Mon, 21 Sep 2026 14:14:50 GMT".to_vec()),
        1 => "[ -~]{0,9}".prop_map(String::into_bytes),
    ];
    let name = prop::sample::select(names).prop_map(|name| name.as_bytes().to_vec());
    prop::collection::vec((name, value), 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is sent as an answer: nothing panics, the books balance, and
    /// what an operator reads of it is short.
    #[test]
    fn any_answer_means_something(
        is_grpc in any::<bool>(),
        headers in lines(false),
        trailers in lines(false),
        body in bytes_like(framed(&partial(3, "bad ids"))),
    ) {
        let mut tracer = tracer(&if is_grpc { Protocol::Grpc } else { http() });
        for _ in 0..10 {
            end_span(&mut tracer, 1, NOW);
        }
        let call = tracer.next_callout(NOW).unwrap();
        let reply = Reply::Answered { headers, body, trailers };
        let notice = reply.notice(&mut tracer, call.id, NOW);
        let shown = format!("{notice:?}").chars().count();
        prop_assert!(shown < 3000, "{}", shown);
        Books::default().balance(&mut tracer);
    }

    /// What says that it is a success is one, whatever its message looks like.
    #[test]
    fn garbage_after_ok_is_ok(
        is_grpc in any::<bool>(),
        more in lines(true),
        message in bytes_like(partial(3, "bad ids")),
        is_framed in any::<bool>(),
    ) {
        let mut tracer = tracer(&if is_grpc { Protocol::Grpc } else { http() });
        for _ in 0..10 {
            end_span(&mut tracer, 1, NOW);
        }
        let call = tracer.next_callout(NOW).unwrap();
        let body = if is_framed { framed(&message) } else { message };
        let mut reply = Reply::grpc(0).body(body);
        if let Reply::Answered { headers, trailers, .. } = &mut reply {
            headers.extend(more.clone());
            trailers.extend(more);
        }
        let notice = reply.notice(&mut tracer, call.id, NOW);
        let is_success = matches!(notice, Some(Notice::Recovered | Notice::Rejected { .. }));
        prop_assert!(is_success, "{:?}", notice);
        prop_assert!(tracer.is_idle());
        let mut books = Books::default();
        books.balance(&mut tracer);
        prop_assert_eq!(books.get(Stat::SpansAcknowledged) + books.get(Stat::SpansRejected), 10);
        prop_assert_eq!(books.get(Stat::ExportsAccepted) + books.get(Stat::ExportsPartial), 1);
    }
}
