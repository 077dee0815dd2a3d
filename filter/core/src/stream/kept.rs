//! What is kept of a request until its stream ends.

use crate::names::Names;
use crate::propagation::Extractor;

/// The headers that spans may say something of; cookies and the like are not
/// among them. One allocation, and spans are made of it when all is known.
#[derive(Debug)]
pub(super) struct KeptRequest(Vec<u8>);

impl KeptRequest {
    /// What an ordinary request fills.
    const EXPECTED_BYTES: usize = 384;

    /// Keeps the headers whose names are asked for, of each value little more
    /// than an attribute of `max_attribute_length` bytes can be made of: a
    /// peer that holds thousands of streams open does not fill the memory.
    pub(super) fn of(request: &impl Extractor, asked: &Names, max_attribute_length: usize) -> Self {
        // A baggage may be this long (W3C Baggage, Limits). A character more is
        // cut within it.
        const ANY: usize = 8192;
        let most = ANY.max(max_attribute_length).saturating_add(4);
        let mut kept = Vec::with_capacity(Self::EXPECTED_BYTES);
        for (name, value) in request.headers().filter(|(name, _)| asked.has(name)) {
            let (first, rest) = match name {
                // Attributes of their own.
                b":path" if value.len() > most => {
                    let query = value.iter().position(|b| *b == b'?');
                    value.split_at(query.unwrap_or(value.len()))
                }
                // Of a part nobody could tell where a user's password ends.
                b":authority" if value.len() > most => (Default::default(), Default::default()),
                _ => (value, Default::default()),
            };
            let parts = [first, rest].map(|part: &[u8]| part.get(..most).unwrap_or(part));
            let length = parts.iter().map(|part| part.len()).sum();
            for length in [name.len(), length] {
                // Envoy takes far less than 4 GiB of headers.
                let length = u32::try_from(length).unwrap_or_default();
                kept.extend_from_slice(&length.to_le_bytes());
            }
            kept.extend_from_slice(name);
            parts.iter().for_each(|part| kept.extend_from_slice(part));
        }
        Self(kept)
    }
}

impl Extractor for KeptRequest {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let (name, after) = rest.split_first_chunk()?;
            let (value, after) = after.split_first_chunk()?;
            let (name, after) = after.split_at_checked(u32::from_le_bytes(*name) as usize)?;
            let (value, after) = after.split_at_checked(u32::from_le_bytes(*value) as usize)?;
            rest = after;
            Some((name, value))
        })
    }
}
