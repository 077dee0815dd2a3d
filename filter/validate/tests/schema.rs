//! The JSON Schema beside the parser: an editor must not refuse what the filter
//! takes, and shows at once what is of a wrong type, missing or unknown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use serde_json::{Value, json};
use sidespan_config::schema;

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../tests/vectors/config.json")).unwrap()
}

fn row(name: &str) -> Value {
    let row = rows().into_iter().find(|row| row["name"] == name);
    row.unwrap_or_else(|| panic!("no row {name}"))
}

/// Whether a value is as a schema wants it, by the words of JSON Schema that
/// ours has.
fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let valid = |schema: &Value, value: &Value| is_valid(root, schema, value);
    let count = |schemas: &Value| {
        let schemas = schemas.as_array().unwrap().iter();
        schemas.filter(|schema| valid(schema, value)).count()
    };
    let words = schema.as_object().unwrap();
    words.iter().all(|(word, wanted)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" => true,
        "$ref" => {
            let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
            valid(root.pointer(pointer).unwrap(), value)
        }
        "type" => match wanted {
            Value::Array(types) => types.iter().any(|one| is_of_type(one, value)),
            one => is_of_type(one, value),
        },
        "enum" => wanted.as_array().unwrap().contains(value),
        "oneOf" => count(wanted) == 1,
        "anyOf" => count(wanted) > 0,
        "required" => value.as_object().is_none_or(|object| {
            let mut keys = wanted.as_array().unwrap().iter();
            keys.all(|key| object.contains_key(key.as_str().unwrap()))
        }),
        "properties" => value.as_object().is_none_or(|object| {
            let mut entries = object.iter();
            entries.all(|(key, value)| wanted.get(key).is_none_or(|schema| valid(schema, value)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let is_known = |key: &str| schema["properties"].get(key).is_some();
            let mut others = object.iter().filter(|(key, _)| !is_known(key));
            match wanted {
                Value::Bool(false) => others.next().is_none(),
                schema => others.all(|(_, value)| valid(schema, value)),
            }
        }),
        "items" => value
            .as_array()
            .is_none_or(|items| items.iter().all(|item| valid(wanted, item))),
        "uniqueItems" => value.as_array().is_none_or(|items| {
            let mut rest = items.iter().enumerate();
            rest.all(|(index, item)| !items[..index].contains(item))
        }),
        "minLength" => value
            .as_str()
            .is_none_or(|text| text.chars().count() as u64 >= wanted.as_u64().unwrap()),
        "minimum" => value
            .as_f64()
            .is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => value
            .as_f64()
            .is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "pattern" => value
            .as_str()
            .is_none_or(|text| matches(wanted.as_str().unwrap(), text)),
        other => panic!("{other} is not known here"),
    })
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("{other} is not known here"),
    }
}

/// `^[0-9]+(…|…)$` and `^/`.
fn matches(pattern: &str, text: &str) -> bool {
    if pattern == "^/" {
        return text.starts_with('/');
    }
    let units = pattern.strip_prefix("^[0-9]+(").expect(pattern);
    let units = units.strip_suffix(")$").expect(pattern);
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && units.split('|').any(|known| known == unit)
}

fn accepts(document: &Value) -> bool {
    let schema = schema();
    is_valid(&schema, &schema, document)
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
