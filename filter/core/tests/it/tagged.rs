//! Spans that a host decides and tags: what Envoy says becomes what the
//! conventions have.

use crate::common::exports::NOW;
use crate::common::{Headers, Host, attributes, read_upstream, spans};
use serde_json::{Value, json};
use sidespan_core::config::Config;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::export::pipeline::Delivery;
use sidespan_core::headers::header_map::Extractor;
use sidespan_core::recording::envoy_span::TaggedSpan;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::stats::Stats;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU8, Ordering};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";

fn config(keys: &Value) -> Config {
    let mut document = json!({"exporter": {"otlp_grpc": {"cluster": "collector"}}});
    let document_keys = document.as_object_mut().unwrap();
    document_keys.extend(keys.as_object().unwrap().clone());
    sidespan_config::parse(document.to_string().as_bytes()).expect("a valid document")
}

fn tagger(config: &Config) -> SpanTagger {
    SpanTagger::new(
        config.propagator.clone(),
        config.span.clone(),
        &Host::default(),
    )
}

/// Of a worker of its own.
fn ids() -> IdGenerator {
    static SEED: AtomicU8 = AtomicU8::new(1);
    IdGenerator::new([SEED.fetch_add(1, Ordering::Relaxed); 32])
}

fn request(extra: &[(&str, &str)]) -> Headers {
    let lines = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/pay?sig=x&a=b"),
        ("user-agent", "test/1.0"),
    ];
    Headers::from_wire(lines.iter().chain(extra).copied())
}

fn start(tagger: &SpanTagger, headers: &Headers, is_sampled: bool) -> TaggedSpan {
    let (span, _) = tagger.start(&mut ids(), headers, is_sampled, NOW);
    span
}

/// The name, whether it is an error, and the attributes of what is exported.
fn end(
    config: &Config,
    tagger: &SpanTagger,
    span: TaggedSpan,
) -> Option<(String, bool, BTreeMap<String, Value>)> {
    let ended = tagger.end(span)?;
    let mut delivery = Delivery::new(config.delivery(), &Host::default());
    let mut stats = Stats::default();
    delivery.queue().add(&ended, &mut stats, NOW);
    delivery.on_tick(u64::MAX);
    let callout = delivery.next_callout(u64::MAX).expect("an export");
    let span = spans(&callout).remove(0);
    let is_error = span.status.is_some_and(|status| status.code == 2);
    Some((span.name, is_error, attributes(&span.attributes)))
}

/// Tags on a server's span and on that of an attempt, beside what every one
/// has.
#[test]
fn envoys_tags_become_attributes_of_the_conventions() {
    let config = config(&json!({}));
    for (kind, key, value, expected) in [
        (
            "server",
            "http.protocol",
            "HTTP/1.1",
            json!({"network.protocol.version": "1.1"}),
        ),
        ("client", "http.protocol", "HTTP/1.1", json!({})),
        (
            "server",
            "http.status_code",
            "204",
            json!({"http.response.status_code": 204}),
        ),
        // No response.
        ("server", "http.status_code", "0", json!({})),
        (
            "server",
            "request_size",
            "5",
            json!({"http.request.body.size": 5}),
        ),
        ("server", "request_size", "many", json!({})),
        (
            "server",
            "peer.address",
            "10.0.0.1",
            json!({"client.address": "10.0.0.1"}),
        ),
        (
            "client",
            "peer.address",
            "10.0.0.1:80",
            json!({"network.peer.address": "10.0.0.1", "network.peer.port": 80}),
        ),
        (
            "server",
            "upstream_address",
            "10.0.0.1:80",
            json!({"sidespan.upstream.address": "10.0.0.1:80"}),
        ),
        ("client", "upstream_address", "10.0.0.1:80", json!({})),
        (
            "server",
            "upstream_cluster",
            "carts",
            json!({"sidespan.upstream.cluster": "carts"}),
        ),
        ("server", "upstream_cluster", "-", json!({})),
        (
            "server",
            "response_flags",
            "UF,URX",
            json!({"sidespan.response_flags": "UF,URX"}),
        ),
        ("server", "response_flags", "-", json!({})),
        (
            "client",
            "retry.count",
            "2",
            json!({"http.request.resend_count": 2}),
        ),
        (
            "server",
            "grpc.status_code",
            "3",
            json!({"rpc.status_code": "INVALID_ARGUMENT"}),
        ),
        // Told by other means, or by the resource.
        ("server", "component", "proxy", json!({})),
        ("server", "http.url", "https://elsewhere/?sig=x", json!({})),
        ("server", "node_id", "n", json!({})),
        ("server", "zone", "z", json!({})),
        ("server", "guid:x-request-id", "g", json!({})),
        ("server", "downstream_cluster", "-", json!({})),
        ("server", "upstream_cluster.name", "carts", json!({})),
        // A custom tag.
        ("server", "tenant", "acme", json!({"tenant": "acme"})),
    ] {
        let tagger = tagger(&config);
        let mut span = start(&tagger, &request(&[]), true);
        if kind == "client" {
            span = span.child(&mut ids(), b"router carts egress", NOW);
        }
        let bare = if kind == "client" {
            let parent = start(&tagger, &request(&[]), true);
            let bare = parent.child(&mut ids(), b"router carts egress", NOW);
            end(&config, &tagger, bare)
        } else {
            let bare = start(&tagger, &request(&[]), true);
            end(&config, &tagger, bare)
        };
        span.tag(key.as_bytes(), value.as_bytes());
        let (_, _, seen) = end(&config, &tagger, span).unwrap();
        let mut expected_all = bare.unwrap().2;
        expected_all.extend(
            expected
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| (key.clone(), value.clone())),
        );
        assert_eq!(seen, expected_all, "{kind} {key}={value}");
    }
}

#[test]
fn what_is_asked_is_read_from_the_request_and_redacted() {
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let server = start(&tagger, &request(&[]), true);
    let call = server.child(&mut ids(), b"router carts egress", NOW);
    let (name, _, call) = end(&config, &tagger, call).unwrap();
    assert_eq!(name, "POST");
    assert_eq!(
        call["url.full"],
        json!("https://shop.example/pay?sig=REDACTED&a=b")
    );
    let (name, _, server) = end(&config, &tagger, server).unwrap();
    assert_eq!(name, "POST");
    assert_eq!(server["url.query"], json!("sig=REDACTED&a=b"));
    assert_eq!(server["server.port"], json!(443));
    assert_eq!(server["user_agent.original"], json!("test/1.0"));
}

/// A filter's own call says nothing of the request.
#[test]
fn a_call_of_a_filter_is_told_by_its_tags_alone() {
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let server = start(&tagger, &request(&[]), true);
    let mut check = server.child(&mut ids(), b"async authz egress", NOW);
    check.tag(b"http.method", b"GET");
    check.tag(b"http.url", b"https://authz/check?token=x");
    let (name, _, seen) = end(&config, &tagger, check).unwrap();
    assert_eq!(name, "async authz egress");
    let expected = json!({
        "component": "proxy",
        "http.request.method": "GET",
        "url.full": "https://authz/check?token=REDACTED",
    });
    assert_eq!(json!(seen), expected);
}

#[test]
fn errors_are_told_by_the_conventions() {
    let config = config(&json!({}));
    for (is_client, tags, error) in [
        (false, &[("http.status_code", "404")][..], None),
        (true, &[("http.status_code", "404")], Some("404")),
        (
            false,
            &[("http.status_code", "503"), ("error", "true")],
            Some("503"),
        ),
        (
            true,
            &[("error", "true"), ("error.reason", "remote reset")],
            Some("remote_reset"),
        ),
        (false, &[("error", "true")], Some("_OTHER")),
        (
            false,
            &[("http.status_code", "200"), ("grpc.status_code", "13")],
            Some("INTERNAL"),
        ),
        (
            false,
            &[("http.status_code", "200"), ("grpc.status_code", "5")],
            None,
        ),
        (
            true,
            &[("http.status_code", "200"), ("grpc.status_code", "5")],
            Some("NOT_FOUND"),
        ),
    ] {
        let tagger = tagger(&config);
        let mut span = start(&tagger, &request(&[]), true);
        if is_client {
            span = span.child(&mut ids(), b"router carts egress", NOW);
        }
        for (key, value) in tags {
            span.tag(key.as_bytes(), value.as_bytes());
        }
        let (_, is_error, seen) = end(&config, &tagger, span).unwrap();
        assert_eq!(is_error, error.is_some(), "{tags:?}");
        let told = seen.get("error.type").and_then(Value::as_str);
        assert_eq!(told, error, "{is_client} {tags:?}");
    }
}

/// The caller's word on sampling counts, else the host's; and what goes on
/// says so in each format.
#[test]
fn the_caller_decides_and_else_the_host() {
    let config = config(&json!({"propagation": {"inject": ["tracecontext", "b3"]}}));
    let sampled = format!("{PARENT}-01");
    let not = format!("{PARENT}-00");
    for (traceparent, by_host, is_sampled, is_local) in [
        (None, true, true, true),
        (None, false, false, true),
        (Some(&sampled), false, true, false),
        (Some(&not), true, false, false),
    ] {
        let tagger = tagger(&config);
        let lines: Vec<_> = traceparent
            .iter()
            .map(|value| ("traceparent", value.as_str()))
            .collect();
        let headers = request(&lines);
        let span = start(&tagger, &headers, by_host);
        assert_eq!(span.is_sampled(), is_sampled, "{traceparent:?}");
        assert_eq!(span.is_decided_here(), is_local, "{traceparent:?}");
        let mut upstream = headers.clone();
        tagger.inject(&span, &mut upstream);
        let seen = read_upstream(&upstream).expect("a context");
        let id = String::from_utf8(span.span_id().to_hex().to_vec()).unwrap();
        assert_eq!(seen.span_id, id);
        let b3 = upstream.one("b3").expect("b3");
        assert!(b3.contains(if is_sampled { "-1" } else { "-0" }), "{b3}");
        assert_eq!(end(&config, &tagger, span).is_some(), is_sampled);
    }
}

/// What goes upstream, whatever has been written there before: each attempt
/// its own span, in the formats that came and those that are wanted. The call
/// of a filter has no headers of the request's: what is wanted, and the state.
#[test]
fn each_call_has_its_own_context_in_every_format_that_came() {
    let sampled = format!("{PARENT}-01");
    let state = ("tracestate", "other=1");
    let unusual = ("tracestate", " other=1 ,");
    let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";
    for (came, is_b3_written, state_of_call) in [
        (vec![], false, None),
        (
            vec![("traceparent", &*sampled), state],
            false,
            Some("other=1"),
        ),
        // Without a believed `traceparent` it belongs to nothing.
        (vec![state], false, None),
        (vec![("traceparent", "00-zz"), state], false, None),
        // Not as it is sent.
        (
            vec![("traceparent", &*sampled), unusual],
            false,
            Some("other=1"),
        ),
        (vec![("b3", b3)], true, None),
    ] {
        let tagger = tagger(&config(&json!({})));
        let mut headers = request(&came);
        let span = start(&tagger, &headers, true);
        let mut ids_seen = BTreeSet::new();
        for _ in 0..2 {
            let attempt = span.child(&mut ids(), b"router carts egress", NOW);
            tagger.inject(&attempt, &mut headers);
            let mut check = Headers::default();
            let call = span.child(&mut ids(), b"async authz egress", NOW);
            tagger.inject(&call, &mut check);
            assert_eq!(check.one("b3"), None, "{came:?}");
            assert_eq!(headers.one("b3").is_some(), is_b3_written, "{came:?}");
            for (headers, span) in [(&headers, &attempt), (&check, &call)] {
                assert_eq!(headers.one("tracestate"), state_of_call, "{came:?}");
                assert_eq!(written_id(headers), hex(span), "{came:?}");
                ids_seen.insert(hex(span));
            }
        }
        assert_eq!(ids_seen.len(), 4, "{came:?}");
    }
}

/// Filters and routes may have changed the headers since the span started:
/// what they removed does not come back, and what they added says the same as
/// the rest.
#[test]
fn what_others_changed_meanwhile_is_no_other_trace() {
    let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1";
    let multi = [
        ("x-b3-traceid", "80f198ee56343ba864fe8b2a57d3eff7"),
        ("x-b3-spanid", "e457b5a2e4d86bd1"),
    ];
    let tagger = tagger(&config(&json!({})));
    let lines = [&[("b3", b3)], &multi[..]].concat();
    let span = start(&tagger, &request(&lines), true);
    let mut removed = request(&[]);
    tagger.inject(&span, &mut removed);
    assert_eq!(written_id(&removed), hex(&span));
    for name in ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-sampled"] {
        assert_eq!(removed.one(name), None, "{name}");
    }
    let span = start(&tagger, &request(&[]), true);
    let mut added = request(&[&lines[..], &[("tracestate", "other=1")]].concat());
    tagger.inject(&span, &mut added);
    // Fails where two formats disagree.
    assert_eq!(written_id(&added), hex(&span));
    assert_eq!(added.one("x-b3-spanid"), Some(&*hex(&span)));
    assert!(added.one("b3").unwrap().contains(&hex(&span)));
    assert_eq!(added.one("tracestate"), None, "it is of no trace of ours");
}

fn hex(span: &TaggedSpan) -> String {
    String::from_utf8(span.span_id().to_hex().to_vec()).unwrap()
}

fn written_id(headers: &Headers) -> String {
    read_upstream(headers).expect("a context").span_id
}

/// A peer that sends 60 KiB fills no memory, and its value is cut and counted.
#[test]
fn of_long_values_as_much_is_kept_as_can_be_told() {
    let long = "x".repeat(60 << 10);
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let headers = request(&[("user-agent", &long), ("content-type", &long)]);
    let mut span = None;
    let all = allocation_counter::measure(|| {
        let mut started = start(&tagger, &headers, true);
        for key in ["user_agent", "tenant", "app.version"] {
            started.tag(key.as_bytes(), long.as_bytes());
        }
        span = Some(started);
    });
    assert!(all.bytes_max < 64 << 10, "{}", all.bytes_max);
    let (_, _, seen) = end(&config, &tagger, span.unwrap()).unwrap();
    assert_eq!(seen["tenant"], json!("x".repeat(1024)));
    let named = json!({"span": {"max_attribute_length": 3}});
    let config = self::config(&named);
    let tagger = self::tagger(&config);
    let mut span = start(&tagger, &request(&[]), true);
    assert_eq!(
        end(&config, &tagger, start(&tagger, &request(&[]), true))
            .unwrap()
            .0,
        "POS"
    );
    span.set_name(b"checkout");
    assert_eq!(end(&config, &tagger, span).unwrap().0, "che");
}

/// What is said of it from then on.
#[test]
fn a_span_that_is_sampled_late_says_what_came_after() {
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let mut span = start(&tagger, &request(&[]), false);
    span.tag(b"tenant", b"acme");
    span.set_sampled(true);
    span.tag(b"http.method", b"POST");
    span.tag(b"app.version", b"4");
    let (name, is_error, seen) = end(&config, &tagger, span).unwrap();
    let expected = json!({
        "component": "proxy",
        "http.request.method": "POST",
        "app.version": "4",
    });
    assert_eq!(
        (name.as_str(), is_error, json!(seen)),
        ("HTTP", false, expected)
    );
}

/// Headers of which nothing is asked by name.
struct OnlyContext(Headers);

impl Extractor for OnlyContext {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.headers()
    }

    fn header(&self, name: &[u8]) -> Option<&[u8]> {
        panic!("nobody needs {name:?}")
    }
}

/// Of an unsampled request nothing is read but its context, and nothing kept.
#[test]
fn an_unsampled_request_costs_next_to_nothing() {
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let headers = OnlyContext(request(&[]));
    let (mut span, is_malformed) = tagger.start(&mut ids(), &headers, false, NOW);
    assert!(!is_malformed);
    let kept = allocation_counter::measure(|| span.tag(b"http.method", b"GET"));
    assert_eq!(kept.count_total, 0);
    assert!(tagger.end(span).is_none());
    let broken = request(&[("traceparent", "00-zz")]);
    let (_, is_malformed) = tagger.start(&mut ids(), &broken, true, NOW);
    assert!(is_malformed);
}

#[test]
fn envoys_own_names_if_they_are_asked_for() {
    let config = config(&json!({"span": {"attributes": "envoy"}}));
    let tagger = tagger(&config);
    let mut span = start(&tagger, &request(&[]), true);
    span.tag(b"http.url", b"https://shop.example/pay?sig=x&a=b");
    span.tag(b"http.status_code", b"503");
    span.tag(b"tenant", b"acme");
    let (_, is_error, seen) = end(&config, &tagger, span).unwrap();
    assert!(is_error);
    let expected = json!({
        "component": "proxy",
        "http.url": "https://shop.example/pay?sig=REDACTED&a=b",
        "http.status_code": "503",
        "tenant": "acme",
    });
    assert_eq!(json!(seen), expected);
}

#[test]
fn names_are_the_hosts_the_templates_or_the_conventions() {
    for (keys, set, expected) in [
        (json!({}), None, "POST"),
        (json!({}), Some("checkout"), "checkout"),
        (
            json!({"span": {"name": "{method} {host}{path}"}}),
            None,
            "POST shop.example/pay",
        ),
    ] {
        let config = config(&keys);
        let tagger = tagger(&config);
        let mut span = start(&tagger, &request(&[]), true);
        if let Some(name) = set {
            span.set_name(name.as_bytes());
        }
        assert_eq!(end(&config, &tagger, span).unwrap().0, expected);
    }
}

/// The span of an attempt describes the request that is sent: a route may have
/// rewritten the path and the host since the request was received.
#[test]
fn span_of_attempt_describes_the_request_that_was_sent() {
    let config = config(&json!({}));
    let tagger = tagger(&config);
    let span = start(&tagger, &request(&[]), true);
    let mut attempt = span.child(&mut ids(), b"router carts egress", NOW);
    let mut headers = Headers::from_wire([
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "backend.internal:9000"),
        (":path", "/v2/cart"),
    ]);
    attempt.set_sent_request(&headers);
    tagger.inject(&attempt, &mut headers);
    let (_, _, seen) = end(&config, &tagger, attempt).unwrap();
    let server = seen.get("server.address").and_then(Value::as_str);
    assert_eq!(server, Some("backend.internal"));
    let full = seen.get("url.full").and_then(Value::as_str).unwrap();
    assert!(full.ends_with("://backend.internal:9000/v2/cart"), "{full}");
    let (_, _, own) = end(&config, &tagger, span).unwrap();
    assert_ne!(own.get("server.address").and_then(Value::as_str), server);
}

/// `propagation.unsampled: unchanged`: what is sent upstream has the caller's
/// context byte for byte, and a call without one gets one.
#[test]
fn unsampled_context_is_forwarded_unchanged() {
    let not = format!("{PARENT}-00");
    for (policy, is_unchanged) in [("unchanged", true), ("rewrite", false)] {
        let config = config(&json!({"propagation": {"unsampled": policy}}));
        let tagger = tagger(&config);
        let headers = request(&[("traceparent", &not)]);
        let span = start(&tagger, &headers, true);
        let mut upstream = headers.clone();
        tagger.inject(&span, &mut upstream);
        assert_eq!(upstream == headers, is_unchanged, "{policy}");
        let mut call = request(&[]);
        tagger.inject(&span, &mut call);
        assert_eq!(written_id(&call), hex(&span), "{policy}");
    }
}
