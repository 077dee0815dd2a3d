//! A few names to tell others from.

/// Names that are looked for. Others of their lengths are few, and all of other
/// lengths are none of them at one look.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<String>,
    /// A bit for each length, the last one for all that are longer.
    lengths: u64,
}

impl Names {
    pub(crate) fn new(names: &[&str]) -> Self {
        Self {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            lengths: names
                .iter()
                .fold(0, |all, name| all | Self::bit(name.len())),
        }
    }

    fn bit(length: usize) -> u64 {
        1 << length.min(63)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub(crate) fn has(&self, name: &[u8]) -> bool {
        self.lengths & Self::bit(name.len()) != 0 && self.names.iter().any(|n| n.as_bytes() == name)
    }
}
