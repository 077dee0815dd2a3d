//! What one span tells the next: ids and flags.

use crate::context::id::{SpanId, TraceId};

/// The flags of a W3C `traceparent`, of which level 2 defines two bits; the
/// others are reserved and never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceFlags(u8);

impl TraceFlags {
    const SAMPLED: u8 = 0b01;
    const RANDOM: u8 = 0b10;

    /// Keeps the bits that the specification knows.
    ///
    /// > The behavior of other flags […] is reserved for future use. Vendors
    /// > MUST set those to zero. (W3C Trace Context 2, Other Flags)
    pub fn from_bits_truncate(bits: u8) -> Self {
        Self(bits & (Self::SAMPLED | Self::RANDOM))
    }

    /// The caller may have recorded this trace.
    pub fn is_sampled(self) -> bool {
        self.0 & Self::SAMPLED != 0
    }

    /// The right-most 7 bytes of the trace id are random.
    pub fn is_random(self) -> bool {
        self.0 & Self::RANDOM != 0
    }

    /// These flags with the sampled bit as given.
    #[must_use]
    pub fn with_sampled(self, sampled: bool) -> Self {
        Self(self.0 & !Self::SAMPLED | u8::from(sampled))
    }

    /// These flags with the random bit as given.
    #[must_use]
    pub fn with_random(self, random: bool) -> Self {
        Self(self.0 & !Self::RANDOM | u8::from(random) << 1)
    }

    /// The byte as headers and OTLP carry it.
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// The part of a span's context that is the same in every format
/// (OpenTelemetry specification, SpanContext).
///
/// Its trace state is W3C's alone and travels beside it, borrowed from the
/// request: [`TraceState`](crate::context::trace_state::TraceState).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// The trace that the span is a part of.
    pub trace_id: TraceId,
    /// The span itself.
    pub span_id: SpanId,
    /// Sampled and random.
    pub flags: TraceFlags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_bits_never_survive() {
        assert_eq!(TraceFlags::from_bits_truncate(0xff).bits(), 0b11);
        assert_eq!(TraceFlags::from_bits_truncate(0xfc).bits(), 0);
    }

    #[test]
    fn each_bit_is_set_alone() {
        let flags = TraceFlags::default().with_random(true);
        assert_eq!(flags.bits(), 2);
        assert_eq!(flags.with_sampled(true).bits(), 3);
        assert_eq!(flags.with_sampled(true).with_random(false).bits(), 1);
        assert_eq!(flags.with_sampled(true).with_sampled(false).bits(), 2);
    }
}
