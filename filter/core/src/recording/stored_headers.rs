//! What is kept of a request until its stream ends.

use crate::headers::header_map::Extractor;
use crate::headers::name_set::Names;
use crate::headers::request::RequestHead;
use crate::headers::serialized_map as pairs;
use crate::headers::serialized_map::Pairs;

/// Names and values that spans may say something of; cookies and the like are
/// not among them. One allocation, and spans are made of it when all is known.
#[derive(Debug)]
pub(super) struct Kept(Vec<u8>);

impl Kept {
    /// What the headers of an ordinary request fill.
    const EXPECTED_BYTES: usize = 384;

    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// Keeps the headers whose names are asked for.
    pub(super) fn of(request: &impl Extractor, asked: &Names, max_attribute_length: usize) -> Self {
        let mut kept = Self::with_capacity(Self::EXPECTED_BYTES);
        for (name, value) in request.headers().filter(|(name, _)| asked.has(name)) {
            kept.add_header(name, value, max_attribute_length);
        }
        kept
    }

    /// Keeps the headers that every span says something of, where each has to
    /// be asked for.
    pub(super) fn of_named(headers: &impl Extractor, max_attribute_length: usize) -> Self {
        let mut kept = Self::with_capacity(Self::EXPECTED_BYTES);
        for name in RequestHead::HEADERS.map(str::as_bytes) {
            if let Some(value) = headers.header(name) {
                kept.add_header(name, value, max_attribute_length);
            }
        }
        kept
    }

    /// Keeps of a value little more than an attribute of `max_attribute_length`
    /// bytes can be made of: a peer that holds thousands of streams open does
    /// not fill the memory.
    pub(super) fn add_header(&mut self, name: &[u8], value: &[u8], max_attribute_length: usize) {
        // A baggage may be this long (W3C Baggage, Limits).
        const ANY: usize = 8192;
        let most = most(ANY.max(max_attribute_length));
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
        self.add_parts(name, parts);
    }

    /// Keeps a value of which an attribute is made as it is.
    pub(super) fn add_value(&mut self, name: &[u8], value: &[u8], max_attribute_length: usize) {
        let kept = value.get(..most(max_attribute_length)).unwrap_or(value);
        self.add_parts(name, [kept, &[]]);
    }

    fn add_parts(&mut self, name: &[u8], parts: [&[u8]; 2]) {
        let length = parts.iter().map(|part| part.len()).sum();
        for length in [name.len(), length] {
            // Envoy takes far less than 4 GiB of headers.
            let length = u32::try_from(length).unwrap_or_default();
            self.0.extend_from_slice(&length.to_le_bytes());
        }
        self.0.extend_from_slice(name);
        parts.iter().for_each(|part| self.0.extend_from_slice(part));
    }
}

/// A character more is cut within it.
fn most(length: usize) -> usize {
    length.saturating_add(4)
}

impl Extractor for Kept {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        Headers(&self.0)
    }
}

struct Headers<'a>(&'a [u8]);

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, after) = self.0.split_first_chunk()?;
        let (value, after) = after.split_first_chunk()?;
        let (name, after) = after.split_at_checked(u32::from_le_bytes(*name) as usize)?;
        let (value, after) = after.split_at_checked(u32::from_le_bytes(*value) as usize)?;
        self.0 = after;
        Some((name, value))
    }
}

/// A request until its stream ends.
#[derive(Debug)]
pub(super) enum KeptRequest {
    /// All of it, as the host gave it, which is less work than to choose.
    Whole(Pairs),
    /// What is asked for.
    Asked(Kept),
}

impl KeptRequest {
    /// As large as requests of browsers are, but for long cookies: a peer that
    /// holds thousands of streams open does not fill the memory.
    const MAX_WHOLE: usize = 2048;

    pub(super) fn of(request: &impl Extractor, asked: &Names, max_attribute_length: usize) -> Self {
        match request.as_pairs() {
            Some(pairs) if pairs.0.len() <= Self::MAX_WHOLE => Self::Whole(pairs.clone()),
            _ => Self::Asked(Kept::of(request, asked, max_attribute_length)),
        }
    }
}

impl Extractor for KeptRequest {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        match self {
            Self::Whole(pairs) => Lines::Whole(pairs.lines()),
            Self::Asked(kept) => Lines::Asked(Headers(&kept.0)),
        }
    }
}

enum Lines<'a> {
    Whole(pairs::Lines<'a>),
    Asked(Headers<'a>),
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Whole(lines) => lines.next(),
            Self::Asked(headers) => headers.next(),
        }
    }
}
