//! The JSON Schema beside the parser: an editor must not refuse what the filter
//! takes, and shows at once what is of a wrong type, missing or unknown.

use jsonschema::Validator;
use serde_json::{Value, json};
use sidespan_config::schema;
use std::sync::LazyLock;

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../tests/vectors/config.json")).unwrap()
}

fn row(name: &str) -> Value {
    let row = rows().into_iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("no row {name}"))
}

fn accepts(document: &Value) -> bool {
    static SCHEMA: LazyLock<Validator> =
        LazyLock::new(|| jsonschema::validator_for(&schema()).unwrap());
    SCHEMA.is_valid(document)
}

#[test]
fn what_the_parser_takes_is_right_by_the_schema() {
    let refused: Vec<String> = rows()
        .iter()
        .filter(|row| row["expect"].get("config").is_some() && row.get("document").is_some())
        .filter(|row| !accepts(&row["document"]))
        .map(|row| row["name"].as_str().unwrap().to_owned())
        .collect();
    // A number as a text is taken for Envoy's sake, not to be written.
    assert_eq!(
        refused,
        ["decision_ratio_as_text", "decision_rule_ratio_as_text"]
    );
}

#[test]
fn what_is_unknown_missing_or_of_a_wrong_type_is_wrong_by_the_schema() {
    let messages = [
        "unknown key",
        "expected one of",
        "required",
        "is not a string",
        "is not a list",
        "is not an object",
        "is not true or false",
    ];
    // Between keys the schema does not look.
    let between = [
        "empty, expected",
        "with action",
        "exactly one of",
        "{method}",
    ];
    let mut count = 0;
    for row in rows().iter().filter(|row| row.get("document").is_some()) {
        let faults = row["expect"]["faults"].as_array();
        let is_seen = |fault: &Value| {
            let told = fault["message"].as_str().unwrap();
            messages.iter().any(|message| told.contains(message))
                && !between.iter().any(|message| told.contains(message))
                && fault["place"] != "rules[1].ratio"
        };
        if faults.is_some_and(|faults| faults.iter().any(is_seen)) {
            assert!(!accepts(&row["document"]), "{}", row["name"]);
            count += 1;
        }
    }
    assert!(count > 100, "{count}");
}

#[test]
fn a_key_that_no_object_of_the_exporter_has_is_wrong_by_the_schema() {
    for (name, objects) in [
        (
            "every_key",
            [
                "/exporter",
                "/exporter/otlp_grpc",
                "/exporter/otlp_grpc/headers/0",
                "/exporter/batch",
                "/exporter/retry",
            ],
        ),
        (
            "export_http_every_key",
            [
                "/exporter",
                "/exporter/otlp_http",
                "/exporter/otlp_http/headers/1",
                "/exporter/batch",
                "/exporter/retry",
            ],
        ),
    ] {
        let document = row(name)["document"].clone();
        assert!(accepts(&document), "{name}");
        for pointer in objects {
            let mut changed = document.clone();
            changed.pointer_mut(pointer).unwrap()["x"] = json!(1);
            assert!(!accepts(&changed), "{name}: {pointer}");
        }
    }
}

#[test]
fn one_of_the_protocols_is_wanted_by_the_schema() {
    for name in [
        "exporter_without_a_protocol",
        "export_batch_and_retry_alone",
        "export_both_protocols",
    ] {
        assert!(!accepts(&row(name)["document"]), "{name}");
    }
}
