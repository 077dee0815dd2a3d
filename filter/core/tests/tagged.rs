//! Spans that a host decides and tags: what Envoy says becomes what the
//! conventions have.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    missing_docs
)]

mod common;

use common::exports::NOW;
use common::{Headers, Host, attributes, read_upstream, spans};
use serde_json::{Value, json};
use sidespan_core::config::Config;
use sidespan_core::delivery::Delivery;
use sidespan_core::id::IdGenerator;
use sidespan_core::propagation::Extractor;
use sidespan_core::stats::Stats;
use sidespan_core::stream::tagged::{SpanTagger, TaggedSpan};
use std::collections::BTreeMap;
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
    let mut delivery = Delivery::new(config, &Host::default());
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
/// its own span, in the formats that came and those that are wanted, and to
/// the call of a filter, which has no headers of the request's, all of it too.
#[test]
fn each_call_has_its_own_context_in_every_format_that_came() {
    let sampled = format!("{PARENT}-01");
    let state = ("tracestate", "other=1");
    for (came, b3_goes_on, state_of_attempt, state_of_check) in [
        (vec![], false, None, None),
        (
            vec![("traceparent", &*sampled), state],
            false,
            Some("other=1"),
            Some("other=1"),
        ),
        // Without a believed `traceparent` it belongs to nothing.
        (vec![state], false, None, None),
        (vec![("traceparent", "00-zz"), state], false, None, None),
        // Not as it is sent.
        (
            vec![("traceparent", &*sampled), ("tracestate", " other=1 ,")],
            false,
            Some("other=1"),
            Some("other=1"),
        ),
        (
            vec![("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")],
            true,
            None,
            None,
        ),
    ] {
        let config = config(&json!({}));
        let tagger = tagger(&config);
        let mut headers = request(&came);
        let span = start(&tagger, &headers, true);
        let mut seen = Vec::new();
        for _ in 0..2 {
            let attempt = span.child(&mut ids(), b"router carts egress", NOW);
            tagger.inject(&attempt, &mut headers);
            assert_eq!(headers.one("tracestate"), state_of_attempt, "{came:?}");
            let mut check = Headers::default();
            let call = span.child(&mut ids(), b"async authz egress", NOW);
            tagger.inject(&call, &mut check);
            assert_eq!(check.one("tracestate"), state_of_check, "{came:?}");
            for (headers, span) in [(&headers, &attempt), (&check, &call)] {
                let context = read_upstream(headers).expect("a context");
                let id = String::from_utf8(span.span_id().to_hex().to_vec()).unwrap();
                assert_eq!(context.span_id, id, "{came:?}");
                let b3 = headers.one("b3").is_some_and(|b3| b3.contains(&id));
                assert_eq!(b3, b3_goes_on, "{came:?}");
                seen.push(id);
            }
        }
        seen.dedup();
        assert_eq!(seen.len(), 4, "{came:?}");
    }
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
    span.tag(b"http.method", b"GET");
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
