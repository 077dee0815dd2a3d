//! Streams by their context ids.

use sidespan_core::headers::serialized_map::Pairs;
use sidespan_runtime::stream::HttpStream;

/// A stream that something is to be done for once it goes on.
pub(crate) struct Stream {
    pub(crate) root_id: u32,
    /// In a box, as most of the map's room is free.
    pub(crate) http: Box<HttpStream>,
    /// The headers of the response, where they may be gone at the end.
    pub(crate) response: Option<Pairs>,
}

/// Streams by their contexts. The host counts these up, so that their last
/// digits spread them evenly: none has more than a few beside it, but where
/// thousands are open at once.
#[derive(Default)]
pub(crate) struct Streams(Vec<Vec<(u32, Stream)>>);

impl Streams {
    /// A power of two, so that no division is needed.
    const PLACES: usize = 1 << 8;

    fn beside(&mut self, context_id: u32) -> Option<&mut Vec<(u32, Stream)>> {
        self.0.get_mut(context_id as usize % Self::PLACES)
    }

    pub(crate) fn insert(&mut self, context_id: u32, stream: Stream) {
        if self.0.is_empty() {
            self.0.resize_with(Self::PLACES, Vec::new);
        }
        if let Some(beside) = self.beside(context_id) {
            beside.push((context_id, stream));
        }
    }

    pub(crate) fn get_mut(&mut self, context_id: u32) -> Option<&mut Stream> {
        let mut beside = self.beside(context_id)?.iter_mut();
        let (_, stream) = beside.find(|(id, _)| *id == context_id)?;
        Some(stream)
    }

    pub(crate) fn remove(&mut self, context_id: u32) -> Option<Stream> {
        let beside = self.beside(context_id)?;
        let index = beside.iter().position(|(id, _)| *id == context_id)?;
        Some(beside.swap_remove(index).1)
    }
}
