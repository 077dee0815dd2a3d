//! Whether a request is traced: the table `tests/vectors/decisions.json`, and
//! what holds for every ratio, limit and set of paths. What a row and its
//! fields mean is told in `tests/vectors/README.md`.

use crate::common;
use crate::common::{Headers, Info, Response, hex, read_upstream, request, take_stats};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use sidespan_core::config::Config;
use sidespan_core::context::id::TraceId;
use sidespan_core::context::trace_state::TraceState;
use sidespan_core::host::request_info::Direction;
use sidespan_core::propagation::format::SamplingState;
use sidespan_core::sampling::matcher::{Pattern, SafeRegex, StringMatcher};
use sidespan_core::sampling::path_index::PathMatchers;
use sidespan_core::sampling::policy::Verdict;
use sidespan_core::sampling::rate_limit::RateLimit;
use sidespan_core::sampling::ratio::{Ratio, Threshold, rewrite};
use sidespan_core::sampling::sampler::{Decision, Reason, Root, Sampler};
use sidespan_core::stats::Stat;
use sidespan_core::tracer::Tracer;
use std::num::NonZeroU32;

const START: u64 = 1_700_000_000_000_000_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLI;

// ---------------------------------------------------------------- the table

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../tests/vectors/decisions.json")).unwrap()
}

/// A configuration with these keys beside the one that is required.
fn parse(keys: &Value) -> Config {
    let mut document = keys.clone();
    document["exporter"] = json!({"otlp_grpc": {"cluster": "collector"}});
    // So that the span's own id goes upstream.
    document["span"] = json!({"upstream_span": false});
    sidespan_config::parse(document.to_string().as_bytes())
        .unwrap_or_else(|faults| panic!("{faults}"))
}

fn lines_of(request: &Value) -> Headers {
    let text = |key: &str| request[key].as_str().unwrap().as_bytes().to_vec();
    let mut lines = vec![
        (b":method".to_vec(), text("method")),
        (b":scheme".to_vec(), b"http".to_vec()),
        (b":authority".to_vec(), text("host")),
        (b":path".to_vec(), text("path")),
    ];
    for line in request["headers"].as_array().unwrap() {
        let name = line[0].as_str().unwrap();
        lines.push((name.as_bytes().to_vec(), common::bytes(&line[1])));
    }
    Headers::from_wire(lines)
}

fn direction_of(request: &Value) -> Direction {
    match request["direction"].as_str().unwrap() {
        "inbound" => Direction::Inbound,
        "outbound" => Direction::Outbound,
        "unspecified" => Direction::Unspecified,
        other => panic!("{other} is no direction"),
    }
}

/// The response of a row, and how long it took.
fn response_of(row: &Value) -> (Response, u64) {
    let Some(given) = row.get("response") else {
        return (Response::status(200), MILLI);
    };
    let lines = |key: &str| {
        let lines = given[key].as_array().into_iter().flatten();
        let line = |line: &Value| match line[0].as_str() {
            Some("grpc-status") => ("grpc-status", common::bytes(&line[1])),
            other => panic!("{other:?}: no row needs it"),
        };
        lines.map(line).collect::<Vec<_>>()
    };
    let mut response = Response {
        headers: lines("headers"),
        trailers: lines("trailers"),
        flags: given["flags"].as_u64().unwrap_or(0),
        attempts: given["attempts"].as_u64().unwrap_or(1),
        ..Response::default()
    };
    if let Some(status) = given["status"].as_u64() {
        response
            .headers
            .push((":status", status.to_string().into_bytes()));
    }
    let duration = given["duration_ms"].as_u64().unwrap_or(1);
    (response, duration * MILLI)
}

/// The names of the counters about decisions that went up.
fn counted(tracer: &mut Tracer) -> Vec<&'static str> {
    let mut names = Vec::new();
    for (stat, count) in take_stats(tracer) {
        if stat == Stat::SpansCreated {
            continue;
        }
        assert_eq!(count, 1, "{}", stat.name());
        names.push(stat.name().strip_prefix("sidespan.").unwrap());
    }
    names.sort_unstable();
    names
}

fn check(row: &Value) {
    let (given, expect) = (&row["request"], &row["expect"]);
    let mut tracer = common::tracer(&parse(&row["config"]));
    let lines = lines_of(given);
    let info = Info {
        route: given["route"].clone(),
        ..Info::default()
    };
    let (response, duration) = response_of(row);
    for _ in 1..row["repeat"].as_u64().unwrap_or(1) {
        let mut upstream = lines.clone();
        tracer.on_request(&lines, &info.at(direction_of(given), START), &mut upstream);
    }
    take_stats(&mut tracer);

    let mut upstream = lines.clone();
    let started = tracer.on_request(&lines, &info.at(direction_of(given), START), &mut upstream);
    let verdict = match started.decision.verdict {
        Verdict::Sampled => "sampled",
        Verdict::NotSampled => "not_sampled",
        Verdict::Untouched => "untouched",
    };
    let why = tracer.explain(&started.decision);
    assert_eq!(Some(verdict), expect["verdict"].as_str(), "{why}");
    assert!(!why.is_empty() && !why.contains('\n'), "{why:?}");
    assert_eq!(
        Some(upstream == lines),
        expect["headers_untouched"].as_bool(),
        "headers untouched: {upstream:?}"
    );
    assert_eq!(upstream.others(), lines.others(), "other headers changed");

    if verdict != "untouched" {
        check_upstream(expect, &lines, &upstream);
    }
    let mut span = None;
    if let Some(stream) = started.stream {
        tracer.on_end(stream, &response, START + duration);
        span = common::flush(&mut tracer).map(|callout| {
            let mut spans = common::spans(&callout);
            assert_eq!(spans.len(), 1);
            spans.remove(0)
        });
    }
    let mut wanted = vec![expect["stat"].as_str().unwrap()];
    wanted.extend(strings(&expect["also"]));
    wanted.sort_unstable();
    assert_eq!(counted(&mut tracer), wanted, "counters");

    assert_eq!(Some(span.is_some()), expect["span"].as_bool(), "a span");
    if let Some(span) = span {
        check_span(expect, &upstream, &span);
    }
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
}

fn check_upstream(expect: &Value, lines: &Headers, upstream: &Headers) {
    assert_eq!(
        upstream.one("tracestate"),
        expect["tracestate"].as_str(),
        "tracestate"
    );
    let seen = read_upstream(upstream);
    assert_eq!(
        seen.is_some(),
        expect["continued"].is_boolean(),
        "a context"
    );
    let Some(seen) = seen else {
        return;
    };
    assert_eq!(seen.sampled, expect["verdict"] == "sampled", "sampled");
    let came = |id: &str| {
        let values = lines.0.iter().map(|(_, value)| value);
        values.into_iter().any(|value| {
            value
                .windows(id.len())
                .any(|window| window == id.as_bytes())
        })
    };
    assert_eq!(
        Some(came(&seen.trace_id)),
        expect["continued"].as_bool(),
        "continued"
    );
    assert_eq!(
        Some(came(&seen.span_id)),
        expect["headers_untouched"].as_bool(),
        "the caller's span id is forwarded with headers that are left alone only"
    );
}

fn check_span(
    expect: &Value,
    upstream: &Headers,
    span: &opentelemetry_proto::tonic::trace::v1::Span,
) {
    if let Some(seen) = read_upstream(upstream) {
        assert_eq!(hex(&span.trace_id), seen.trace_id);
        assert_eq!(hex(&span.span_id), seen.span_id);
        assert_eq!(span.flags & 1 == 1, seen.sampled, "the span's flags");
    }
    assert_eq!(
        Some(span.parent_span_id.is_empty()),
        expect["continued"].as_bool().map(|continued| !continued),
        "a parent"
    );
    let kept = expect["keep_reason"].is_string();
    // Where no `traceparent` goes upstream no state does, but a backend still
    // learns how many the span stands for.
    let goes_upstream = upstream.0.iter().any(|(name, _)| name == b"traceparent");
    if kept {
        assert!(!has_th(&span.trace_state), "{}", span.trace_state);
    } else if goes_upstream {
        let state = expect["tracestate"].as_str().unwrap_or_default();
        assert_eq!(span.trace_state, state, "the span's state");
    }
    let attributes = common::attributes(&span.attributes);
    let text = |key: &str| attributes.get(key).cloned().unwrap_or(Value::Null);
    assert_eq!(text("sidespan.keep_reason"), expect["keep_reason"]);
    assert_eq!(text("sidespan.rule"), expect["rule"]);
    let links: Vec<String> = span.links.iter().map(|link| hex(&link.trace_id)).collect();
    let wanted: Vec<&str> = expect["link"].as_str().into_iter().collect();
    assert_eq!(links, wanted, "links");
}

fn has_th(state: &str) -> bool {
    let mut members = state.split(',').filter_map(|m| m.strip_prefix("ot="));
    members.any(|ot| ot.split(';').any(|field| field.starts_with("th:")))
}

/// Every row holds; one that is reported does not yet, and says so for as
/// long as that is true.
#[test]
fn table() {
    common::check_table(&rows(), check);
}

#[test]
fn table_is_well_formed() {
    let mut names = std::collections::HashSet::new();
    for row in rows() {
        let (name, expect) = (row["name"].to_string(), &row["expect"]);
        assert!(row["why"].as_str().unwrap().len() > 5, "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert_eq!(expect.as_object().unwrap().len(), 10, "{name}");
        let is_untouched = expect["headers_untouched"] == true;
        match expect["verdict"].as_str() {
            Some("untouched") => assert!(is_untouched, "{name}"),
            Some("sampled") => assert!(!is_untouched, "{name}"),
            _ => {}
        }
    }
}

// --------------------------------------------------------------- probability

/// Random trace ids, the same in every run.
fn trace_ids(count: usize) -> impl Iterator<Item = TraceId> {
    let mut state = 0x5eed_u64;
    let mut next = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    std::iter::repeat_with(move || u128::from(next()) << 64 | u128::from(next()))
        .filter_map(|id| TraceId::from_bytes(id.to_be_bytes()))
        .take(count)
}

fn by_ratio(ratio: f64, id: TraceId) -> bool {
    Decision::by_ratio(Ratio::new(ratio).unwrap(), id, &TraceState::EMPTY).sampled
}

/// The measured share at ratios 0.5, 0.1 and 0.01 lies within the 99.9 %
/// binomial bound.
fn assert_share(sampled: u32, of: u32, ratio: f64) {
    // 3.29 standard deviations to either side leave 0.1 %.
    let (sampled, of) = (f64::from(sampled), f64::from(of));
    let bound = 3.29 * (of * ratio * (1.0 - ratio)).sqrt() + 1.0;
    let off = (sampled - of * ratio).abs();
    assert!(off <= bound, "{ratio}: {sampled} of {of}");
}

#[test]
fn the_share_of_random_ids_is_the_ratio() {
    for ratio in [0.5, 0.1, 0.01] {
        let sampled = trace_ids(200_000).filter(|&id| by_ratio(ratio, id)).count();
        assert_share(u32::try_from(sampled).unwrap(), 200_000, ratio);
    }
}

/// The same with the ids that a tracer makes, by the default sampler and by a
/// rule.
#[test]
fn the_share_of_new_traces_is_the_ratio() {
    let none = Headers::default();
    for ratio in [0.5, 0.1, 0.01] {
        for keys in [
            json!({"sampler": {"ratio": ratio}}),
            json!({"rules": [{"match": {"direction": "inbound"}, "action": "sample", "ratio": ratio}]}),
        ] {
            let mut tracer = common::tracer(&parse(&keys));
            let mut sampled = 0;
            for _ in 0..200_000 {
                let info = Info::default();
                let (stream, _) = request(&mut tracer, &none, &info, Direction::Inbound, START);
                sampled += u32::from(stream.is_some());
            }
            assert_share(sampled, 200_000, ratio);
        }
    }
}

/// Two proxies with one ratio choose the same traces, whether or not the
/// second one believes the first.
#[test]
fn two_tracers_in_a_row_agree() {
    for kind in ["traceidratio", "parentbased_traceidratio"] {
        for ratio in [0.5, 0.1, 0.01, 1.0 / 3.0, 1.0, 0.0] {
            let config = parse(&json!({"sampler": {"type": kind, "ratio": ratio}}));
            let mut first = Tracer::new(config.clone(), &common::Host::default(), [1; 32]);
            let mut second = Tracer::new(config, &common::Host::default(), [2; 32]);
            for _ in 0..5_000 {
                let info = Info::default();
                let none = Headers::default();
                let (one, between) = request(&mut first, &none, &info, Direction::Outbound, START);
                let (two, after) = request(&mut second, &between, &info, Direction::Inbound, START);
                assert_eq!(one.is_some(), two.is_some(), "{kind} {ratio}: {between:?}");
                assert_eq!(between.one("tracestate"), after.one("tracestate"));
                assert_eq!(
                    has_th(after.one("tracestate").unwrap_or_default()),
                    two.is_some() && ratio < 1.0
                );
            }
        }
    }
}

/// A larger ratio samples all that a smaller one does.
#[test]
fn a_larger_ratio_includes_a_smaller_one() {
    let ratios = [
        0.0, 1e-18, 1e-9, 0.001, 0.01, 0.0624, 0.0625, 0.0626, 0.1, 0.25, 0.333, 0.5, 0.9, 0.9375,
        0.99, 0.999_999, 1.0,
    ];
    for id in trace_ids(20_000) {
        let mut sampled = false;
        for ratio in ratios {
            let now = by_ratio(ratio, id);
            assert!(now || !sampled, "{ratio}: {id:?}");
            sampled = now;
        }
        assert!(sampled);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_larger_ratio_includes_any_smaller_one(a in 0.0..=1.0_f64, b in 0.0..=1.0_f64, near in 0.0..1e-5_f64, bits in 0..1_u64 << 56) {
        for (a, b) in [(a, b), (a, (a + near).min(1.0)), (a * near, b * near), (1.0 - a * near, 1.0 - b * near)] {
            let (small, large) = (Ratio::new(a.min(b)).unwrap(), Ratio::new(a.max(b)).unwrap());
            prop_assert!(!small.samples(bits) || large.samples(bits));
        }
    }

    /// Four digits that say something: the threshold is near enough to the
    /// ratio that a backend can extrapolate.
    #[test]
    fn a_threshold_is_its_ratio(exponent in 0.0..30.0_f64) {
        let ratio = 0.5_f64.powf(exponent);
        let state = TraceState::EMPTY;
        let th = rewrite(&state, Threshold::Set(Ratio::new(ratio).unwrap()));
        let threshold = match th {
            None => 0,
            Some(state) => {
                let digits = state.strip_prefix("ot=th:").unwrap();
                prop_assert!((1..=14).contains(&digits.len()) && !digits.ends_with('0'), "{}", digits);
                u64::from_str_radix(&format!("{digits:0<14}"), 16).unwrap()
            }
        };
        let told = 1.0 - threshold as f64 / 2.0_f64.powi(56);
        prop_assert!((told / ratio - 1.0).abs() < 1.0 / 4096.0, "{} {}", ratio, told);
    }
}

/// OpenTelemetry specification, TraceState: Probability Sampling, and what its
/// reference gives with a precision of four digits.
#[test]
fn thresholds_of_known_ratios() {
    for (ratio, expected) in [
        (0.5, "8"),
        (0.25, "c"),
        (0.75, "4"),
        (0.125, "e"),
        (0.0625, "f"),
        (0.9375, "1"),
        (0.1, "e666"),
        (0.2, "cccd"),
        (0.01, "fd70a"),
        (0.001, "ffbe77"),
        (0.0001, "fff9724"),
        (1.0 / 3.0, "aaab"),
        (2.0 / 3.0, "5555"),
        (0.9, "199a"),
        (0.99, "028f6"),
        (0.05, "f3333"),
        (2.0_f64.powi(-56), "ffffffffffffff"),
    ] {
        let threshold = Threshold::Set(Ratio::new(ratio).unwrap());
        let state = rewrite(&TraceState::EMPTY, threshold);
        assert_eq!(state, Some(format!("ot=th:{expected}")), "{ratio}");
    }
    for ratio in [0.0, 1.0] {
        let threshold = Threshold::Set(Ratio::new(ratio).unwrap());
        assert_eq!(rewrite(&TraceState::EMPTY, threshold), None, "{ratio}");
    }
    for ratio in [-0.1, 1.5, f64::NAN, f64::INFINITY, -f64::INFINITY] {
        assert_eq!(Ratio::new(ratio), None, "{ratio}");
    }
    for bits in [0, 1, (1 << 56) - 1] {
        assert!(Ratio::ONE.samples(bits));
        assert!(!Ratio::new(0.0).unwrap().samples(bits));
    }
}

/// > The value is an opaque string containing up to 256 printable ASCII
///
/// With a threshold, too, what goes on is a valid list: the next hop would
/// drop all of it otherwise.
#[test]
fn a_threshold_makes_no_entry_too_long() {
    for len in [230, 248, 249, 250, 254] {
        let line = format!("ot=x:{},rojo=1", "a".repeat(len));
        let lines = [line.as_bytes()];
        let state = TraceState::parse(lines.into_iter()).unwrap();
        let told = rewrite(&state, Threshold::Set(Ratio::new(0.5).unwrap())).unwrap();
        let told = TraceState::parse([told.as_bytes()].into_iter());
        assert_eq!(told.unwrap().get("rojo"), Some("1"), "{len}");
    }
}

// ----------------------------------------------------------------- the limit

/// A sampler that takes everything, within a limit.
fn limited(per_second: u32) -> Sampler {
    Sampler {
        parent_based: true,
        root: Root::AlwaysOn,
        limit: Some(RateLimit::new(NonZeroU32::new(per_second).unwrap())),
    }
}

fn admits(sampler: &mut Sampler, now: u64) -> bool {
    let id = TraceId::from_bytes([7; 16]).unwrap();
    let decision = sampler.decide(
        SamplingState::Deferred,
        false,
        id,
        &TraceState::EMPTY,
        || now,
    );
    assert_eq!(decision.sampled, decision.reason != Reason::RateLimited);
    assert_eq!(decision.threshold, Threshold::Clear);
    decision.sampled
}

/// The times at which a trace is admitted, of these.
fn admitted(per_second: u32, times: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut sampler = limited(per_second);
    let times = times.into_iter();
    times.filter(|&now| admits(&mut sampler, now)).collect()
}

/// The most that any second of these holds.
fn most_in_a_second(times: &[u64]) -> usize {
    let counts = times.iter().enumerate().map(|(i, &start)| {
        let later = times[i..].iter();
        later.take_while(|&&time| time - start < SECOND).count()
    });
    counts.max().unwrap_or(0)
}

#[test]
fn a_start_under_load_makes_no_burst() {
    for per_second in [1, 10, 100, 1000] {
        let at_once = admitted(per_second, std::iter::repeat_n(START, 10_000));
        assert_eq!(at_once.len(), 1, "{per_second}");
        let first = admitted(per_second, (0..100_000).map(|i| START + i * 1000));
        let fair = u64::from(per_second) / 10 + 1;
        assert!(first.len() as u64 <= fair, "{per_second}: {}", first.len());
    }
}

/// Each tick of a steady load has its share, neither more nor less.
#[test]
fn a_steady_load_is_admitted_smoothly() {
    for per_second in [1, 3, 10, 100] {
        let times = admitted(per_second, (0..50_000).map(|i| START + i * MILLI / 10 * 2));
        let interval = SECOND / u64::from(per_second);
        assert!(times.len() as u64 >= 10 * u64::from(per_second) - 1);
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            assert!(
                gap + MILLI >= interval && gap <= interval + MILLI,
                "{per_second}: {gap}"
            );
        }
    }
}

#[test]
fn an_idle_time_is_not_saved_up() {
    for per_second in [1_u32, 10, 50, 1000] {
        let mut sampler = limited(per_second);
        for at in [0, 10, 3600, 1_000_000] {
            let now = START + at * SECOND;
            let at_once = (0..10_000).filter(|_| admits(&mut sampler, now)).count();
            assert!(
                at_once as u32 <= per_second / 10 + 1,
                "{per_second}: {at_once}"
            );
        }
        // What a tenth of a second's worth is, is there.
        let now = START + 2_000_000 * SECOND;
        let at_once = (0..10_000).filter(|_| admits(&mut sampler, now)).count();
        assert!(at_once as u32 >= per_second / 10, "{per_second}: {at_once}");
    }
}

#[test]
fn a_clock_set_back_does_not_block() {
    for per_second in [1, 10, 1000] {
        for back in [1, SECOND, 3600 * SECOND, START] {
            let mut sampler = limited(per_second);
            for i in 0..2000 {
                admits(&mut sampler, START + i * MILLI);
            }
            let now = START + 2 * SECOND - back.min(START);
            let times = (0..2000).filter(|i| admits(&mut sampler, now + i * MILLI));
            let count = times.count() as u32;
            assert!(
                count >= 2 * per_second.min(1000) - 1,
                "{per_second} {back}: {count}"
            );
            assert!(count <= 2 * per_second + per_second / 10 + 2);
        }
    }
}

#[test]
fn a_lower_load_is_never_limited() {
    let times = admitted(100, (0..1000).map(|i| START + i * 10 * MILLI));
    assert_eq!(times.len(), 1000);
}

/// The limit counts no trace that has a parent, and no debug trace.
#[test]
fn the_limit_is_on_new_traces() {
    let mut sampler = limited(1);
    let id = TraceId::from_bytes([7; 16]).unwrap();
    assert!(admits(&mut sampler, START));
    for (caller, has_parent) in [
        (SamplingState::Deferred, true),
        (SamplingState::Accept, true),
        (SamplingState::Debug, false),
        (SamplingState::Debug, true),
    ] {
        for _ in 0..10 {
            let state = &TraceState::EMPTY;
            assert!(
                sampler
                    .decide(caller, has_parent, id, state, || START)
                    .sampled
            );
        }
    }
    assert!(!admits(&mut sampler, START));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes when: no second holds more than the limit, a tenth of
    /// it, and one.
    #[test]
    fn no_second_holds_more_than_the_limit(
        per_second in prop_oneof![1..20_u32, 20..2000_u32],
        bunches in prop::collection::vec((prop_oneof![Just(0), 0..MILLI, 0..200 * MILLI, 0..5 * SECOND], 1..400_usize), 1..40),
    ) {
        let mut now = START;
        let mut times = Vec::new();
        for (wait, size) in bunches {
            now += wait;
            times.extend(std::iter::repeat_n(now, size));
        }
        let most = most_in_a_second(&admitted(per_second, times));
        prop_assert!(most as f64 <= f64::from(per_second) * 1.1 + 1.0, "{}: {}", per_second, most);
    }
}

// ------------------------------------------------------------------ matching

const TEXTS: [&str; 16] = [
    "a", "b", "A", "B", "/", "ab", "aB", "/a", ".", "é", "É", "k", "\u{212a}", "1", "-", "aa",
];
const PARTS: [&str; 37] = [
    "a", "b", "A", "/", "é", "k", "1", ".", "\\.", "\\-", "\\/", "[ab]", "[^a]", "(a|b)", "(?:ab)",
    "a*", "b?", "a+", "a{0,1}", "a{2}", "é?", "é*", "\\.?", "\\d", "\\w*", "\\x61", "\\b", "^",
    "$", "|", "(?i)", "(?i:a)", "(?-i)", "b*?", "(?:ab)?", ".*", "\\|",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&TEXTS[..]), 1..4).prop_map(|parts| parts.concat())
}

fn regex() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&PARTS[..]), 1..6).prop_map(|parts| parts.concat())
}

fn matcher() -> impl Strategy<Value = StringMatcher> {
    let pattern = prop_oneof![
        1 => (text(), any::<bool>()).prop_map(|(t, ic)| (Pattern::Exact(t), ic)),
        1 => Just((Pattern::Exact(String::new()), false)),
        1 => (text(), any::<bool>()).prop_map(|(t, ic)| (Pattern::Prefix(t), ic)),
        1 => (text(), any::<bool>()).prop_map(|(t, ic)| (Pattern::Suffix(t), ic)),
        1 => (text(), any::<bool>()).prop_map(|(t, ic)| (Pattern::Contains(t), ic)),
        5 => (regex(), any::<bool>()).prop_filter_map("not a regular expression", |(r, ic)| {
            Some((Pattern::SafeRegex(SafeRegex::new(&r, ic).ok()?), ic))
        }),
    ];
    pattern.prop_map(|(pattern, ignore_case)| StringMatcher::new(pattern, ignore_case))
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        8 => select(&TEXTS[..]).prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    /// All matchers at once find what each one finds alone.
    #[test]
    fn paths_are_matched_as_one_by_one(
        matchers in prop::collection::vec(prop::option::weighted(0.95, matcher()), 0..80),
        paths in prop::collection::vec(path(), 1..12),
    ) {
        let mut all = PathMatchers::new(matchers.clone());
        for path in paths {
            let alone = matchers.iter().enumerate().filter(|(_, matcher)| {
                matcher.as_ref().is_none_or(|matcher| matcher.matches(&path))
            });
            let alone: Vec<usize> = alone.map(|(index, _)| index).collect();
            let found: Vec<usize> = all.matching(&path).collect();
            prop_assert_eq!(found, alone, "{:?}", String::from_utf8_lossy(&path));
        }
    }

    /// The kinds that are no expression, by their meaning.
    #[test]
    fn texts_are_compared_as_their_names_say(wanted in text(), value in text(), ignore_case in any::<bool>()) {
        let fold = |text: &str| if ignore_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let (a, b) = (fold(&value), fold(&wanted));
        for (pattern, expected) in [
            (Pattern::Exact(wanted.clone()), a == b),
            (Pattern::Prefix(wanted.clone()), a.starts_with(&b)),
            (Pattern::Suffix(wanted.clone()), a.ends_with(&b)),
            (Pattern::Contains(wanted.clone()), a.contains(&b)),
        ] {
            let matches = StringMatcher::new(pattern, ignore_case).matches(value.as_bytes());
            prop_assert_eq!(matches, expected);
        }
    }
}

/// Expressions that would compile for long, or into much, are refused.
#[test]
fn large_expressions_are_refused() {
    for expression in [
        "(a{1000}){1000}",
        "((a{100}){100}){100}",
        "(((((a{30}){30}){30}){30}){30}){30}",
        "a{4294967295}",
        &"(".repeat(10_000),
        &"a".repeat(1 << 20),
    ] {
        assert!(SafeRegex::new(expression, false).is_err());
        assert!(SafeRegex::new(expression, true).is_err());
    }
}

/// No expression can leave the group that makes it match whole values.
#[test]
fn expressions_match_whole_values() {
    for expression in ["a)|(?:b", "a)(b", ")"] {
        assert!(SafeRegex::new(expression, false).is_err(), "{expression}");
    }
    for expression in ["a|b", "(?m)a|b", "(?s)a|b", "^a|b$", "(?mi)^a$|^b$"] {
        let regex = SafeRegex::new(expression, false).unwrap();
        let matcher = StringMatcher::new(Pattern::SafeRegex(regex), false);
        assert!(matcher.matches(b"a") && matcher.matches(b"b"));
        for value in ["ab", "xa", "bx", "a\nb", "x\na", ""] {
            assert!(!matcher.matches(value.as_bytes()), "{expression} {value:?}");
        }
    }
}

/// A comment is a part of the expression, and not of what stands behind it.
#[test]
fn an_expression_may_end_with_a_comment() {
    let regex = SafeRegex::new("(?x) /a  # all of them", false).unwrap();
    let matcher = StringMatcher::new(Pattern::SafeRegex(regex), false);
    assert!(matcher.matches(b"/a"));
}

// --------------------------------------------------------------------- keep

/// At a ratio of 0 with `keep: {errors: true}`: 1,000 requests of which 37
/// fail give exactly 37 spans.
#[test]
fn errors_are_kept_and_nothing_else() {
    let keys = json!({"sampler": {"ratio": 0}, "keep": {"errors": true}});
    let mut tracer = common::tracer(&parse(&keys));
    for i in 0..1000_u64 {
        let info = Info::default();
        let (stream, _) = request(
            &mut tracer,
            &Headers::default(),
            &info,
            Direction::Inbound,
            i,
        );
        let status = if i % 27 == 1 { 503 } else { 200 };
        tracer.on_end(stream.unwrap(), &Response::status(status), i + 1);
    }
    let counted = take_stats(&mut tracer);
    let failed = (0..1000).filter(|i| i % 27 == 1).count() as u64;
    assert_eq!(failed, 37);
    assert_eq!(common::count(&counted, Stat::Kept), failed);
    assert_eq!(common::count(&counted, Stat::SpansCreated), failed);
    assert_eq!(common::count(&counted, Stat::NotSampled), 1000);
}
