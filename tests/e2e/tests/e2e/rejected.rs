//! Documents that are rejected: whose configuration takes their place, and what
//! an operator sees of it.

use super::stage::{ARTEFACT, Asking, PATIENCE, QUICK_EXPORTER, stat_name};
use harness::{Artefact, Envoy, MockCollector, Upstream, client, workspace_root};

const EXPORTER: &str = super::stage::EXPORTER;

/// An Envoy with two listeners, each with a filter of the same name; the second
/// one's document is another one.
struct TwoListeners {
    _asking: Option<Asking>,
    envoy: Envoy,
    collector: MockCollector,
    _upstream: Upstream,
}

impl TwoListeners {
    fn start(second: &str, root_id: Option<&str>) -> Self {
        let path = workspace_root().join("envoy-configs/edge.yaml");
        let text = std::fs::read_to_string(path).expect("the gateway");
        let (head, rest) = text.split_once("  listeners:\n").expect("listeners");
        let (listener, clusters) = rest.split_once("  clusters:\n").expect("clusters");
        let listener = listener.replace(EXPORTER, QUICK_EXPORTER);
        let other = listener
            .replace("- name: edge\n", "- name: other\n")
            .replace("port_value: 10000", "port_value: 10001")
            .replace("service_name: edge", second);
        let both = ARTEFACT
            .rewrite(&format!("{listener}{other}"))
            .replace("filter_name: sidespan-2", "filter_name: sidespan");
        let both = match root_id {
            None => both,
            Some(id) => both
                .replace(
                    "fail_open: true",
                    &format!("fail_open: true\n                root_id: {id}"),
                )
                .replace("filter_name: sidespan", &format!("filter_name: {id}")),
        };
        let (upstream, collector) = (Upstream::start(), MockCollector::start());
        let envoy = Envoy::from_yaml(format!("{head}  listeners:\n{both}  clusters:\n{clusters}"))
            .concurrency(2)
            .port(8080, upstream.port())
            .port(4317, collector.port())
            .start();
        Self {
            _asking: Asking::start(envoy.addr(10000)),
            envoy,
            collector,
            _upstream: upstream,
        }
    }

    /// The services of the spans that requests to the second listener make.
    fn services(&self) -> Vec<String> {
        for _ in 0..4 {
            assert_eq!(client::get(self.envoy.addr(10001), "/second").status, 200);
        }
        // What the first one's requests make comes after it.
        assert_eq!(client::get(self.envoy.addr(10000), "/first").status, 200);
        let is_first = |span: &harness::ReceivedSpan| span.str_attr("url.path") == Some("/first");
        harness::eventually(PATIENCE, "the first listener's span", || {
            self.collector.spans().iter().any(is_first).then_some(())
        });
        let spans = self.collector.spans();
        let second = spans
            .iter()
            .filter(|span| span.str_attr("url.path") == Some("/second"));
        second.map(|span| span.service_name().to_owned()).collect()
    }
}

#[test]
fn rejected_document_of_another_tenant_makes_no_span() {
    for second in [
        "service_name: other\n                    sampler: { rato: 1 }",
        "service_name: 7",
        "service_name: edge\n                    resource_attributes: { tenant: other }\n                    sampler: { rato: 1 }",
    ] {
        let proxy = TwoListeners::start(second, None);
        assert_eq!(proxy.services(), [""; 0], "{second}");
        let line = proxy.envoy.wait_log("configuration rejected", PATIENCE);
        assert!(line.contains("requests go through untraced"), "{line}");
        let name = match ARTEFACT {
            Artefact::Wasm => "plugin \"sidespan\", root_id \"\"",
            Artefact::Module => "filter_name \"sidespan\"",
        };
        assert!(line.contains(name), "{line}");
        for (stat, value) in [("config_rejected", 1), ("config_stale", 2)] {
            let stat = stat_name(stat);
            proxy.envoy.wait_stat(&stat, |n| n == value, PATIENCE);
        }
    }
}

#[test]
fn rejected_document_with_the_same_destination_has_the_last_good_one() {
    let second = "service_name: edge\n                    sampler: { rato: 1 }";
    let proxy = TwoListeners::start(second, None);
    assert_eq!(proxy.services(), ["edge"; 4]);
}

/// One root_id has one document: with two in force, neither is taken for the
/// plugin's own.
#[test]
fn rejected_document_of_an_identity_has_its_only_document() {
    let second = "service_name: other\n                    sampler: { rato: 1 }";
    let proxy = TwoListeners::start(second, Some("own"));
    assert_eq!(proxy.services(), ["edge"; 4]);
}

#[test]
fn loaded_document_is_one_line_and_its_version_a_stat() {
    let proxy = TwoListeners::start("service_name: edge", None);
    let line = proxy.envoy.wait_log("configuration loaded", PATIENCE);
    assert!(
        line.contains("exporter otlp_grpc to cluster \"otel-collector\", sampler parentbased_traceidratio 1, 0 rules"),
        "{line}"
    );
    assert!(line.contains("[info]"), "{line}");
    let lines = proxy.envoy.log();
    let lines = lines.matches("configuration loaded").count();
    assert_eq!(lines, 1, "the same document, whatever the workers");
    assert_eq!(client::get(proxy.envoy.addr(10000), "/").status, 200);
    let version = stat_name("version");
    // 0.1.0 is 1000.
    proxy.envoy.wait_stat(&version, |n| n >= 1000, PATIENCE);
    let stale = stat_name("config_stale");
    proxy.envoy.wait_stat(&stale, |n| n == 0, PATIENCE);
}
