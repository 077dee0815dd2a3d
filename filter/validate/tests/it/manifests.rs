//! Every manifest of the repository, also those in its documents: Istio's and
//! Envoy Gateway's by their CRDs, with unknown fields refused, and what they have for the filter by
//! the filter's own parser. `make test-istio` has Istio's own code check more.

use jsonschema::Validator;
use serde::Deserialize;
use serde_yaml_ng::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Those of others, which have no schema here.
const OTHERS: [&str; 4] = [
    "v1 Namespace",
    "v1 Service",
    "kustomize.config.k8s.io/v1beta1 Kustomization",
    "kustomize.config.k8s.io/v1alpha1 Component",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The schemas that the CRDs have, by `GROUP/VERSION KIND`.
struct Schemas(BTreeMap<String, Validator>);

impl Schemas {
    fn read() -> Self {
        let mut all = BTreeMap::new();
        let text = std::fs::read_to_string(root().join("tests/istio/crds.schema.json")).unwrap();
        let schemas: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        for (kind, schema) in schemas {
            all.insert(kind, jsonschema::validator_for(&schema).unwrap());
        }
        Self(all)
    }

    /// What is wrong with a manifest.
    fn faults(&self, manifest: &Value) -> Vec<String> {
        let kind = kind(manifest).expect("a manifest");
        let Some(schema) = self.0.get(&kind) else {
            return vec![format!("no schema for {kind}")];
        };
        let json = serde_json::to_value(manifest).unwrap();
        schema
            .iter_errors(&json)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect()
    }
}

/// `GROUP/VERSION KIND` of a manifest.
fn kind(value: &Value) -> Option<String> {
    let text = |key| value.get(key).and_then(Value::as_str);
    Some(format!("{} {}", text("apiVersion")?, text("kind")?))
}

/// The text of a YAML file, or what a document shows as such.
fn yaml(path: &Path) -> Option<Vec<String>> {
    let text = || std::fs::read_to_string(path).unwrap();
    match path.extension()?.to_str()? {
        "yaml" => Some(vec![text()]),
        "md" => {
            let text = text();
            let blocks = text.split("\n```yaml\n").skip(1);
            Some(
                blocks
                    .map(|rest| rest.split("\n```").next().unwrap().to_owned())
                    .collect(),
            )
        }
        _ => None,
    }
}

fn collect(dir: &Path, texts: &mut Vec<(String, String)>) {
    const SKIPPED: [&str; 5] = ["build", "dist", "target", "tests", "node_modules"];
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name().into_string().unwrap();
        if path.is_dir() {
            if !SKIPPED.contains(&&*name) && !name.starts_with('.') {
                collect(&path, texts);
            }
        } else if let Some(found) = yaml(&path) {
            let place = path.strip_prefix(root()).unwrap().display().to_string();
            texts.extend(found.into_iter().map(|text| (place.clone(), text)));
        }
    }
}

/// All manifests with their places, and the text that each stands in.
fn manifests() -> Vec<(String, String, Value)> {
    let mut texts = Vec::new();
    collect(&root(), &mut texts);
    let mut manifests = Vec::new();
    for (place, text) in texts {
        for part in serde_yaml_ng::Deserializer::from_str(&text) {
            let value = match Value::deserialize(part) {
                Ok(value) => value,
                // Not all that documents show is whole.
                Err(_) if place.ends_with(".md") => continue,
                Err(error) => panic!("{place}: {error}"),
            };
            if kind(&value).is_some() {
                manifests.push((place.clone(), text.clone(), value));
            }
        }
    }
    manifests
}

#[test]
fn every_manifest_is_as_its_crd_has_it() {
    let schemas = Schemas::read();
    let mut kinds = BTreeSet::new();
    for (place, _, manifest) in manifests() {
        let kind = kind(&manifest).unwrap();
        if OTHERS.contains(&&*kind) {
            continue;
        }
        assert_eq!(schemas.faults(&manifest), [""; 0], "{place}");
        kinds.insert(kind);
    }
    let known: BTreeSet<String> = schemas.0.keys().cloned().collect();
    assert_eq!(
        kinds, known,
        "a schema for each kind that there is, and no other"
    );
}

#[test]
fn every_configuration_in_a_manifest_is_right() {
    let mut count = 0;
    for (place, text, manifest) in manifests() {
        let kind = kind(&manifest).unwrap();
        let report = sidespan_validate::check(&text);
        assert_eq!(report.faults, [], "{place}");
        if [
            "WasmPlugin",
            "TrafficExtension",
            "EnvoyFilter",
            "EnvoyExtensionPolicy",
        ]
        .iter()
        .any(|of| kind.ends_with(of))
            // The filters that write contexts are Envoy's own.
            && !place.contains("keep-route/envoy-filter")
        {
            assert!(report.documents > 0, "{place}");
            count += 1;
        }
    }
    assert!(count >= 9, "{count}");
}

/// A change to the manifest of the mesh, and what is said of it.
#[test]
fn what_a_crd_does_not_have_is_found() {
    let schemas = Schemas::read();
    let text = std::fs::read_to_string(root().join("istio/base/wasm-plugin.yaml")).unwrap();
    let faults = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        schemas.faults(&serde_yaml_ng::from_str(&text.replace(from, to)).unwrap())
    };
    assert_eq!(faults("spec:", "spec:"), [""; 0]);
    for (from, to, told) in [
        ("failStrategy:", "failureStrategy:", "failureStrategy"),
        ("FAIL_OPEN", "FAIL_OPENLY", "FAIL_OPENLY"),
        ("phase: AUTHN", "phase: EARLY", "EARLY"),
        ("phase: AUTHN", "priority: high", "high"),
        (
            "phase: AUTHN",
            "match: [{ ports: [{ number: 0 }] }]",
            "/spec/match/0/ports/0/number",
        ),
        ("phase: AUTHN", "match: [{ modus: SERVER }]", "modus"),
        ("  url: ", "  uri: ", "uri"),
    ] {
        let faults = faults(from, to);
        assert!(
            faults.iter().any(|fault| fault.contains(told)),
            "{to}: {faults:?}"
        );
    }
}
