//! The filter never changes which route Envoy selects: where another filter
//! changes a header and keeps the route, a header write of a Wasm filter makes
//! Envoy select it again.

use super::stage::{ARTEFACT, EXPORTER, PATIENCE, QUICK_EXPORTER, Stage};
use super::vectors::write_context_filters;
use harness::{Artefact, client, workspace_root};

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

const MUTATION: &str = r#"          - name: mutation
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation
              mutations: { request_mutations: [{ append: { header: { key: x-canary, value: "1" }, append_action: OVERWRITE_IF_EXISTS_OR_ADD } }] }
"#;
const REWRITE: &str = r#"          - name: rewrite
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              clear_route_cache: false
              default_source_code: { inline_string: "function envoy_on_request(h) h:headers():replace(':path', '/internal/x') end" }
"#;
const AUTHORIZER: &str = r#"          - name: authorizer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
              http_service:
                server_uri: { uri: "http://service", cluster: service, timeout: 2s }
                authorization_response: { allowed_upstream_headers: { patterns: [{ exact: content-type }] } }
"#;

const CANARY: &str = r#"[{ match: { prefix: /, headers: [{ name: x-canary, string_match: { exact: "1" } }] }, direct_response: { status: 418 } }, { match: { prefix: / }, route: { cluster: service } }]"#;
const TENANT: &str = r#"[{ match: { prefix: /, headers: [{ name: content-type, present_match: true }] }, direct_response: { status: 418 } }, { match: { prefix: / }, route: { cluster: service } }]"#;
const PUBLIC: &str = "[{ match: { prefix: /public/ }, route: { cluster: service } }]";

/// A filter before ours, one behind it, and the routes. Another route than the
/// first answers 418 or 404.
const ARRANGEMENTS: [(&str, &str, &str, &str); 4] = [
    ("a header mutated before", MUTATION, "", CANARY),
    ("a header mutated behind", "", MUTATION, CANARY),
    ("a header of an authorizer", AUTHORIZER, "", TENANT),
    ("a path rewritten before", REWRITE, "", PUBLIC),
];

fn gateway((_, before, behind, routes): (&str, &str, &str, &str), carrier: &str) -> Stage {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let text = std::fs::read_to_string(path).expect("the gateway");
    let keys = format!(
        "{QUICK_EXPORTER}\n                    propagation: {{ carrier: {carrier}, inject: [tracecontext, b3, b3multi] }}"
    );
    let writers = match carrier {
        "filter_state" => write_context_filters(),
        _ => String::new(),
    };
    let router = "          - name: envoy.filters.http.router";
    let text = text
        .replace(
            "          - name: sidespan\n",
            &format!("{before}          - name: sidespan\n"),
        )
        .replace(router, &format!("{writers}{behind}{router}"))
        .replace(
            "[{ match: { prefix: / }, route: { cluster: service } }]",
            routes,
        )
        .replace(EXPORTER, &keys);
    Stage::of_text(text)
}

fn status(gateway: &Stage, headers: &[(&str, &str)]) -> u16 {
    let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    let answer = client::request(gateway.addr(), "GET", "/public/x", &headers, b"");
    answer.expect("an answer").status
}

#[test]
fn unsampled_context_keeps_the_route() {
    let digit = "0";
    for arrangement in ARRANGEMENTS {
        let stage = gateway(arrangement, "headers");
        let context = contexts(digit).concat();
        let context: Vec<_> = context.iter().map(|(n, v)| (*n, v.as_str())).collect();
        assert_eq!(status(&stage, &context), 200, "{}", arrangement.0);
    }
}

/// Each format with a sampling state.
fn contexts(state: &str) -> [Vec<(&'static str, String)>; 3] {
    [
        vec![("traceparent", format!("00-{TRACE}-{SPAN}-0{state}"))],
        vec![("b3", format!("{TRACE}-{SPAN}-{state}"))],
        vec![
            ("x-b3-traceid", TRACE.to_owned()),
            ("x-b3-spanid", SPAN.to_owned()),
            ("x-b3-sampled", state.to_owned()),
        ],
    ]
}

#[test]
fn sampled_context_keeps_the_route_by_way_of_filter_state() {
    let debug = vec![
        ("x-b3-traceid", TRACE.to_owned()),
        ("x-b3-spanid", SPAN.to_owned()),
        ("x-b3-sampled", "1".to_owned()),
        ("x-b3-flags", "1".to_owned()),
    ];
    let invalid_state = vec![
        ("traceparent", format!("00-{TRACE}-{SPAN}-01")),
        ("tracestate", "=1".to_owned()),
    ];
    for arrangement in ARRANGEMENTS {
        let stage = gateway(arrangement, "filter_state");
        let mut requests = contexts("1").to_vec();
        requests.extend([vec![], debug.clone(), invalid_state.clone()]);
        let count = requests.len();
        for context in requests {
            let context: Vec<_> = context.iter().map(|(n, v)| (*n, v.as_str())).collect();
            let what = arrangement.0;
            assert_eq!(status(&stage, &context), 200, "{what}: {context:?}");
        }
        stage.collector.wait_spans(2 * count, PATIENCE);
    }
}

/// Without the filters that write headers no context is sent, and a line says so.
#[test]
fn filter_state_that_no_filter_writes_is_reported() {
    if ARTEFACT == Artefact::Module {
        return;
    }
    let keys =
        format!("{QUICK_EXPORTER}\n                    propagation: {{ carrier: filter_state }}");
    let stage = Stage::edge_with(|edge| edge.replace(EXPORTER, keys));
    assert_eq!(client::get(stage.addr(), "/").status, 200);
    let line = stage.envoy.wait_log("propagation.carrier", PATIENCE);
    assert!(
        line.contains("a request was sent without its context"),
        "{line}"
    );
    assert_eq!(stage.upstream.last().header("traceparent"), [""; 0]);
}

/// What the two tests above rely on: a header that the filter writes itself can
/// change the route, in Wasm only.
#[test]
fn header_write_makes_envoy_select_the_route_again_in_wasm_only() {
    let stage = gateway(ARRANGEMENTS[0], "headers");
    let expected = match ARTEFACT {
        Artefact::Wasm => 418,
        Artefact::Module => 200,
    };
    assert_eq!(status(&stage, &[]), expected);
}
