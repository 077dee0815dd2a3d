//! What is compared, as changes to the gateway of `envoy-configs/`.

use harness::{Artefact, Envoy, EnvoyBuilder, workspace_root};

/// How Envoy traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// Not at all.
    None,
    /// By the OpenTelemetry tracer that is built into it, as it comes.
    BuiltIn,
    /// By the same with batches as large as ours.
    BuiltIn512,
    /// By the Wasm filter.
    Wasm,
    /// By the native filter.
    Native,
    /// By the native tracer.
    NativeTracer,
}

/// The shares that are sampled, in percent.
pub const SAMPLINGS: [u32; 3] = [100, 1, 0];

/// All of them, in the order of the tables.
pub fn all() -> [Variant; 6] {
    [
        Variant::None,
        Variant::BuiltIn,
        Variant::BuiltIn512,
        Variant::Wasm,
        Variant::Native,
        Variant::NativeTracer,
    ]
}

const SPAN: &str = "service_name: edge\n";
const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";
const TRACING_TAGS: &str = "custom_tags:
            - { tag: tenant, request_header: { name: x-tenant } }
            - { tag: user.id, request_header: { name: x-user-id } }
            - { tag: environment, literal: { value: bench } }";
const FILTER_TAGS: &str = "custom_tags:
                    - { tag: tenant, request_header: { name: x-tenant } }
                    - { tag: user.id, request_header: { name: x-user-id } }
                    - { tag: environment, literal: { value: bench } }";

impl Variant {
    /// As tables name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no tracing",
            Self::BuiltIn => "built-in tracer",
            Self::BuiltIn512 => "built-in tracer, batches of 512",
            Self::Wasm => "Sidespan, Wasm filter",
            Self::Native => "Sidespan, native filter",
            Self::NativeTracer => "Sidespan, native tracer",
        }
    }

    /// Where its stats are, if it is ours.
    pub fn stats_prefix(self) -> Option<&'static str> {
        match self {
            Self::None | Self::BuiltIn | Self::BuiltIn512 => None,
            Self::Wasm => Some(Artefact::Wasm.stats_prefix()),
            Self::Native | Self::NativeTracer => Some(Artefact::Module.stats_prefix()),
        }
    }

    /// The gateway with it.
    pub fn envoy(self, sampled: u32) -> EnvoyBuilder {
        let ratio = f64::from(sampled) / 100.0;
        let filter = |artefact| {
            Envoy::from_file("envoy-configs/edge.yaml")
                .artefact(artefact)
                .replace(SPAN, format!("{SPAN}                    span: {{ upstream_span: false }}\n"))
                .replace(
                    EXPORTER,
                    format!("{EXPORTER}\n                    sampler: {{ ratio: {ratio} }}\n                    {FILTER_TAGS}"),
                )
        };
        match self {
            Self::None => Envoy::from_yaml(without_filter("")),
            Self::BuiltIn => Envoy::from_yaml(without_filter(&built_in(sampled))),
            Self::BuiltIn512 => Envoy::from_yaml(
                without_filter(&built_in(sampled))
                    + "layered_runtime: { layers: [{ name: static, static_layer: { tracing.opentelemetry.min_flush_spans: 512 } }] }\n",
            ),
            Self::Wasm => filter(Artefact::Wasm),
            Self::Native => filter(Artefact::Module),
            Self::NativeTracer => Envoy::from_file("envoy-configs/module-tracer.yaml").replace(
                "spawn_upstream_span: true",
                format!("random_sampling: {{ value: {sampled} }}\n            {TRACING_TAGS}"),
            ),
        }
    }
}

/// The gateway without the filter, and with other keys of its HTTP connection
/// manager.
fn without_filter(tracing: &str) -> String {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let text = std::fs::read_to_string(path).expect("the gateway");
    let (before, rest) = text
        .split_once("          - name: sidespan\n")
        .expect("the filter");
    let (_, router) = rest
        .split_once("          - name: envoy.filters.http.router")
        .expect("the router");
    let before = before.replace(
        "          http_filters:\n",
        &format!("{tracing}          http_filters:\n"),
    );
    format!("{before}          - name: envoy.filters.http.router{router}")
}

fn built_in(sampled: u32) -> String {
    format!(
        r#"          tracing:
            random_sampling: {{ value: {sampled} }}
            {TRACING_TAGS}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {{ envoy_grpc: {{ cluster_name: otel-collector }} }}
                service_name: edge
"#
    )
}
