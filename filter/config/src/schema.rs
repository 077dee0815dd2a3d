//! The document's JSON Schema, from the types that read it.

use super::leaf::{
    Authority, AutoOrBool, ClusterName, Count, ExportHeaderName, ExportHeaders, Formats,
    HeaderValue, OptionalHeaderName, Rate, ResourceAttributes, Size, StatusCode, Text, Token,
    UrlPath,
};
use super::raw::{Allow, Config, PATTERNS, PROTOCOLS, StringMatch};
use super::read;
use serde_json::{Map, Value, json};
use sidespan_core::export::settings::ExportHeader;
use sidespan_core::propagation::format::Format;
use sidespan_core::sampling::matcher::StringMatcher;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::span::name::SpanName;
use sidespan_core::span::redaction::QueryPolicy;
use std::time::Duration;

/// The schema of the whole document.
pub(super) fn schema() -> Value {
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

/// The schemas of objects by their names.
pub(super) type Definitions = Map<String, Value>;

/// What has a schema.
pub(super) trait Schema {
    /// The schema, or a reference to a definition.
    fn schema(definitions: &mut Definitions) -> Value;
}

/// An object of the document.
pub(super) trait Object {
    /// Of its definition.
    const NAME: &'static str;
    /// Empty for none.
    const DOC: &'static str;
    /// In the order of declaration.
    const KEYS: &'static [Property];
}

/// A key of an object.
pub(super) struct Property {
    name: &'static str,
    doc: &'static str,
    required: bool,
    schema: fn(&mut Definitions) -> Value,
}

impl Property {
    pub(super) const fn of<T: read::Key + Schema>(name: &'static str, doc: &'static str) -> Self {
        Self {
            name,
            doc,
            required: T::REQUIRED,
            schema: T::schema,
        }
    }
}

fn object<T: Object>(definitions: &mut Definitions) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in T::KEYS {
        let mut schema = (key.schema)(definitions);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), key.doc.trim().into());
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required = T::KEYS.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("additionalProperties".to_owned(), false.into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if !T::DOC.is_empty() {
        schema.insert("description".to_owned(), T::DOC.trim().into());
    }
    schema
}

/// That exactly one of a few keys is there.
fn one_of(keys: &[&str]) -> Value {
    keys.iter()
        .map(|key| json!({ "required": [key] }))
        .collect()
}

/// A reference to a definition, which is made if it is not there.
fn reference(
    name: &str,
    definitions: &mut Definitions,
    make: impl FnOnce(&mut Definitions) -> Map<String, Value>,
) -> Value {
    if !definitions.contains_key(name) {
        let schema = make(definitions);
        definitions.insert(name.to_owned(), schema.into());
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

impl<T: Object> Schema for T {
    fn schema(definitions: &mut Definitions) -> Value {
        reference(T::NAME, definitions, object::<T>)
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        T::schema(definitions)
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

impl Schema for StringMatcher {
    fn schema(definitions: &mut Definitions) -> Value {
        reference("StringMatcher", definitions, |definitions| {
            let mut schema = object::<StringMatch>(definitions);
            schema.insert("oneOf".to_owned(), one_of(&PATTERNS));
            schema
        })
    }
}

impl Schema for QueryPolicy {
    fn schema(definitions: &mut Definitions) -> Value {
        let allow = object::<Allow>(definitions);
        json!({ "anyOf": [{ "enum": ["redact", "drop", "keep"] }, allow] })
    }
}

impl Schema for Formats {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": Format::schema(definitions), "uniqueItems": true })
    }
}

impl Schema for ExportHeaders {
    fn schema(definitions: &mut Definitions) -> Value {
        Vec::<ExportHeader>::schema(definitions)
    }
}

macro_rules! leaves {
    ($($name:ty => $schema:tt;)+) => {
        $(impl Schema for $name {
            fn schema(_: &mut Definitions) -> Value {
                json!($schema)
            }
        })+
    };
}

leaves! {
    bool => { "type": "boolean" };
    String => { "type": "string" };
    ClusterName => { "type": "string", "minLength": 1 };
    Authority => { "type": "string" };
    Duration => { "type": "string", "pattern": "^[0-9]+(ms|s|m)$" };
    Size => { "type": "string", "pattern": "^[0-9]+(KiB|MiB)$" };
    Count => { "type": "integer", "minimum": 1, "maximum": 1_000_000 };
    Rate => { "type": "integer", "minimum": 0, "maximum": 1_000_000 };
    StatusCode => { "type": "integer", "minimum": 100, "maximum": 599 };
    Ratio => { "type": "number", "minimum": 0, "maximum": 1 };
    Text => { "type": "string", "minLength": 1 };
    Token => { "type": "string", "minLength": 1 };
    OptionalHeaderName => { "type": "string" };
    ExportHeaderName => { "type": "string", "minLength": 1 };
    HeaderValue => { "type": "string" };
    UrlPath => { "type": "string", "pattern": "^/" };
    AutoOrBool => { "enum": ["auto", true, false] };
    ResourceAttributes => {
        "type": "object",
        "additionalProperties": { "type": ["string", "boolean", "number"] }
    };
    SpanName => { "type": "string", "minLength": 1 };
}
