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

    /// Keeps the headers whose names are asked for.
    #[inline(never)]
    pub(super) fn of(request: &impl Extractor, asked: &Names) -> Self {
        let mut kept = Vec::with_capacity(Self::EXPECTED_BYTES);
        for (name, value) in request.headers().filter(|(name, _)| asked.has(name)) {
            for text in [name, value] {
                // Envoy takes far less than 4 GiB of headers.
                let length = u32::try_from(text.len()).unwrap_or_default();
                kept.extend_from_slice(&length.to_le_bytes());
            }
            kept.extend_from_slice(name);
            kept.extend_from_slice(value);
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
