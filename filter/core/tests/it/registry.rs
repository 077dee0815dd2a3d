//! Every attribute of default traffic against OpenTelemetry's registry, as a
//! table. The check by OpenTelemetry's own tool needs a proxy and runs
//! elsewhere; this one needs nothing but the crate.
//!
//! <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>, 1.45

use crate::common::spans::{Proxy, answered, ask, get, grpc, grpc_status, istio, resource, with};
use crate::common::{Headers, Host, Info, Response};
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};
use std::collections::BTreeSet;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Type {
    Text,
    Int,
    Double,
}
use Type::{Double, Int, Text};

fn type_of(value: &Value) -> Type {
    match value {
        Value::String(_) => Text,
        Value::Number(number) if number.is_i64() => Int,
        Value::Number(_) => Double,
        other => panic!("{other} is of no type that an attribute has by default"),
    }
}

/// What a span has of the registry, and its type there.
const REGISTRY: [(&str, Type); 23] = [
    ("client.address", Text),
    ("error.type", Text),
    ("http.request.body.size", Int),
    ("http.request.method", Text),
    ("http.request.method_original", Text),
    ("http.request.resend_count", Int),
    ("http.response.body.size", Int),
    ("http.response.status_code", Int),
    ("http.route", Text),
    ("network.peer.address", Text),
    ("network.peer.port", Int),
    ("network.protocol.version", Text),
    ("rpc.method", Text),
    ("rpc.method_original", Text),
    ("rpc.status_code", Text),
    ("rpc.system.name", Text),
    ("server.address", Text),
    ("server.port", Int),
    ("url.full", Text),
    ("url.path", Text),
    ("url.query", Text),
    ("url.scheme", Text),
    ("user_agent.original", Text),
];

/// What is in no registry: how Envoy marks its spans, and our own namespace.
pub(crate) const OWN: [(&str, Type); 20] = [
    ("component", Text),
    ("sidespan.destination.namespace", Text),
    ("sidespan.destination.service", Text),
    ("sidespan.destination.workload", Text),
    ("sidespan.downstream.tls_peer", Text),
    ("sidespan.keep_reason", Text),
    ("sidespan.response_code_details", Text),
    ("sidespan.response_flags", Text),
    ("sidespan.route", Text),
    ("sidespan.rule", Text),
    ("sidespan.source.namespace", Text),
    ("sidespan.source.service", Text),
    ("sidespan.source.workload", Text),
    ("sidespan.upstream.address", Text),
    ("sidespan.upstream.attempts", Int),
    ("sidespan.upstream.cluster", Text),
    ("sidespan.upstream.connection_wait_ms", Double),
    ("sidespan.upstream.latency_ms", Double),
    ("sidespan.upstream.tls_peer", Text),
    ("sidespan.upstream.transport_failure", Text),
];

/// What a resource has of the registry; all of it is text there.
const RESOURCE: [&str; 20] = [
    "cloud.availability_zone",
    "cloud.region",
    "k8s.cluster.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.replicationcontroller.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
    "service.version",
    "telemetry.sdk.language",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
];

/// Success, 4xx, 5xx, resets, upgrades and gRPC, of which a host knows all
/// that it may, or nothing.
fn traffic() -> Vec<(Headers, Response)> {
    let known = |response: Response| {
        let mut response = Response {
            route: Some("/cart/{id}"),
            cluster: Some("outbound|9000||cart.shop"),
            upstream: Some("10.1.2.3:9000"),
            request_size: Some(2),
            response_size: Some(17),
            connection_wait: Some(Duration::from_millis(1)),
            upstream_latency: Some(Duration::from_millis(12)),
            transport_failure: Some("delayed connect error: 111"),
            tls_peers: [Some("CN=web"), Some("CN=cart")],
            workloads: [workload("web"), workload("cart")],
            ..response
        };
        let length = ("content-length", b"17".to_vec());
        response.headers.push(length);
        response
    };
    let named_otherwise = |response: Response| Response {
        route: Some("default"),
        ..response
    };
    let reset = Response {
        attempts: 1,
        flags: 1 << 6,
        details: Some("upstream_reset_before_response_started{connection_termination}"),
        ..Response::default()
    };
    let retried = Response {
        attempts: 3,
        flags: 1 << 5 | 1 << 15,
        details: Some("upstream_reset_before_response_started{connection_failure}"),
        ..Response::status(503)
    };
    let denied = Response {
        details: Some("rbac_access_denied_matched_policy[none]"),
        ..Response::status(403)
    };
    let mut traffic = Vec::new();
    for response in [
        answered(200),
        answered(204),
        answered(101),
        answered(301),
        answered(404),
        answered(429),
        answered(500),
        answered(503),
        reset,
        retried,
        denied,
        Response::default(),
    ] {
        for lines in [
            with(get("/cart/7?page=2&sig=1"), &[("user-agent", "curl/8.1")]),
            with(ask("POST", "/cart"), &[("content-length", "2")]),
            ask("PROPFIND", "/"),
            ask("HEAD", "/"),
            grpc("/shop.Cart/Add"),
            Headers::from_wire([(":method", "CONNECT"), (":authority", "shop.example:443")]),
        ] {
            traffic.push((lines.clone(), response.clone()));
            traffic.push((lines.clone(), known(response.clone())));
            traffic.push((lines, named_otherwise(known(response.clone()))));
        }
    }
    for status in 0..17 {
        let response = grpc_status(&status.to_string());
        traffic.push((grpc("/shop.Cart/Add"), known(response)));
    }
    traffic
}

fn workload(name: &'static str) -> std::collections::BTreeMap<&'static str, &'static str> {
    let fields = ["workload", "namespace", "service"];
    fields.map(|field| (field, name)).into()
}

/// Every attribute is of the registry with the type that it has there, or of
/// ours; and the traffic is such that each one is met.
#[test]
fn every_attribute_is_registered() {
    let known = || REGISTRY.iter().chain(&OWN);
    let mut met = BTreeSet::new();
    let info = Info {
        protocol: Some("HTTP/2"),
        source_address: Some("192.0.2.7:50123"),
        ..Info::default()
    };
    let rule = json!({"name": "all", "match": {"path": {"prefix": "/"}}, "action": "force"});
    for keys in [
        json!({}),
        json!({"rules": [rule]}),
        json!({"sampler": {"type": "always_off"}, "keep": {"errors": true}}),
    ] {
        let mut proxy = Proxy::on(&istio(), keys);
        for (lines, response) in traffic() {
            for direction in [Inbound, Outbound, Unspecified] {
                let sent = proxy.send(direction, &lines, &info, &response);
                for span in sent.spans() {
                    for (key, value) in &span.attributes {
                        let entry = known().find(|(known, _)| known == key);
                        let (_, expected) = entry.unwrap_or_else(|| {
                            panic!("{key} is not registered: {:?}", span.attributes)
                        });
                        assert_eq!(type_of(value), *expected, "{key}: {value}");
                        // CONNECT has neither, and a server must name both.
                        let may_be_empty = ["url.path", "url.scheme"].contains(&&**key);
                        assert!(may_be_empty || value != "", "{key} is empty");
                        met.insert(key.clone());
                    }
                }
            }
        }
    }
    for (key, _) in known() {
        assert!(met.contains(*key), "{key} is never there");
    }
}

/// > has the following list of well-known values. If one of them applies, then
/// > the respective value MUST be used
#[test]
fn enumerations_have_their_values() {
    let mut proxy = Proxy::new(json!({}));
    for protocol in ["HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"] {
        let info = Info {
            protocol: Some(protocol),
            ..Info::default()
        };
        for (lines, response) in traffic() {
            let sent = proxy.send(Unspecified, &lines, &info, &response);
            for span in sent.spans() {
                let method = span.str("http.request.method");
                let methods = [
                    "_OTHER", "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST",
                    "PUT", "QUERY", "TRACE",
                ];
                assert!(methods.contains(&method), "{method}");
                if let Some(version) = span.get("network.protocol.version") {
                    let versions = ["1.0", "1.1", "2", "3"];
                    assert!(versions.contains(&version.as_str().unwrap()), "{version}");
                }
                if let Some(system) = span.get("rpc.system.name") {
                    assert_eq!(system, "grpc");
                }
            }
        }
    }
}

/// > network.peer.port: If network.peer.address is set.
///
/// and the like: what says nothing without another one stands beside it.
#[test]
fn what_depends_on_another_has_it() {
    let mut proxy = Proxy::on(&istio(), json!({}));
    let info = Info {
        protocol: Some("HTTP/2"),
        source_address: Some("192.0.2.7:50123"),
        ..Info::default()
    };
    for (lines, response) in traffic() {
        for direction in [Inbound, Outbound, Unspecified] {
            let sent = proxy.send(direction, &lines, &info, &response);
            for span in sent.spans() {
                for (one, other) in [
                    ("network.peer.port", "network.peer.address"),
                    ("server.port", "server.address"),
                    ("rpc.method_original", "rpc.method"),
                    ("rpc.method", "rpc.system.name"),
                    ("rpc.status_code", "rpc.system.name"),
                    ("url.query", "url.path"),
                ] {
                    let has = |key| span.get(key).is_some();
                    assert!(!has(one) || has(other), "{one} without {other}");
                }
                // > `http.request.method_original`: If and only if it's different
                // > than `http.request.method`.
                let is_other = span.str("http.request.method") == "_OTHER";
                assert_eq!(span.get("http.request.method_original").is_some(), is_other);
                assert_eq!(span.get("error.type").is_some(), span.is_error);
            }
        }
    }
}

/// The same of the resource, with each kind of owner that a pod may have.
#[test]
fn every_attribute_of_the_resource_is_registered() {
    let mut met = BTreeSet::new();
    for kind in [
        "deployments",
        "statefulsets",
        "daemonsets",
        "replicasets",
        "replicationcontrollers",
        "jobs",
        "cronjobs",
    ] {
        let mut node = istio().node;
        let metadata = &mut node["metadata"];
        metadata["OWNER"] = format!("kubernetes://apis/v1/namespaces/shop/{kind}/cart").into();
        metadata["NODE_NAME"] = "node-7".into();
        let host = Host {
            node,
            ..Host::default()
        };
        let mut proxy = Proxy::on(&host, json!({}));
        for (key, value) in resource(&mut proxy.tracer) {
            assert!(RESOURCE.contains(&&*key), "{key} is not registered");
            assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{key}");
            met.insert(key);
        }
    }
    for key in RESOURCE {
        assert!(met.contains(key), "{key} is never there");
    }
}
