//! Fields of protobuf messages, written and read one by one.

use prost::encoding::{WireType, decode_key, decode_varint};
pub(crate) use prost::encoding::{encoded_len_varint as varint_len, key_len};
use std::mem::take;

pub(crate) fn len_delimited_len(field: u32, len: usize) -> usize {
    key_len(field) + varint_len(len as u64) + len
}

/// Appends a number, seven bits a byte. Nearly all are of one byte, for which
/// a general encoder is slow.
#[inline]
fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
fn put_key(field: u32, wire_type: WireType, out: &mut Vec<u8>) {
    put_number(u64::from(field) << 3 | wire_type as u64, out);
}

pub(crate) fn put_len(field: u32, len: usize, out: &mut Vec<u8>) {
    put_key(field, WireType::LengthDelimited, out);
    put_number(len as u64, out);
}

pub(crate) fn put_bytes(field: u32, bytes: &[u8], out: &mut Vec<u8>) {
    put_len(field, bytes.len(), out);
    out.extend_from_slice(bytes);
}

pub(crate) fn put_varint(field: u32, value: u64, out: &mut Vec<u8>) {
    put_key(field, WireType::Varint, out);
    put_number(value, out);
}

pub(crate) fn put_fixed64(field: u32, value: u64, out: &mut Vec<u8>) {
    put_key(field, WireType::SixtyFourBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_fixed32(field: u32, value: u32, out: &mut Vec<u8>) {
    put_key(field, WireType::ThirtyTwoBit, out);
    out.extend_from_slice(&value.to_le_bytes());
}

// Wire types, for names of fields that are one byte.
pub(crate) const VARINT: u8 = WireType::Varint as u8;
pub(crate) const FIXED64: u8 = WireType::SixtyFourBit as u8;
pub(crate) const DELIMITED: u8 = WireType::LengthDelimited as u8;

/// The key of a field whose number is below 16, which is one byte.
pub(crate) const fn short_key(wire_type: u8, field: u32) -> u8 {
    wire_type | (field as u8) << 3
}

/// A place for what is so many bytes long, written from its front on: what is
/// appended piece by piece asks at each whether there is room. What does not fit
/// is not written.
pub(crate) struct Place<'a>(pub(crate) &'a mut [u8]);

impl Place<'_> {
    #[inline(always)]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some((head, rest)) = take(&mut self.0).split_first_chunk_mut() {
            *head = bytes;
            self.0 = rest;
        }
    }

    #[inline(always)]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        if let Some((head, rest)) = take(&mut self.0).split_at_mut_checked(bytes.len()) {
            head.copy_from_slice(bytes);
            self.0 = rest;
        }
    }

    #[inline(always)]
    pub(crate) fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put([number as u8 | 0x80]);
            number >>= 7;
        }
        self.put([number as u8]);
    }
}

/// What a field of a message holds.
pub enum Value<'a> {
    /// A number or a truth value.
    Number(u64),
    /// A message, a text or bytes; also what has a fixed length.
    Bytes(&'a [u8]),
}

/// The fields of a message by their numbers, in their order; `None` if it is
/// none to its end.
pub fn message(bytes: &[u8]) -> Option<Vec<(u32, Value<'_>)>> {
    let mut rest = bytes;
    let mut all = Vec::new();
    while !rest.is_empty() {
        all.push(next_field(&mut rest)?);
    }
    Some(all)
}

/// Takes the next field off a message, if there is one that can be read.
pub(crate) fn next_field<'a>(message: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    // At the end of each, where an error would be an allocation.
    if message.is_empty() {
        return None;
    }
    let (name, wire_type) = decode_key(message).ok()?;
    let len = match wire_type {
        WireType::Varint => return Some((name, Value::Number(decode_varint(message).ok()?))),
        WireType::LengthDelimited => usize::try_from(decode_varint(message).ok()?).ok()?,
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::StartGroup | WireType::EndGroup => return None,
    };
    let (bytes, rest) = message.split_at_checked(len)?;
    *message = rest;
    Some((name, Value::Bytes(bytes)))
}

/// All fields up to one that cannot be read.
fn all_fields(mut message: &[u8]) -> impl Iterator<Item = (u32, Value<'_>)> {
    std::iter::from_fn(move || next_field(&mut message))
}

/// Each message, text or bytes of a field that has many.
pub fn fields(message: &[u8], field: u32) -> impl Iterator<Item = &[u8]> {
    all_fields(message).filter_map(move |(name, value)| match value {
        Value::Bytes(bytes) if name == field => Some(bytes),
        _ => None,
    })
}

/// A message, text or bytes: the last one with this name counts.
pub fn field(message: &[u8], field: u32) -> Option<&[u8]> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields with their lengths, or the numbers themselves.
    fn read(bytes: &[u8]) -> Option<Vec<(u32, u64)>> {
        let held = |value| match value {
            Value::Number(number) => number,
            Value::Bytes(bytes) => bytes.len() as u64,
        };
        let fields = message(bytes)?.into_iter();
        Some(fields.map(|(field, value)| (field, held(value))).collect())
    }

    #[test]
    fn a_message_is_read_to_its_end_or_not_at_all() {
        assert_eq!(read(b""), Some(vec![]));
        // 1: 300; 2: "abc"; 3: a double; 4: 32 bits.
        let whole = b"\x08\xac\x02\x12\x03abc\x19\0\0\0\0\0\0\xf0\x3f\x25\x01\0\0\0";
        let fields = [(1, 300), (2, 3), (3, 8), (4, 4)];
        assert_eq!(read(whole), Some(fields.to_vec()));
        for end in 1..whole.len() {
            let is_between = [3, 8, 17].contains(&end);
            assert_eq!(read(&whole[..end]).is_some(), is_between, "{end}");
        }
        // A group, a type that does not exist, the field 0, a length that is
        // too large for anything.
        for wrong in [
            &b"\x0b\x0c"[..],
            b"\x0f",
            b"\x00\x01",
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
