//! What the queue allocates.

use crate::common::exports::{NOW, end_span, tracer_with};
use allocation_counter::measure;
use sidespan_core::export::batch::BatchConfig;

/// What ending a span takes beside the batch.
const ELSE: u64 = 20_000;

/// The first span foretells the size of the others, and the open batch has
/// room for them: as many as go into one export, into the queue and into a
/// message. What waits takes no more room than it has bytes.
#[test]
fn a_batch_takes_the_room_that_it_needs() {
    const MIB: u64 = 1 << 20;
    for (max_queue_bytes, max_export_batch_size, least, most) in [
        (4 * MIB, 100, 100_000, 200_000),
        (MIB, 10_000, MIB, MIB),
        (64 * MIB, 1_000_000, 3 * MIB, 4 * MIB),
        (0x7fff_ffff, 1_000_000, 3 * MIB, 4 * MIB),
    ] {
        let mut tracer = tracer_with(BatchConfig {
            max_queue_size: 1_000_000,
            max_queue_bytes: usize::try_from(max_queue_bytes).unwrap(),
            max_export_batch_size,
            ..BatchConfig::default()
        });
        let mut end = || measure(|| drop(end_span(&mut tracer, 1000, NOW))).bytes_max;
        let first = end();
        assert!((least..=most + ELSE).contains(&first), "{first}");
        let next = end();
        assert!(next < ELSE, "there is room: {next}");

        // Closed for the one that adopts it, though far from full.
        let mut other = tracer_with(BatchConfig::default());
        let adoption = measure(|| other.adopt(tracer, NOW));
        let given_back = -adoption.bytes_current;
        assert!(given_back > least.cast_signed() * 9 / 10, "{given_back}");
    }
}
