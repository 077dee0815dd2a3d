//! What is measured: each variant is the gateway of `envoy-configs/` with another tracing.

use harness::{Artefact, workspace_root};

/// The listener's port in the configuration.
pub(crate) const LISTENER: u16 = 10000;

/// What every request brings along; the first two become attributes.
pub(crate) const HEADERS: [(&str, &[u8]); 5] = [
    ("x-tenant", b"acme"),
    ("x-app-version", b"4.2.1"),
    (
        "user-agent",
        b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    ),
    ("accept", b"application/json"),
    ("accept-language", b"en"),
];

/// The same custom tags for all: Envoy's words are ours.
pub(crate) const CUSTOM_TAGS: &str = "custom_tags: [\
    { tag: tenant, request_header: { name: x-tenant } }, \
    { tag: app.version, request_header: { name: x-app-version } }, \
    { tag: environment, literal: { value: production } }]";

/// A build of our modules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    /// `dist/`.
    Current,
    /// The least that any could do: `tests/bench/baselines`.
    Baseline,
    /// The same Wasm filter on the proxy-wasm crate.
    BaselineSdk,
    /// That without the callbacks that the crate exports and the filter does not use.
    BaselineSdkPruned,
    /// `sidespan.wasm` and `libsidespan.so` of the folder that `AGAINST` names.
    Against,
}

/// One way to trace.
pub(crate) struct Variant {
    /// What it is called in tables, and in the record.
    pub(crate) name: &'static str,
    /// Whether its spans must all arrive.
    pub(crate) is_ours: bool,
    /// Which build of the filter is in it.
    pub(crate) build: Build,
    /// What stands for a filter of ours in its configuration.
    pub(crate) artefact: Artefact,
    /// Its configuration, of the gateway's and how many percent of the requests are sampled.
    pub(crate) config: fn(&str, u32) -> String,
    /// Envoy's counter of sampled requests; none if there is no tracing.
    pub(crate) sampled_stat: Option<&'static str>,
}

/// The name of the variant that the others are compared to.
pub(crate) const NONE: &str = "none";
/// The name of our two filters.
pub(crate) const FILTERS: [&str; 2] = ["wasm filter", "native filter"];
/// The name of Envoy's own tracer as it comes.
pub(crate) const BUILT_IN: &str = "built-in";

/// All variants. One more needs a line here, and a colour in the chart.
pub(crate) const VARIANTS: [Variant; 6] = [
    Variant {
        name: NONE,
        is_ours: false,
        build: Build::Current,
        artefact: Artefact::Wasm,
        config: |edge, _| without_filter(edge),
        sampled_stat: None,
    },
    Variant {
        name: BUILT_IN,
        is_ours: false,
        build: Build::Current,
        artefact: Artefact::Wasm,
        config: built_in,
        sampled_stat: Some("http.edge.tracing.random_sampling"),
    },
    Variant {
        name: "built-in, batches of 512",
        is_ours: false,
        build: Build::Current,
        artefact: Artefact::Wasm,
        config: |edge, percent| built_in(edge, percent) + BATCHES_OF_512,
        sampled_stat: Some("http.edge.tracing.random_sampling"),
    },
    Variant {
        name: "wasm filter",
        is_ours: true,
        build: Build::Current,
        artefact: Artefact::Wasm,
        config: filter,
        sampled_stat: Some("wasmcustom.sidespan.spans_created"),
    },
    Variant {
        name: "native filter",
        is_ours: true,
        build: Build::Current,
        artefact: Artefact::Module,
        config: filter,
        sampled_stat: Some("dynamicmodulescustom.sidespan.spans_created"),
    },
    Variant {
        name: "native tracer",
        is_ours: true,
        build: Build::Current,
        artefact: Artefact::Module,
        config: |_, percent| tracer(percent),
        sampled_stat: Some("dynamicmodulescustom.sidespan.spans_created"),
    },
];

/// What no filter and no tracer can do without: a stream, all headers, one that is written, and, if it is sampled,
/// all that a span says, asked of Envoy. Nothing is decided, and nothing made of it; natively a span that is always
/// the same is exported, in Wasm none is.
pub(crate) const FLOORS: [Variant; 5] = [
    Variant {
        name: "floor of a wasm filter",
        is_ours: false,
        build: Build::Baseline,
        artefact: Artefact::Wasm,
        config: filter,
        sampled_stat: None,
    },
    Variant {
        name: "floor of a native filter",
        is_ours: false,
        build: Build::Baseline,
        artefact: Artefact::Module,
        config: filter,
        sampled_stat: None,
    },
    Variant {
        name: "floor of a native tracer",
        is_ours: false,
        build: Build::Baseline,
        artefact: Artefact::Module,
        config: |_, percent| tracer(percent),
        sampled_stat: None,
    },
    Variant {
        name: "floor with the SDK",
        is_ours: false,
        build: Build::BaselineSdk,
        artefact: Artefact::Wasm,
        config: filter,
        sampled_stat: None,
    },
    Variant {
        name: "floor with the SDK, pruned",
        is_ours: false,
        build: Build::BaselineSdkPruned,
        artefact: Artefact::Wasm,
        config: filter,
        sampled_stat: None,
    },
];

/// Older builds of ours, to compare with.
pub(crate) const AGAINST: [Variant; 3] = [
    Variant {
        name: "wasm filter, against",
        is_ours: true,
        build: Build::Against,
        artefact: Artefact::Wasm,
        config: filter,
        sampled_stat: Some("wasmcustom.sidespan.spans_created"),
    },
    Variant {
        name: "native filter, against",
        is_ours: true,
        build: Build::Against,
        artefact: Artefact::Module,
        config: filter,
        sampled_stat: Some("dynamicmodulescustom.sidespan.spans_created"),
    },
    Variant {
        name: "native tracer, against",
        is_ours: true,
        build: Build::Against,
        artefact: Artefact::Module,
        config: |_, percent| tracer(percent),
        sampled_stat: Some("dynamicmodulescustom.sidespan.spans_created"),
    },
];

/// As many spans in a message as ours has, in place of 5.
const BATCHES_OF_512: &str = "\
layered_runtime:
  layers:
  - name: bench
    static_layer: { tracing.opentelemetry.min_flush_spans: 512 }
";

/// The filter with one span for each request: the built-in tracer makes one, too.
fn filter(edge: &str, percent: u32) -> String {
    const SERVICE_NAME: &str = "                    service_name: edge\n";
    let ratio = f64::from(percent) / 100.0;
    let keys = [
        "span: { upstream_span: false }".to_owned(),
        format!("sampler: {{ ratio: {ratio} }}"),
        CUSTOM_TAGS.to_owned(),
    ];
    let keys = keys.map(|key| format!("                    {key}\n"));
    replace(
        edge,
        SERVICE_NAME,
        &(SERVICE_NAME.to_owned() + &keys.concat()),
    )
}

fn built_in(edge: &str, percent: u32) -> String {
    const FILTERS: &str = "          http_filters:\n";
    let tracing = format!(
        r#"          tracing:
            random_sampling: {{ value: {percent} }}
            {CUSTOM_TAGS}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                grpc_service: {{ envoy_grpc: {{ cluster_name: otel-collector }} }}
                service_name: edge
"#
    );
    replace(&without_filter(edge), FILTERS, &(tracing + FILTERS))
}

/// The gateway whose own tracer is ours, with one span for each request, too.
fn tracer(percent: u32) -> String {
    const SPANS: &str = "            spawn_upstream_span: true\n";
    let path = workspace_root().join("envoy-configs/module-tracer.yaml");
    let text = std::fs::read_to_string(path).expect("the gateway with the tracer");
    let keys = [
        format!("random_sampling: {{ value: {percent} }}"),
        CUSTOM_TAGS.to_owned(),
    ];
    let keys = keys.map(|key| format!("            {key}\n"));
    replace(&text, SPANS, &keys.concat())
}

fn without_filter(edge: &str) -> String {
    const ROUTER: &str = "          - name: envoy.filters.http.router";
    let parts = edge.split_once("          - name: sidespan\n");
    let (before, rest) = parts.expect("the gateway has the filter");
    let (_, router) = rest.split_once(ROUTER).expect("the gateway has a router");
    format!("{before}{ROUTER}{router}")
}

/// Replaces what is there once.
pub(crate) fn replace(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} in the gateway");
    text.replace(from, to)
}
