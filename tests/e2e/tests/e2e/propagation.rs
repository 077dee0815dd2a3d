//! Contexts through a real Envoy, hostile ones included.

use super::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage, one_span};
use harness::{EnvoyBuilder, client};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn is_traceparent(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').collect();
    let hex =
        |s: &str, len| s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    matches!(*parts, ["00", trace, span, flags]
        if hex(trace, 32) && hex(span, 16) && hex(flags, 2) && trace != "0".repeat(32) && span != "0".repeat(16))
}

/// Takes more and longer headers than Envoy does by default.
pub fn tolerant(envoy: EnvoyBuilder) -> EnvoyBuilder {
    envoy
        .replace(
            "          route_config:",
            "          max_request_headers_kb: 1024
          common_http_protocol_options: { max_headers_count: 4000 }
          route_config:",
        )
        .replace(
            "    type: STATIC\n    load_assignment:",
            "    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http_protocol_options: {} }
        common_http_protocol_options: { max_headers_count: 4000 }
    load_assignment:",
        )
}

#[test]
fn hostile_trace_headers_give_a_new_trace_and_never_a_failed_request() {
    let stage = Stage::edge_with(|edge| tolerant(edge).replace(EXPORTER, QUICK_EXPORTER));
    let long_state = format!("a={}", "x".repeat(64 << 10));
    let many_members = (0..5000)
        .map(|i| format!("k{i}=v"))
        .collect::<Vec<_>>()
        .join(",");
    let every_byte: Vec<u8> = (1..=255).filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let high_bytes: Vec<u8> = (0x80..=0xff).collect();
    type Headers<'a> = Vec<(&'a str, &'a [u8])>;
    let mut cases: Vec<(&str, Headers<'_>)> = vec![
        (
            "a traceparent of no UTF-8",
            vec![("traceparent", &high_bytes)],
        ),
        (
            "b3 headers of no UTF-8",
            vec![("b3", &high_bytes), ("x-b3-traceid", &high_bytes)],
        ),
        (
            "a thousand traceparents",
            vec![("traceparent", TRACEPARENT.as_bytes()); 1000],
        ),
        ("a thousand b3", vec![("b3", b"0"); 1000]),
        (
            "64 KiB of tracestate",
            vec![
                ("traceparent", TRACEPARENT.as_bytes()),
                ("tracestate", long_state.as_bytes()),
            ],
        ),
        (
            "5000 members",
            vec![
                ("traceparent", TRACEPARENT.as_bytes()),
                ("tracestate", many_members.as_bytes()),
            ],
        ),
        (
            "tracestate of no UTF-8",
            vec![
                ("traceparent", TRACEPARENT.as_bytes()),
                ("tracestate", &high_bytes),
            ],
        ),
    ];
    let thousand_states = vec![("tracestate", b"a=b".as_slice()); 1000];
    cases.push((
        "a thousand tracestates",
        [
            vec![("traceparent", TRACEPARENT.as_bytes())],
            thousand_states,
        ]
        .concat(),
    ));
    for (n, (what, headers)) in cases.iter().enumerate() {
        let answer = client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
        assert_eq!(answer.status, 200, "{what}");
        let seen = stage.upstream.last();
        let [traceparent] = &seen.header("traceparent")[..] else {
            panic!("{what}: {:?}", seen.header("traceparent"));
        };
        assert!(is_traceparent(traceparent), "{what}: {traceparent}");
        assert!(
            seen.header("tracestate")
                .iter()
                .all(|s| s.len() <= 16447 && !s.is_empty()),
            "{what}"
        );
        stage.collector.wait_spans(n + 1, PATIENCE);
    }
    // Bytes that HTTP itself forbids are refused by Envoy, before any filter.
    let _ = client::request(
        stage.addr(),
        "GET",
        "/",
        &[("traceparent", &every_byte)],
        b"",
    );
    assert_eq!(client::get(stage.addr(), "/alive").status, 200);
    // A VM that trapped would let requests through and trace none of them.
    stage.collector.wait_spans(cases.len() + 1, PATIENCE);
}

#[test]
fn what_the_filter_does_not_own_passes_untouched() {
    let stage = Stage::edge();
    let headers: &[(&str, &[u8])] = &[
        ("traceparent", TRACEPARENT.as_bytes()),
        ("tracestate", b"rojo=1, congo=2"),
        ("tracestate", b"mine=3"),
        ("baggage", b"user=alice;p=1, plan=gold"),
        ("baggage", b"more=1"),
        ("x-b3-other", b"kept"),
        ("x-binary", b"\xff\xfe"),
    ];
    client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
    let seen = stage.upstream.last();
    assert_eq!(
        seen.header("baggage").join(","),
        "user=alice;p=1, plan=gold,more=1"
    );
    assert_eq!(seen.header("tracestate"), ["rojo=1,congo=2,mine=3"]);
    assert_eq!(seen.header("x-b3-other"), ["kept"]);
    let binary = seen
        .headers
        .iter()
        .find(|(name, _)| name == "x-binary")
        .expect("the header");
    assert_eq!(binary.1, b"\xff\xfe");
    assert_eq!(stage.span().span.trace_state, "rojo=1,congo=2,mine=3");
}

/// Two hops in a row, and what the second one sees is the first one's span.
#[test]
fn spans_link_across_hops_in_each_format() {
    for (inject, header, value) in [
        ("tracecontext", "traceparent", TRACEPARENT.to_owned()),
        ("b3", "b3", format!("{TRACE_ID}-00f067aa0ba902b7-1")),
        ("b3multi", "x-b3-traceid", TRACE_ID.to_owned()),
    ] {
        let last = Stage::inbound();
        let first = one_span(super::stage::envoy("envoy-configs/edge.yaml"))
            .replace(
                "exporter: { otlp_grpc: { cluster: otel-collector } }",
                format!(
                    "propagation: {{ inject: [{inject}] }}\n                    exporter: {{ otlp_grpc: {{ cluster: otel-collector }}, batch: {{ schedule_delay: 50ms }} }}"
                ),
            )
            .port(8080, last.addr().port())
            .port(4317, last.collector.port())
            .start();
        let mut headers: Vec<(&str, &[u8])> = vec![(header, value.as_bytes())];
        if inject == "b3multi" {
            headers.push(("x-b3-spanid", b"00f067aa0ba902b7"));
            headers.push(("x-b3-sampled", b"1"));
        }
        client::request(first.addr(10000), "GET", "/", &headers, b"").unwrap();
        let spans = last.collector.wait_spans(2, PATIENCE);
        let of = |service| {
            spans
                .iter()
                .find(|span| span.service_name() == service)
                .unwrap_or_else(|| panic!("{inject}: {service}"))
        };
        assert_eq!(of("edge").trace_id_hex(), TRACE_ID, "{inject}");
        assert_eq!(
            of("edge").parent_span_id_hex(),
            "00f067aa0ba902b7",
            "{inject}"
        );
        assert_eq!(of("service").trace_id_hex(), TRACE_ID, "{inject}");
        assert_eq!(
            of("service").parent_span_id_hex(),
            of("edge").span_id_hex(),
            "{inject}"
        );
    }
}
