//! Who sends the spans: the table `tests/vectors/resource.json`. What a row and
//! its fields mean is told in `tests/vectors/README.md`.
//!
//! <https://opentelemetry.io/docs/specs/otel/resource/sdk/>

use crate::common;
use crate::common::Host;
use crate::common::spans::{Proxy, configured, resource};
use serde_json::{Value, json};
use sidespan_core::tracer::Tracer;
use std::collections::BTreeSet;

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../tests/vectors/resource.json")).unwrap()
}

fn host_of(row: &Value) -> Host {
    // The rows live as long as the tests.
    let leak = |text: &str| -> &'static str { Box::leak(text.to_owned().into_boxed_str()) };
    let variables = row["environment"].as_object().into_iter().flatten();
    Host {
        variables: variables
            .map(|(name, value)| (leak(name), leak(value.as_str().unwrap())))
            .collect(),
        node: row["node"].clone(),
    }
}

fn with_variables(variables: &[(&'static str, &'static str)]) -> Host {
    Host {
        variables: variables.iter().copied().collect(),
        ..Host::default()
    }
}

fn tracer_of(row: &Value) -> Tracer {
    let none = json!({});
    let keys = row.get("config").unwrap_or(&none);
    Tracer::new(configured(keys), &host_of(row), [7; 32])
}

fn check(row: &Value) {
    let mut tracer = tracer_of(row);
    let mut wanted = row["expect"]["attributes"].as_object().unwrap().clone();
    for (key, value) in [
        ("telemetry.sdk.name", "sidespan"),
        ("telemetry.sdk.language", "rust"),
        ("telemetry.sdk.version", env!("CARGO_PKG_VERSION")),
    ] {
        let value = Value::from(value);
        wanted.entry(key).or_insert(value);
    }
    let found = resource(&mut tracer);
    let all: BTreeSet<&String> = wanted.keys().chain(found.keys()).collect();
    for key in all {
        assert_eq!(found.get(key), wanted.get(key), "{key}");
    }
    let is_nameless = found["service.name"] == "unknown_service:envoy";
    let mut warnings = tracer.warnings();
    warnings.retain(|warning| !(is_nameless && warning.starts_with("no service name")));
    assert_eq!(
        tracer.warnings().len() - warnings.len(),
        usize::from(is_nameless)
    );
    match (warnings.as_slice(), row["expect"]["warning"].as_str()) {
        ([], None) => {}
        ([warning], Some(part)) => {
            assert!(warning.contains(part), "{warning}");
            assert!(!warning.contains('\n'), "{warning}");
        }
        (warning, _) => panic!("the warning is {warning:?}"),
    }
}

/// Every row holds, as a whole set: an attribute that is there twice is
/// refused by who reads the export. One that is reported does not yet, and
/// says so for as long as that is true.
#[test]
fn table() {
    common::check_table(&rows(), check);
}

#[test]
fn table_is_well_formed() {
    let mut names = BTreeSet::new();
    for row in rows() {
        let name = row["name"].to_string();
        assert!(row["why"].as_str().unwrap().len() > 5, "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
        let attributes = row["expect"]["attributes"].as_object().unwrap();
        assert!(
            attributes.contains_key("service.name"),
            "{name}: a resource has a name"
        );
    }
}

/// The resource is of the proxy and not of its spans: no limit for what peers
/// send cuts it, and no tag changes it.
#[test]
fn limits_of_spans_are_none_of_the_resource() {
    let long = "ä".repeat(5000);
    let mut proxy = Proxy::new(json!({
        "service_name": long,
        "resource_attributes": {"note": long},
        "span": {"max_attribute_length": 10},
        "custom_tags": [{"tag": "service.name", "literal": {"value": "mine"}}],
    }));
    let found = resource(&mut proxy.tracer);
    assert_eq!(found["service.name"], long);
    assert_eq!(found["note"], long);
}

/// Text that breaks a line in the environment breaks none in the log.
#[test]
fn a_warning_is_one_line() {
    let row = json!({"environment": {"OTEL_RESOURCE_ATTRIBUTES": "a\nb\r\nc"}});
    let tracer = tracer_of(&row);
    let warnings = tracer.warnings();
    let mut lists = warnings
        .iter()
        .filter(|warning| warning.contains("OTEL_RESOURCE_ATTRIBUTES"));
    let warning = lists.next().expect("a warning");
    assert!(!warning.contains(['\n', '\r']), "{warning:?}");
}

/// Everything that is read from the environment and is not there, or not of
/// use, is one warning with its name; what has a default is not missed.
#[test]
fn each_variable_that_is_missing_is_reported() {
    let keys = json!({
        "service_name": "shop",
        "custom_tags": [
            {"tag": "pod", "environment": {"name": "POD_NAME"}},
            {"tag": "zone", "environment": {"name": "ZONE", "default_value": "a"}},
            {"tag": "replicas", "environment": {"name": "REPLICAS"}, "type": "int"},
            {"tag": "node", "environment": {"name": "NODE"}},
        ],
    });
    let host = with_variables(&[("REPLICAS", "many"), ("NODE", "n1")]);
    let config = configured(&keys);
    let tracer = Tracer::new(config, &host, [7; 32]);
    assert_eq!(
        tracer.warnings(),
        [
            "POD_NAME is not in the environment that the filter sees, spans go without the tag pod",
            "REPLICAS of the environment is not of the type of the tag, spans go without the tag replicas",
        ]
    );
    let methods = [("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", " , ")];
    let config = configured(&json!({"service_name": "shop"}));
    let host = with_variables(&methods);
    let tracer = Tracer::new(config, &host, [7; 32]);
    let warnings = tracer.warnings();
    assert!(warnings[0].starts_with(methods[0].0), "{warnings:?}");
}

/// What a log line says of a configuration that was loaded.
#[test]
fn summary_of_a_configuration() {
    for (keys, summary) in [
        (
            json!({}),
            "exporter otlp_grpc to cluster \"collector\", sampler parentbased_traceidratio 1, 0 rules",
        ),
        (
            json!({
                "sampler": {"type": "traceidratio", "ratio": 0.05},
                "rules": [{"match": {"path": {"exact": "/"}}, "action": "force"}],
            }),
            "exporter otlp_grpc to cluster \"collector\", sampler traceidratio 0.05, 1 rule",
        ),
    ] {
        assert_eq!(configured(&keys).summary(), summary);
    }
}
