//! What hosts hand over as protobuf, as JSON: the configuration, and metadata.
//!
//! Istio, and a `StringValue` in Envoy's configuration, hand the document
//! over as it was written. Of a `Struct`, which spares people JSON inside
//! YAML, Envoy hands over the encoded message, to a native filter in 1.38 for
//! routes only.

use crate::protobuf::wire as protobuf;
use crate::protobuf::wire::Value as Field;
use serde_json::{Map, Number, Value};

/// How deep structs and lists may lie in each other: no document of ours is a
/// tenth as deep, and each level takes stack.
const MAX_DEPTH: u32 = 100;

/// The document as JSON; one that is neither JSON nor a `Struct` as it came.
pub fn to_json(bytes: Vec<u8>) -> Vec<u8> {
    if serde_json::from_slice::<Value>(&bytes).is_ok() {
        return bytes;
    }
    match object(&bytes, MAX_DEPTH) {
        Some(document) => document.to_string().into_bytes(),
        None => bytes,
    }
}

/// What stands in a filter's namespace of an encoded
/// `envoy.config.core.v3.Metadata`.
pub fn namespace(metadata: &[u8], name: &str) -> Option<Value> {
    let entries = protobuf::fields(metadata, 1);
    let named =
        entries.filter(|entry| protobuf::field(entry, 1).unwrap_or_default() == name.as_bytes());
    let message = protobuf::field(named.last()?, 2).unwrap_or_default();
    object(message, MAX_DEPTH)
}

/// `google.protobuf.Struct`; `None` if the bytes are none.
fn object(message: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut object = Map::new();
    for (field, entry) in protobuf::message(message)? {
        let (1, Field::Bytes(entry)) = (field, entry) else {
            return None;
        };
        let (mut key, mut held) = ("", Value::Null);
        for (field, part) in protobuf::message(entry)? {
            match (field, part) {
                (1, Field::Bytes(text)) => key = std::str::from_utf8(text).ok()?,
                (2, Field::Bytes(message)) => held = value(message, depth)?,
                _ => return None,
            }
        }
        object.insert(key.to_owned(), held);
    }
    Some(Value::Object(object))
}

/// `google.protobuf.Value`.
fn value(message: &[u8], depth: u32) -> Option<Value> {
    let mut value = Value::Null;
    for (field, part) in protobuf::message(message)? {
        value = match (field, part) {
            (1, Field::Number(_)) => Value::Null,
            (2, Field::Bytes(bytes)) => number(f64::from_le_bytes(bytes.try_into().ok()?)),
            (3, Field::Bytes(text)) => Value::String(std::str::from_utf8(text).ok()?.to_owned()),
            (4, Field::Number(truth)) => Value::Bool(truth != 0),
            (5, Field::Bytes(message)) => object(message, depth)?,
            (6, Field::Bytes(message)) => list(message, depth)?,
            _ => return None,
        };
    }
    Some(value)
}

/// `google.protobuf.ListValue`.
fn list(message: &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let mut values = Vec::new();
    for (field, part) in protobuf::message(message)? {
        let (1, Field::Bytes(message)) = (field, part) else {
            return None;
        };
        values.push(value(message, depth)?);
    }
    Some(Value::Array(values))
}

/// All numbers of a `Struct` are doubles; a whole one was written as such.
pub fn number(n: f64) -> Value {
    // Up to here every whole double is an exact integer.
    const EXACT: f64 = (1u64 << 53) as f64;
    let number = if n.fract() == 0.0 && n.abs() <= EXACT {
        Some(Number::from(n as i64))
    } else {
        Number::from_f64(n)
    };
    number.map_or(Value::Null, Value::Number)
}
