//! The document's JSON Schema, from the types that read it.

use crate::checks::PROTOCOLS;
use crate::document::Config;
use crate::json_schema::{object, one_of};
use serde_json::{Map, Value, json};

/// The schema of the whole document.
pub(crate) fn schema() -> Value {
    let mut definitions = Map::new();
    let mut schema = object::<Config>(&mut definitions);
    if let Some(Value::Object(exporter)) = definitions.get_mut("Exporter") {
        exporter.insert("oneOf".to_owned(), one_of(&PROTOCOLS));
    }
    let more = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions,
        "title": "Sidespan",
    });
    schema.extend(more.as_object().cloned().unwrap_or_default());
    schema.into()
}
