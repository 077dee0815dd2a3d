//! YAML as people write Envoy configurations: anchors, aliases, merge keys.

use sidespan_validate::check;
use std::time::{Duration, Instant};

/// The findings of a text, one a line.
fn findings(text: &str) -> Vec<String> {
    let faults = check(text).faults;
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn aliases_of_a_valid_document_are_accepted() {
    for (why, documents, text) in [
        (
            "a node of the document",
            1,
            "x: &e { otlp_grpc: { cluster: c } }\nname: sidespan\nconfiguration:\n  exporter: *e\n",
        ),
        (
            "an anchor within the document",
            1,
            "exporter: &e\n  otlp_grpc: { cluster: c }\n",
        ),
        (
            "a whole filter",
            2,
            "a:\n- &sidespan\n  name: sidespan\n  configuration: { exporter: { otlp_grpc: { cluster: c } } }\nb:\n- *sidespan\n",
        ),
        (
            "a flow mapping",
            2,
            "- &sidespan { name: sidespan, configuration: { exporter: { otlp_grpc: { cluster: c } } } }\n- *sidespan\n",
        ),
        (
            "a scalar",
            1,
            "service_name: &n edge\nexporter: { otlp_grpc: { cluster: *n } }\n",
        ),
        (
            "a merge key",
            1,
            "name: sidespan\nx: &base { cluster: c, timeout: 5s }\nconfiguration:\n  exporter:\n    otlp_grpc:\n      <<: *base\n",
        ),
        (
            "merge keys of several mappings",
            1,
            "name: sidespan\nx: &a { cluster: c }\ny: &b { timeout: 5s, cluster: 5 }\nconfiguration:\n  exporter:\n    otlp_grpc: { <<: [*a, *b] }\n",
        ),
        (
            "an explicit key wins over a merged one, before and after it",
            1,
            "name: sidespan\nx: &a { cluster: 1, timeout: 1 }\nconfiguration:\n  exporter:\n    otlp_grpc:\n      cluster: c\n      <<: *a\n      timeout: 5s\n",
        ),
        (
            "CRLF, tabs and a byte order mark",
            1,
            "\u{feff}exporter:\t# where\r\n  otlp_grpc:\t{ cluster:\tc }\r\n",
        ),
        (
            "JSON that is indented by tabs",
            1,
            "{\n\t\"exporter\": {\n\t\t\"otlp_grpc\": {\"cluster\": \"c\"}\n\t}\n}\n",
        ),
        (
            "a character outside the basic plane in JSON",
            1,
            "{\"service_name\": \"\\ud83d\\ude00\", \"exporter\": {\"otlp_grpc\": {\"cluster\": \"c\"}}}",
        ),
        (
            "a number as a string, by its tag",
            1,
            "service_name: !!str 5\nexporter: { otlp_grpc: { cluster: !!str 7 } }\n",
        ),
        (
            "several documents, some empty",
            2,
            "---\nexporter: { otlp_grpc: { cluster: c } }\n---\n# nothing\n---\nexporter: { otlp_http: { cluster: c } }\n...\n",
        ),
    ] {
        let report = check(text);
        assert_eq!(report.faults, [], "{why}");
        assert_eq!(report.documents, documents, "{why}");
    }
}

#[test]
fn fault_in_a_shared_node_is_reported_once_at_its_line() {
    for (why, text, expected) in [
        (
            "an aliased exporter",
            "x:\n  e: &e\n    otlp_grpc:\n      cluster: 1\nname: sidespan\nconfiguration:\n  exporter: *e\n",
            vec!["4: exporter.otlp_grpc.cluster: 1 is not a string"],
        ),
        (
            "an aliased filter",
            "- &s\n  name: sidespan\n  configuration:\n    exporter: { otlp_grpc: { cluster: c } }\n    sampler: { ratio: 2 }\n- *s\n- *s\n",
            vec!["5: sampler.ratio: 2 is not a ratio, expected 0 to 1"],
        ),
        (
            "a merged key",
            "name: sidespan\nx: &b\n  cluster: c\n  timeout: 7\nconfiguration:\n  exporter:\n    otlp_grpc:\n      <<: *b\n",
            vec!["4: exporter.otlp_grpc.timeout: 7 is not a string"],
        ),
        (
            "the second document of a stream",
            "kind: Service\n---\n\nexporter:\n  otlp_grpc: { cluster: c }\nspan:\n  kind: 1\n",
            vec!["7: span.kind: 1 is not a string"],
        ),
        (
            "a key twice, and what is beside it",
            "exporter:\n  otlp_grpc: { cluster: c }\nsampler: {}\nsampler: {}\nspan: 1\n",
            vec![
                "4: a key stands here for the second time",
                "5: span: 1 is not an object",
            ],
        ),
    ] {
        assert_eq!(findings(text), expected, "{why}");
    }
}

#[test]
fn syntax_error_has_its_line_and_hides_no_other_document() {
    for (why, text, lines) in [
        (
            "a tab as indentation",
            "exporter:\n  otlp_grpc:\n\t\tcluster: c\n",
            vec![3],
        ),
        ("a colon in a value", "a: 1\nb: 2\nc: d: e\n", vec![3]),
        ("an unknown alias", "a: 1\nb: *unknown\n", vec![2]),
        (
            "a merge key without a mapping",
            "a: 1\nb:\n  <<: 5\n",
            vec![3],
        ),
        ("a node that contains itself", "a: &a\n- *a\n", vec![2]),
        (
            "the document after the error is checked",
            "kind: Service\n---\na: b: c\nd: 1\n---\nexporter: 1\n",
            vec![3, 6],
        ),
        (
            "an alias to another document",
            "a: &a 1\n---\nb: *a\n",
            vec![3],
        ),
    ] {
        let report = check(text);
        let found: Vec<usize> = report.faults.iter().map(|fault| fault.line).collect();
        assert_eq!(found, lines, "{why}: {:?}", report.faults);
    }
}

/// Nine aliases of nine aliases of …
fn nested_aliases(levels: usize, merge: bool) -> String {
    let mut text = "l0: &l0 { a: sidespan }\n".to_owned();
    for level in 1..=levels {
        let below = vec![format!("*l{}", level - 1); 9].join(", ");
        text += &match merge {
            false => format!("l{level}: &l{level} [{below}]\n"),
            true => format!(
                "l{level}: &l{level} {{ k{level}: [{below}], <<: [*l{}] }}\n",
                level - 1
            ),
        };
    }
    text
}

#[test]
fn aliases_that_expand_without_bound_are_refused_at_once() {
    for (text, message) in [
        (nested_aliases(30, false), "aliases expand to more than"),
        (nested_aliases(30, true), "aliases expand to more than"),
        ("[".repeat(100_000), ""),
        (format!("{}1", "- ".repeat(10_000)), "nested deeper than"),
        (
            (1..1000).fold("l0: &l0 1\n".to_owned(), |text, level| {
                text + &format!("l{level}: &l{level} [*l{}]\n", level - 1)
            }),
            "nested deeper than",
        ),
    ] {
        let start = Instant::now();
        let found = findings(&text);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found.concat().contains(message), "{found:?}");
    }
}

#[test]
fn configuration_with_many_nodes_is_accepted() {
    let clusters = (0..20_000).fold(String::new(), |text, index| {
        text + &format!("  - {{ name: c{index}, options: {{ a: 1, b: [1, 2] }} }}\n")
    });
    let text = format!(
        "name: sidespan\nconfiguration: {{ exporter: {{ otlp_grpc: {{ cluster: c }} }} }}\nclusters:\n{clusters}"
    );
    assert_eq!(check(&text).documents, 1);
    assert_eq!(findings(&text), [""; 0]);
}
