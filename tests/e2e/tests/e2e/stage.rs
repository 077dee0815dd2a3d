//! What every test needs: an upstream, a collector and an Envoy between them.

pub use super::ARTEFACT;

use harness::envoy::minor_version;
use harness::{Artefact, Envoy, EnvoyBuilder, MockCollector, ReceivedSpan, Upstream};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for a loaded machine; nothing waits that long if all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";
pub const QUICK_EXPORTER: &str =
    "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: 50ms } }";

/// Envoy's logger to which the filter's lines go.
pub const LOGGER: &str = match ARTEFACT {
    Artefact::Wasm => "wasm",
    Artefact::Module => "dynamic_modules",
};

/// What Envoy tells a Wasm module and not every native one: the table in
/// `docs/native.md`.
#[derive(Clone, Copy)]
pub enum Told {
    /// How long a request waited for a connection.
    ConnectionWait,
    /// A value inside another one of metadata.
    NestedMetadata,
    /// How long the upstream took.
    UpstreamLatency,
    /// That a response was cut short, and how often a request was sent
    /// upstream.
    Flags,
    /// Why there is no connection upstream, and whose its certificate is.
    UpstreamTransport,
    /// What was counted since the last request.
    Stats,
}

/// Whether this artefact is told so by this Envoy.
pub fn is_told(what: Told) -> bool {
    if ARTEFACT == Artefact::Wasm {
        return true;
    }
    let since = match what {
        Told::ConnectionWait | Told::NestedMetadata => u32::MAX,
        Told::UpstreamLatency => 40,
        Told::Flags | Told::UpstreamTransport | Told::Stats => 39,
    };
    minor_version() >= since
}

/// An Envoy of a file, with the artefact in it.
pub fn envoy(file: &str) -> EnvoyBuilder {
    Envoy::from_file(file).artefact(ARTEFACT)
}

/// The name under which Envoy publishes a stat of the filter.
pub fn stat_name(name: &str) -> String {
    format!("{}sidespan.{name}", ARTEFACT.stats_prefix())
}

/// Sets a variable in the environment that the filter sees: the VM's, or the
/// process's.
pub fn variable(edge: EnvoyBuilder, name: &str, value: &str) -> EnvoyBuilder {
    match ARTEFACT {
        Artefact::Wasm => edge.replace(
            "vm_config:\n",
            format!(
                "vm_config:\n                  environment_variables: {{ key_values: {{ {name}: \"{value}\" }} }}\n"
            ),
        ),
        Artefact::Module => edge.env(name, value),
    }
}

/// Has the filter see a variable of Envoy's own environment.
pub fn handed_down(edge: EnvoyBuilder, name: &str) -> EnvoyBuilder {
    match ARTEFACT {
        Artefact::Wasm => edge.replace(
            "vm_config:\n",
            format!(
                "vm_config:\n                  environment_variables: {{ host_env_keys: [{name}] }}\n"
            ),
        ),
        Artefact::Module => edge,
    }
}

/// An Envoy of `envoy-configs/` with an upstream behind it and a collector beside it.
pub struct Stage {
    _asking: Option<Asking>,
    pub envoy: Envoy,
    pub upstream: Upstream,
    pub collector: MockCollector,
    listener: u16,
}

/// Makes requests that no filter can read, so that no span comes of them, and
/// nothing is counted. Where stats are published with requests only, they are
/// as fresh as elsewhere.
pub struct Asking {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asking {
    /// Where it is needed.
    pub fn start(addr: SocketAddr) -> Option<Self> {
        if is_told(Told::Stats) {
            return None;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_over);
        let ask = move || {
            while !end.load(Ordering::Relaxed) {
                if let Ok(mut socket) = TcpStream::connect(addr) {
                    let _ = socket.write_all(b"?\r\n\r\n");
                    let _ = socket.read_to_end(&mut Vec::new());
                }
                // The pace of the requests.
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        Some(Self {
            is_over,
            thread: Some(std::thread::spawn(ask)),
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
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

    /// An Envoy of a file, whose requests come to this port of it, with changes
    /// to it.
    pub fn start(
        file: &str,
        listener: u16,
        change: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder,
    ) -> Self {
        let upstream = Upstream::start();
        let collector = MockCollector::start();
        let envoy = envoy(file)
            .port(8080, upstream.port())
            .port(4317, collector.port());
        let envoy = change(envoy).start();
        Self {
            _asking: Asking::start(envoy.addr(listener)),
            envoy,
            upstream,
            collector,
            listener,
        }
    }

    /// An Envoy of a gateway's text.
    pub fn of_text(text: String) -> Self {
        let (upstream, collector) = (Upstream::start(), MockCollector::start());
        let envoy = Envoy::from_yaml(text)
            .artefact(ARTEFACT)
            .port(8080, upstream.port())
            .port(4317, collector.port())
            .start();
        Self {
            _asking: Asking::start(envoy.addr(10000)),
            envoy,
            upstream,
            collector,
            listener: 10000,
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
        let full = stat_name(name);
        self.envoy
            .stat(&full)
            .unwrap_or_else(|| panic!("there is no stat {full}"))
    }

    /// Waits for a counter of the filter.
    pub fn wait_stat(&self, name: &str, pred: impl Fn(u64) -> bool) -> u64 {
        let full = stat_name(name);
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
