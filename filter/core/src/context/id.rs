//! Trace and span ids: fixed arrays that are never zero, and where new ones
//! come from.

/// The id of a trace: 16 bytes, not all zero
/// (W3C Trace Context, `trace-id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The id of a span: 8 bytes, not all zero (W3C Trace Context, `parent-id`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

macro_rules! id {
    ($name:ident, $bytes:literal, $hex:literal) => {
        impl $name {
            /// The id with these bytes; `None` if all of them are zero.
            pub fn from_bytes(bytes: [u8; $bytes]) -> Option<Self> {
                (bytes != [0; $bytes]).then_some(Self(bytes))
            }

            /// Reads exactly twice as many lower-case hexadecimal digits as
            /// the id has bytes; upper case is as invalid as any other byte.
            pub fn from_hex(hex: &[u8]) -> Option<Self> {
                Self::from_bytes(decode_hex::<$bytes>(hex)?)
            }

            /// The bytes, most significant first, as OTLP carries them.
            pub fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// Lower-case hexadecimal, as headers carry it.
            pub fn to_hex(self) -> [u8; $hex] {
                let mut hex = [0; $hex];
                encode_hex(&self.0, &mut hex);
                hex
            }
        }
    };
}

id!(TraceId, 16, 32);
id!(SpanId, 8, 16);

/// What each byte is as a digit; 16 and more for what is none. Looked up, not
/// compared: every hop of a trace reads 50 digits.
const DIGITS: [u8; 256] = {
    let mut digits = [0xff; 256];
    let mut value = 0;
    while value < 16 {
        #[allow(clippy::indexing_slicing)] // At compile time.
        {
            digits[b"0123456789abcdef"[value as usize] as usize] = value;
        }
        value += 1;
    }
    digits
};

fn digit(c: u8) -> u8 {
    DIGITS.get(usize::from(c)).copied().unwrap_or(0xff)
}

/// Decodes exactly `2 * N` lower-case hexadecimal digits.
pub(crate) fn decode_hex<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    if hex.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        let (high, low) = (digit(high), digit(low));
        if (high | low) > 0xf {
            return None;
        }
        *byte = high << 4 | low;
    }
    Some(bytes)
}

/// Writes two lower-case digits a byte; digits beyond the end of `hex` are
/// not written.
fn encode_hex(bytes: &[u8], hex: &mut [u8]) {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let nibble = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or(b'0');
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        if let [high, low] = pair {
            *high = nibble(byte >> 4);
            *low = nibble(byte & 0xf);
        }
    }
}

/// Writes them from a place of a header's value on.
pub(crate) fn put_hex(value: &mut [u8], at: usize, bytes: &[u8]) {
    encode_hex(bytes, value.get_mut(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_exact_in_length_and_case() {
        let id = SpanId::from_hex(b"00f067aa0ba902b7").unwrap();
        assert_eq!(&id.to_hex(), b"00f067aa0ba902b7");
        for bad in [
            &b"00f067aa0ba902b"[..],
            b"00f067aa0ba902b70",
            b"00F067AA0BA902B7",
            b"00f067aa0ba902bg",
            b"0000000000000000",
            b"",
        ] {
            assert_eq!(SpanId::from_hex(bad), None, "{bad:?}");
        }
    }
}
