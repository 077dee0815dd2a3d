//! Attributes: a key and a typed value each, encoded as they are set.

use crate::headers::name_set::Names;
use crate::protobuf::wire as protobuf;
use crate::protobuf::wire::{
    DELIMITED, FIXED64, Place, VARINT, key_len, len_delimited_len, next_field, put_bytes,
    put_fixed64, put_len, put_varint, short_key, varint_len,
};
use crate::span::text::{cut, lossy};
use std::ops::Range;

/// Field numbers of `KeyValue` (opentelemetry-proto, `common/v1/common.proto`).
mod key_value {
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// Field numbers of `AnyValue`.
mod any_value {
    pub(super) const STRING: u32 = 1;
    pub(super) const BOOL: u32 = 2;
    pub(super) const INT: u32 = 3;
    pub(super) const DOUBLE: u32 = 4;
}

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// UTF-8 by its type, as OTLP demands.
    Str(&'a str),
    /// A signed integer.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// True or false.
    Bool(bool),
}

impl Value<'_> {
    /// The length of the `AnyValue`.
    fn len(self) -> usize {
        match self {
            Value::Str(s) => len_delimited_len(any_value::STRING, s.len()),
            Value::Bool(_) => key_len(any_value::BOOL) + 1,
            Value::Int(i) => key_len(any_value::INT) + varint_len(i.cast_unsigned()),
            Value::Double(_) => key_len(any_value::DOUBLE) + 8,
        }
    }

    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Value::Str(s) => put_bytes(any_value::STRING, s.as_bytes(), out),
            Value::Bool(b) => put_varint(any_value::BOOL, u64::from(b), out),
            Value::Int(i) => put_varint(any_value::INT, i.cast_unsigned(), out),
            Value::Double(d) => put_fixed64(any_value::DOUBLE, d.to_bits(), out),
        }
    }
}

/// A value that outlives what it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum OwnedValue {
    /// A text.
    Str(String),
    /// A signed integer.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// True or false.
    Bool(bool),
}

impl OwnedValue {
    /// The same, borrowed.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            Self::Str(s) => Value::Str(s),
            Self::Int(i) => Value::Int(*i),
            Self::Double(d) => Value::Double(*d),
            Self::Bool(b) => Value::Bool(*b),
        }
    }
}

/// Appends one `KeyValue` as a field of the message around it.
pub(crate) fn put_key_value(field: u32, key: &str, value: Value<'_>, out: &mut Vec<u8>) {
    let value_len = value.len();
    let len = len_delimited_len(key_value::KEY, key.len())
        + len_delimited_len(key_value::VALUE, value_len);
    out.reserve(len_delimited_len(field, len));
    put_len(field, len, out);
    put_bytes(key_value::KEY, key.as_bytes(), out);
    put_len(key_value::VALUE, value_len, out);
    value.encode(out);
}

/// Writes an attribute whose length is below 128, so that this and all within
/// are of one byte.
fn write_short(key: &str, value: Value<'_>, value_len: usize, len: usize, mut place: Place<'_>) {
    place.put([short_key(DELIMITED, SPAN_ATTRIBUTES), len as u8]);
    place.put([short_key(DELIMITED, key_value::KEY), key.len() as u8]);
    place.put_slice(key.as_bytes());
    place.put([short_key(DELIMITED, key_value::VALUE), value_len as u8]);
    match value {
        Value::Str(text) => {
            place.put([short_key(DELIMITED, any_value::STRING), text.len() as u8]);
            place.put_slice(text.as_bytes());
        }
        Value::Bool(b) => place.put([short_key(VARINT, any_value::BOOL), u8::from(b)]),
        Value::Int(i) => {
            place.put([short_key(VARINT, any_value::INT)]);
            place.put_number(i.cast_unsigned());
        }
        Value::Double(d) => {
            place.put([short_key(FIXED64, any_value::DOUBLE)]);
            place.put(d.to_le_bytes());
        }
    }
}

/// The field of OTLP's `Span` that holds its attributes.
const SPAN_ATTRIBUTES: u32 = 9;

/// The attributes of a span: encoded as they are set, so that the end of the
/// span only copies them.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// All room there is, so that there is a place to write to; what is set
    /// are the first `len`.
    bytes: Vec<u8>,
    len: usize,
    dropped: u32,
    max_length: usize,
}

impl Attributes {
    /// None yet. Strings will be cut to `max_length` bytes.
    pub fn new(max_length: usize, capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity],
            len: 0,
            dropped: 0,
            max_length,
        }
    }

    /// The same, with room for so many bytes more.
    pub(crate) fn clone_with_room(&self, bytes: usize) -> Self {
        let mut clone = Self::new(self.max_length, self.len + bytes);
        clone.extend(self.as_bytes());
        clone.dropped = self.dropped;
        clone
    }

    /// The longest string in bytes.
    pub(crate) fn max_length(&self) -> usize {
        self.max_length
    }

    /// Encoded, each as a field of `Span`.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The place of so many bytes more.
    fn place(&mut self, len: usize) -> Place<'_> {
        let start = self.len;
        self.len += len;
        if self.len > self.bytes.len() {
            self.grow();
        }
        Place(self.bytes.get_mut(start..self.len).unwrap_or_default())
    }

    #[cold]
    fn grow(&mut self) {
        self.bytes.reserve(self.len - self.bytes.len());
        self.bytes.resize(self.bytes.capacity(), 0);
    }

    fn extend(&mut self, bytes: &[u8]) {
        self.place(bytes.len()).put_slice(bytes);
    }

    /// How many were cut or left out.
    pub(crate) fn dropped(&self) -> u32 {
        self.dropped
    }

    /// Counts one that is left out.
    pub fn drop_one(&mut self) {
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Sets a value; a string is cut at a character's boundary, which counts
    /// as dropped. Each key must be set once only.
    pub fn set(&mut self, key: &str, value: Value<'_>) {
        let value = match value {
            Value::Str(text) if text.len() > self.max_length => {
                self.drop_one();
                Value::Str(cut(text, self.max_length))
            }
            value => value,
        };
        let value_len = value.len();
        // What nearly all are, twenty of them in a span: here each is a few
        // moves.
        match 2 + key.len() + 2 + value_len {
            len @ ..0x80 => write_short(key, value, value_len, len, self.place(2 + len)),
            _ => {
                self.bytes.truncate(self.len);
                put_key_value(SPAN_ATTRIBUTES, key, value, &mut self.bytes);
                self.len = self.bytes.len();
            }
        }
    }

    /// Sets a string.
    pub fn set_str(&mut self, key: &str, value: &str) {
        self.set(key, Value::Str(value));
    }

    /// Sets a string from a peer's bytes; what is no UTF-8 is replaced.
    pub fn set_bytes(&mut self, key: &str, value: &[u8]) {
        self.set_str(key, &lossy(value, self.max_length));
    }

    /// Sets an integer.
    pub fn set_int(&mut self, key: &str, value: i64) {
        self.set(key, Value::Int(value));
    }

    /// Adds others, which take the place of those with the same keys. Those are
    /// among the `common` ones.
    pub(crate) fn replace(&mut self, others: &Self, common: &Names) {
        if !common.is_empty() {
            self.remove(|key| common.has(key) && others.keys().any(|other| other == key));
        }
        debug_assert!(
            !self
                .keys()
                .any(|key| others.keys().any(|other| other == key)),
            "spans have an attribute that `semconv::is_of_spans` does not know"
        );
        self.extend(others.as_bytes());
        self.dropped = self.dropped.saturating_add(others.dropped);
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        Entries::of(self.as_bytes()).map(|entry| entry.key)
    }

    /// Removes those whose keys are to be.
    fn remove(&mut self, is_one: impl Fn(&[u8]) -> bool) {
        self.bytes.truncate(self.len);
        let mut at = 0;
        while let Some(entry) = (Entries {
            bytes: &self.bytes,
            at,
        })
        .next()
        {
            if is_one(entry.key) {
                self.bytes.drain(entry.range);
            } else {
                at = entry.range.end;
            }
        }
        self.len = self.bytes.len();
    }
}

/// An encoded attribute, and where it stands.
struct Entry<'a> {
    range: Range<usize>,
    key: &'a [u8],
}

/// Reads back what [`put_key_value`] wrote.
struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        let start = self.at;
        let mut behind = self.bytes.get(start..)?;
        let entry = next_bytes(&mut behind)?;
        self.at = self.bytes.len() - behind.len();
        let key = next_bytes(&mut { entry })?;
        Some(Entry {
            range: start..self.at,
            key,
        })
    }
}

/// What the next field of a message holds, which has a length.
fn next_bytes<'a>(message: &mut &'a [u8]) -> Option<&'a [u8]> {
    // What nearly all are: name and length are of one byte.
    if let [name, len @ ..0x80, rest @ ..] = *message
        && name & 0x87 == 2
    {
        let (bytes, rest) = rest.split_at_checked(usize::from(*len))?;
        *message = rest;
        return Some(bytes);
    }
    match next_field(message)? {
        (_, protobuf::Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(attributes: &Attributes) -> Vec<String> {
        Entries::of(attributes.as_bytes())
            .map(|entry| String::from_utf8_lossy(entry.key).into_owned())
            .collect()
    }

    #[test]
    fn others_take_the_place_of_what_has_their_keys() {
        let mut attributes = Attributes::new(1000, 0);
        attributes.set_str("a", &"x".repeat(300));
        attributes.set_int("b", -1);
        attributes.set("c", Value::Double(0.5));
        let mut others = Attributes::new(1000, 0);
        others.set("b", Value::Bool(true));
        others.set_str("d", "");
        attributes.replace(&others, &Names::new(&["a", "b", "c", "d"]));
        assert_eq!(keys(&attributes), ["a", "c", "b", "d"]);
        others = Attributes::new(1000, 0);
        others.set_int("a", 1);
        attributes.replace(&others, &Names::new(&["a", "b", "c", "d"]));
        assert_eq!(keys(&attributes), ["c", "b", "d", "a"]);
    }

    #[test]
    fn what_is_cut_is_counted() {
        let mut attributes = Attributes::new(4, 0);
        attributes.set_str("a", "1234");
        assert_eq!(attributes.dropped(), 0);
        attributes.set_str("b", "123ä");
        attributes.set_bytes("c", b"\xff\xff");
        assert_eq!(attributes.dropped(), 2);
        let mut others = Attributes::new(4, 0);
        others.drop_one();
        attributes.replace(&others, &Names::new(&["a", "b", "c", "d"]));
        assert_eq!(attributes.dropped(), 3);
    }
}
