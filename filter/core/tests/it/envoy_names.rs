//! `span.attributes: envoy` and `both`: the names that Envoy's own tracer uses,
//! for those whose dashboards have them
//! (Envoy, `source/common/tracing/http_tracer_impl.cc`).

use crate::common::spans::{Proxy, Seen, answered, ask, get, grpc, grpc_status, istio, send, with};
use crate::common::{Headers, Host, Info, Response};
use serde_json::{Map, Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};

const DIRECTIONS: [Direction; 3] = [Inbound, Outbound, Unspecified];

const INFO: Info = Info {
    protocol: Some("HTTP/2"),
    source_address: Some("192.0.2.7:50123"),
    route: Value::Null,
};

fn vocabulary(name: &str) -> Value {
    json!({"span": {"attributes": name}})
}

fn whole_request() -> Headers {
    with(
        ask("POST", "/cart/7?item=1&sig=hidden#top"),
        &[
            ("user-agent", "curl/8.1"),
            ("x-request-id", "7c5f0d5a-5f0b-9c3e-8d5a-1d7a3a1b2c3d"),
            ("x-client-trace-id", "of-the-client"),
            ("x-envoy-downstream-service-cluster", "web"),
            ("cookie", "session=hidden"),
        ],
    )
}

fn whole_response() -> Response {
    Response {
        route: Some("/cart/{id}"),
        cluster: Some("outbound|9000||cart.shop"),
        upstream: Some("10.1.2.3:9000"),
        request_size: Some(2),
        response_size: Some(17),
        ..answered(201)
    }
}

/// A proxy whose node has an id and a zone, and is not Istio's.
fn plain() -> Host {
    Host {
        node: json!({"id": "edge-7", "cluster": "edge", "locality": {"zone": "b"}}),
        ..Host::default()
    }
}

/// What Envoy says of a request of its own span, here of [`whole_request`].
fn of_the_request() -> Map<String, Value> {
    let attributes = json!({
        "component": "proxy",
        "node_id": "edge-7",
        "zone": "b",
        "guid:x-request-id": "7c5f0d5a-5f0b-9c3e-8d5a-1d7a3a1b2c3d",
        "guid:x-client-trace-id": "of-the-client",
        "http.method": "POST",
        "http.url": "http://shop.example/cart/7?item=1&sig=REDACTED",
        "http.protocol": "HTTP/2",
        "downstream_cluster": "web",
        "user_agent": "curl/8.1",
        "peer.address": "192.0.2.7",
        "request_size": "2",
        "response_size": "17",
        "upstream_cluster": "outbound|9000||cart.shop",
        "upstream_cluster.name": "outbound|9000||cart.shop",
        "http.status_code": "201",
        "response_flags": "-",
    });
    attributes.as_object().unwrap().clone()
}

fn joined(one: &Map<String, Value>, other: Value) -> Value {
    let mut attributes = one.clone();
    attributes.extend(other.as_object().unwrap().clone());
    Value::Object(attributes)
}

// --------------------------------------------------------------- whole sets

/// Everything that a span has, and nothing else; Envoy's names do not differ
/// between the two sides.
#[test]
fn a_span_with_envoys_names() {
    for direction in [Inbound, Outbound] {
        let mut proxy = Proxy::on(&plain(), vocabulary("envoy"));
        let sent = proxy.send(direction, &whole_request(), &INFO, &whole_response());
        sent.own()
            .is(&Value::Object(of_the_request()), &format!("{direction:?}"));
        assert!(!sent.contains("hidden"));
    }
}

/// The span of the call upstream says where it went, by whom it was answered,
/// and how.
#[test]
fn the_call_with_envoys_names() {
    let mut proxy = Proxy::on(&plain(), vocabulary("envoy"));
    let sent = proxy.send(Unspecified, &whole_request(), &INFO, &whole_response());
    sent.own().is(&Value::Object(of_the_request()), "SERVER");
    sent.call().is(
        &json!({
            "component": "proxy",
            "upstream_cluster": "outbound|9000||cart.shop",
            "upstream_cluster.name": "outbound|9000||cart.shop",
            "upstream_address": "10.1.2.3:9000",
            "peer.address": "10.1.2.3:9000",
            "http.status_code": "201",
            "response_flags": "-",
        }),
        "CLIENT",
    );
}

/// What is not known has Envoy's defaults.
#[test]
fn a_span_of_which_little_is_known() {
    let sent = send(
        vocabulary("envoy"),
        Inbound,
        &get("/"),
        &Response::default(),
    );
    sent.own().is(
        &json!({
            "component": "proxy",
            "node_id": "",
            "zone": "",
            "http.method": "GET",
            "http.url": "http://shop.example/",
            "http.protocol": "-",
            "downstream_cluster": "-",
            "user_agent": "-",
            "request_size": "0",
            "response_size": "0",
            "http.status_code": "0",
            "response_flags": "-",
            "error": "true",
        }),
        "no response",
    );
}

/// A gRPC call, from its request's side.
#[test]
fn a_grpc_call_with_envoys_names() {
    let lines = with(grpc("/shop.Cart/Add"), &[("grpc-timeout", "5S")]);
    let mut proxy = Proxy::on(&plain(), vocabulary("envoy"));
    let sent = proxy.send(Inbound, &lines, &INFO, &grpc_status("0"));
    for (key, value) in [
        ("grpc.path", "/shop.Cart/Add"),
        ("grpc.authority", "shop.example:50051"),
        ("grpc.content_type", "application/grpc"),
        ("grpc.timeout", "5S"),
        ("http.method", "POST"),
        ("http.url", "http://shop.example:50051/shop.Cart/Add"),
        ("http.status_code", "200"),
    ] {
        assert_eq!(sent.own().str(key), value);
    }
    assert_eq!(sent.own().name, "shop.Cart/Add");

    let sent = proxy.send(Inbound, &whole_request(), &INFO, &whole_response());
    let keys = sent.own().keys();
    assert!(!keys.iter().any(|key| key.starts_with("grpc.")), "{keys:?}");
}

fn with_message(code: &str, in_trailers: bool) -> Response {
    let mut response = answered(200);
    let lines = match in_trailers {
        true => &mut response.trailers,
        false => &mut response.headers,
    };
    lines.extend([
        ("grpc-status", code.into()),
        ("grpc-message", b"no cart".to_vec()),
    ]);
    response
}

/// ```text
/// addTagIfNotNull(span, Tracing::Tags::get().GrpcStatusCode, headers.GrpcStatus());
/// addTagIfNotNull(span, Tracing::Tags::get().GrpcMessage, headers.GrpcMessage());
/// ```
///
/// and `error` with the statuses that Envoy takes for the upstream's fault.
#[test]
fn the_status_of_a_grpc_call_with_envoys_names() {
    for (code, is_error) in [
        ("0", false),
        ("1", false),
        ("2", true),
        ("3", false),
        ("4", true),
        ("5", false),
        ("12", true),
        ("13", true),
        ("14", true),
        ("15", true),
        ("16", false),
    ] {
        for in_trailers in [true, false] {
            let lines = grpc("/shop.Cart/Add");
            let response = with_message(code, in_trailers);
            let sent = send(vocabulary("envoy"), Unspecified, &lines, &response);
            for span in sent.spans() {
                span.has(
                    &json!({
                        "grpc.status_code": code,
                        "grpc.message": "no cart",
                        "error": is_error.then_some("true"),
                    }),
                    &format!("{code} {:?}", span.kind),
                );
            }
        }
    }
}

/// Envoy's list of the upstream's faults has one more than OpenTelemetry's of
/// the server's.
#[test]
fn envoy_takes_exhaustion_for_an_error() {
    let lines = grpc("/shop.Cart/Add");
    let sent = send(vocabulary("envoy"), Unspecified, &lines, &grpc_status("8"));
    for span in sent.spans() {
        assert_eq!(span.str("error"), "true");
    }
}

/// A call that is given up because time is up is canceled, and the flag is of
/// the request alone.
#[test]
fn a_call_that_is_given_up() {
    let response = Response {
        attempts: 1,
        flags: 1 << 2,
        details: Some("response_timeout"),
        ..Response::status(504)
    };
    let sent = send(vocabulary("envoy"), Unspecified, &get("/"), &response);
    sent.own().has(
        &json!({"http.status_code": "504", "response_flags": "UT", "error": "true", "canceled": null}),
        "SERVER",
    );
    sent.call().has(
        &json!({"http.status_code": "0", "response_flags": "-", "error": "true", "canceled": "true"}),
        "CLIENT",
    );
}

/// Why a call was reset, in Envoy's words.
#[test]
fn a_call_that_is_reset() {
    for (details, reason) in [
        (
            "upstream_reset_before_response_started{connection_termination}",
            json!("connection termination"),
        ),
        (
            "upstream_reset_before_response_started{remote_connection_failure|TLS_error:_expired}",
            json!("remote connection failure"),
        ),
        ("no_healthy_upstream", Value::Null),
    ] {
        let response = Response {
            attempts: 1,
            flags: 1 << 6,
            details: Some(details),
            ..Response::status(503)
        };
        let sent = send(vocabulary("envoy"), Unspecified, &get("/"), &response);
        sent.own().has(
            &json!({"http.status_code": "503", "response_flags": "UC", "error.reason": null}),
            details,
        );
        sent.call().has(
            &json!({"http.status_code": "0", "response_flags": "UC", "error.reason": reason}),
            details,
        );
    }
}

// ---------------------------------------------------------------- each name

/// > if (!stream_info.responseCode() || is5xx(stream_info.responseCode()))
/// > span.setTag(Tracing::Tags::get().Error, Tracing::Tags::get().True);
#[test]
fn envoys_errors() {
    for (response, status, is_error) in [
        (answered(200), "200", false),
        (answered(404), "404", false),
        (answered(499), "499", false),
        (answered(500), "500", true),
        (answered(503), "503", true),
        (Response::default(), "0", true),
    ] {
        for direction in DIRECTIONS {
            let sent = send(vocabulary("envoy"), direction, &get("/"), &response);
            for span in sent.spans() {
                span.has(
                    &json!({
                        "http.status_code": status,
                        "error": is_error.then_some("true"),
                    }),
                    status,
                );
            }
        }
    }
}

/// A span's status is OpenTelemetry's whatever its attributes are called, so
/// that a backend finds what failed.
#[test]
fn the_status_of_a_span_is_opentelemetrys() {
    for status in [200, 404, 503] {
        for direction in DIRECTIONS {
            let seen = |name| {
                let sent = send(vocabulary(name), direction, &get("/"), &answered(status));
                let errors: Vec<bool> = sent.spans().map(|span| span.is_error).collect();
                errors
            };
            assert_eq!(seen("envoy"), seen("stable"), "{status} {direction:?}");
        }
    }
}

/// Flags are written as access logs have them.
#[test]
fn envoys_flags() {
    for (flags, text) in [(0, "-"), (1 << 14, "DC"), (1 << 5 | 1 << 15, "UF,URX")] {
        let response = Response {
            flags,
            ..answered(503)
        };
        let sent = send(vocabulary("envoy"), Inbound, &get("/"), &response);
        assert_eq!(sent.own().str("response_flags"), text);
    }
}

/// The URL is the one that was asked for, not what a route made of it.
#[test]
fn the_url_before_rewriting() {
    let lines = with(
        get("/internal?sig=1"),
        &[("x-envoy-original-path", "/public?token=hidden&a=b")],
    );
    let sent = send(vocabulary("envoy"), Inbound, &lines, &answered(200));
    let url = "http://shop.example/public?token=REDACTED&a=b";
    assert_eq!(sent.own().str("http.url"), url);
    assert!(!sent.contains("hidden"));
}

/// A peer's address has no port; a pipe is named as it is.
#[test]
fn peers() {
    for (source, expected) in [
        (Some("192.0.2.7:50123"), json!("192.0.2.7")),
        (Some("[2001:db8::7]:1"), json!("2001:db8::7")),
        (Some("/run/app.sock"), json!("/run/app.sock")),
        (None, Value::Null),
    ] {
        let info = Info {
            source_address: source,
            ..INFO
        };
        let mut proxy = Proxy::new(vocabulary("envoy"));
        let sent = proxy.send(Inbound, &get("/"), &info, &answered(200));
        sent.own()
            .has(&json!({"peer.address": expected}), "peer.address");
    }
}

// -------------------------------------------------------------------- Istio

/// The tags that Istio adds, from where it takes them.
#[test]
fn istios_tags() {
    let mut proxy = Proxy::on(&istio(), vocabulary("envoy"));
    let sent = proxy.send(Inbound, &whole_request(), &INFO, &whole_response());
    let wanted = json!({
        "node_id": "sidecar~10.1.2.3~cart-5d4.shop~shop.svc.cluster.local",
        "zone": "eu-central-1b",
        "istio.canonical_service": "cart",
        "istio.canonical_revision": "v2",
        "istio.mesh_id": "cluster.local",
        "istio.namespace": "shop",
        "istio.cluster_id": "east",
    });
    sent.own()
        .is(&joined(&of_the_request(), wanted), "a sidecar of Istio");
}

/// Istio's own defaults, where its node does not say: no label is set, or an
/// empty one.
#[test]
fn istios_defaults() {
    let labels = json!({
        "service.istio.io/canonical-name": "",
        "service.istio.io/canonical-revision": "",
    });
    for metadata in [
        json!({"ISTIO_VERSION": "1.27.0"}),
        json!({"ISTIO_VERSION": "1.27.0", "NAMESPACE": "", "MESH_ID": "", "CLUSTER_ID": "", "LABELS": labels}),
    ] {
        let host = Host {
            node: json!({"id": "a", "metadata": metadata}),
            ..Host::default()
        };
        let mut proxy = Proxy::on(&host, vocabulary("envoy"));
        let sent = proxy.send(Inbound, &get("/"), &INFO, &answered(200));
        sent.own().has(
            &json!({
                "istio.canonical_service": "unknown",
                "istio.canonical_revision": "latest",
                "istio.mesh_id": "unknown",
                "istio.namespace": "default",
                "istio.cluster_id": "unknown",
            }),
            "defaults",
        );
    }
}

/// An Envoy that is not Istio's has none of its tags.
#[test]
fn no_tags_of_istio_elsewhere() {
    let host = Host {
        node: json!({"id": "a", "metadata": {"NAMESPACE": "shop", "MESH_ID": "m"}}),
        ..Host::default()
    };
    let mut proxy = Proxy::on(&host, vocabulary("both"));
    let sent = proxy.send(Unspecified, &get("/"), &INFO, &answered(200));
    for span in sent.spans() {
        let keys = span.keys();
        assert!(!keys.iter().any(|k| k.starts_with("istio.")), "{keys:?}");
    }
}

/// Istio's tags are custom tags of Envoy's, and those stand on both spans of a
/// gateway (`HttpTracerUtility::setCommonTags`).
#[test]
fn istios_tags_on_the_call() {
    let mut proxy = Proxy::on(&istio(), vocabulary("envoy"));
    let sent = proxy.send(Unspecified, &get("/"), &INFO, &whole_response());
    for span in sent.spans() {
        assert_eq!(span.str("istio.canonical_service"), "cart");
        assert_eq!(span.str("istio.mesh_id"), "cluster.local");
    }
}

// --------------------------------------------------------------------- both

/// Requests and responses of every kind that there is.
fn traffic() -> Vec<(Headers, Response)> {
    let mut all = Vec::new();
    let retried = Response {
        attempts: 3,
        flags: 1 << 5,
        details: Some("upstream_reset_before_response_started{connection_failure}"),
        transport_failure: Some("TLS_error"),
        ..whole_response()
    };
    for response in [whole_response(), answered(404), answered(503), retried] {
        for lines in [whole_request(), get("/"), ask("PROPFIND", "/")] {
            all.push((lines, response.clone()));
        }
    }
    for lines in [
        whole_request(),
        get("/"),
        grpc("/a.B/C"),
        Headers::default(),
    ] {
        all.push((lines, Response::default()));
    }
    for status in ["0", "5", "12", "14"] {
        all.push((grpc("/shop.Cart/Add"), grpc_status(status)));
    }
    all
}

/// `both` is what the two say, each attribute once: the reader of the export
/// refuses a key that is there twice.
#[test]
fn both_is_the_union() {
    for (lines, response) in traffic() {
        for direction in DIRECTIONS {
            let spans = |name| -> Vec<Seen> {
                let mut proxy = Proxy::on(&istio(), vocabulary(name));
                let sent = proxy.send(direction, &lines, &INFO, &response);
                sent.spans().cloned().collect()
            };
            let (stable, envoy, both) = (spans("stable"), spans("envoy"), spans("both"));
            assert_eq!(stable.len(), both.len());
            assert_eq!(envoy.len(), both.len());
            for ((stable, envoy), both) in stable.iter().zip(&envoy).zip(&both) {
                let envoys = Value::Object(envoy.attributes.clone());
                both.is(&joined(&stable.attributes, envoys), "both");
                assert_eq!(both.name, stable.name);
                assert_eq!(envoy.name, stable.name, "a name has no vocabulary");
                let shared: Vec<_> = stable
                    .keys()
                    .into_iter()
                    .filter(|key| envoy.get(key).is_some())
                    .collect();
                assert_eq!(shared, ["component"]);
            }
        }
    }
}

/// By default there is no name of Envoy's; OpenTelemetry's old names, some of
/// which Envoy has as well, are gone from its conventions.
#[test]
fn the_default_is_stable() {
    for (lines, response) in traffic() {
        for direction in DIRECTIONS {
            let spans = |keys| -> Vec<Value> {
                let mut proxy = Proxy::on(&istio(), keys);
                let sent = proxy.send(direction, &lines, &INFO, &response);
                let attributes = sent.spans().map(|span| span.attributes.clone());
                attributes.map(Value::Object).collect()
            };
            assert_eq!(spans(json!({})), spans(vocabulary("stable")));
        }
    }
}
