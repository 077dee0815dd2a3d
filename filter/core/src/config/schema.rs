//! The document's JSON Schema, from the types that read it.

use super::raw::{
    ActionName, Authority, ClusterName, Config, Count, Formats, Given, OptionalHeaderName, Rate,
    SamplerType, Size, Span, StatusCode, StringMatch, Text, Token,
};
use crate::matcher::StringMatcher;
use crate::propagation::Incoming;
use crate::request::Direction;
use crate::sampler::Ratio;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// The schema of the whole document.
pub(super) fn schema() -> serde_json::Value {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "Sidespan".into());
    schema.to_value()
}

impl<T: JsonSchema> JsonSchema for Given<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }

    // What the derive asks to tell whether a key may be left out.
    fn _schemars_private_is_option() -> bool {
        true
    }
}

impl JsonSchema for StringMatcher {
    fn schema_name() -> Cow<'static, str> {
        "StringMatcher".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = StringMatch::json_schema(generator);
        let patterns = ["exact", "prefix", "suffix", "contains", "safe_regex"];
        let one_of = patterns.map(|pattern| serde_json::json!({ "required": [pattern] }));
        schema.insert("oneOf".to_owned(), one_of.to_vec().into());
        schema
    }
}

macro_rules! leaves {
    ($($name:ident => $schema:tt;)+) => {
        $(impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        })+
    };
}

leaves! {
    ClusterName => { "type": "string", "minLength": 1 };
    Authority => { "type": "string" };
    Span => { "type": "string", "pattern": "^[0-9]+(ms|s|m)$" };
    Size => { "type": "string", "pattern": "^[0-9]+(KiB|MiB)$" };
    Count => { "type": "integer", "minimum": 1, "maximum": 1_000_000 };
    Rate => { "type": "integer", "minimum": 0, "maximum": 1_000_000 };
    StatusCode => { "type": "integer", "minimum": 100, "maximum": 599 };
    Ratio => { "type": "number", "minimum": 0, "maximum": 1 };
    Text => { "type": "string", "minLength": 1 };
    Token => { "type": "string", "minLength": 1 };
    OptionalHeaderName => { "type": "string" };
    Formats => {
        "type": "array",
        "items": { "enum": ["tracecontext", "b3", "b3multi"] },
        "uniqueItems": true
    };
    Incoming => { "enum": ["continue", "restart", "link", "resample", "require"] };
    Direction => { "enum": ["inbound", "outbound"] };
    ActionName => { "enum": ["disable", "force", "sample"] };
    SamplerType => {
        "enum": [
            "always_on",
            "always_off",
            "traceidratio",
            "parentbased_always_on",
            "parentbased_always_off",
            "parentbased_traceidratio"
        ]
    };
}
