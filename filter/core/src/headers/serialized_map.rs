//! Header lines in one buffer, as proxy-wasm's hosts give them.

use std::ops::Range;

/// All lines of a header map in one buffer: their number, the sizes of each
/// name and value, then each name and value with a zero byte behind it
/// (proxy-wasm ABI 0.2.1, `proxy_get_header_map_pairs`).
#[derive(Clone, Debug)]
pub struct Pairs(pub Vec<u8>);

impl Pairs {
    /// Where each name and its value should stand, which may be beyond the end
    /// of the buffer.
    pub fn places(&self) -> Places<'_> {
        let (count, rest) = self.0.split_first_chunk().unwrap_or((&[0; 4], &[]));
        let count = u32::from_le_bytes(*count) as usize;
        let sizes = count.checked_mul(8).and_then(|size| rest.get(..size));
        let (sizes, _) = sizes.unwrap_or_default().as_chunks();
        Places {
            sizes: sizes.iter(),
            at: size_of::<u32>() + size_of_val(sizes),
        }
    }

    /// Each name and its value, up to the first that is not there.
    pub(crate) fn lines(&self) -> Lines<'_> {
        Lines {
            bytes: &self.0,
            places: self.places(),
        }
    }
}

/// Serializes header lines.
pub fn serialize<'a>(lines: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<u8> {
    let size = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let count = u32::try_from(lines.clone().count()).unwrap_or(u32::MAX);
    let mut out = count.to_le_bytes().to_vec();
    for (name, value) in lines.clone() {
        out.extend(size(name).into_iter().chain(size(value)));
    }
    for text in lines.flat_map(|(name, value)| [name, value]) {
        out.extend_from_slice(text.as_bytes());
        out.push(0);
    }
    out
}

/// See [`Pairs::places`].
pub struct Places<'a> {
    sizes: std::slice::Iter<'a, [u8; 8]>,
    at: usize,
}

impl Iterator for Places<'_> {
    type Item = (Range<usize>, Range<usize>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let [a, b, c, d, e, f, g, h] = *self.sizes.next()?;
        let size = |bytes| u32::from_le_bytes(bytes) as usize;
        let name = self.at..self.at.checked_add(size([a, b, c, d]))?;
        let value = name.end.checked_add(1)?;
        let value = value..value.checked_add(size([e, f, g, h]))?;
        self.at = value.end.checked_add(1)?;
        Some((name, value))
    }
}

/// See [`Pairs::lines`].
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    places: Places<'a>,
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.places.next()?;
        Some((self.bytes.get(name)?, self.bytes.get(value)?))
    }
}
