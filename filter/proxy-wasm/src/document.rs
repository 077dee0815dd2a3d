//! What the host hands over as protobuf, as JSON: the plugin configuration,
//! and metadata.
//!
//! Istio, and a `StringValue` in Envoy's configuration, hand the document
//! over as it was written. Of a `Struct`, which spares people JSON inside
//! YAML, Envoy hands over the encoded message.

use prost::Message as _;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};
use std::collections::HashMap;

/// The document as JSON; one that is neither JSON nor a `Struct` as it came.
pub(crate) fn to_json(bytes: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<Value>(&bytes).is_ok() {
        return bytes;
    }
    match prost_types::Struct::decode(&*bytes) {
        Ok(document) => object(document).to_string().into_bytes(),
        Err(_) => bytes,
    }
}

/// `envoy.config.core.v3.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    filter_metadata: HashMap<String, prost_types::Struct>,
}

impl Metadata {
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }

    /// What stands in a filter's namespace.
    pub(crate) fn namespace(&self, name: &str) -> Option<Value> {
        self.filter_metadata.get(name).cloned().map(object)
    }
}

fn object(document: prost_types::Struct) -> Value {
    let mut object = Map::new();
    // One by one: to collect them costs 7 KB of module.
    for (key, field) in document.fields {
        object.insert(key, value(field));
    }
    Value::Object(object)
}

fn value(value: prost_types::Value) -> Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(b)) => Value::Bool(b),
        Some(Kind::StringValue(s)) => Value::String(s),
        Some(Kind::NumberValue(n)) => number(n),
        Some(Kind::StructValue(s)) => object(s),
        Some(Kind::ListValue(list)) => {
            Value::Array(list.values.into_iter().map(self::value).collect())
        }
    }
}

/// All numbers of a `Struct` are doubles; a whole one was written as such.
fn number(n: f64) -> Value {
    // Up to here every whole double is an exact integer.
    const EXACT: f64 = (1u64 << 53) as f64;
    let number = if n.fract() == 0.0 && n.abs() <= EXACT {
        Some(Number::from(n as i64))
    } else {
        Number::from_f64(n)
    };
    number.map_or(Value::Null, Value::Number)
}
