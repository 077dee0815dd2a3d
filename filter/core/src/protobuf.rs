//! Fields of protobuf messages, written and read one by one.

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
pub(crate) use prost::encoding::{encoded_len_varint as varint_len, key_len};

pub(crate) fn len_delimited_len(field: u32, len: usize) -> usize {
    key_len(field) + varint_len(len as u64) + len
}

pub(crate) fn put_len(field: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

pub(crate) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_len(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint(field: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(field, WireType::Varint, out);
    encode_varint(value, out);
}

pub(crate) fn put_fixed64(field: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32(field: u32, value: u32, out: &mut Vec<u8>) {
    encode_key(field, WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// What a field holds, if it was read.
enum Value<'a> {
    Number(u64),
    /// Also what has a fixed length.
    Bytes(&'a [u8]),
}

/// All fields up to one that cannot be read.
fn all_fields(mut message: &[u8]) -> impl Iterator<Item = (u32, Value<'_>)> {
    std::iter::from_fn(move || {
        let (name, wire_type) = decode_key(&mut message).ok()?;
        let len = match wire_type {
            WireType::Varint => {
                return Some((name, Value::Number(decode_varint(&mut message).ok()?)));
            }
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut message).ok()?).ok()?,
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let (bytes, rest) = message.split_at_checked(len)?;
        message = rest;
        Some((name, Value::Bytes(bytes)))
    })
}

/// Each message, text or bytes of a field that has many.
pub(crate) fn fields(message: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    all_fields(message).filter_map(move |(name, value)| match value {
        Value::Bytes(bytes) if name == field => Some(bytes),
        _ => None,
    })
}

/// A message, text or bytes: the last one with this name counts.
pub(crate) fn field(message: &[u8], field: u32) -> Option<&[u8]> {
    fields(message, field).last()
}

/// A number of a type with a sign.
pub(crate) fn number_field(message: &[u8], field: u32) -> Option<i64> {
    let numbers = all_fields(message).filter_map(|(name, value)| match value {
        Value::Number(number) if name == field => Some(number.cast_signed()),
        _ => None,
    });
    numbers.last()
}
