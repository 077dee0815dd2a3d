//! What the queue allocates.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    unsafe_code,
    missing_docs
)]

mod common;

use common::exports::{NOW, end_span, tracer_with};
use sidespan_core::batch::BatchConfig;
use sidespan_core::tracer::Tracer;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Remembers the largest allocation, and counts what is allocated.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static WATCHED: Watched = Watched;

/// The largest allocation while a span of about a kilobyte ends.
fn largest_while_a_span_ends(tracer: &mut Tracer) -> usize {
    LARGEST.store(0, Relaxed);
    end_span(tracer, 1000, NOW);
    LARGEST.load(Relaxed)
}

/// The first span foretells the size of the others, and the open batch has
/// room for them: as many as go into one export, into the queue and into a
/// message. What waits takes no more room than it has bytes. One test, as all
/// of a program share their allocator.
#[test]
fn a_batch_takes_the_room_that_it_needs() {
    const MIB: usize = 1 << 20;
    for (max_queue_bytes, max_export_batch_size, least, most) in [
        (4 * MIB, 100, 100_000, 200_000),
        (MIB, 10_000, MIB, MIB),
        (64 * MIB, 1_000_000, 3 * MIB, 4 * MIB),
        (0x7fff_ffff, 1_000_000, 3 * MIB, 4 * MIB),
    ] {
        let mut tracer = tracer_with(BatchConfig {
            max_queue_size: 1_000_000,
            max_queue_bytes,
            max_export_batch_size,
            ..BatchConfig::default()
        });
        let largest = largest_while_a_span_ends(&mut tracer);
        assert!((least..=most).contains(&largest), "{largest}");
        let next = largest_while_a_span_ends(&mut tracer);
        assert!(next < 10_000, "there is room: {next}");

        // Closed for the one that adopts it, though far from full.
        let mut other = tracer_with(BatchConfig::default());
        let before = ALLOCATED.load(Relaxed);
        other.adopt(tracer, NOW);
        let after = ALLOCATED.load(Relaxed);
        assert!(before - after > least * 9 / 10, "{before} to {after}");
    }
}
