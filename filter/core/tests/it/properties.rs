//! What holds for every input.

use crate::common;
use crate::common::{
    CONTEXT_HEADERS, Headers, Info, Response, hex, read_upstream, request, split, twin,
};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use prost::Message as _;
use serde_json::{Value, json};
use sidespan_core::config::Config;
use sidespan_core::context::id::{SpanId, TraceId};
use sidespan_core::context::span_context::{SpanContext, TraceFlags};
use sidespan_core::context::trace_state::TraceState;
use sidespan_core::headers::header_map::Extractor as _;
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::Direction;
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::format::{Format, SamplingState};
use sidespan_core::propagation::settings::UnsampledContext;
use sidespan_core::propagation::w3c::parse_traceparent;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

// -------------------------------------------------------------- strategies

fn context() -> impl Strategy<Value = SpanContext> {
    // Ids that are almost zero are as likely as others.
    let trace = prop_oneof![any::<u128>(), 1..256_u128, Just(1 << 64), Just(u128::MAX)];
    let span = prop_oneof![any::<u64>(), 1..256_u64, Just(u64::MAX)];
    (trace, span, 0..4_u8).prop_filter_map("ids are never zero", |(trace, span, flags)| {
        Some(SpanContext {
            trace_id: TraceId::from_bytes(trace.to_be_bytes())?,
            span_id: SpanId::from_bytes(span.to_be_bytes())?,
            flags: TraceFlags::from_bits_truncate(flags),
        })
    })
}

/// Bytes on which formats turn.
fn turning_byte() -> impl Strategy<Value = u8> {
    let bytes = b"0123456789abcdefgABF-_.,=@;: \t\0\x7f\x80\xff\r\nd";
    prop_oneof![3 => select(&bytes[..]), 1 => any::<u8>()]
}

/// One change to a text that was valid.
#[derive(Clone, Debug)]
enum Change {
    Replace(usize, u8),
    Insert(usize, u8),
    Remove(usize),
    Cut(usize),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<usize>(), turning_byte()).prop_map(|(at, b)| Change::Replace(at, b)),
        2 => (any::<usize>(), turning_byte()).prop_map(|(at, b)| Change::Insert(at, b)),
        2 => any::<usize>().prop_map(Change::Remove),
        1 => any::<usize>().prop_map(Change::Cut),
        1 => prop::collection::vec(turning_byte(), 0..8).prop_map(Change::Append),
    ]
}

fn apply(mut text: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        let len = text.len();
        match change {
            Change::Replace(at, b) if len > 0 => text[at % len] = b,
            Change::Insert(at, b) => text.insert(at % (len + 1), b),
            Change::Remove(at) if len > 0 => drop(text.remove(at % len)),
            Change::Cut(at) => text.truncate(at % (len + 1)),
            Change::Append(more) => text.extend(more),
            Change::Replace(..) | Change::Remove(_) => {}
        }
    }
    text
}

/// Texts that are valid, or almost.
fn near(valid: impl Strategy<Value = String>) -> impl Strategy<Value = Vec<u8>> {
    (valid, prop::collection::vec(change(), 0..3))
        .prop_map(|(text, changes)| apply(text.into_bytes(), changes))
}

fn hex_of(digits: usize) -> impl Strategy<Value = String> {
    let digit = select(&b"0123456789abcdef"[..]);
    prop_oneof![
        5 => prop::collection::vec(digit, digits).prop_map(|d| String::from_utf8(d).unwrap()),
        1 => Just("0".repeat(digits)),
    ]
}

fn traceparent() -> impl Strategy<Value = String> {
    let version =
        prop_oneof![4 => Just("00".to_owned()), 1 => Just("ff".to_owned()), 2 => hex_of(2)];
    let rest = prop_oneof![4 => Just(""), 1 => Just("-"), 1 => Just("-x-y"), 1 => Just(".x")];
    (version, hex_of(32), hex_of(16), hex_of(2), rest).prop_map(
        |(version, trace, span, flags, rest)| format!("{version}-{trace}-{span}-{flags}{rest}"),
    )
}

fn b3_single() -> impl Strategy<Value = String> {
    let trace = prop_oneof![hex_of(32), hex_of(16)];
    let state = select(vec!["", "-0", "-1", "-d", "-true", "-false", "-2", "-"]);
    let parent =
        prop_oneof![3 => Just(String::new()), 1 => hex_of(16).prop_map(|p| format!("-{p}"))];
    let whole = (trace, hex_of(16), state, parent)
        .prop_map(|(trace, span, state, parent)| format!("{trace}-{span}{state}{parent}"));
    let alone = select(vec!["0", "1", "d", "true", "false", ""]).prop_map(str::to_owned);
    prop_oneof![4 => whole, 1 => alone]
}

fn member() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        3 => "[a-c]",
        3 => "[a-z0-9][a-z0-9_*/@-]{0,12}",
        1 => Just("k".repeat(256)),
    ];
    let value = prop_oneof![
        3 => "[ -+\\--<>-~]{0,12}[!-+\\--<>-~]",
        1 => Just("v".repeat(256)),
    ];
    (key, value).prop_map(|(key, value)| format!("{key}={value}"))
}

fn tracestate() -> impl Strategy<Value = String> {
    let separator = select(vec![",", ", ", " ,\t", ",,", ", ,"]);
    (prop::collection::vec(member(), 0..40), separator)
        .prop_map(|(members, separator)| members.join(separator))
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(turning_byte(), 0..80)
}

/// A line of some context header, valid, almost valid, or anything.
fn line() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let of = |name: &'static str| move |value: Vec<u8>| (name.as_bytes().to_vec(), value);
    let state = select(vec!["0", "1", "d", "true", "false", "", "2"]).prop_map(str::to_owned);
    prop_oneof![
        3 => near(traceparent()).prop_map(of("traceparent")),
        2 => near(tracestate()).prop_map(of("tracestate")),
        2 => near(b3_single()).prop_map(of("b3")),
        2 => near(prop_oneof![hex_of(32), hex_of(16)]).prop_map(of("x-b3-traceid")),
        2 => near(hex_of(16)).prop_map(of("x-b3-spanid")),
        1 => near(hex_of(16)).prop_map(of("x-b3-parentspanid")),
        2 => near(state.clone()).prop_map(of("x-b3-sampled")),
        1 => near(state).prop_map(of("x-b3-flags")),
        1 => (select(&CONTEXT_HEADERS[..]), any_bytes()).prop_map(|(n, v)| (n.into(), v)),
        1 => (select(vec!["baggage", "x-b3-", "x-b3-x", "b33", "trace-parent", ""]), any_bytes())
            .prop_map(|(n, v)| (n.into(), v)),
    ]
}

/// The context headers of a request: now and then a whole valid set, so that
/// formats meet.
fn headers() -> impl Strategy<Value = Headers> {
    let whole = (
        subsequence(Format::ALL.to_vec(), 0..=3),
        context(),
        context(),
    )
        .prop_map(|(formats, one, other)| {
            let mut headers = Headers::default();
            for (i, format) in formats.into_iter().enumerate() {
                let context = if i == 0 { one } else { other };
                inject_plain(format, &context, &mut headers);
            }
            headers.0
        });
    (whole, prop::collection::vec(line(), 0..6)).prop_map(|(mut lines, more)| {
        lines.extend(more);
        Headers(lines)
    })
}

fn formats() -> impl Strategy<Value = Vec<Format>> {
    subsequence(Format::ALL.to_vec(), 0..=3).prop_shuffle()
}

fn propagator() -> impl Strategy<Value = Propagator> {
    prop_oneof![
        Just(Propagator::default()),
        (formats(), formats()).prop_map(|(extract, inject)| Propagator {
            extract,
            inject,
            ..Propagator::default()
        }),
    ]
}

/// Writes a context in one format as it starts there.
fn inject_plain(format: Format, context: &SpanContext, headers: &mut Headers) {
    let propagator = Propagator {
        extract: vec![],
        inject: vec![format],
        ..Propagator::default()
    };
    let none = Headers::default();
    propagator.inject(context, None, None, &propagator.extract(&none), headers);
}

fn lines_of(headers: &Headers, name: &str) -> Vec<Vec<u8>> {
    headers.lines(name).iter().map(|l| l.to_vec()).collect()
}

// ------------------------------------------------------------- round trips

proptest! {
    #![proptest_config(config(512))]

    /// What one format writes, it reads.
    #[test]
    fn each_format_reads_what_it_writes(context in context(), parent in any::<u64>()) {
        for format in Format::ALL {
            let propagator = Propagator { extract: vec![format], inject: vec![format], ..Propagator::default() };
            let none = Headers::default();
            let mut written = Headers::default();
            let parent = SpanId::from_bytes(parent.to_be_bytes());
            propagator.inject(&context, parent, None, &propagator.extract(&none), &mut written);

            let read = propagator.extract(&written);
            prop_assert_eq!(read.malformed, None);
            let read_context = read.parent.expect("a context was written");
            prop_assert_eq!(read_context.trace_id, context.trace_id);
            prop_assert_eq!(read_context.span_id, context.span_id);
            prop_assert_eq!(read_context.flags.is_sampled(), context.flags.is_sampled());
            // B3 has no word for it, and nothing is made up.
            let random = format == Format::TraceContext && context.flags.is_random();
            prop_assert_eq!(read_context.flags.is_random(), random);
            let state = if context.flags.is_sampled() { SamplingState::Accept } else { SamplingState::Deny };
            prop_assert_eq!(read.sampling, state);
        }
    }

    /// The hex of an id is the id.
    #[test]
    fn ids_read_what_they_write(context in context()) {
        prop_assert_eq!(TraceId::from_hex(&context.trace_id.to_hex()), Some(context.trace_id));
        prop_assert_eq!(SpanId::from_hex(&context.span_id.to_hex()), Some(context.span_id));
        prop_assert_eq!(hex(context.trace_id.as_bytes()).into_bytes(), context.trace_id.to_hex());
    }

    /// Bytes that are no hex of the right length are no id.
    #[test]
    fn only_hex_is_an_id(bytes in prop_oneof![near(hex_of(32)), near(hex_of(16)), any_bytes()]) {
        let is_hex = bytes.iter().all(|b| b"0123456789abcdef".contains(b));
        let is_zero = bytes.iter().all(|b| *b == b'0');
        let is_id = |len| is_hex && !is_zero && bytes.len() == len;
        prop_assert_eq!(TraceId::from_hex(&bytes).is_some(), is_id(32));
        prop_assert_eq!(SpanId::from_hex(&bytes).is_some(), is_id(16));
    }
}

// ------------------------------------------------------------ what goes out

proptest! {
    #![proptest_config(config(2000))]

    /// Whatever came, upstream goes exactly one valid traceparent, and nothing
    /// beside it that says otherwise: `read_upstream` asserts the rest.
    #[test]
    fn one_valid_traceparent_whatever_came(lines in headers()) {
        let mut config = common::default_config();
        config.propagator.unsampled = UnsampledContext::Rewrite;
        let mut tracer = common::tracer(&config);
        let (stream, upstream) = request(&mut tracer, &lines, &Info::default(), Direction::Inbound, 1);
        prop_assert_eq!(upstream.lines("traceparent").len(), 1);
        let seen = read_upstream(&upstream).expect("a traceparent");
        prop_assert_eq!(seen.sampled, stream.is_some());
        prop_assert_eq!(upstream.others(), lines.others());
        // The new span is nobody else's.
        let is_old = |(_, value): &(Vec<u8>, Vec<u8>)| value.windows(16).any(|w| w == seen.span_id.as_bytes());
        prop_assert!(!lines.0.iter().any(is_old));
    }

    /// A context that is forwarded byte for byte is one that the next hop reads
    /// as an unsampled one of the same trace, with the same parent.
    #[test]
    fn what_is_forwarded_unchanged_is_valid(lines in headers()) {
        let [unchanged, rewritten] = [UnsampledContext::Unchanged, UnsampledContext::Rewrite].map(|unsampled| {
            let mut config = common::default_config();
            config.propagator.unsampled = unsampled;
            let mut tracer = common::tracer(&config);
            request(&mut tracer, &lines, &Info::default(), Direction::Inbound, 1)
        });
        prop_assert_eq!(unchanged.0.is_some(), rewritten.0.is_some());
        if unchanged.1 == lines {
            for format in Format::ALL {
                let one = Propagator { extract: vec![format], ..Propagator::default() };
                let read = one.extract(&lines);
                prop_assert_eq!(read.malformed, None);
                if let Some(parent) = read.parent {
                    prop_assert!(!parent.flags.is_sampled());
                    let seen = read_upstream(&rewritten.1).expect("a context");
                    prop_assert_eq!(seen.trace_id, hex(parent.trace_id.as_bytes()));
                }
            }
        } else {
            read_upstream(&unchanged.1).expect("a context");
        }
    }

    /// In every configuration: no two formats disagree, every format to inject
    /// is there, so is every format that came, and no other. A format that is
    /// neither read nor written goes upstream as it came.
    #[test]
    fn formats_never_disagree(lines in headers(), propagator in propagator()) {
        let (lines, others) = split(lines, &propagator);
        let mut config = common::default_config();
        config.propagator = propagator.clone();
        config.propagator.unsampled = UnsampledContext::Rewrite;
        let mut tracer = common::tracer(&config);
        let all = Headers([lines.0.clone(), others.0.clone()].concat());
        let (stream, upstream) = request(&mut tracer, &all, &Info::default(), Direction::Outbound, 1);
        let (upstream, left) = split(upstream, &propagator);
        prop_assert_eq!(left, others);
        let seen = read_upstream(&upstream);
        if let Some(seen) = seen {
            prop_assert_eq!(seen.sampled, stream.is_some());
        }
        for (format, names) in [
            (Format::TraceContext, &["traceparent"][..]),
            (Format::B3, &["b3"]),
            (Format::B3Multi, &["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "x-b3-flags"]),
        ] {
            let came = names.iter().any(|n| !lines.lines(n).is_empty());
            let goes = names.iter().any(|n| !upstream.lines(n).is_empty());
            prop_assert_eq!(goes, came || propagator.inject.contains(&format), "{:?}", format);
        }
        prop_assert_eq!(upstream.others(), lines.others());
    }

    /// Writing a context twice is writing it once, and reading it back says
    /// the same as was written.
    #[test]
    fn writing_is_idempotent(lines in headers(), propagator in propagator(), context in context()) {
        let (lines, _) = split(lines, &propagator);
        let extraction = propagator.extract(&lines);
        let parent = extraction.parent.map(|p| p.span_id);
        let mut once = lines.clone();
        propagator.inject(&context, parent, None, &extraction, &mut once);
        let mut twice = once.clone();
        propagator.inject(&context, parent, None, &extraction, &mut twice);
        for name in CONTEXT_HEADERS {
            prop_assert_eq!(lines_of(&once, name), lines_of(&twice, name));
        }
        if let Some(seen) = read_upstream(&once) {
            prop_assert_eq!(seen.trace_id.as_bytes(), context.trace_id.to_hex());
            prop_assert_eq!(seen.span_id.as_bytes(), context.span_id.to_hex());
            prop_assert_eq!(seen.sampled, context.flags.is_sampled());
        }
    }

    /// A trace goes on exactly with the ids of the first valid context, in the
    /// configured order, as each format alone reads it.
    #[test]
    fn the_first_valid_context_wins(lines in headers(), propagator in propagator()) {
        let alone = |format| {
            let one = Propagator { extract: vec![format], inject: vec![], ..Propagator::default() };
            let read = one.extract(&lines);
            (read.parent.map(|p| (p.trace_id, p.span_id)), read.sampling, read.malformed)
        };
        let mut expected = (None, SamplingState::Deferred);
        let mut malformed = None;
        for &format in &propagator.extract {
            let (parent, sampling, reason) = alone(format);
            malformed = malformed.or(reason);
            if parent.is_some() || sampling != SamplingState::Deferred {
                expected = (parent, sampling);
                break;
            }
        }
        let read = propagator.extract(&lines);
        prop_assert_eq!((read.parent.map(|p| (p.trace_id, p.span_id)), read.sampling), expected);
        prop_assert_eq!(read.malformed, malformed);
    }

    /// Headers of no format, wherever they stand, say nothing about a trace.
    #[test]
    fn other_headers_say_nothing(lines in headers(), more in any_bytes(), at in any::<usize>()) {
        let propagator = Propagator::default();
        let mut with = lines.clone();
        with.0.insert(at % (lines.0.len() + 1), (b"x-request-id".to_vec(), more));
        let (a, b) = (propagator.extract(&lines), propagator.extract(&with));
        prop_assert_eq!(a.parent, b.parent);
        prop_assert_eq!(a.sampling, b.sampling);
        prop_assert_eq!(a.malformed, b.malformed);
        prop_assert!(a.trace_state.members().eq(b.trace_state.members()));
    }
}

/// Whoever decides against a caller's debug, no two formats may disagree.
#[test]
fn debug_of_a_context_that_is_not_sampled() {
    let lines = Headers(vec![(b"b3".to_vec(), b"d".to_vec())]);
    let propagator = Propagator::default();
    let context = SpanContext {
        trace_id: common::trace_id("0af7651916cd43dd8448eb211c80319c"),
        span_id: common::span_id("b7ad6b7169203331"),
        flags: TraceFlags::default(),
    };
    let mut upstream = lines.clone();
    propagator.inject(
        &context,
        None,
        None,
        &propagator.extract(&lines),
        &mut upstream,
    );
    let seen = read_upstream(&upstream).expect("a context was written");
    assert!(!seen.sampled);
}

// ------------------------------------------------------------- traceparent

proptest! {
    #![proptest_config(config(8000))]

    /// The parser agrees with the twin.
    #[test]
    fn traceparents_are_read_as_by_the_twin(value in prop_oneof![4 => near(traceparent()), 1 => any_bytes()]) {
        let read = parse_traceparent(&value).ok().map(|context| {
            (context.trace_id.to_hex().to_vec(), context.span_id.to_hex().to_vec(), context.flags.bits())
        });
        prop_assert_eq!(read, twin::traceparent(&value));
    }
}

// -------------------------------------------------------------- tracestate

fn parse_lines(lines: &[Vec<u8>]) -> Option<Vec<String>> {
    let state = TraceState::parse(lines.iter().map(Vec::as_slice)).ok()?;
    Some(state.members().map(str::to_owned).collect())
}

proptest! {
    #![proptest_config(config(2000))]

    /// The parser agrees with the twin, on one line and on several.
    #[test]
    fn tracestates_are_read_as_by_the_twin(
        lines in prop::collection::vec(prop_oneof![4 => near(tracestate()), 1 => any_bytes()], 0..4),
    ) {
        prop_assert_eq!(parse_lines(&lines), twin::tracestate(&lines));
    }

    /// What is written is read back as the same members in the same order, and
    /// is as it is sent: within the limits, without white space or duplicates.
    #[test]
    fn tracestates_read_what_they_write(
        lines in prop::collection::vec(near(tracestate()), 0..4),
    ) {
        let Ok(state) = TraceState::parse(lines.iter().map(Vec::as_slice)) else {
            return Ok(());
        };
        let mut written = String::new();
        written.push_str(state.as_str());
        let again = TraceState::parse([written.as_bytes()].into_iter());
        let again = again.expect("what is written is valid");
        prop_assert!(again.members().eq(state.members()));
        prop_assert_eq!(state.is_empty(), written.is_empty());
        prop_assert!(again.is_verbatim() || written.is_empty());
        // A header may stay as it is exactly if it is what would be written.
        let is_one = lines.len() == 1 && lines[0] == written.as_bytes() && !written.is_empty();
        prop_assert_eq!(state.is_verbatim(), is_one);

        let members: Vec<&str> = state.members().collect();
        prop_assert!(members.len() <= 32);
        let keys: Vec<&str> = members.iter().map(|m| m.split_once('=').unwrap().0).collect();
        for (i, key) in keys.iter().enumerate() {
            prop_assert!(!keys[..i].contains(key), "{} is there twice", key);
            prop_assert_eq!(state.get(key), Some(members[i].split_once('=').unwrap().1));
        }
        prop_assert_eq!(state.get("no such key"), None);
    }

    /// Upstream goes what the twin reads, and only with its own traceparent.
    #[test]
    fn upstream_goes_the_twins_tracestate(
        context in context(),
        lines in prop::collection::vec(near(tracestate()), 0..3),
    ) {
        let mut headers = Headers::default();
        inject_plain(Format::TraceContext, &context, &mut headers);
        headers.0.extend(lines.iter().map(|l| (b"tracestate".to_vec(), l.clone())));
        let mut config = common::default_config();
        config.propagator.unsampled = UnsampledContext::Rewrite;
        let mut tracer = common::tracer(&config);
        let (_, upstream) = request(&mut tracer, &headers, &Info::default(), Direction::Inbound, 1);
        let expected = twin::tracestate(&lines).map(|members| members.join(",")).filter(|s| !s.is_empty());
        prop_assert_eq!(upstream.one("tracestate"), expected.as_deref());
    }
}

// ---------------------------------------------------------------------- B3

proptest! {
    #![proptest_config(config(4000))]

    /// The parser agrees with the twin.
    #[test]
    fn b3_is_read_as_by_the_twin(value in prop_oneof![4 => near(b3_single()), 1 => any_bytes()]) {
        let headers = Headers(vec![(b"b3".to_vec(), value.clone())]);
        let propagator = Propagator { extract: vec![Format::B3], inject: vec![], ..Propagator::default() };
        let read = propagator.extract(&headers);
        let expected = twin::b3(&value);
        prop_assert_eq!(read.malformed.is_some(), expected.is_none());
        let (ids, sampling) = expected.unwrap_or((None, SamplingState::Deferred));
        prop_assert_eq!(read.sampling, sampling);
        let read_ids = read.parent.map(|p| (hex(p.trace_id.as_bytes()), hex(p.span_id.as_bytes())));
        prop_assert_eq!(read_ids, ids);
    }
}

// ------------------------------------------------------------ configuration

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![
            "",
            "10s",
            "4MiB",
            "b3",
            "tracecontext",
            "x",
            "0ms",
            "\u{1f9c0}",
            "5\u{b5}s"
        ])
        .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = select(vec![
        "service_name",
        "exporter",
        "otlp_grpc",
        "cluster",
        "authority",
        "timeout",
        "batch",
        "max_queue_size",
        "max_queue_bytes",
        "max_export_batch_size",
        "schedule_delay",
        "max_concurrent_exports",
        "propagation",
        "extract",
        "inject",
        "",
        "x",
    ]);
    leaf.prop_recursive(4, 24, 6, move |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// A valid document in which one value was put in place of another.
fn near_valid_document() -> impl Strategy<Value = Value> {
    let pointers = vec![
        "",
        "/service_name",
        "/exporter",
        "/exporter/otlp_grpc",
        "/exporter/otlp_grpc/cluster",
        "/exporter/otlp_grpc/authority",
        "/exporter/otlp_grpc/timeout",
        "/exporter/batch",
        "/exporter/batch/max_queue_size",
        "/exporter/batch/max_queue_bytes",
        "/exporter/batch/max_export_batch_size",
        "/exporter/batch/schedule_delay",
        "/exporter/batch/max_concurrent_exports",
        "/propagation",
        "/propagation/extract",
        "/propagation/extract/0",
        "/propagation/inject",
    ];
    (select(pointers), json_value()).prop_map(|(pointer, value)| {
        let mut document = json!({
            "service_name": "a",
            "exporter": {
                "otlp_grpc": {"cluster": "c", "authority": "a", "timeout": "1s"},
                "batch": {"max_queue_size": 9, "max_queue_bytes": "1MiB", "max_export_batch_size": 3,
                    "schedule_delay": "1s", "max_concurrent_exports": 1},
            },
            "propagation": {"extract": ["b3"], "inject": []},
        });
        *document.pointer_mut(pointer).unwrap() = value;
        document
    })
}

/// What a configuration promises, however it came to be.
fn assert_valid(config: &Config) {
    assert!(!config.exporter.cluster.is_empty());
    assert!(!config.exporter.authority.is_empty());
    assert!(!config.exporter.timeout.is_zero());
    let batch = &config.batch;
    assert!(!batch.schedule_delay.is_zero());
    assert!((1..=batch.max_queue_size).contains(&batch.max_export_batch_size));
    assert!(batch.max_queue_bytes > 0 && batch.max_concurrent_exports > 0);
    for formats in [&config.propagator.extract, &config.propagator.inject] {
        let names: std::collections::HashSet<_> = formats.iter().map(|f| f.name()).collect();
        assert_eq!(names.len(), formats.len());
    }
}

fn check_document(document: &[u8]) {
    match sidespan_config::parse(document) {
        Ok(config) => assert_valid(&config),
        Err(faults) => {
            assert!(faults.iter().next().is_some(), "refused without a fault");
            for fault in faults.iter() {
                assert!(!fault.message.is_empty());
            }
            assert!(!faults.to_string().contains('\n'), "more than one line");
        }
    }
}

proptest! {
    #![proptest_config(config(2000))]

    /// No bytes make the reader of documents panic, and what it lets through
    /// is valid.
    #[test]
    fn any_bytes_are_a_document_or_faults(document in prop::collection::vec(any::<u8>(), 0..200)) {
        check_document(&document);
    }

    /// Nor does any JSON.
    #[test]
    fn any_json_is_a_document_or_faults(document in prop_oneof![json_value(), near_valid_document()]) {
        check_document(document.to_string().as_bytes());
    }

    /// Nor a document with a few wrong bytes.
    #[test]
    fn a_broken_document_is_a_document_or_faults(
        document in near_valid_document(),
        changes in prop::collection::vec(change(), 1..4),
    ) {
        check_document(&apply(document.to_string().into_bytes(), changes));
    }
}

// ----------------------------------------------------------------- streams

fn some_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..40),
        2 => select(vec!["", "GET", "https", "a:1", "[::1", "]:1", "@", "/?sig=x", "application/grpc", "?", "#", "://"])
            .prop_map(|s: &str| s.as_bytes().to_vec()),
        1 => (any::<u8>(), 1000..1030_usize).prop_map(|(b, n)| vec![b; n]),
    ]
}

proptest! {
    #![proptest_config(config(1000))]

    /// Whatever a peer sends and a host tells, the span is one that OTLP's own
    /// types read and would write the same, with a value for every key.
    #[test]
    fn any_stream_is_a_readable_span(
        request_values in prop::collection::vec(some_bytes(), 6),
        status in prop::option::of(some_bytes()),
        grpc_status in prop::option::of(some_bytes()),
        flags in any::<u64>(),
        upstream in prop::option::of(select(vec!["", ":", "a:b", "[::1]:2", "1.2.3.4:5", "]", "\u{e9}"])),
        details in prop::option::of(select(vec!["", "{", "a{b}", "\u{e9}{"])),
        direction in select(vec![Direction::Inbound, Direction::Outbound, Direction::Unspecified]),
    ) {
        let names = [":method", ":scheme", ":authority", ":path", "user-agent", "content-type"];
        let lines = Headers(names.iter().map(|n| n.as_bytes().to_vec()).zip(request_values).collect());
        let info = Info { protocol: details, source_address: upstream, ..Info::default() };
        let response = Response {
            headers: status.map(|s| (":status", s)).into_iter().collect(),
            trailers: grpc_status.map(|s| ("grpc-status", s)).into_iter().collect(),
            flags,
            details,
            upstream,
            ..Response::default()
        };
        prop_assert!(Pairs(lines.in_one_buffer()).headers().eq(lines.headers()));
        let mut tracer = common::tracer_of_single_spans();
        let (stream, _) = request(&mut tracer, &lines, &info, direction, 1);
        tracer.on_end(stream.expect("sampled"), &response.to(&info), 2);
        let callout = tracer.next_callout(2).expect("a batch of one is full");
        prop_assert_eq!(common::decode(&callout).encode_to_vec(), common::message(&callout));
        let span = common::spans(&callout).remove(0);
        let attributes = common::attributes(&span.attributes);
        prop_assert!(attributes.contains_key("http.request.method"));
        for value in attributes.values().filter_map(Value::as_str) {
            prop_assert!(value.len() <= 1024);
        }
    }
}

proptest! {
    #![proptest_config(config(4000))]

    /// Of a buffer that is none of header lines, no more lines are read than it
    /// has sizes for, and none from beyond its end.
    #[test]
    fn any_buffer_is_read_within_its_bounds(
        mut buffer in headers().prop_map(|headers| headers.in_one_buffer()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        end in any::<prop::sample::Index>(),
    ) {
        for (at, byte) in changes {
            let at = at.index(buffer.len());
            buffer[at] = byte;
        }
        buffer.truncate(end.index(buffer.len() + 1));
        let pairs = Pairs(buffer.clone());
        let lines: Vec<_> = pairs.headers().collect();
        prop_assert!(lines.len() <= buffer.len() / 8);
        let read: usize = lines.iter().map(|(name, value)| name.len() + value.len()).sum();
        prop_assert!(read <= buffer.len());
    }
}
