//! The tables of `tests/vectors` about headers, through the public API. What
//! a row and its fields mean is told in `tests/vectors/README.md`.

use crate::common;
use crate::common::{Headers, Info, Row, count, hex, read_upstream, request, take_stats};
use serde_json::Value;
use sidespan_core::config::Config;
use sidespan_core::context::span_context::{SpanContext, TraceFlags};
use sidespan_core::host::request_info::Direction;
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::format::SamplingState;
use sidespan_core::sampling::sampler::Sampler;
use sidespan_core::stats::Stat;
use std::panic::{AssertUnwindSafe, catch_unwind};

const TABLES: [(&str, &str); 4] = [
    ("w3c", include_str!("../../../../tests/vectors/w3c.json")),
    (
        "tracestate",
        include_str!("../../../../tests/vectors/tracestate.json"),
    ),
    ("b3", include_str!("../../../../tests/vectors/b3.json")),
    (
        "propagation",
        include_str!("../../../../tests/vectors/propagation.json"),
    ),
];

fn rows(table: &str) -> Vec<Row> {
    let (_, text) = TABLES.iter().find(|(name, _)| *name == table).unwrap();
    common::table(text)
}

/// Runs `check` on every row and tells of all that fail.
fn run(table: &str, check: fn(&Row)) {
    let rows = rows(table);
    let mut failed = Vec::new();
    for row in &rows {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(row))) {
            let message = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|&s| s.to_owned()))
                .unwrap_or_default();
            failed.push(format!(
                "{table}: {}\n  because: {}\n  {message}",
                row.name, row.why
            ));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {} rows fail\n\n{}",
        failed.len(),
        rows.len(),
        failed.join("\n\n")
    );
}

/// The request passes a tracer, and its upstream headers are as the row says.
fn passes_tracer(row: &Row) {
    let mut config = common::default_config();
    config.propagator = row.propagator.clone();
    check_upstream(row, &config);
}

fn check_upstream(row: &Row, config: &Config) {
    let mut tracer = common::tracer(config);
    let (stream, upstream) = request(
        &mut tracer,
        &row.headers,
        &Info::default(),
        Direction::Inbound,
        1,
    );
    let expect = &row.expect;
    if expect["unchanged"] == true {
        assert_eq!(upstream, row.headers, "byte for byte");
        assert!(stream.is_none(), "nothing is recorded");
        assert_eq!(count(&take_stats(&mut tracer), Stat::NotSampled), 1);
        return;
    }
    let upstream = without_left(expect, &row.headers, upstream);
    let seen = read_upstream(&upstream);
    let parent = expect["parent_id"].as_str();

    if let Some(seen) = &seen {
        if expect["continued"] == true {
            assert_eq!(Some(seen.trace_id.as_str()), expect["trace_id"].as_str());
        } else {
            let carried = row.headers.0.iter();
            let values = carried.map(|(_, value)| String::from_utf8_lossy(value).into_owned());
            for value in values {
                assert!(!value.contains(&seen.trace_id), "the old trace goes on");
            }
        }
        assert_eq!(Some(seen.sampled), expect["sampled"].as_bool(), "sampled");
        assert_ne!(
            Some(seen.span_id.as_str()),
            parent,
            "the caller's span id goes on"
        );
    }
    assert_eq!(Some(stream.is_some()), expect["sampled"].as_bool());
    assert_eq!(
        common::random_flag(&upstream),
        expect["random"].as_bool(),
        "random flag"
    );
    assert_eq!(upstream.one("tracestate"), expect["tracestate"].as_str());
    assert_eq!(
        upstream.others(),
        row.headers.others(),
        "other headers changed"
    );
    check_set(expect, &upstream, seen.as_ref());

    let counted = take_stats(&mut tracer);
    let malformed = expect["malformed"].as_bool().unwrap();
    assert_eq!(
        count(&counted, Stat::Malformed),
        u64::from(malformed),
        "malformed"
    );
    let sampled = expect["sampled"].as_bool().unwrap();
    assert_eq!(count(&counted, Stat::Sampled), u64::from(sampled));
    assert_eq!(count(&counted, Stat::NotSampled), u64::from(!sampled));

    if let Some(stream) = stream {
        check_span(row, &mut tracer, stream, seen.as_ref());
    }
}

/// What goes upstream, without the headers that are left as they came.
fn without_left(expect: &Value, came: &Headers, mut upstream: Headers) -> Headers {
    for name in expect["left"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        assert_eq!(upstream.lines(name), came.lines(name), "{name}");
        upstream.0.retain(|(n, _)| n != name.as_bytes());
    }
    upstream
}

/// The `set` and `removed` of a row.
fn check_set(expect: &Value, upstream: &Headers, seen: Option<&common::Seen>) {
    for (name, pattern) in expect["set"].as_object().unwrap() {
        let mut wanted = pattern.as_str().unwrap().to_owned();
        if let Some(seen) = seen {
            wanted = wanted
                .replace("{trace}", &seen.trace_id)
                .replace("{span}", &seen.span_id);
        }
        if let Some(parent) = expect["parent_id"].as_str() {
            wanted = wanted.replace("{parent}", parent);
        }
        assert_eq!(upstream.one(name), Some(wanted.as_str()), "{name}");
    }
    for name in expect["removed"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        assert!(
            upstream.lines(name).is_empty(),
            "{name} is left: {:?}",
            upstream.lines(name)
        );
    }
}

/// The span that is exported says the same as the headers.
fn check_span(
    row: &Row,
    tracer: &mut sidespan_core::tracer::Tracer,
    stream: sidespan_core::recording::stream::StreamTracer,
    seen: Option<&common::Seen>,
) {
    tracer.on_end(stream, &common::Response::status(200), 2);
    let span = common::only_span(tracer);
    if let Some(seen) = seen {
        assert_eq!(hex(&span.trace_id), seen.trace_id);
        assert_eq!(hex(&span.span_id), seen.span_id);
    }
    let parent = row.expect["parent_id"].as_str().unwrap_or_default();
    assert_eq!(hex(&span.parent_span_id), parent);
    let state = row.expect["tracestate"].as_str().unwrap_or_default();
    assert_eq!(span.trace_state, state);
}

/// The same row through the propagator alone.
fn passes_propagator(row: &Row) {
    let extraction = row.propagator.extract(&row.headers);
    let expect = &row.expect;
    assert_eq!(
        extraction.malformed.is_some(),
        expect["malformed"].as_bool().unwrap()
    );
    assert_eq!(
        extraction.parent.map(|p| hex(p.trace_id.as_bytes())),
        expect["trace_id"].as_str().map(str::to_owned)
    );
    assert_eq!(
        extraction.parent.map(|p| hex(p.span_id.as_bytes())),
        expect["parent_id"].as_str().map(str::to_owned)
    );
    let (has_parent, state) = (extraction.parent.is_some(), &extraction.trace_state);
    let any_id = common::trace_id("c0ffee00c0ffee00c0ffee00c0ffee00");
    let sampled = Sampler::default()
        .decide(extraction.sampling, has_parent, any_id, state, || 0)
        .sampled;
    assert_eq!(Some(sampled), expect["sampled"].as_bool());
    if let (Some(parent), Some(random)) = (extraction.parent, expect["random"].as_bool()) {
        assert_eq!(parent.flags.is_random(), random);
    }
    let mut state = String::new();
    state.push_str(extraction.trace_state.as_str());
    // Without white space, where a tracestate is forwarded as it is.
    let wanted = expect["tracestate"].as_str().unwrap_or_default();
    assert_eq!(state, wanted.replace(", ", ","));
    assert_eq!(extraction.trace_state.is_empty(), state.is_empty());

    // What is written is the context that was asked for.
    let context = SpanContext {
        trace_id: extraction.parent.map_or(
            common::trace_id("c0ffee00c0ffee00c0ffee00c0ffee00"),
            |parent| parent.trace_id,
        ),
        span_id: common::span_id("5eed5eed5eed5eed"),
        flags: TraceFlags::default().with_sampled(sampled),
    };
    let mut upstream = row.headers.clone();
    row.propagator.inject(
        &context,
        extraction.parent.map(|p| p.span_id),
        None,
        &extraction,
        &mut upstream,
    );
    let upstream = without_left(expect, &row.headers, upstream);
    let seen = read_upstream(&upstream);
    if let Some(seen) = &seen {
        assert_eq!(seen.trace_id, hex(context.trace_id.as_bytes()));
        assert_eq!(seen.span_id, "5eed5eed5eed5eed");
        assert_eq!(seen.sampled, sampled);
    }
    check_set(expect, &upstream, seen.as_ref());
}

#[test]
fn w3c_table() {
    run("w3c", passes_tracer);
    run("w3c", passes_propagator);
}

#[test]
fn tracestate_table() {
    run("tracestate", passes_tracer);
    run("tracestate", passes_propagator);
}

#[test]
fn b3_table() {
    run("b3", passes_tracer);
    run("b3", passes_propagator);
}

#[test]
fn propagation_table() {
    run("propagation", passes_tracer);
    run("propagation", passes_propagator);
}

/// Every row has a name of its own and says why it is there.
#[test]
fn tables_are_well_formed() {
    let mut names = std::collections::HashSet::new();
    for (table, _) in TABLES {
        for row in rows(table) {
            assert!(row.why.len() > 5, "{}", row.name);
            assert_eq!(
                row.expect["continued"] == true,
                row.expect["trace_id"].is_string(),
                "{}",
                row.name
            );
            assert!(names.insert((table, row.name)));
        }
    }
}

/// > If the vendor failed to parse `traceparent`, it MUST NOT attempt to parse
/// > `tracestate`.
///
/// With every malformed traceparent of the table, no tracestate survives.
#[test]
fn no_malformed_traceparent_keeps_a_tracestate() {
    for mut row in rows("w3c") {
        if row.expect["continued"] == true {
            continue;
        }
        row.headers
            .0
            .push((b"tracestate".to_vec(), b"rojo=1,congo=2".to_vec()));
        check_upstream(&row, &common::default_config());
    }
}

/// A context that one proxy wrote is what the next one reads, whatever came
/// to the first.
#[test]
fn the_next_hop_continues_every_row() {
    for (table, _) in TABLES {
        for row in &rows(table) {
            let mut config = common::default_config();
            config.propagator = row.propagator.clone();
            let mut first = common::tracer(&config);
            let info = Info::default();
            let (_, between) = request(&mut first, &row.headers, &info, Direction::Outbound, 1);
            if row.expect["unchanged"] == true {
                continue;
            }
            let between = without_left(&row.expect, &row.headers, between);
            let Some(written) = read_upstream(&between) else {
                continue;
            };

            let next = Propagator::default();
            let extraction = next.extract(&between);
            assert_eq!(extraction.malformed, None, "{table}: {}", row.name);
            let parent = extraction.parent.expect("a context was written");
            assert_eq!(hex(parent.trace_id.as_bytes()), written.trace_id);
            assert_eq!(hex(parent.span_id.as_bytes()), written.span_id);
            assert_eq!(
                extraction.sampling != SamplingState::Deny,
                written.sampled,
                "{table}: {}",
                row.name
            );
        }
    }
}

/// > Debug is an emphasized accept decision: once the decision is made, the
/// > same value should be consistently sent downstream.
#[test]
fn debug_survives_many_hops() {
    for (name, value) in [("b3", "d"), ("x-b3-flags", "1")] {
        let mut headers = Headers::from_wire([(name, value)]);
        let mut config = common::default_config();
        // As B3's own tracers would: W3C has no word for debug.
        config.propagator.extract.rotate_left(1);
        let mut tracer = common::tracer(&config);
        let mut spans = std::collections::HashSet::new();
        for hop in 0..5 {
            let info = Info::default();
            let (stream, upstream) =
                request(&mut tracer, &headers, &info, Direction::Unspecified, hop);
            assert!(stream.is_some());
            assert!(spans.insert(read_upstream(&upstream).unwrap().span_id));
            headers = upstream;
        }
        let debug = match name {
            "b3" => headers.one("b3").unwrap().contains("-d-"),
            _ => headers.one("x-b3-flags") == Some("1"),
        };
        assert!(debug, "{headers:?}");
    }
}

/// The official suite's advanced tests: ids are new for each request.
#[test]
fn every_request_gets_ids_of_its_own() {
    let mut tracer = common::tracer(&common::default_config());
    let mut traces = std::collections::HashSet::new();
    let mut spans = std::collections::HashSet::new();
    let continued = rows("w3c")
        .into_iter()
        .find(|r| r.name == "sampled_goes_on");
    let continued = continued.unwrap().headers;
    for _ in 0..100 {
        let info = Info::default();
        let new = request(
            &mut tracer,
            &Headers::default(),
            &info,
            Direction::Inbound,
            1,
        );
        let new = read_upstream(&new.1).unwrap();
        assert!(traces.insert(new.trace_id));
        assert!(spans.insert(new.span_id));
        let on = request(&mut tracer, &continued, &info, Direction::Inbound, 1);
        assert!(spans.insert(read_upstream(&on.1).unwrap().span_id));
    }
}

/// Two workers have other seeds and so other ids.
#[test]
fn workers_do_not_share_ids() {
    let config = common::default_config();
    let ids = |seed| {
        let environment = common::Host::default();
        let mut tracer =
            sidespan_core::tracer::Tracer::new(config.clone(), &environment, [seed; 32]);
        let headers = Headers::default();
        let (_, upstream) = request(
            &mut tracer,
            &headers,
            &Info::default(),
            Direction::Inbound,
            1,
        );
        read_upstream(&upstream).unwrap()
    };
    assert_ne!(ids(1).trace_id, ids(2).trace_id);
    assert_ne!(ids(1).span_id, ids(2).span_id);
}
