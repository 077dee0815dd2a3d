//! What must be seen.

use super::world::{TOKEN, World};
use harness::otlp::common::v1::any_value::Value;
use harness::otlp::trace::v1::span::SpanKind;
use harness::{ReceivedSpan, eventually, load};
use std::collections::BTreeMap;
use std::time::Duration;

const STOCK_HOST: &str = "stock.shop.svc.cluster.local";
/// The host in the name of the cluster that Istio makes of the collector's Service.
const COLLECTOR_HOST: &str = "otel-collector.observability.svc.cluster.local";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the filter has sent so far; Istio's own tracer sends to the same collector.
fn ours(world: &World) -> Vec<ReceivedSpan> {
    let mut spans = world.collector.spans();
    spans.retain(|span| span.scope.name == "sidespan");
    spans
}

/// As many spans of the filter as are waited for, and no more.
fn spans(world: &World, n: usize) -> Vec<ReceivedSpan> {
    let spans = eventually(world.patience(), "spans", || {
        Some(ours(world)).filter(|spans| spans.len() >= n)
    });
    assert_eq!(spans.len(), n, "{spans:#?}");
    spans
}

/// A span of Istio's own tracer.
fn theirs(world: &World, is_it: impl Fn(&ReceivedSpan) -> bool) -> ReceivedSpan {
    eventually(world.patience(), "a span of Istio's own tracer", || {
        let spans = world.collector.spans().into_iter();
        let mut others = spans.filter(|span| span.scope.name != "sidespan");
        others.find(&is_it)
    })
}

fn one_of<'a>(spans: &'a [ReceivedSpan], service: &str, kind: SpanKind) -> &'a ReceivedSpan {
    let is_it = |span: &&ReceivedSpan| span.service_name() == service && span.kind() == kind;
    let found: Vec<_> = spans.iter().filter(is_it).collect();
    assert_eq!(found.len(), 1, "{service} {kind:?} of {spans:#?}");
    found[0]
}

fn resource(span: &ReceivedSpan, key: &str) -> Option<String> {
    match span.resource_attr(key)? {
        Value::StringValue(text) => Some(text.clone()),
        other => panic!("{key}: {other:?}"),
    }
}

fn assert_attributes(span: &ReceivedSpan, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(
            span.str_attr(key),
            Some(*value),
            "{key} of {}",
            span.service_name()
        );
    }
}

fn assert_resource(span: &ReceivedSpan, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(resource(span, key).as_deref(), Some(*value), "{key}");
    }
}

/// Each export was OTLP over gRPC, and asked for the collector by this name.
fn assert_exports_go_to(world: &World, authority: &str) {
    let calls = world.collector.calls();
    assert!(!calls.is_empty());
    for call in calls {
        assert!(call.is_grpc);
        assert_eq!(call.authority, authority);
        assert_eq!(
            call.path,
            "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        );
    }
}

/// The application was called below this span, of a new trace that is sampled (and random).
fn assert_context_goes_on(world: &World, span: &ReceivedSpan) {
    let expected = format!("00-{}-{}-03", span.trace_id_hex(), span.span_id_hex());
    assert_eq!(world.app.last().header("traceparent"), [expected]);
}

/// The tracer that is built into Envoy is in no listener.
fn assert_no_other_tracer(world: &World, proxy: &str) {
    let dump = world
        .envoy(proxy)
        .admin("/config_dump?resource=dynamic_listeners");
    assert!(!dump.contains("envoy.tracers"), "{dump}");
}

/// checkout calls stock: a CLIENT span of the one above a SERVER span of the other, each by its
/// names, and Istio's.
pub fn mesh(world: &World) {
    let answer = world.get("$CHECKOUT_CALLS", STOCK_HOST, "/orders", &[]);
    assert_eq!(answer.status, 200);
    let spans = spans(world, 2);
    let client = one_of(&spans, "checkout", SpanKind::Client);
    let server = one_of(&spans, "stock", SpanKind::Server);
    assert_eq!(client.parent_span_id_hex(), "");
    assert_eq!(server.parent_span_id_hex(), client.span_id_hex());
    assert_context_goes_on(world, server);

    for (span, name) in [(client, "checkout"), (server, "stock")] {
        assert_eq!(span.scope.name, "sidespan");
        assert_attributes(
            span,
            &[
                ("component", "proxy"),
                ("istio.canonical_service", name),
                ("istio.canonical_revision", "v1"),
                ("istio.mesh_id", "cluster.local"),
                ("istio.namespace", "shop"),
                ("istio.cluster_id", "Kubernetes"),
            ],
        );
        let pod = format!("{name}-5f7d9c4b8-x2x8p");
        assert_resource(
            span,
            &[
                ("service.name", name),
                ("service.namespace", "shop"),
                ("service.version", "v1"),
                ("service.instance.id", &format!("shop.{pod}.istio-proxy")),
                ("k8s.namespace.name", "shop"),
                ("k8s.pod.name", &pod),
                ("k8s.deployment.name", name),
                ("k8s.cluster.name", "Kubernetes"),
                ("k8s.node.name", "node-3"),
                ("cloud.region", "us-west-2"),
            ],
        );
    }
    assert_exports_go_to(world, COLLECTOR_HOST);
    assert_no_other_tracer(world, "checkout");
    assert_no_other_tracer(world, "stock");

    // An application's own exports go through the proxy, untraced and as they came.
    let export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    world.get("$CHECKOUT_CALLS", STOCK_HOST, export, &[]);
    assert!(world.app.last().header("traceparent").is_empty());
}

/// Each namespace by its own ratio and with its own tags, and no other one.
pub fn per_namespace(world: &World) {
    let ask = |port: &str, n: u64| {
        let headers: &[(&str, &[u8])] = &[("x-payment-method", b"card")];
        let report = load::run(world.addr(port), "/", 8, n, headers);
        assert_eq!(report.ok, n);
    };
    // Of 4000 at a half: 3.29 standard deviations, which 99.9 % of all runs keep within.
    let half = 2000.0;
    let bound = 3.29 * (4000.0_f64 * 0.5 * 0.5).sqrt();
    ask("$STOCK", 100);
    ask("$PAYMENTS", 1000);
    ask("$CATALOG", 4000);
    eventually(world.patience(), "the spans", || {
        (ours(world).len() as f64 >= 1000.0 + half - bound).then_some(())
    });
    world.collector.settled(Duration::from_millis(2500));
    assert_no_other_tracer(world, "payments");
    assert_no_other_tracer(world, "catalog");
    let spans = ours(world);
    let mut count = BTreeMap::new();
    for span in &spans {
        *count.entry(span.service_name()).or_insert(0) += 1;
        let own = [
            ("environment", "payments", "production"),
            ("cluster", "payments", "us-west-2"),
            ("payment.method", "payments", "card"),
            ("team", "catalog", "platform"),
        ];
        for (key, service, value) in own {
            let expected = (span.service_name() == service).then_some(value);
            assert_eq!(
                span.str_attr(key),
                expected,
                "{key} of {}",
                span.service_name()
            );
        }
        assert_eq!(
            resource(span, "k8s.namespace.name").as_deref(),
            Some(span.service_name())
        );
    }
    let share = f64::from(count.remove("catalog").unwrap_or(0));
    assert!((share - half).abs() <= bound, "{share} of 4000");
    assert_eq!(count, BTreeMap::from([("payments", 1000)]));
}

/// What checkout serves is traced, and nothing else; there Istio's own tracer is on.
pub fn per_workload(world: &World) {
    world.get("$CHECKOUT_CALLS", STOCK_HOST, "/called", &[]);
    world.get("$CHECKOUT", "checkout", "/served", &[]);
    let spans = spans(world, 1);
    let span = one_of(&spans, "checkout", SpanKind::Server);
    assert_eq!(span.str_attr("url.path"), Some("/served"));
    assert_context_goes_on(world, span);
    theirs(world, |span| span.kind() == SpanKind::Client);
}

/// Istio calls its gateways' listeners outbound, and yet what they do is serve.
pub fn gateway(world: &World) {
    let headers = [("traceparent", TRACEPARENT)];
    let answer = world.get("$INGRESS", "shop.example.com", "/orders", &headers);
    assert_eq!(answer.status, 200);
    let spans = spans(world, 2);
    let server = one_of(&spans, "ingress", SpanKind::Server);
    let call = one_of(&spans, "ingress", SpanKind::Client);
    assert_eq!(call.parent_span_id_hex(), server.span_id_hex());
    assert_eq!(server.parent_span_id_hex(), "");
    let links: Vec<_> = server
        .span
        .links
        .iter()
        .map(|link| link.trace_id.clone())
        .collect();
    assert_eq!(
        links,
        [0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()]
    );
    assert_eq!(answer.header("x-trace-id"), Some(server.trace_id_hex()));
    assert_resource(
        server,
        &[
            ("service.namespace", "istio-ingress"),
            ("k8s.deployment.name", "ingress"),
        ],
    );
    // Behind it is a sidecar without the filter, and there Istio's own tracer is on.
    assert_no_other_tracer(world, "ingress");
    let behind = theirs(world, |_| true);
    assert_eq!(behind.parent_span_id_hex(), call.span_id_hex());
    assert_exports_go_to(world, COLLECTOR_HOST);
}

/// Even the request that meets a panic gets its answer.
pub fn fail_open(world: &World) {
    let ask = |trap| {
        world
            .get("$STOCK", "stock", "/", &[("x-trap", trap)])
            .status
    };
    // Untraced until the module has come.
    eventually(world.patience(), "a traced request", || {
        assert_eq!(ask("no"), 200);
        (!world.app.last().header("traceparent").is_empty()).then_some(())
    });
    assert_eq!(ask("request"), 200);
    world
        .envoy("stock")
        .wait_log("sidespan: internal error", world.patience());
    assert_eq!(ask("no"), 200);
    assert!(world.app.last().header("traceparent").is_empty());
}

/// Requests notice nothing, and a line and the stats say what is missing.
pub fn hidden_collector(world: &World) {
    assert_eq!(world.get("$CHECKOUT", "checkout", "/", &[]).status, 200);
    assert!(!world.app.last().header("traceparent").is_empty());
    let envoy = world.envoy("checkout");
    let line = envoy.wait_log(
        "fails, spans wait: there is no such cluster",
        world.patience(),
    );
    assert!(
        line.contains(COLLECTOR_HOST) && line.contains("warning"),
        "{line}"
    );
    let stat = |name: &str| format!("wasmcustom.sidespan.{name}");
    envoy.wait_stat(&stat("exports.failed"), |n| n > 0, world.patience());
    envoy.wait_stat(&stat("spans_queued"), |n| n == 1, world.patience());
    let page = envoy.admin("/stats/prometheus");
    assert!(page.contains("\nsidespan_spans_queued{} 1\n"), "{page}");
    assert_eq!(world.get("$CHECKOUT", "checkout", "/", &[]).status, 200);
    assert_eq!(world.collector.span_count(), 0);
}

/// The cluster by the name that Istio has for it, and by one of the configuration.
pub fn west(world: &World) {
    world.get("$STOCK", "stock", "/", &[]);
    let spans = spans(world, 1);
    let span = one_of(&spans, "stock", SpanKind::Server);
    assert_resource(
        span,
        &[("k8s.cluster.name", "west"), ("mesh.cluster", "west")],
    );
    assert_attributes(span, &[("istio.cluster_id", "west")]);
}

/// The proxy got ready without a module, and serves.
pub fn untraced(world: &World) {
    assert_eq!(world.get("$STOCK", "stock", "/", &[]).status, 200);
    assert!(world.app.last().header("traceparent").is_empty());
}

/// Untraced, and Istio's agent says why.
pub fn not_fetched(world: &World, why: &str) {
    untraced(world);
    let line = world.wait_agent(why);
    assert!(line.contains("applying allow RBAC filter"), "{line}");
}

/// What Istio does if the manifest does not say what to do.
pub fn denied(world: &World) {
    assert_eq!(world.get("$STOCK", "stock", "/", &[]).status, 403);
}

/// Requests go through untraced, and one line says what is wrong, and where.
pub fn wrong_document(world: &World) {
    untraced(world);
    let envoy = world.envoy("stock");
    let line = envoy.wait_log("sidespan: configuration rejected", world.patience());
    assert!(
        line.contains("untraced: span.attributes: \"loud\""),
        "{line}"
    );
    let stat = "wasmcustom.sidespan.config_rejected";
    envoy.wait_stat(stat, |n| n == 1, world.patience());
}

/// What a file costs that is not there: no agent fetches it, and Envoy refuses the filter.
pub fn harmed(world: &World) {
    assert_eq!(world.get("$STOCK", "stock", "/", &[]).status, 500);
    world.envoy("stock").wait_log(
        "Invalid path: /var/lib/nowhere/sidespan.wasm",
        world.patience(),
    );
}

/// Over TLS, with the token of the proxy's environment, which nothing tells.
pub fn external_collector(world: &World) {
    world.get("$STOCK", "stock", "/", &[]);
    spans(world, 1);
    assert_exports_go_to(world, "otlp.example.com");
    let token = ("x-otlp-token".to_owned(), TOKEN.to_owned());
    let calls = world.collector.calls();
    assert!(calls.iter().all(|call| call.metadata.contains(&token)));
    let envoy = world.envoy("stock");
    assert!(!envoy.admin("/config_dump").contains(TOKEN));
    assert!(!envoy.log().contains(TOKEN));
}

/// What the manifests' Telemetry is for: with Istio's tracer on as well there are two spans of a
/// request, and the context of Istio's goes on.
pub fn both_tracers(world: &World) {
    world.get("$STOCK", "stock", "/", &[]);
    spans(world, 1);
    let theirs = theirs(world, |_| true);
    let went_on = world.app.last().header("traceparent").concat();
    assert!(went_on.contains(&theirs.span_id_hex()), "{went_on}");
}

/// Without the filter and without the manifests' Telemetry.
pub fn only_istios_own(world: &World) {
    eventually(world.patience(), "a span", || {
        world.get("$STOCK", "stock", "/", &[]);
        (world.collector.span_count() > 0).then_some(())
    });
    let spans = world.collector.spans();
    assert!(spans.iter().all(|span| span.scope.name != "sidespan"));
}
