//! Random trace and span ids.

use crate::context::id::{SpanId, TraceId};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::{Rng, SeedableRng};

/// Makes new ids from a fast generator that is seeded once by the host.
///
/// All bits are uniform, so a trace id made here may carry the W3C random
/// flag. Ids need to be unique, not secret; a cryptographic generator would
/// cost every request for nothing.
#[derive(Debug)]
pub struct IdGenerator(Xoshiro256PlusPlus);

impl IdGenerator {
    /// A generator with 32 bytes of the host's entropy as its seed.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Xoshiro256PlusPlus::from_seed(seed))
    }

    /// A new trace id.
    pub fn trace_id(&mut self) -> TraceId {
        loop {
            let id = u128::from(self.0.next_u64()) << 64 | u128::from(self.0.next_u64());
            if let Some(id) = TraceId::from_bytes(id.to_be_bytes()) {
                return id;
            }
        }
    }

    /// A number that is uniform from 0 to 1.
    pub fn fraction(&mut self) -> f64 {
        f64::from((self.0.next_u64() >> 32) as u32) / f64::from(u32::MAX)
    }

    /// A new span id.
    pub fn span_id(&mut self) -> SpanId {
        loop {
            if let Some(id) = SpanId::from_bytes(self.0.next_u64().to_be_bytes()) {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn new_ids_differ_between_calls_and_seeds() {
        let mut seen = HashSet::new();
        for seed in 0..10 {
            let mut ids = IdGenerator::new([seed; 32]);
            for _ in 0..1000 {
                assert!(seen.insert(ids.trace_id()));
                ids.span_id();
            }
        }
    }
}
