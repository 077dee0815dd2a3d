//! The command line: options, standard input, folders, exit statuses.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VALID: &str = "exporter: { otlp_grpc: { cluster: c } }\n";
const WRONG: &str = "exporter: { otlp_grpc: { cluster: c } }\nsampler: { ratio: 2 }\n";
const NOTED: &str = "exporter: { otlp_grpc: { cluster: c } }\npropagation:\n  extract: [b3multi]\n";

struct Outcome {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str], input: &str) -> Outcome {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sidespan-validate"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Fails if the program does not read it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let id = std::process::id();
        let path = std::env::temp_dir().join(format!("sidespan-validate-{id}-{name}"));
        for (file, text) in files {
            let file = path.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        Self(path)
    }

    fn run(&self) -> Outcome {
        let path = self.0.to_str().unwrap();
        let mut outcome = run(&[path], "");
        for text in [&mut outcome.stdout, &mut outcome.stderr] {
            *text = text.replace(path, "DIR");
        }
        outcome
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn options_are_those_of_any_command() {
    let help = run(&["--help"], "");
    assert_eq!(help.status, Some(0));
    for word in [
        "Usage: sidespan-validate [OPTIONS] <PATH>...",
        "--schema",
        "--version",
    ] {
        assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
    }
    let version = run(&["--version"], "");
    assert_eq!(version.status, Some(0));
    let expected = format!("sidespan-validate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(version.stdout, expected);
    assert_eq!(run(&["--schema"], "").status, Some(0));
    for wrong in [&[][..], &["--scheme"], &["--schema", "file"]] {
        let outcome = run(wrong, "");
        assert_eq!(outcome.status, Some(2), "{wrong:?}");
        assert!(outcome.stderr.contains("Usage:"), "{}", outcome.stderr);
    }
}

#[test]
fn standard_input_is_checked_as_a_file() {
    for (input, status, stdout, stderr) in [
        (VALID, 0, "<stdin>: 1 configuration is valid\n", ""),
        (
            WRONG,
            1,
            "<stdin>:2: sampler.ratio: 2 is not a ratio, expected 0 to 1\n",
            "",
        ),
        (
            "kind: Service\n",
            2,
            "",
            "<stdin>: no Sidespan configuration\n",
        ),
        ("", 2, "", "<stdin>: no Sidespan configuration\n"),
    ] {
        let outcome = run(&["-"], input);
        assert_eq!(outcome.status, Some(status), "{input}");
        assert_eq!(outcome.stdout, stdout, "{input}");
        assert_eq!(outcome.stderr, stderr, "{input}");
    }
}

#[test]
fn several_configurations_are_counted() {
    let outcome = run(&["-"], &format!("{VALID}---\n{VALID}"));
    assert_eq!(outcome.stdout, "<stdin>: 2 configurations are valid\n");
}

#[test]
fn note_leaves_the_exit_status() {
    let outcome = run(&["-"], NOTED);
    assert_eq!(outcome.status, Some(0));
    assert_eq!(
        outcome.stdout,
        "<stdin>:3: note: propagation.extract: inject has no B3 format, so the context of each unsampled request is rewritten, set propagation.inject: [b3multi] to keep it unchanged\n\
         <stdin>: 1 configuration is valid\n"
    );
}

#[test]
fn folder_is_walked_in_order() {
    let collector = "receivers: { otlp: {} }\nexporters: { otlp_grpc: {} }\nservice: {}\n";
    let folder = Folder::new(
        "walk",
        &[
            ("b.yaml", VALID),
            ("a/z.yml", WRONG),
            (
                "a/c.json",
                r#"{"exporter": {"otlp_http": {"cluster": "c"}}}"#,
            ),
            ("a/text.txt", WRONG),
            (".hidden/x.yaml", WRONG),
            ("collector.yaml", collector),
            ("chart.yaml", "a: {{ .Values.a }}\nb: [\n"),
            (
                "values.yaml",
                "image: x\nreplicas: 1\nexporter: { enabled: true }\n",
            ),
            ("service.yaml", "kind: Service\n"),
        ],
    );
    let outcome = folder.run();
    assert_eq!(
        outcome.stdout,
        "DIR/a/c.json: 1 configuration is valid\n\
         DIR/a/z.yml:2: sampler.ratio: 2 is not a ratio, expected 0 to 1\n\
         DIR/b.yaml: 1 configuration is valid\n"
    );
    assert_eq!(outcome.stderr, "");
    assert_eq!(outcome.status, Some(1));
}

#[test]
fn folder_file_with_a_syntax_error_is_reported_if_it_is_ours() {
    let folder = Folder::new(
        "syntax",
        &[("a.yaml", "name: sidespan\nb: [\n"), ("b.yaml", "c: [\n")],
    );
    let outcome = folder.run();
    assert_eq!(outcome.status, Some(1));
    assert!(
        outcome.stdout.starts_with("DIR/a.yaml:"),
        "{}",
        outcome.stdout
    );
    assert!(!outcome.stdout.contains("b.yaml"), "{}", outcome.stdout);
}

#[test]
fn folder_without_a_configuration_is_said() {
    let folder = Folder::new("none", &[("a.yaml", "kind: Service\n"), ("b.txt", VALID)]);
    let outcome = folder.run();
    assert_eq!(outcome.status, Some(2));
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "DIR: no file with a Sidespan configuration\n"
    );
}

#[test]
fn worst_file_sets_the_exit_status() {
    let folder = Folder::new("worst", &[("a.yaml", WRONG), ("b.yaml", VALID)]);
    let path = |name: &str| folder.0.join(name).to_str().unwrap().to_owned();
    let (wrong, valid) = (path("a.yaml"), path("b.yaml"));
    assert_eq!(run(&[&valid, &wrong, &valid], "").status, Some(1));
    let outcome = run(&[&wrong, &path("missing.yaml"), &valid], "");
    assert_eq!(outcome.status, Some(2));
    assert!(
        outcome.stderr.contains("missing.yaml: "),
        "{}",
        outcome.stderr
    );
}

#[test]
fn misspelt_exporter_is_a_configuration_with_a_finding() {
    for input in [
        "exportr: { otlp_grpc: { cluster: c } }\n",
        "service_name: a\nexporters: { otlp_grpc: { cluster: c } }\n",
        "samplr: { ratio: 1 }\n",
    ] {
        let outcome = run(&["-"], input);
        assert_eq!(outcome.status, Some(1), "{input}");
        assert!(
            outcome.stdout.contains("unknown key, did you mean \""),
            "{}",
            outcome.stdout
        );
    }
}

/// What people copy from the repository is without findings, but for the file
/// that is wrong on purpose.
#[test]
fn repository_has_no_findings() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let wrong = "troubleshooting/wrong.yaml";
    for (folder, least, status) in [
        ("envoy-configs", 6, 0),
        ("istio", 5, 0),
        ("examples", 15, 1),
    ] {
        let outcome = run(&[root.join(folder).to_str().unwrap()], "");
        assert_eq!(outcome.status, Some(status), "{}", outcome.stdout);
        assert_eq!(outcome.stderr, "");
        let (wrong, valid): (Vec<&str>, Vec<&str>) = outcome
            .stdout
            .lines()
            .partition(|line| line.contains(wrong));
        assert!(valid.len() >= least, "{folder}: {}", outcome.stdout);
        for line in valid {
            assert!(line.ends_with(" valid"), "{line}");
        }
        let messages: Vec<&str> = wrong
            .iter()
            .map(|line| line.split_once(".yaml:").unwrap().1)
            .collect();
        match folder {
            "examples" => assert_eq!(
                messages,
                [
                    "67: exporter.otlp_grpc.cluster: cluster \"otel-collector-http1\" has no HTTP/2, which OTLP over gRPC needs, set explicit_http_config.http2_protocol_options in the cluster's typed_extension_protocol_options.\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\"",
                    "100: exporter.otlp_grpc.cluster: the configuration has no cluster \"otel-colector\", did you mean \"otel-collector\"?",
                ]
            ),
            _ => assert_eq!(messages, [""; 0]),
        }
    }
}
