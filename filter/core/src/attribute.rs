//! Attributes: a key and a typed value, encoded as they are set.

use crate::protobuf::{key_len, len_delimited_len, put_bytes, put_len, put_varint, varint_len};

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// UTF-8 by its type, as OTLP demands.
    Str(&'a str),
    /// A signed integer.
    Int(i64),
    /// True or false.
    Bool(bool),
}

impl Value<'_> {
    /// The length of the `AnyValue`.
    fn len(self) -> usize {
        match self {
            Value::Str(s) => len_delimited_len(1, s.len()),
            Value::Bool(_) => key_len(2) + 1,
            Value::Int(i) => key_len(3) + varint_len(i.cast_unsigned()),
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Value::Str(s) => put_bytes(1, s.as_bytes(), out),
            Value::Bool(b) => put_varint(2, u64::from(b), out),
            Value::Int(i) => put_varint(3, i.cast_unsigned(), out),
        }
    }
}

/// Appends one `KeyValue` as field `field` of the message around it.
pub(crate) fn put_key_value(field: u32, key: &str, value: Value<'_>, out: &mut Vec<u8>) {
    let len = len_delimited_len(1, key.len()) + len_delimited_len(2, value.len());
    put_len(field, len, out);
    put_bytes(1, key.as_bytes(), out);
    put_len(2, value.len(), out);
    value.encode(out);
}
