//! What every test needs: an upstream, a collector and an Envoy between them.

use harness::{Envoy, EnvoyBuilder, MockCollector, ReceivedSpan, Upstream};
use std::net::SocketAddr;
use std::time::Duration;

/// Long enough for a loaded machine; nothing waits that long if all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";
pub const QUICK_EXPORTER: &str =
    "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: 50ms } }";

/// An Envoy of `envoy-configs/` with an upstream behind it and a collector beside it.
pub struct Stage {
    pub envoy: Envoy,
    pub upstream: Upstream,
    pub collector: MockCollector,
    listener: u16,
}

impl Stage {
    /// The gateway, exporting without delay.
    pub fn edge() -> Self {
        Self::edge_with(|edge| edge.replace(EXPORTER, QUICK_EXPORTER))
    }

    /// The gateway with other changes to its file. It makes one span of a
    /// request, so that most tests have one thing to look at.
    pub fn edge_with(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        Self::gateway_with(|edge| change(one_span(edge)))
    }

    /// The gateway as it is: it has a span for the call upstream, too.
    pub fn gateway() -> Self {
        Self::gateway_with(|edge| edge.replace(EXPORTER, QUICK_EXPORTER))
    }

    /// The gateway as it is with changes to its file.
    pub fn gateway_with(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        Self::start("envoy-configs/edge.yaml", 10000, change)
    }

    /// The gateway with another exporter and whatever follows it in the configuration.
    pub fn edge_exporting(exporter: &str) -> Self {
        Self::edge_with(|edge| edge.replace(EXPORTER, exporter))
    }

    /// The inbound half of a sidecar, exporting without delay.
    pub fn inbound() -> Self {
        Self::inbound_with(|inbound| inbound.replace(EXPORTER, QUICK_EXPORTER))
    }

    /// The inbound half of a sidecar with other changes to its file.
    pub fn inbound_with(change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        Self::start("envoy-configs/inbound.yaml", 15006, change)
    }

    fn start(file: &str, listener: u16, change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Self {
        let upstream = Upstream::start();
        let collector = MockCollector::start();
        let envoy = Envoy::from_file(file)
            .port(8080, upstream.port())
            .port(4317, collector.port());
        let envoy = change(envoy).start();
        Self {
            envoy,
            upstream,
            collector,
            listener,
        }
    }

    /// Where requests go.
    pub fn addr(&self) -> SocketAddr {
        self.envoy.addr(self.listener)
    }

    /// The one span that was exported.
    pub fn span(&self) -> ReceivedSpan {
        let mut spans = self.collector.wait_spans(1, PATIENCE);
        assert_eq!(spans.len(), 1, "{spans:#?}");
        spans.remove(0)
    }

    /// A counter of the filter.
    pub fn stat(&self, name: &str) -> u64 {
        let full = format!("wasmcustom.sidespan.{name}");
        self.envoy
            .stat(&full)
            .unwrap_or_else(|| panic!("there is no stat {full}"))
    }

    /// Waits for a counter of the filter.
    pub fn wait_stat(&self, name: &str, pred: impl Fn(u64) -> bool) -> u64 {
        let full = format!("wasmcustom.sidespan.{name}");
        self.envoy.wait_stat(&full, pred, PATIENCE)
    }
}

/// Leaves out the span for the call upstream that a gateway has.
pub fn one_span(edge: EnvoyBuilder) -> EnvoyBuilder {
    edge.replace(
        "service_name: edge\n",
        "service_name: edge\n                    span: { upstream_span: false }\n",
    )
}

/// Has the gateway speak HTTP/2 to its upstream, as gRPC needs it.
pub fn http2_upstream(edge: EnvoyBuilder) -> EnvoyBuilder {
    let http2 = r#"- name: service
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: { http2_protocol_options: {} }
    type"#;
    edge.replace("- name: service\n    type", http2)
}

/// Puts the tracer that is built into Envoy in the filter's place.
pub fn with_built_in_tracer(text: &str) -> String {
    let (before, rest) = text
        .split_once("          - name: sidespan\n")
        .expect("the filter");
    let (_, router) = rest
        .split_once("          - name: envoy.filters.http.router")
        .expect("the router");
    let tracing = r#"          tracing:
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: { envoy_grpc: { cluster_name: otel-collector } }
                service_name: service
"#;
    let before = before.replace(
        "          http_filters:\n",
        &format!("{tracing}          http_filters:\n"),
    );
    format!("{before}          - name: envoy.filters.http.router{router}")
}
