//! The program as a person or CI has it.

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
        (Some(0), "FILE: 1 configuration is valid\n".to_owned())
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

/// The native module's, and what a route says of its own to it.
#[test]
fn documents_of_the_native_module_are_found() {
    let config = r#"static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          route_config:
            virtual_hosts:
            - routes:
              - typed_per_filter_config:
                  sidespan:
                    dynamic_module_config: { name: sidespan }
                    per_route_config_name: own
                    filter_config:
                      "@type": type.googleapis.com/google.protobuf.Struct
                      value:
                        sampler: { ratio: 2 }
          tracing:
            provider:
              typed_config:
                tracer_name: sidespan
                tracer_config:
                  "@type": type.googleapis.com/google.protobuf.StringValue
                  value: '{"exporter": {"otlp_grpc": {"cluster": ""}}}'
"#;
    let (status, output) = over("n.yaml", config);
    assert_eq!(status, Some(1));
    assert_eq!(
        output,
        "FILE:16: sampler.ratio: 2 is not a ratio, expected 0 to 1\n\
         FILE:23: exporter.otlp_grpc.cluster: \"\" is not the name of a cluster\n"
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

/// Headers of `otlp_http` in YAML, alone and inside a manifest.
fn with_headers(headers: &str) -> [String; 2] {
    let document = format!("exporter:\n  otlp_http:\n    cluster: c\n    headers:{headers}\n");
    let indented = document.replace('\n', "\n    ");
    let manifest = format!(
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n  url: oci://example/sidespan:1\n  pluginConfig:\n    {indented}\n"
    );
    [document, manifest]
}

fn shows_secret(output: &str) -> bool {
    output.contains("s3cr3t") || output.contains("12345")
}

/// The output may be a public log of CI.
#[test]
fn nothing_that_a_header_says_is_shown() {
    for (headers, fault) in [
        (" x=s3cr3t-12345", "headers: what stands here is not a list"),
        (" \"x: s3cr3t-12345\"", "headers: what stands here"),
        (" { x: s3cr3t-12345 }", "headers: what stands here"),
        (" { s3cr3t-12345 }", "headers: what stands here"),
        (" 12345", "headers: what stands here"),
        (" [s3cr3t-12345]", "headers[0]: what stands here"),
        (" ['x: s3cr3t-12345']", "headers[0]: what stands here"),
        ("\n    - x=s3cr3t-12345", "headers[0]: what stands here"),
        ("\n    - x: s3cr3t-12345", "headers[0]: an unknown key"),
        (
            " [{ name: x, value: 12345 }]",
            "headers[0].value: what stands here is not a string",
        ),
        (
            " [{ name: x, value: 12345.6 }]",
            "headers[0].value: what stands here",
        ),
        (
            " [{ name: x, value: [s3cr3t, 12345] }]",
            "headers[0].value: what stands here",
        ),
        (
            " [{ name: x, value: { s3cr3t: 12345 } }]",
            "headers[0].value: what stands here",
        ),
        (
            " [{ name: x, value: ' s3cr3t-12345' }]",
            "headers[0].value: what stands here cannot be",
        ),
        (
            " [{ name: x, value: \"s3cr3t\\n12345\" }]",
            "headers[0].value: what stands here cannot be",
        ),
        (
            "\n    - name: x\n      value: |\n        s3cr3t-12345\n",
            "headers[0].value: what stands here cannot be",
        ),
        (
            "\n    - name: x\n      val: s3cr3t-12345",
            "headers[0]: an unknown key",
        ),
        (
            "\n    - name: x\n    value: s3cr3t-12345",
            "otlp_http.value: unknown key",
        ),
        (
            "\n    - name: x s3cr3t-12345\n      value: x",
            "headers[0].name: what stands here is not a name",
        ),
        (
            "\n    - name: x\n      environment: { s3cr3t: 12345 }",
            "headers[0].environment: what stands here",
        ),
        (
            "\n    - { name: x, value: s3cr3t-12345, environment: A }",
            "headers[0]: 2 sources",
        ),
        // What is no YAML at all.
        (
            " [{ name: x, value: \"s3cr3t-12345 }]",
            "neither YAML nor JSON",
        ),
        (" [{ name: x, value: s3cr3t-12345", "neither YAML nor JSON"),
        (
            " [{ name: x, value: 's3cr3t-12345'x }]",
            "neither YAML nor JSON",
        ),
        (
            " [{ name: x, value: \"s3cr3t\\q12345\" }]",
            "neither YAML nor JSON",
        ),
        (
            " [{ name: x, value: %s3cr3t-12345 }]",
            "neither YAML nor JSON",
        ),
        (
            " [{ name: x, value: *s3cr3t-12345 }]",
            "neither YAML nor JSON",
        ),
        (
            " [{ name: 1, value: &s3cr3t-12345 y }]",
            "headers[0].name: what stands here",
        ),
        (
            " [{ name: x, value: !s3cr3t-12345 y }]",
            "neither YAML nor JSON",
        ),
        (
            " [{ name: x, value: s3cr3t, value: 12345 }]",
            "a key stands here for the second time",
        ),
        (
            "\n    - name: x\n      value: s3cr3t: 12345",
            "neither YAML nor JSON",
        ),
        (
            "\n    - name: x\n      value: y\n      s3cr3t-12345",
            "neither YAML nor JSON",
        ),
    ] {
        for text in with_headers(headers) {
            let (status, output) = over("secret.yaml", &text);
            assert_eq!(status, Some(1), "{text}\n{output}");
            assert!(output.contains(fault), "{fault}: {text}\n{output}");
            assert!(!shows_secret(&output), "{text}\n{output}");
        }
    }
}

/// JSON in a `StringValue` is read by another parser.
#[test]
fn nothing_that_a_header_in_a_text_says_is_shown() {
    for headers in [
        r#""x=s3cr3t-12345""#,
        r#"[{"name": "x", "value": 12345}]"#,
        r#"[{"name": "x", "value": "s3cr3t\u000012345"}]"#,
        r#"[{"name": "x", "value": "s3cr3t-12345""#,
        r#"[{"name": "x", "value": s3cr3t-12345}]"#,
        r#"[{"name": "x", "value": 12345e12345}]"#,
        r#"[{"name": "x", "value": "s3cr3t\q12345"}]"#,
        r#"[{"name": "x", "value": "s3cr3t\ud80012345"}]"#,
    ] {
        let text = format!(
            "name: sidespan\nconfiguration:\n  value: '{{\"exporter\": {{\"otlp_grpc\": {{\"cluster\": \"c\", \"headers\": {headers}}}}}}}'\n"
        );
        let (status, output) = over("text.yaml", &text);
        assert_eq!(status, Some(1), "{text}\n{output}");
        assert!(!shows_secret(&output), "{text}\n{output}");
    }
}

/// What ends a plain text in YAML makes a key of the rest.
#[test]
fn nothing_is_shown_of_a_value_that_became_a_key() {
    for headers in [
        " [{ name: x, value: Basic a,s3cr3t-12345 }]",
        " [{ name: x, s3cr3t-12345 }]",
        "\n    - s3cr3t-12345:",
        " [{ name: x, value: { s3cr3t-12345: a, s3cr3t-12345: b } }]",
    ] {
        for text in with_headers(headers) {
            let (status, output) = over("key.yaml", &text);
            assert_eq!(status, Some(1), "{text}\n{output}");
            assert!(!shows_secret(&output), "{text}\n{output}");
        }
    }
}

#[test]
fn both_protocols_are_checked_in_yaml() {
    let http = "exporter:\n  otlp_http:\n    cluster: c\n    path: /otlp/v1/traces\n    compression: gzip\n    headers:\n    - { name: x-oneuptime-token, environment: ONEUPTIME_TOKEN }\n  retry: { max_elapsed_time: 60s }\n";
    assert_eq!(
        over("http.yaml", http),
        (Some(0), "FILE: 1 configuration is valid\n".to_owned())
    );
    let wrong = "exporter:\n  otlp_grpc: { cluster: a }\n  otlp_http:\n    cluster: b\n    path: v1\n    headers:\n    - name: Host\n      value: h\n    - name: x\n  retry:\n    initial_interval: 2s\n    max_interval: 1s\n";
    let (status, output) = over("both.yaml", wrong);
    assert_eq!(status, Some(1));
    for line in [
        "FILE:1: exporter: 2 protocols, expected exactly one of otlp_grpc, otlp_http",
        "FILE:5: exporter.otlp_http.path: \"v1\" is not a path",
        "FILE:7: exporter.otlp_http.headers[0].name: what stands here is a header",
        "FILE:9: exporter.otlp_http.headers[1]: 0 sources",
        "FILE:12: exporter.retry.max_interval: \"1s\" is less than initial_interval, \"2s\"",
    ] {
        assert!(output.contains(line), "{line:?} is not in\n{output}");
    }
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
        } else if path.ends_with("troubleshooting/wrong.yaml") {
            // Wrong on purpose, see `repository_has_no_findings`.
        } else if path.extension().is_some_and(|end| end == "yaml") {
            files.push(path.to_str().expect("text").to_owned());
        }
    }
}
