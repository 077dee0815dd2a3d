//! What a span says of a request that went through a real Envoy.

use super::stage::{ARTEFACT, EXPORTER, PATIENCE, QUICK_EXPORTER, Stage, Told, is_told, variable};
use harness::otlp::common::v1::any_value::Value;
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::status::StatusCode;
use harness::{MockCollector, ReceivedSpan, client};
use std::collections::{BTreeMap, BTreeSet};

fn keys(span: &ReceivedSpan) -> BTreeSet<&str> {
    let attributes = span.span.attributes.iter();
    let keys: Vec<_> = attributes.map(|attribute| attribute.key.as_str()).collect();
    let set: BTreeSet<_> = keys.iter().copied().collect();
    assert_eq!(keys.len(), set.len(), "a key stands there twice: {keys:?}");
    set
}

fn double(span: &ReceivedSpan, key: &str) -> f64 {
    match span.attr(key) {
        Some(Value::DoubleValue(value)) => *value,
        other => panic!("{key}: {other:?}"),
    }
}

/// The spans of one request: the proxy's own, and that of the call upstream.
fn pair(stage: &Stage, before: usize) -> (ReceivedSpan, ReceivedSpan) {
    let spans = stage.collector.wait_spans(before + 2, PATIENCE);
    let of = |kind| {
        let mut found = spans[before..].iter().filter(|span| span.kind() == kind);
        found.next().cloned().expect("a span of each kind")
    };
    (of(SpanKind::Server), of(SpanKind::Client))
}

#[test]
fn a_gateway_has_a_span_for_the_request_and_one_for_the_call_upstream() {
    let stage = Stage::gateway();
    let headers: &[(&str, &[u8])] = &[
        ("host", b"shop.example"),
        ("user-agent", b"test/1.0"),
        (
            "traceparent",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        ("tracestate", b"vendor=1"),
    ];
    client::request(stage.addr(), "POST", "/delay/20?page=2", headers, b"hello").unwrap();
    let (server, call) = pair(&stage, 0);

    assert_eq!(server.parent_span_id_hex(), "00f067aa0ba902b7");
    assert_eq!(call.parent_span_id_hex(), server.span_id_hex());
    let seen = stage.upstream.last();
    let expected = format!("00-{}-{}-01", server.trace_id_hex(), call.span_id_hex());
    assert_eq!(seen.header("traceparent"), [expected]);
    assert_eq!(call.span.trace_state, "vendor=1");
    assert_eq!((server.name(), call.name()), ("POST", "POST"));
    // The caller's span is remote, the proxy's own is not.
    assert_eq!((server.span.flags, call.span.flags), (0x301, 0x101));

    assert_eq!(
        keys(&server),
        BTreeSet::from([
            "client.address",
            "component",
            "http.request.body.size",
            "http.request.method",
            "http.response.body.size",
            "http.response.status_code",
            "network.peer.address",
            "network.peer.port",
            "network.protocol.version",
            "server.address",
            "server.port",
            "url.path",
            "url.query",
            "url.scheme",
            "user_agent.original",
        ])
    );
    let mut expected = BTreeSet::from([
        "component",
        "http.request.method",
        "http.response.status_code",
        "network.peer.address",
        "network.peer.port",
        "server.address",
        "server.port",
        "sidespan.upstream.cluster",
        "sidespan.upstream.connection_wait_ms",
        "sidespan.upstream.latency_ms",
        "url.full",
    ]);
    if !is_told(Told::ConnectionWait) {
        expected.remove("sidespan.upstream.connection_wait_ms");
    }
    if !is_told(Told::UpstreamLatency) {
        expected.remove("sidespan.upstream.latency_ms");
    }
    assert_eq!(keys(&call), expected);
    assert_eq!(server.int_attr("http.request.body.size"), Some(5));
    assert!(
        server
            .int_attr("http.response.body.size")
            .is_some_and(|n| n > 0)
    );
    assert_eq!(call.str_attr("sidespan.upstream.cluster"), Some("service"));
    let port = i64::from(stage.upstream.port());
    assert_eq!(call.int_attr("network.peer.port"), Some(port));
    let whole = call.duration().as_secs_f64() * 1000.0;
    if is_told(Told::UpstreamLatency) {
        let latency = double(&call, "sidespan.upstream.latency_ms");
        assert!((20.0..=whole).contains(&latency), "{latency} of {whole} ms");
    }
    if is_told(Told::ConnectionWait) {
        let wait = double(&call, "sidespan.upstream.connection_wait_ms");
        assert!((0.0..=whole).contains(&wait), "{wait} of {whole} ms");
    }
}

#[test]
fn a_sidecar_says_on_its_one_span_where_the_request_went() {
    let stage = Stage::inbound();
    client::get(stage.addr(), "/");
    let span = stage.span();
    let address = format!("127.0.0.1:{}", stage.upstream.port());
    assert_eq!(span.str_attr("sidespan.upstream.address"), Some(&*address));
    assert_eq!(span.str_attr("sidespan.upstream.cluster"), Some("app"));
    assert_eq!(span.str_attr("sidespan.response_flags"), None);
    assert_eq!(span.str_attr("sidespan.response_code_details"), None);
}

#[test]
fn retries_and_failures_are_told_on_the_call() {
    let retrying = "route: { cluster: service, retry_policy: { retry_on: \"reset,connect-failure\", num_retries: 2 } }";
    let mut stage = Stage::gateway_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER)
            .replace("route: { cluster: service }", retrying)
    });
    assert_eq!(client::get(stage.addr(), "/reset").status, 503);
    let (server, call) = pair(&stage, 0);
    // The gateway answered with 503, the upstream with nothing.
    assert_eq!(server.int_attr("http.response.status_code"), Some(503));
    assert_eq!(server.str_attr("error.type"), Some("503"));
    let flags = if is_told(Told::Flags) { "UC,URX" } else { "UC" };
    assert_eq!(server.str_attr("sidespan.response_flags"), Some(flags));
    assert_eq!(call.attr("http.response.status_code"), None);
    assert_eq!(
        call.str_attr("error.type"),
        Some("upstream_reset_before_response_started")
    );
    if is_told(Told::Flags) {
        assert_eq!(call.int_attr("sidespan.upstream.attempts"), Some(3));
        assert_eq!(call.int_attr("http.request.resend_count"), Some(2));
    }
    assert_eq!(call.status_code(), StatusCode::Error);
    let details = "upstream_reset_before_response_started{connection_termination}";
    assert_eq!(
        server.str_attr("sidespan.response_code_details"),
        Some(details)
    );

    stage.upstream.stop();
    assert_eq!(client::get(stage.addr(), "/").status, 503);
    let (_, call) = pair(&stage, 2);
    let failure = call.str_attr("sidespan.upstream.transport_failure");
    if is_told(Told::UpstreamTransport) {
        let refused = failure.is_some_and(|reason| reason.contains("Connection refused"));
        assert!(refused, "{failure:?}");
    }
}

#[test]
fn what_never_goes_upstream_has_no_span_for_it() {
    let stage = Stage::gateway_with(|edge| {
        edge.replace(EXPORTER, QUICK_EXPORTER).replace(
            "route: { cluster: service }",
            "direct_response: { status: 204 }",
        )
    });
    assert_eq!(client::get(stage.addr(), "/").status, 204);
    let span = stage.span();
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(
        span.str_attr("sidespan.response_code_details"),
        Some("direct_response")
    );
}

#[test]
fn a_route_with_the_name_of_a_path_is_the_spans_route() {
    let named = |name: &str| {
        let route = format!("{{ match: {{ prefix: / }}, name: \"{name}\", route:");
        Stage::edge_with(|edge| {
            edge.replace(EXPORTER, QUICK_EXPORTER)
                .replace("{ match: { prefix: / }, route:", route)
        })
    };
    let template = named("/users/{id}");
    client::get(template.addr(), "/users/42");
    let span = template.span();
    assert_eq!(span.name(), "GET /users/{id}");
    assert_eq!(span.str_attr("http.route"), Some("/users/{id}"));

    let other = named("users");
    client::get(other.addr(), "/users/42");
    let span = other.span();
    assert_eq!(span.name(), "GET");
    assert_eq!(span.attr("http.route"), None);
    assert_eq!(span.str_attr("sidespan.route"), Some("users"));
}

#[test]
fn spans_are_named_by_a_template() {
    let stage = Stage::edge_with(|edge| {
        edge.replace(
            "span: { upstream_span: false }",
            "span: { upstream_span: false, name: \"{method} {host}{path} to {cluster}\" }",
        )
        .replace(EXPORTER, QUICK_EXPORTER)
    });
    let headers: &[(&str, &[u8])] = &[("host", b"shop.example:80")];
    client::request(stage.addr(), "GET", "/a?b=c", headers, b"").unwrap();
    assert_eq!(stage.span().name(), "GET shop.example/a to service");
}

const TAGS: &str = r#"
                    custom_tags:
                    - { tag: user.id, request_header: { name: X-User-Id, default_value: nobody } }
                    - { tag: absent, request_header: { name: x-absent } }
                    - { tag: retries, request_header: { name: x-retries }, type: int }
                    - { tag: environment, literal: { value: production } }
                    - { tag: pod, environment: { name: POD_NAME } }
                    - { tag: zone, environment: { name: ZONE, default_value: unknown } }
                    - { tag: team, metadata: { kind: route, metadata_key: { key: owner, path: [{ key: team }, { key: name }] } } }
                    - { tag: level, metadata: { kind: route, metadata_key: { key: owner, path: [{ key: level }] } }, type: int }
                    - { tag: tier, metadata: { kind: cluster, metadata_key: { key: owner, path: [{ key: tier }] } } }
                    - { tag: canary, metadata: { kind: host, metadata_key: { key: envoy.lb, path: [{ key: canary }] } }, type: bool }
                    - { tag: claim, metadata: { kind: request, metadata_key: { key: jwt, path: [{ key: sub }] } } }
                    - { tag: cache, response_header: { name: server } }
                    - { tag: plan, baggage: { name: plan } }
                    - { tag: mtls, property: [connection, mtls], type: bool }
                    - { tag: port, property: [destination, port], type: int }
                    - { tag: protocol, property: [request, protocol] }"#;

#[test]
fn custom_tags_come_from_everywhere() {
    let metadata_filter = r#"http_filters:
          - name: envoy.filters.http.set_metadata
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.set_metadata.v3.Config
              metadata: [{ metadata_namespace: jwt, value: { sub: alice } }]
"#;
    let stage = Stage::edge_with(|edge| {
        variable(edge, "POD_NAME", "cart-1")
            .replace(EXPORTER, format!("{QUICK_EXPORTER}{TAGS}"))
            .replace("http_filters:\n", metadata_filter)
            .replace(
                "{ match: { prefix: / }, route:",
                "{ match: { prefix: / }, metadata: { filter_metadata: { owner: { team: { name: carts }, level: 3 } } }, route:",
            )
            .replace(
                "- name: service\n    type: STATIC",
                "- name: service\n    metadata: { filter_metadata: { owner: { tier: gold } } }\n    type: STATIC",
            )
            .replace(
                "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 8080 } } }",
                "- endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 8080 } } }\n          metadata: { filter_metadata: { envoy.lb: { canary: true } } }",
            )
    });
    let headers: &[(&str, &[u8])] = &[
        ("x-user-id", b"alice"),
        ("x-retries", b"2"),
        ("baggage", b"region=eu,plan=gold%20plus;ttl=1"),
    ];
    client::request(stage.addr(), "GET", "/", headers, b"").unwrap();
    let span = stage.span();
    let text = |text: &str| Some(Value::StringValue(text.to_owned()));
    for (tag, expected) in [
        ("user.id", text("alice")),
        ("absent", None),
        ("retries", Some(Value::IntValue(2))),
        ("environment", text("production")),
        ("pod", text("cart-1")),
        ("zone", text("unknown")),
        (
            "team",
            text("carts").filter(|_| is_told(Told::NestedMetadata)),
        ),
        ("level", Some(Value::IntValue(3))),
        ("tier", text("gold")),
        ("canary", Some(Value::BoolValue(true))),
        ("claim", text("alice")),
        ("cache", text("envoy")),
        ("plan", text("gold plus")),
        ("mtls", Some(Value::BoolValue(false))),
        (
            "port",
            Some(Value::IntValue(i64::from(stage.addr().port()))),
        ),
        ("protocol", text("HTTP/1.1")),
    ] {
        assert_eq!(span.attr(tag), expected.as_ref(), "{tag}");
    }
    assert_eq!(
        stage.upstream.last().header("baggage"),
        ["region=eu,plan=gold%20plus;ttl=1"],
        "baggage goes on as it came"
    );

    client::get(stage.addr(), "/");
    let span = stage.collector.wait_spans(2, PATIENCE).remove(1);
    assert_eq!(span.str_attr("user.id"), Some("nobody"));
    assert_eq!(span.attr("retries"), None);
}

const ISTIO_NODE: &str = r#"node:
  id: sidecar~10.1.2.3~cart-7d9f-x2x.shop~shop.svc.cluster.local
  cluster: cart.shop
  locality: { region: eu, zone: eu-1 }
  metadata:
    NAME: cart-7d9f-x2x
    NAMESPACE: shop
    OWNER: kubernetes://apis/apps/v1/namespaces/shop/deployments/cart
    WORKLOAD_NAME: cart
    CLUSTER_ID: east
    MESH_ID: mesh-1
    ISTIO_VERSION: 1.30.3
    LABELS: { app: cart, service.istio.io/canonical-name: cart-api, service.istio.io/canonical-revision: v2 }
static_resources:
"#;

fn resource(span: &ReceivedSpan) -> BTreeMap<&str, &str> {
    let attributes = span.resource.iter();
    attributes
        .map(|attribute| match span.resource_attr(&attribute.key) {
            Some(Value::StringValue(value)) => (attribute.key.as_str(), value.as_str()),
            other => panic!("{}: {other:?}", attribute.key),
        })
        .collect()
}

#[test]
fn the_resource_is_what_istio_says_of_the_workload() {
    let listed = "deployment.environment.name=production,k8s.cluster.name=from%20env";
    let stage = Stage::edge_with(|edge| {
        variable(edge, "OTEL_RESOURCE_ATTRIBUTES", listed)
            .replace(EXPORTER, QUICK_EXPORTER)
            .replace("static_resources:\n", ISTIO_NODE)
            .replace("service_name: edge", "service_name: \"\"")
            .replace(
                "span: { upstream_span: false }",
                "span: { upstream_span: false, attributes: both }\n                    resource_attributes: { mesh.cluster: east-mesh }",
            )
    });
    client::get(stage.addr(), "/");
    let span = stage.span();
    let mut resource = resource(&span);
    let version = resource.remove("telemetry.sdk.version");
    assert!(version.is_some());
    assert_eq!(
        resource,
        BTreeMap::from([
            ("cloud.availability_zone", "eu-1"),
            ("cloud.region", "eu"),
            ("deployment.environment.name", "production"),
            // The environment comes before what is detected.
            ("k8s.cluster.name", "from env"),
            ("k8s.deployment.name", "cart"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-7d9f-x2x"),
            ("mesh.cluster", "east-mesh"),
            ("service.instance.id", "shop.cart-7d9f-x2x.istio-proxy"),
            ("service.name", "cart-api"),
            ("service.namespace", "shop"),
            ("service.version", "v2"),
            ("telemetry.sdk.language", "rust"),
            ("telemetry.sdk.name", "sidespan"),
        ])
    );
    for (key, value) in [
        ("istio.canonical_service", "cart-api"),
        ("istio.canonical_revision", "v2"),
        ("istio.mesh_id", "mesh-1"),
        ("istio.namespace", "shop"),
        ("istio.cluster_id", "east"),
    ] {
        assert_eq!(span.str_attr(key), Some(value), "{key}");
    }
}

#[test]
fn a_malformed_list_of_resource_attributes_is_told_once_and_ignored() {
    let stage = Stage::edge_with(|edge| {
        variable(edge, "OTEL_RESOURCE_ATTRIBUTES", "a=b,oops")
            .concurrency(2)
            .replace(EXPORTER, QUICK_EXPORTER)
    });
    client::get(stage.addr(), "/");
    assert_eq!(stage.span().resource_attr("a"), None);
    let log = stage.envoy.log();
    let told = "OTEL_RESOURCE_ATTRIBUTES: \"a=b,oops\" is ignored, expected key=value,key=value";
    assert_eq!(log.matches(told).count(), 1, "{log}");
}

#[test]
fn the_other_end_of_tls_is_named() {
    use rcgen::{
        CertificateParams, CertifiedIssuer, DistinguishedName, DnType, Issuer, KeyPair, SanType,
    };
    let dir =
        std::env::temp_dir().join(format!("sidespan-tls-{ARTEFACT:?}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "ca");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issuer: &Issuer<'_, _> = &ca;
    std::fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    for name in ["gateway", "cart"] {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let id = format!("spiffe://mesh.example/ns/shop/sa/{name}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        std::fs::write(dir.join(format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
    let file = |name: &str| dir.join(name).display().to_string();
    let context = |name: &str| {
        format!(
            "common_tls_context: {{ tls_certificates: [{{ certificate_chain: {{ filename: {} }}, private_key: {{ filename: {} }} }}], validation_context: {{ trusted_ca: {{ filename: {} }} }} }}",
            file(&format!("{name}.pem")),
            file(&format!("{name}.key")),
            file("ca.pem"),
        )
    };
    let cart = Stage::inbound_with(|inbound| {
        let socket = format!(
            "    - transport_socket:\n        name: tls\n        typed_config:\n          \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext\n          require_client_certificate: true\n          {}\n      filters:\n",
            context("cart")
        );
        inbound
            .replace(EXPORTER, QUICK_EXPORTER)
            .replace("    - filters:\n", socket)
    });
    let socket = format!(
        "- name: service\n    transport_socket:\n      name: tls\n      typed_config:\n        \"@type\": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext\n        {}\n    type",
        context("gateway")
    );
    let collector = MockCollector::start();
    let gateway = super::stage::envoy("envoy-configs/edge.yaml")
        .replace(EXPORTER, QUICK_EXPORTER)
        .replace("- name: service\n    type", socket)
        .port(8080, cart.addr().port())
        .port(4317, collector.port())
        .start();
    assert_eq!(client::get(gateway.addr(10000), "/").status, 200);
    let spans = collector.wait_spans(2, PATIENCE);
    let call = spans.iter().find(|span| span.kind() == SpanKind::Client);
    assert_eq!(
        call.and_then(|span| span.str_attr("sidespan.upstream.tls_peer")),
        Some("spiffe://mesh.example/ns/shop/sa/cart").filter(|_| is_told(Told::UpstreamTransport))
    );
    assert_eq!(
        cart.span().str_attr("sidespan.downstream.tls_peer"),
        Some("spiffe://mesh.example/ns/shop/sa/gateway")
    );
    std::fs::remove_dir_all(&dir).unwrap();
}

/// What peers send ends up as valid OTLP: the collector reads strings as UTF-8
/// and takes nothing else.
#[test]
fn whatever_peers_send_is_valid_otlp() {
    let stage = Stage::edge_with(|edge| {
        edge.replace(
            EXPORTER,
            format!(
                "{QUICK_EXPORTER}\n                    custom_tags: [{{ tag: tag, request_header: {{ name: x-tag }} }}]"
            ),
        )
    });
    let long = vec![b'a'; 50_000];
    let cases: &[(&str, &str, &[u8])] = &[
        ("/", "user-agent", b"\xff\xfe \x80"),
        ("/", "user-agent", "🦀🧀".as_bytes()),
        ("/", "x-tag", b"\xc3\x28"),
        ("/", "x-tag", &long),
        ("/%zz%", "x-tag", b"%00"),
        ("/?%zz&=&a=%&token=x;y", "x-tag", b""),
        ("/a\u{e4}", "host", b"me:pw@"),
    ];
    let mut count = 0;
    for (path, name, value) in cases {
        let answer = client::request(stage.addr(), "GET", path, &[(name, value)], b"");
        // Envoy itself refuses some of it.
        if answer.is_ok_and(|answer| answer.status == 200) {
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
    let spans = stage.collector.wait_spans(count, PATIENCE);
    for span in &spans {
        for attribute in keys(span) {
            let text = span.str_attr(attribute).unwrap_or_default();
            assert!(text.len() <= 1024, "{attribute}: {} bytes", text.len());
            assert!(!text.contains("pw@"), "{attribute}: {text}");
        }
    }
    let cut = spans
        .iter()
        .filter(|span| span.span.dropped_attributes_count == 1);
    assert_eq!(cut.count(), 1, "the long one is counted");
    assert_eq!(stage.stat("spans_rejected"), 0);
}
