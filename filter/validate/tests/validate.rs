//! The program as a person or CI has it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_sidespan-validate"))
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("it runs");
    let text = [stdout, stderr].concat();
    (status.code(), String::from_utf8(text).expect("text"))
}

/// Runs over a file with this text; gives its output without the file's name.
fn over(name: &str, text: &str) -> (Option<i32>, String) {
    let path =
        std::env::temp_dir().join(format!("sidespan-validate-{}-{name}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    let path = path.to_str().expect("text").to_owned();
    let (status, output) = run(&[&path]);
    std::fs::remove_file(&path).expect("the file");
    (status, output.replace(&path, "FILE"))
}

#[test]
fn the_schema_in_the_repository_is_the_codes() {
    let (status, schema) = run(&["--schema"]);
    assert_eq!(status, Some(0));
    let file =
        std::fs::read_to_string(root().join("filter/config.schema.json")).expect("the schema");
    assert!(
        file == schema,
        "filter/config.schema.json is stale: run `make schema`"
    );
}

#[test]
fn a_document_alone_is_checked_in_yaml_and_json() {
    let right = "exporter: { otlp_grpc: { cluster: c } }\nsampler: { ratio: 0.5 }\n";
    assert_eq!(
        over("a.yaml", right),
        (Some(0), "FILE: 1 right\n".to_owned())
    );
    let json = r#"{"exporter": {"otlp_grpc": {"cluster": "c"}}, "sampler": {"ratio": 0.5}}"#;
    assert_eq!(over("a.json", json).0, Some(0));

    let wrong = "exporter:\n  otlp_grpc:\n    cluster: c\nsampler:\n  ratio: 1.5\nrules:\n- match: { path: { prefix: /a } }\n  action: off\n- match: {}\n  action: disable\n";
    let (status, output) = over("b.yaml", wrong);
    assert_eq!(status, Some(1));
    for line in [
        "FILE:5: sampler.ratio: 1.5 is not a ratio",
        "FILE:8: rules[0].action: \"off\" is not an action",
        "FILE:9: rules[1].match: empty",
    ] {
        assert!(output.contains(line), "{line:?} is not in\n{output}");
    }
}

#[test]
fn documents_are_found_inside_manifests() {
    let manifests = r#"apiVersion: v1
kind: Service
metadata: { name: other }
---
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: { name: sidespan }
spec:
  url: oci://registry.example/sidespan:1
  pluginConfig:
    exporter:
      otlp_grpc: { cluster: "outbound|4317||otel.svc", timeout: 10 }
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
spec:
  configPatches:
  - patch:
      value:
        typed_config:
          config:
            name: sidespan
            configuration:
              "@type": type.googleapis.com/google.protobuf.StringValue
              value: '{"exporter": {"otlp_grpc": {"cluster": ""}}}'
"#;
    let (status, output) = over("c.yaml", manifests);
    assert_eq!(status, Some(1));
    assert_eq!(
        output,
        "FILE:12: exporter.otlp_grpc.timeout: 10 is not a string\n\
         FILE:25: exporter.otlp_grpc.cluster: \"\" is not the name of a cluster\n"
    );
}

#[test]
fn what_cannot_be_checked_is_said() {
    assert_eq!(over("d.yaml", "kind: Service\n").0, Some(2));
    assert_eq!(run(&["no-such-file"]).0, Some(2));
    let (status, output) = over("e.yaml", "a: [\n");
    assert_eq!(status, Some(1));
    assert!(output.contains("neither YAML nor JSON"), "{output}");
    assert_eq!(
        over("f.yaml", "exporter: 1\nexporter: 2\n").0,
        Some(1),
        "a key twice"
    );
}

/// Every configuration that people copy from here is right.
#[test]
fn what_the_repository_ships_is_right() {
    let mut files = Vec::new();
    for dir in ["envoy-configs", "examples"] {
        collect(&root().join(dir), &mut files);
    }
    assert!(files.len() > 10, "{files:?}");
    for file in files {
        let (status, output) = run(&[&file]);
        assert_eq!(status, Some(0), "{output}");
    }
}

fn collect(dir: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.ends_with("collector.yaml") {
            // OpenTelemetry's, not ours.
        } else if path.extension().is_some_and(|end| end == "yaml") {
            files.push(path.to_str().expect("text").to_owned());
        }
    }
}
