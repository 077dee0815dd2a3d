//! From the end of a span to its export: bounds, batches, time, books.

use crate::common;
use crate::common::exports::{
    Books, HOUR, MILLI, NOW, Reply, SECOND, all_callouts, counted, details, end_span, framed, ids,
    nanos, next_due, partial, retry_info, span_bytes, throttled, tracer_of, tracer_with as tracer,
};
use crate::common::{Headers, Info, count, flush, request, spans, take_stats};
use proptest::prelude::*;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::callout::CalloutId;
use sidespan_core::export::event::Notice;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings::Protocol;
use sidespan_core::host::request_info::Direction;
use sidespan_core::span::attributes::OwnedValue;
use sidespan_core::stats::{Level, Stat};
use sidespan_core::tracer::Tracer;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Spans that wait, and spans that are on their way.
fn pending(tracer: &Tracer) -> (usize, usize) {
    let level = |level| usize::try_from(tracer.level(level)).unwrap();
    (level(Level::SpansQueued), level(Level::SpansInFlight))
}

// ------------------------------------------------------------------ bounds

/// `max_queue_size` spans fit, exactly; the newest beyond are dropped and
/// counted, and what waited longest is what is exported.
#[test]
fn the_bound_in_spans_is_exact() {
    for max_queue_size in [1, 2, 7, 100] {
        let mut tracer = tracer(BatchConfig {
            max_queue_size,
            max_export_batch_size: max_queue_size,
            ..BatchConfig::default()
        });
        let sent: Vec<String> = (0..max_queue_size + 5)
            .map(|_| end_span(&mut tracer, 10, NOW))
            .collect();
        assert_eq!(pending(&tracer), (max_queue_size, 0));
        let counted = take_stats(&mut tracer);
        assert_eq!(
            count(&counted, Stat::SpansCreated),
            max_queue_size as u64 + 5
        );
        assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 5);

        let callout = flush(&mut tracer).unwrap();
        assert_eq!(ids(&callout), sent[..max_queue_size], "the oldest go");
        end_span(&mut tracer, 10, NOW);
        assert_eq!(
            pending(&tracer),
            (1, max_queue_size),
            "what is on its way takes no room in the queue"
        );
    }
}

/// `max_queue_bytes` is exact to the byte.
#[test]
fn the_bound_in_bytes_is_exact() {
    let one = span_bytes(200);
    for (limit, fit) in [
        (one - 1, 0),
        (one, 1),
        (2 * one - 1, 1),
        (2 * one, 2),
        (5 * one, 5),
        (5 * one + one - 1, 5),
    ] {
        let mut tracer = tracer(BatchConfig {
            max_queue_bytes: limit,
            ..BatchConfig::default()
        });
        for _ in 0..8 {
            end_span(&mut tracer, 200, NOW);
        }
        assert_eq!(pending(&tracer).0, fit, "{limit} bytes");
        let counted = take_stats(&mut tracer);
        assert_eq!(
            count(&counted, Stat::SpansDroppedQueueFull),
            8 - fit as u64,
            "{limit} bytes"
        );
    }
}

/// A span that is too large for what room is left is dropped; a smaller one
/// after it still finds room.
#[test]
fn a_small_span_fits_where_a_large_one_does_not() {
    let (small, large) = (span_bytes(0), span_bytes(1000));
    assert!(large > 2 * small);
    let mut tracer = tracer(BatchConfig {
        max_queue_bytes: large + small,
        ..BatchConfig::default()
    });
    let first = end_span(&mut tracer, 1000, NOW);
    end_span(&mut tracer, 1000, NOW);
    let second = end_span(&mut tracer, 0, NOW);
    end_span(&mut tracer, 0, NOW);
    let callout = flush(&mut tracer).unwrap();
    assert_eq!(ids(&callout), [first, second]);
    let counted = take_stats(&mut tracer);
    assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 2);
}

/// Spans that are built together never exceed the free space of the queue, which
/// spans that are built one by one would leave in an export in between.
#[test]
fn streams_at_once_never_exceed_the_free_space() {
    let at_once = |max_queue_size, max_export_batch_size, queued| {
        let mut tracer = tracer(BatchConfig {
            max_queue_size,
            max_export_batch_size,
            ..BatchConfig::default()
        });
        for _ in 0..queued {
            end_span(&mut tracer, 10, NOW);
        }
        tracer.queue().streams_at_once()
    };
    for (queued, expected) in [(0, 8), (1, 8), (2, 7), (4, 6), (12, 2), (15, 1)] {
        assert_eq!(at_once(16, 16, queued), expected, "{queued} spans queued");
    }
    assert_eq!(at_once(16, 100, 16), 16, "nothing is saved in a full queue");
    assert_eq!(at_once(2048, 512, 0), 16);
    assert_eq!(at_once(2048, 1, 0), 1);
}

/// A batch that was taken leaves its room to others, in spans and in bytes,
/// again and again.
#[test]
fn a_taken_batch_leaves_its_room() {
    for by_bytes in [false, true] {
        let mut batch = BatchConfig {
            max_queue_size: 4,
            max_export_batch_size: 2,
            max_concurrent_exports: 1000,
            ..BatchConfig::default()
        };
        if by_bytes {
            batch.max_queue_size = 1000;
            batch.max_queue_bytes = 4 * span_bytes(50);
        }
        let mut tracer = tracer(batch);
        for _ in 0..4 {
            end_span(&mut tracer, 50, NOW);
        }
        for _ in 0..50 {
            assert_eq!(spans(&tracer.next_callout(NOW).unwrap()).len(), 2);
            for _ in 0..3 {
                end_span(&mut tracer, 50, NOW);
            }
            assert_eq!(pending(&tracer).0, 4, "by bytes: {by_bytes}");
        }
        let counted = take_stats(&mut tracer);
        assert_eq!(count(&counted, Stat::SpansDroppedQueueFull), 50);
    }
}

// -------------------------------------------------------------------- time

/// A batch goes when it is full or has waited, not before, and once.
#[test]
fn a_batch_waits_until_it_is_full_or_due() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 3,
        max_concurrent_exports: 9,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, 1, NOW);
    end_span(&mut tracer, 1, NOW);
    assert!(tracer.next_callout(NOW).is_none());
    assert!(!tracer.is_idle());
    end_span(&mut tracer, 1, NOW);
    assert_eq!(spans(&tracer.next_callout(NOW).unwrap()).len(), 3);
    end_span(&mut tracer, 1, NOW);
    tracer.on_tick(NOW + SECOND - 1);
    assert!(tracer.next_callout(NOW + SECOND - 1).is_none());
    tracer.on_tick(NOW + SECOND);
    tracer.on_tick(NOW + SECOND);
    assert_eq!(spans(&tracer.next_callout(NOW + SECOND).unwrap()).len(), 1);
    assert!(tracer.next_callout(NOW + SECOND).is_none());
}

fn delayed(delay: Duration) -> BatchConfig {
    BatchConfig {
        schedule_delay: delay,
        ..BatchConfig::default()
    }
}

/// The host is asked to tick at least once a second, no less often than the
/// delay, and never at once.
#[test]
fn the_host_is_told_how_often_to_tick() {
    for (delay, period) in [
        (0, 1),
        (1, 1),
        (250, 250),
        (999, 999),
        (1000, 1000),
        (30_000, 1000),
    ] {
        let mut tracer = tracer(delayed(Duration::from_millis(delay)));
        assert_eq!(tracer.next_tick(NOW).as_millis(), period, "{delay}");
        end_span(&mut tracer, 1, NOW);
        for now in [NOW - HOUR, NOW, NOW + HOUR] {
            let tick = tracer.next_tick(now);
            assert!(tick >= Duration::from_millis(1), "{delay}: {tick:?}");
            assert!(tick.as_millis() <= period, "{delay}: {tick:?}");
        }
    }
}

/// Until the open batch is due, in whole milliseconds of which none is too
/// few; a batch that is due and finds no slot needs no tick.
#[test]
fn the_next_tick_is_when_the_open_batch_is_due() {
    let mut tracer = tracer(BatchConfig {
        schedule_delay: Duration::from_millis(750),
        max_concurrent_exports: 1,
        ..BatchConfig::default()
    });
    for now in [NOW, NOW + HOUR] {
        end_span(&mut tracer, 1, now);
        for (after, millis) in [
            (0, 750),
            (1, 750),
            (200 * MILLI, 550),
            (200 * MILLI + 300_000, 550),
            (749 * MILLI, 1),
            (750 * MILLI, 1),
            (800 * MILLI, 1),
        ] {
            let tick = tracer.next_tick(now + after);
            assert_eq!(tick.as_millis(), millis, "after {after} ns");
        }
        tracer.on_tick(now + 750 * MILLI);
        let is_first = now == NOW;
        assert_eq!(tracer.next_callout(now + 750 * MILLI).is_some(), is_first);
        assert_eq!(tracer.next_tick(now + 750 * MILLI).as_millis(), 750);
    }
}

/// Until a batch may be sent again.
#[test]
fn the_next_tick_is_when_a_retry_is_due() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 1,
        schedule_delay: Duration::from_secs(30),
        max_concurrent_exports: 2,
        ..BatchConfig::default()
    });
    for _ in 0..2 {
        end_span(&mut tracer, 1, NOW);
    }
    let calls = all_callouts(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, calls[0].id, NOW);
    let due = next_due(&tracer, NOW);
    assert!(due > NOW + SECOND / 2);
    assert!(tracer.next_callout(due - 1).is_none());

    // With no slot free it is the end of an export that matters.
    end_span(&mut tracer, 1, NOW);
    let third = tracer.next_callout(NOW).unwrap();
    assert_eq!(tracer.next_tick(due - 2 * MILLI).as_millis(), 1000);
    Reply::OK.tell(&mut tracer, third.id, NOW);
    assert_eq!(tracer.next_tick(due - 2 * MILLI).as_millis(), 2);
    assert!(tracer.next_callout(due).is_some());
    assert_eq!(tracer.next_tick(due).as_millis(), 1000);
}

/// Until a silence is over, if somebody waits for that: what is new, or what
/// would have come back before.
#[test]
fn the_next_tick_is_when_a_silence_is_over() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 1,
        schedule_delay: Duration::from_secs(30),
        ..BatchConfig::default()
    });
    end_span(&mut tracer, 1, NOW);
    end_span(&mut tracer, 1, NOW);
    let calls = all_callouts(&mut tracer, NOW);
    Reply::Reset.tell(&mut tracer, calls[0].id, NOW);
    throttled(8, 10).tell(&mut tracer, calls[1].id, NOW);
    let due = next_due(&tracer, NOW);
    assert!(due >= NOW + 10 * SECOND, "not when the first one is due");
    end_span(&mut tracer, 1, NOW);
    assert_eq!(next_due(&tracer, NOW), due);
    assert!(tracer.next_callout(due - 1).is_none());
    assert_eq!(all_callouts(&mut tracer, due).len(), 2);
}

/// Nobody is woken when a silence is over if all that waits waits for longer.
#[test]
fn a_silence_wakes_nobody_who_waits_for_longer() {
    let retry = RetryConfig {
        initial_interval: Duration::from_secs(30),
        ..RetryConfig::default()
    };
    let batch = BatchConfig {
        max_export_batch_size: 1,
        ..BatchConfig::default()
    };
    let mut tracer = tracer_of(batch, retry, Protocol::Grpc, 7);
    end_span(&mut tracer, 1, NOW);
    let call = tracer.next_callout(NOW).unwrap();
    throttled(14, 2).tell(&mut tracer, call.id, NOW);
    let due = next_due(&tracer, NOW);
    assert!(due >= NOW + 15 * SECOND, "not with the silence");
    for after in 0..15_000 {
        let tick = tracer.next_tick(NOW + after * MILLI);
        let left = due - NOW - after * MILLI;
        let wait = Duration::from_nanos(left).min(Duration::from_secs(1));
        assert_eq!(tick.as_millis(), wait.as_nanos().div_ceil(1_000_000));
    }
    // One that is new waits for the silence only.
    end_span(&mut tracer, 1, NOW);
    let silence = next_due(&tracer, NOW) - NOW;
    assert!((2 * SECOND..=3 * SECOND).contains(&silence), "{silence}");
    assert!(tracer.next_callout(NOW + silence - 1).is_none());
    assert!(tracer.next_callout(NOW + silence).is_some());
}

/// No span waits longer than `schedule_delay`, if the host ticks as it is
/// asked to with a clock of milliseconds, wherever between two ticks the span
/// ended; and none goes long before.
#[test]
fn no_span_waits_longer_than_the_delay() {
    for delay in [1, 7, 100, 999, 1000, 1001, 30_000] {
        for ended in [0, 1, MILLI, 333 * MILLI + 7, SECOND - 1] {
            let mut tracer = tracer(delayed(Duration::from_millis(delay)));
            let (mut now, ended, mut waited) = (NOW, NOW + ended, None);
            let mut is_there = false;
            while waited.is_none() && now < NOW + 60 * SECOND {
                now += u64::try_from(tracer.next_tick(now).as_millis()).unwrap() * MILLI;
                if now >= ended {
                    if !is_there {
                        end_span(&mut tracer, 1, ended);
                        is_there = true;
                    }
                    // Later ones do not put the first one off.
                    end_span(&mut tracer, 1, now);
                }
                tracer.on_tick(now);
                waited = tracer.next_callout(now).map(|_| now - ended);
            }
            let (waited, delay) = (waited.expect("it went"), delay * MILLI);
            assert!(waited <= delay + MILLI, "{waited} of {delay}");
            assert!(waited >= delay, "{waited} of {delay}");
        }
    }
}

/// A tick without spans sends nothing, and the next batch waits its own time.
#[test]
fn every_batch_waits_its_own_time() {
    let mut tracer = tracer(BatchConfig {
        schedule_delay: Duration::from_secs(10),
        max_concurrent_exports: 100,
        ..BatchConfig::default()
    });
    for round in 1..4 {
        let start = NOW + round * 1000 * SECOND;
        tracer.on_tick(start - SECOND);
        assert!(tracer.next_callout(start - SECOND).is_none());
        end_span(&mut tracer, 1, start);
        tracer.on_tick(start + SECOND);
        assert!(
            tracer.next_callout(start + SECOND).is_none(),
            "it has only begun to wait"
        );
        tracer.on_tick(start + 10 * SECOND);
        let callout = tracer.next_callout(start + 10 * SECOND);
        assert_eq!(spans(&callout.unwrap()).len(), 1);
    }
}

/// A clock that was set back keeps no spans for as long as it was set back by.
#[test]
fn a_clock_that_was_set_back_keeps_no_span() {
    let mut tracer = tracer(delayed(Duration::from_secs(30)));
    end_span(&mut tracer, 1, NOW);
    tracer.on_tick(NOW + SECOND);
    assert!(tracer.next_callout(NOW + SECOND).is_none());
    tracer.on_tick(NOW - HOUR);
    assert!(tracer.next_callout(NOW - HOUR).is_some());
}

// ----------------------------------------------------------------- batches

/// With all slots taken, a batch that is due stays open and grows, to its
/// largest size and no further; it goes as soon as a slot is free.
#[test]
fn batches_grow_while_no_slot_is_free() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 5,
        max_concurrent_exports: 1,
        ..BatchConfig::default()
    });
    let mut now = NOW;
    end_span(&mut tracer, 1, now);
    now += SECOND;
    tracer.on_tick(now);
    let first = tracer.next_callout(now).unwrap();
    for size in [3, 5] {
        let before = pending(&tracer).0;
        for _ in before..size {
            end_span(&mut tracer, 1, now);
        }
        now += 10 * SECOND;
        tracer.on_tick(now);
        assert!(tracer.next_callout(now).is_none(), "no slot is free");
    }
    end_span(&mut tracer, 1, now);
    Reply::OK.tell(&mut tracer, first.id, now);
    let second = tracer.next_callout(now).expect("without another tick");
    assert_eq!(spans(&second).len(), 5, "one export and not two");

    Reply::OK.tell(&mut tracer, second.id, now);
    assert!(
        tracer.next_callout(now).is_none(),
        "what came last waits its own time"
    );
    now += SECOND;
    tracer.on_tick(now);
    assert_eq!(spans(&tracer.next_callout(now).unwrap()).len(), 1);
}

/// A small batch that is due goes as soon as a slot is free, whatever came of
/// the export that held it.
#[test]
fn a_due_batch_goes_when_a_slot_is_free() {
    for reply in [
        Reply::OK,
        Reply::grpc(14),
        Reply::grpc(3),
        Reply::Reset,
        Reply::NoCluster,
        Reply::NoEndpoint,
    ] {
        let mut tracer = tracer(BatchConfig {
            max_concurrent_exports: 1,
            ..BatchConfig::default()
        });
        end_span(&mut tracer, 1, NOW);
        tracer.on_tick(NOW + SECOND);
        let first = tracer.next_callout(NOW + SECOND).unwrap();
        let second = end_span(&mut tracer, 1, NOW + SECOND);
        tracer.on_tick(NOW + 2 * SECOND);
        reply.tell(&mut tracer, first.id, NOW + 2 * SECOND);
        let callout = tracer.next_callout(NOW + 2 * SECOND).expect("it is due");
        assert_eq!(ids(&callout), [second], "{reply:?}");
    }
}

const MIB: usize = 1 << 20;

/// The receiver's limit, on all that it takes as one message.
const MESSAGE: usize = 4 * MIB;

/// A tracer whose spans may be as large as their paths, and whose resource is
/// at least so large.
fn tracer_of_large_spans(batch: BatchConfig, resource: usize) -> Tracer {
    let mut config = common::default_config();
    config.batch = batch;
    config.span.limits.max_attribute_length = usize::MAX / 2;
    let note = OwnedValue::Str("r".repeat(resource));
    config.resource_attributes = vec![("note".to_owned(), note)];
    common::tracer(&config)
}

/// Many large spans are cut into messages that a receiver takes, whatever the
/// size of the resource that goes with each.
#[test]
fn no_message_passes_the_receivers_limit() {
    for (resource, sizes) in [(0, &[3, 3, 3, 1][..]), (2 * MIB, &[1; 10])] {
        let batch = BatchConfig {
            max_queue_bytes: 64 * MIB,
            max_concurrent_exports: 100,
            ..BatchConfig::default()
        };
        let mut tracer = tracer_of_large_spans(batch, resource);
        let ended: Vec<String> = (0..10)
            .map(|_| end_span(&mut tracer, MIB + 1, NOW))
            .collect();
        let mut calls = all_callouts(&mut tracer, NOW);
        assert_eq!(calls.len(), sizes.len() - 1, "full ones go at once");
        calls.extend(flush(&mut tracer));
        let cut: Vec<usize> = calls.iter().map(|call| ids(call).len()).collect();
        assert_eq!(cut, sizes);
        assert!(calls.iter().all(|call| call.body.len() <= MESSAGE));
        let sent: Vec<String> = calls.iter().flat_map(ids).collect();
        assert_eq!(sent, ended, "none is lost, and in order");
    }
}

/// The largest span fills a message but for a few bytes; one larger is no
/// matter of the queue.
#[test]
fn a_span_beyond_every_message_is_dropped_as_encoding() {
    for resource in [0, MIB] {
        let batch = BatchConfig {
            max_queue_bytes: 64 * MIB,
            max_export_batch_size: 1,
            ..BatchConfig::default()
        };
        let try_one = |length| {
            let mut tracer = tracer_of_large_spans(batch.clone(), resource);
            end_span(&mut tracer, length, NOW);
            let callout = tracer.next_callout(NOW);
            let lost = counted(&mut tracer, Stat::SpansDroppedEncoding);
            assert_eq!(lost, u64::from(callout.is_none()));
            assert_eq!(tracer.level(Level::BytesQueued), 0);
            callout.map(|callout| callout.body.len())
        };
        let around = try_one(MIB).unwrap() - MIB;
        let (mut fits, mut beyond) = (MESSAGE - around - 64, MESSAGE - around + 64);
        assert_eq!(try_one(beyond), None);
        let mut largest = try_one(fits).expect("it fits");
        while beyond - fits > 1 {
            let middle = fits.midpoint(beyond);
            match try_one(middle) {
                Some(len) => (fits, largest) = (middle, len),
                None => beyond = middle,
            }
        }
        assert!(largest <= MESSAGE, "{largest}");
        assert!(largest > MESSAGE - 32, "{largest}");
    }
}

/// One that would fit into a message but never into the queue.
#[test]
fn a_span_beyond_the_queue_is_dropped_as_queue_full() {
    let batch = BatchConfig {
        max_queue_bytes: 2 * MIB,
        ..BatchConfig::default()
    };
    let mut tracer = tracer_of_large_spans(batch, 0);
    end_span(&mut tracer, 2 * MIB, NOW);
    let all = take_stats(&mut tracer);
    assert_eq!(count(&all, Stat::SpansDroppedQueueFull), 1);
    assert_eq!(count(&all, Stat::SpansDroppedEncoding), 0);
    assert!(tracer.is_idle());
}

/// The largest bounds that a document can name are bounds like others, also
/// where a span is as large as its headers let it be.
#[test]
fn large_bounds() {
    let mut tracer = tracer(BatchConfig {
        max_queue_size: 1_000_000,
        max_queue_bytes: 0x7fff_ffff,
        max_export_batch_size: 1_000_000,
        ..BatchConfig::default()
    });
    for _ in 0..10 {
        end_span(&mut tracer, 1024, NOW);
    }
    assert_eq!(pending(&tracer), (10, 0));
    assert_eq!(spans(&flush(&mut tracer).unwrap()).len(), 10);
}

/// A batch size times a span's length may be more than an address can be: on
/// wasm32 a million times 5 KiB is.
#[test]
fn bounds_beyond_every_address() {
    let mut tracer = tracer(BatchConfig {
        max_queue_size: usize::MAX,
        max_queue_bytes: 1 << 20,
        max_export_batch_size: usize::MAX / 100,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, 1024, NOW);
    assert_eq!(pending(&tracer), (1, 0));
}

// ----------------------------------------------------------------- exports

/// No more than `max_concurrent_exports` are under way; each end makes room
/// for one, however it ended.
#[test]
fn exports_at_once() {
    for max_concurrent_exports in [1, 2, 5] {
        let mut tracer = tracer(BatchConfig {
            max_export_batch_size: 1,
            max_concurrent_exports,
            ..BatchConfig::default()
        });
        for _ in 0..20 {
            end_span(&mut tracer, 1, NOW);
        }
        let calls = all_callouts(&mut tracer, NOW);
        let mut under_way: VecDeque<CalloutId> = calls.iter().map(|call| call.id).collect();
        assert_eq!(under_way.len(), max_concurrent_exports);
        assert_eq!(
            pending(&tracer),
            (20 - max_concurrent_exports, max_concurrent_exports)
        );
        for reply in [Reply::OK, Reply::grpc(14), Reply::grpc(3), Reply::Reset] {
            let id = under_way.pop_front().unwrap();
            reply.tell(&mut tracer, id, NOW);
            under_way.push_back(tracer.next_callout(NOW).expect("there is room").id);
            assert!(tracer.next_callout(NOW).is_none(), "but for one only");
        }
    }
}

/// Every callout has a name of its own, and may end in any order.
#[test]
fn exports_end_in_any_order() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 1,
        max_concurrent_exports: 10,
        ..BatchConfig::default()
    });
    for _ in 0..10 {
        end_span(&mut tracer, 1, NOW);
    }
    let calls = all_callouts(&mut tracer, NOW);
    let mut names: Vec<CalloutId> = calls.iter().map(|call| call.id).collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), 10);
    names.swap(0, 9);
    names.swap(3, 7);
    for (i, id) in names.into_iter().enumerate() {
        assert!(!tracer.is_idle());
        Reply::OK.tell(&mut tracer, id, NOW);
        assert_eq!(pending(&tracer), (0, 9 - i));
    }
    assert!(tracer.is_idle());
    let counted = take_stats(&mut tracer);
    assert_eq!(count(&counted, Stat::SpansAcknowledged), 10);
    assert_eq!(count(&counted, Stat::ExportsAccepted), 10);
}

/// A host that tells of a callout twice changes nothing.
#[test]
fn an_unknown_callout_changes_nothing() {
    let mut tracer = tracer(BatchConfig {
        max_export_batch_size: 10,
        ..BatchConfig::default()
    });
    for _ in 0..20 {
        end_span(&mut tracer, 1, NOW);
    }
    let first = tracer.next_callout(NOW).unwrap().id;
    let second = tracer.next_callout(NOW).unwrap().id;
    assert!(Reply::OK.tell(&mut tracer, first, NOW).is_some());
    take_stats(&mut tracer);
    for reply in [Reply::OK, Reply::grpc(14), Reply::grpc(3), Reply::Reset] {
        assert!(reply.tell(&mut tracer, first, NOW).is_none());
        assert_eq!(take_stats(&mut tracer), []);
        assert_eq!(pending(&tracer), (0, 10));
    }
    assert!(Reply::Reset.tell(&mut tracer, second, NOW).is_some());
}

/// Counts are handed over once, under names that differ from each other and
/// from those of levels.
#[test]
fn stats_are_taken_once() {
    let mut tracer = tracer(BatchConfig::default());
    end_span(&mut tracer, 1, NOW);
    assert_eq!(counted(&mut tracer, Stat::Sampled), 1);
    assert_eq!(take_stats(&mut tracer), []);
    let stats = Stat::ALL.iter().map(|stat| stat.name());
    let names: Vec<&str> = stats
        .chain(Level::ALL.iter().map(|level| level.name()))
        .collect();
    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    assert!(names.iter().all(|name| name.starts_with("sidespan.")));
}

// ------------------------------------------------------------------- books

/// What happens to a tracer.
#[derive(Clone, Debug)]
enum Op {
    /// A stream ends whose path has one of these lengths.
    End(usize),
    /// A request that is not sampled.
    Unsampled,
    /// Time goes by, and the host ticks.
    Wait(u64),
    /// The clock is set back, and the host ticks.
    SetBack(u64),
    /// The host sends what is ready.
    Send,
    /// One of those under way ends.
    Finish(usize, Outcome),
    /// A host that tells of one that has ended already.
    FinishAgain(usize, Outcome),
    Shutdown,
    /// The host forgets another tracer.
    Adopt(Past),
}

/// What another tracer has behind it.
#[derive(Clone, Debug)]
struct Past {
    age: u64,
    spans: usize,
    /// Batches that it sent.
    sent: usize,
    /// How the first of them ended.
    ends: Vec<Outcome>,
    was_shut_down: bool,
}

#[derive(Clone, Debug)]
enum Outcome {
    Ok,
    Partial(i64),
    Garbage(Vec<u8>),
    Grpc(u32),
    GrpcText(Vec<u8>),
    /// A code and a `RetryInfo`.
    Asked(u32, i64),
    Http(u16),
    Reset,
    NoCluster,
    NoEndpoint,
}

/// What an outcome means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    Taken(u64),
    Refused,
    Again(Option<u64>),
}

impl Outcome {
    fn reply(&self) -> Reply {
        match self {
            Self::Ok => Reply::OK,
            Self::Partial(n) => Reply::grpc(0).body(framed(&partial(*n, "no"))),
            Self::Garbage(bytes) => Reply::grpc(0).body(bytes),
            Self::Grpc(code) => Reply::grpc(code),
            Self::GrpcText(text) => Reply::http(200).header("grpc-status", text),
            Self::Asked(code, seconds) => {
                let details = details(vec![retry_info(*seconds, 0)]);
                Reply::grpc(code).trailer("grpc-status-details-bin", details)
            }
            Self::Http(status) => Reply::http(status),
            Self::Reset => Reply::Reset,
            Self::NoCluster => Reply::NoCluster,
            Self::NoEndpoint => Reply::NoEndpoint,
        }
    }

    fn meaning(&self, spans: u64) -> Meaning {
        match *self {
            Self::Ok | Self::Garbage(_) | Self::Grpc(0) | Self::Asked(0, _) => Meaning::Taken(0),
            Self::Partial(n) => Meaning::Taken(u64::try_from(n).unwrap_or(0).min(spans)),
            Self::Grpc(1 | 4 | 10 | 11 | 14 | 15) => Meaning::Again(None),
            Self::Asked(1 | 4 | 8 | 10 | 11 | 14 | 15, seconds) => {
                Meaning::Again(Some(u64::try_from(seconds).unwrap_or(0)))
            }
            Self::Http(429 | 502..=504) => Meaning::Again(None),
            Self::Grpc(_) | Self::Asked(..) | Self::Http(_) => Meaning::Refused,
            Self::GrpcText(_) => Meaning::Refused,
            Self::Reset | Self::NoCluster | Self::NoEndpoint => Meaning::Again(None),
        }
    }
}

/// Never one with a partial success: its lengths would have to fit.
fn garbage() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..5),
        prop::collection::vec(any::<u8>(), 6..30).prop_map(|mut bytes| {
            bytes[0] = 0;
            bytes[1] = 1;
            bytes
        }),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Ok),
        2 => prop_oneof![-2..10_i64, Just(i64::MIN), Just(i64::MAX)].prop_map(Outcome::Partial),
        1 => garbage().prop_map(Outcome::Garbage),
        6 => (0..=20_u32).prop_map(Outcome::Grpc),
        1 => "[a-z]{0,3}".prop_map(|text| Outcome::GrpcText(text.into())),
        1 => prop_oneof![-1..1_i64, -1..120_i64]
            .prop_flat_map(|seconds| (0..=20_u32).prop_map(move |c| Outcome::Asked(c, seconds))),
        2 => prop::sample::select(vec![100, 200, 302, 400, 401, 403, 404, 429, 500, 502, 503, 504])
            .prop_map(Outcome::Http),
        1 => Just(Outcome::Reset),
        1 => Just(Outcome::NoCluster),
        1 => Just(Outcome::NoEndpoint),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let time = prop_oneof![0..3 * SECOND, 0..100 * SECOND, Just(SECOND)];
    prop_oneof![
        24 => prop_oneof![Just(0_usize), Just(100), Just(1000)].prop_map(Op::End),
        1 => Just(Op::Unsampled),
        8 => time.prop_map(Op::Wait),
        1 => prop_oneof![0..SECOND, 0..2 * HOUR].prop_map(Op::SetBack),
        10 => Just(Op::Send),
        10 => (any::<usize>(), outcome()).prop_map(|(at, how)| Op::Finish(at, how)),
        1 => (any::<usize>(), outcome()).prop_map(|(at, how)| Op::FinishAgain(at, how)),
        1 => prop_oneof![9 => Just(Op::Send), 1 => Just(Op::Shutdown)],
        1 => past().prop_map(Op::Adopt),
    ]
}

fn past() -> impl Strategy<Value = Past> {
    let age = prop_oneof![Just(0), 0..40 * SECOND];
    let ends = prop::collection::vec(outcome(), 0..4);
    (age, 0..6_usize, 0..4_usize, ends, any::<bool>()).prop_map(
        |(age, spans, sent, ends, was_shut_down)| Past {
            age,
            spans,
            sent,
            ends,
            was_shut_down,
        },
    )
}

fn retry() -> impl Strategy<Value = RetryConfig> {
    let initial = prop_oneof![Just(1000), 1..20_000_u64];
    let max = prop_oneof![Just(30), 1..60_u64];
    let elapsed = prop_oneof![Just(0), 1..20_u64, Just(300)];
    (initial, max, elapsed).prop_map(|(initial, max, elapsed)| RetryConfig {
        initial_interval: Duration::from_millis(initial),
        max_interval: Duration::from_secs(max),
        max_elapsed_time: Duration::from_secs(elapsed),
    })
}

fn limits() -> impl Strategy<Value = BatchConfig> {
    (1..20_usize, 0..5000_usize, 1..8_usize, 1..4_usize).prop_map(
        |(max_queue_size, max_queue_bytes, batch, max_concurrent_exports)| BatchConfig {
            max_queue_size,
            max_queue_bytes,
            max_export_batch_size: batch.min(max_queue_size),
            max_concurrent_exports,
            ..BatchConfig::default()
        },
    )
}

/// A batch as the twin knows it: its spans with their lengths.
#[derive(Clone, Debug, Default)]
struct TwinBatch {
    spans: Vec<(String, usize)>,
    opened: u64,
    failures: u32,
    first_sent: u64,
    /// Between these it may be sent again.
    due: (u64, u64),
}

impl TwinBatch {
    fn count(&self) -> u64 {
        self.spans.len() as u64
    }

    fn has(&self, ids: &[String]) -> bool {
        self.spans.iter().map(|(id, _)| id).eq(ids)
    }
}

/// The exporter as one would write it without a thought for what it costs. It
/// does not know the jitter: where that matters, it knows a range.
#[derive(Debug, Default)]
struct Twin {
    limits: BatchConfig,
    retry: RetryConfig,
    open: TwinBatch,
    open_is_due: bool,
    ready: VecDeque<TwinBatch>,
    waiting: Vec<TwinBatch>,
    under_way: Vec<(CalloutId, TwinBatch)>,
    ended: Vec<CalloutId>,
    failures_in_a_row: u32,
    /// Silence ends between these.
    silent_until: (u64, u64),
    ends_at: Option<u64>,
    last_tick: u64,
    /// A recovery was told, and no failure since.
    is_well: bool,
    created: u64,
    retries: u64,
    acknowledged: u64,
    rejected: u64,
    queue_full: u64,
    permanent: u64,
    exhausted: u64,
    shutdown: u64,
}

impl Twin {
    fn waiting_spans(&self) -> impl Iterator<Item = &(String, usize)> {
        let batches = self.ready.iter().chain(&self.waiting);
        batches.chain([&self.open]).flat_map(|batch| &batch.spans)
    }

    fn queued_bytes(&self) -> usize {
        self.waiting_spans().map(|(_, len)| len).sum()
    }

    fn in_flight(&self) -> u64 {
        self.under_way.iter().map(|(_, batch)| batch.count()).sum()
    }

    fn close(&mut self) {
        self.open_is_due = false;
        let batch = std::mem::take(&mut self.open);
        if batch.count() > 0 {
            self.ready.push_back(batch);
        }
    }

    fn end(&mut self, id: String, bytes: usize, now: u64) {
        self.created += 1;
        if self.waiting_spans().count() + 1 > self.limits.max_queue_size
            || self.queued_bytes() + bytes > self.limits.max_queue_bytes
        {
            self.queue_full += 1;
            return;
        }
        if self.open.spans.is_empty() {
            self.open.opened = now;
        }
        self.open.spans.push((id, bytes));
        if self.open.spans.len() == self.limits.max_export_batch_size {
            self.close();
        }
    }

    fn tick(&mut self, now: u64) {
        let delay = nanos(self.limits.schedule_delay);
        if now < self.open.opened || now >= self.open.opened + delay {
            self.open_is_due = !self.open.spans.is_empty();
        }
        if now < self.last_tick {
            self.silent_until = (0, 0);
            self.hasten(now, now);
        }
        self.last_tick = now;
        self.ends_at = self.ends_at.map(|end| end.min(now + 30 * SECOND));
        if self.ends_at.is_some_and(|end| now >= end) {
            self.clear();
        }
    }

    /// What waits waits no longer than until a moment between these.
    fn hasten(&mut self, earliest: u64, latest: u64) {
        for batch in &mut self.waiting {
            batch.due = (batch.due.0.min(earliest), batch.due.1.min(latest));
        }
    }

    fn shut_down(&mut self, now: u64) {
        self.retry.max_interval = self.retry.max_interval.min(Duration::from_secs(3));
        let spread = self.retry.max_interval.min(self.retry.initial_interval);
        self.hasten(now, now + nanos(spread) + 1000);
        self.open_is_due = !self.open.spans.is_empty();
        let end = now + 30 * SECOND;
        self.ends_at = Some(self.ends_at.unwrap_or(end).min(end));
    }

    fn is_down(&self) -> bool {
        self.failures_in_a_row >= 5
    }

    fn most(&self) -> usize {
        if self.is_down() {
            1
        } else {
            self.limits.max_concurrent_exports
        }
    }

    /// An export with these spans goes.
    fn sent(&mut self, id: CalloutId, ids: &[String], now: u64) -> Result<(), TestCaseError> {
        prop_assert!(self.under_way.len() < self.most(), "a slot was free");
        prop_assert!(now >= self.silent_until.0, "it is silent");
        let mut batch = if let Some(at) = self.waiting.iter().position(|b| b.has(ids)) {
            let batch = self.waiting.remove(at);
            let mut others = self.waiting.iter();
            prop_assert!(
                others.all(|b| b.due.1 >= batch.due.0),
                "another was due before"
            );
            batch
        } else {
            prop_assert!(!self.is_down() || self.waiting.is_empty(), "new ones wait");
            prop_assert!(
                self.waiting.iter().all(|b| now < b.due.1),
                "what comes back goes first"
            );
            if self.ready.is_empty() && self.open_is_due {
                self.close();
            }
            let batch = self.ready.pop_front().expect("the twin has it ready");
            prop_assert!(batch.has(ids), "the oldest goes");
            batch
        };
        prop_assert!(now >= batch.due.0, "{now} is before {:?}", batch.due);
        if batch.failures == 0 {
            batch.first_sent = now;
        } else {
            self.retries += 1;
        }
        self.under_way.push((id, batch));
        Ok(())
    }

    /// Nothing that could go stays.
    fn nothing_can_go(&self, now: u64) -> Result<(), TestCaseError> {
        if self.under_way.len() < self.most() && now >= self.silent_until.1 {
            prop_assert!(
                self.waiting.iter().all(|b| now < b.due.1),
                "a batch is forgotten"
            );
            if !self.is_down() || self.waiting.is_empty() {
                prop_assert!(self.ready.is_empty() && !self.open_is_due);
            }
        }
        Ok(())
    }

    /// The shortest and the longest time to the next tick, with nothing to
    /// send now.
    fn next_tick(&self, now: u64) -> (u64, u64) {
        let mut dues = vec![(now + SECOND, now + SECOND)];
        if !self.open.spans.is_empty() && !self.open_is_due {
            let due = self.open.opened + nanos(self.limits.schedule_delay);
            dues.push((due, due));
        }
        if self.under_way.len() < self.most() {
            let silence = self.silent_until;
            if self.is_down() && !self.waiting.is_empty()
                || self.ready.is_empty() && !self.open_is_due
            {
                let due = |b: &TwinBatch| (b.due.0.max(silence.0), b.due.1.max(silence.1));
                dues.extend(self.waiting.iter().map(due));
            } else {
                dues.push(silence);
            }
        }
        let first = |due: Option<u64>| due.unwrap().saturating_sub(now);
        (
            first(dues.iter().map(|due| due.0).min()),
            first(dues.iter().map(|due| due.1).min()),
        )
    }

    /// The earliest and the latest moment of another export, by itself.
    fn due(&self, failures: u32, now: u64) -> (u64, u64) {
        let growth = 1.5_f64.powi(i32::try_from(failures).unwrap() - 1);
        let interval = self.retry.initial_interval.as_secs_f64() * growth;
        let interval = interval.min(self.retry.max_interval.as_secs_f64());
        let at = |seconds: f64| now + Duration::from_secs_f64(seconds).as_nanos() as u64;
        // What floating point may be off by.
        (at(0.5 * interval) - 1000, at(1.5 * interval) + 1000)
    }

    /// `exhausted` is what the tracer says; it is held against what it may be.
    fn finish(
        &mut self,
        at: usize,
        outcome: &Outcome,
        exhausted: u64,
        now: u64,
    ) -> Result<(), TestCaseError> {
        let (id, mut batch) = self.under_way.remove(at);
        self.ended.push(id);
        let spans = batch.count();
        match outcome.meaning(spans) {
            Meaning::Again(asked) => {
                self.failures_in_a_row += 1;
                self.is_well = false;
                batch.failures += 1;
                batch.first_sent = batch.first_sent.min(now);
                batch.due = self.due(batch.failures, now);
                if let Some(asked) = asked {
                    let most = nanos(self.retry.max_elapsed_time);
                    let asked = most.min(asked.saturating_mul(SECOND));
                    let end = (now + asked, now + most.min(asked + asked / 2));
                    self.silent_until.0 = self.silent_until.0.max(end.0);
                    self.silent_until.1 = self.silent_until.1.max(end.1);
                    batch.due.0 = batch.due.0.max(end.0);
                    batch.due.1 = batch.due.1.max(end.1);
                }
                let last = batch.first_sent + nanos(self.retry.max_elapsed_time);
                let is_asked_for_longer = asked
                    .is_some_and(|asked| Duration::from_secs(asked) > self.retry.max_elapsed_time);
                if exhausted > 0 {
                    prop_assert!(
                        is_asked_for_longer || batch.due.1 > last,
                        "it could be tried again"
                    );
                    self.exhausted += spans;
                } else {
                    prop_assert!(!is_asked_for_longer, "it cannot be tried in time");
                    prop_assert!(batch.due.0 <= last, "it was tried for long enough");
                    self.waiting.push(batch);
                }
                return Ok(());
            }
            Meaning::Refused => self.permanent += spans,
            Meaning::Taken(rejected) => {
                self.rejected += rejected;
                self.acknowledged += spans - rejected;
                self.is_well |= !matches!(outcome, Outcome::Partial(_));
            }
        }
        if self.is_down() {
            self.hasten(now, now + nanos(self.retry.initial_interval) + 1000);
        }
        self.failures_in_a_row = 0;
        Ok(())
    }

    /// All that waits or is under way is given up.
    fn clear(&mut self) {
        self.shutdown += self.waiting_spans().count() as u64 + self.in_flight();
        self.open = TwinBatch::default();
        self.open_is_due = false;
        self.ready.clear();
        self.waiting.clear();
        self.ended
            .extend(self.under_way.drain(..).map(|(id, _)| id));
    }

    /// Whether this is what an operator is to read of an end.
    fn is_told(&self, outcome: &Outcome, spans: u64, notice: Option<&Notice>) -> bool {
        match (outcome.meaning(spans), notice) {
            (Meaning::Again(_), Some(Notice::Failing(_))) => true,
            (Meaning::Refused, Some(Notice::Refused { spans: n, .. })) => *n as u64 == spans,
            (Meaning::Taken(rejected), Some(Notice::Rejected { spans: n, .. })) => {
                *n as u64 == rejected && matches!(outcome, Outcome::Partial(_))
            }
            (Meaning::Taken(_), Some(Notice::Recovered)) => !self.is_well,
            (Meaning::Taken(_), None) => self.is_well,
            _ => false,
        }
    }

    /// What was under way goes again at once, what waited goes on waiting.
    fn adopt(&mut self, mut other: Self, now: u64) {
        other.close();
        self.ready.extend(other.ready);
        self.waiting.extend(other.waiting);
        for (_, mut batch) in other.under_way {
            batch.failures = batch.failures.max(1);
            batch.due = (now, now);
            self.waiting.push(batch);
        }
        self.silent_until.0 = self.silent_until.0.max(other.silent_until.0);
        self.silent_until.1 = self.silent_until.1.max(other.silent_until.1);
        self.ends_at = self.ends_at.or(other.ends_at);
        self.created += other.created;
        self.retries += other.retries;
        self.acknowledged += other.acknowledged;
        self.rejected += other.rejected;
        self.queue_full += other.queue_full;
        self.permanent += other.permanent;
        self.exhausted += other.exhausted;
    }
}

/// A tracer, its twin, and what both say.
struct Pair {
    tracer: Tracer,
    twin: Twin,
    books: Books,
    now: u64,
}

impl Pair {
    fn new(limits: &BatchConfig, retry: &RetryConfig, seed: u8, now: u64) -> Self {
        Self {
            tracer: tracer_of(limits.clone(), retry.clone(), Protocol::Grpc, seed),
            twin: Twin {
                limits: limits.clone(),
                retry: retry.clone(),
                ..Twin::default()
            },
            books: Books::default(),
            now,
        }
    }

    fn end(&mut self, length: usize, bytes: usize) {
        let id = end_span(&mut self.tracer, length, self.now);
        self.twin.end(id, bytes, self.now);
    }

    fn tick(&mut self) {
        self.tracer.on_tick(self.now);
        self.twin.tick(self.now);
    }

    fn shut_down(&mut self) {
        self.tracer.shutdown(self.now);
        self.twin.shut_down(self.now);
    }

    fn send(&mut self, most: usize) -> Result<(), TestCaseError> {
        for _ in 0..most {
            let Some(callout) = self.tracer.next_callout(self.now) else {
                self.twin.nothing_can_go(self.now)?;
                let tick = nanos(self.tracer.next_tick(self.now));
                let (least, most) = self.twin.next_tick(self.now);
                prop_assert!(tick >= least, "a tick for nothing");
                prop_assert!(tick <= (most + MILLI).max(MILLI), "a tick too late");
                return Ok(());
            };
            self.twin.sent(callout.id, &ids(&callout), self.now)?;
        }
        Ok(())
    }

    fn finish(&mut self, at: usize, outcome: &Outcome) -> Result<(), TestCaseError> {
        let at = at % self.twin.under_way.len();
        let (id, batch) = &self.twin.under_way[at];
        let notice = outcome.reply().notice(&mut self.tracer, *id, self.now);
        let is_told = self.twin.is_told(outcome, batch.count(), notice.as_ref());
        prop_assert!(is_told, "{outcome:?}: {notice:?}");
        self.books.balance(&mut self.tracer);
        let exhausted = self.books.get(Stat::SpansDroppedRetryExhausted) - self.twin.exhausted;
        self.twin.finish(at, outcome, exhausted, self.now)
    }

    fn adopt(&mut self, other: Self) {
        // What it has not published comes with it.
        self.books.add(other.books);
        self.tracer.adopt(other.tracer, self.now);
        self.twin.adopt(other.twin, self.now);
    }

    fn agree(&mut self) -> Result<(), TestCaseError> {
        self.books.balance(&mut self.tracer);
        let (books, twin) = (&self.books, &self.twin);
        prop_assert_eq!(books.get(Stat::SpansCreated), twin.created);
        prop_assert_eq!(books.get(Stat::Retries), twin.retries);
        prop_assert_eq!(books.get(Stat::SpansAcknowledged), twin.acknowledged);
        prop_assert_eq!(books.get(Stat::SpansRejected), twin.rejected);
        prop_assert_eq!(books.get(Stat::SpansDroppedQueueFull), twin.queue_full);
        prop_assert_eq!(books.get(Stat::SpansDroppedPermanent), twin.permanent);
        prop_assert_eq!(books.get(Stat::SpansDroppedRetryExhausted), twin.exhausted);
        prop_assert_eq!(books.get(Stat::SpansDroppedShutdown), twin.shutdown);
        prop_assert_eq!(books.get(Stat::SpansDroppedEncoding), 0);
        let level = |level| self.tracer.level(level);
        prop_assert_eq!(
            level(Level::SpansQueued),
            twin.waiting_spans().count() as u64
        );
        prop_assert_eq!(level(Level::SpansInFlight), twin.in_flight());
        prop_assert_eq!(level(Level::BytesQueued), twin.queued_bytes() as u64);
        let tick = self.tracer.next_tick(self.now);
        prop_assert!((1..=1000).contains(&tick.as_millis()), "{:?}", tick);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, in whatever order: every span that was created is
    /// acknowledged, rejected, dropped for one reason, queued or in flight, it
    /// is the twin's queue, and what goes is what the twin would send.
    #[test]
    fn the_books_balance(
        limits in limits(),
        retry in retry(),
        ops in prop::collection::vec(op(), 0..120),
    ) {
        const LENGTHS: [usize; 3] = [0, 100, 1000];
        let bytes_of = LENGTHS.map(span_bytes);
        let bytes_of = |length| bytes_of[LENGTHS.iter().position(|&l| l == length).unwrap()];
        let mut pair = Pair::new(&limits, &retry, 7, NOW);
        pair.tick();
        for (step, op) in ops.into_iter().enumerate() {
            match op {
                Op::End(length) => pair.end(length, bytes_of(length)),
                Op::Unsampled => {
                    let lines = Headers::from_wire([("b3", "0")]);
                    let (stream, _) = request(
                        &mut pair.tracer, &lines, &Info::default(), Direction::Inbound, pair.now,
                    );
                    prop_assert!(stream.is_none());
                }
                Op::Wait(time) => {
                    pair.now += time;
                    pair.tick();
                }
                Op::SetBack(time) => {
                    pair.now -= time;
                    pair.tick();
                }
                Op::Send => pair.send(usize::MAX)?,
                Op::Finish(at, outcome) if !pair.twin.under_way.is_empty() => {
                    pair.finish(at, &outcome)?;
                }
                Op::FinishAgain(at, outcome) if !pair.twin.ended.is_empty() => {
                    let id = pair.twin.ended[at % pair.twin.ended.len()];
                    prop_assert!(outcome.reply().tell(&mut pair.tracer, id, pair.now).is_none());
                }
                Op::Finish(..) | Op::FinishAgain(..) => {}
                Op::Shutdown => pair.shut_down(),
                Op::Adopt(past) => {
                    let begin = pair.now - past.age;
                    let mut other = Pair::new(&limits, &retry, (100 + step) as u8, begin);
                    for _ in 0..past.spans {
                        other.end(100, bytes_of(100));
                    }
                    other.send(past.sent)?;
                    for outcome in past.ends.iter().take(other.twin.under_way.len()) {
                        other.finish(0, outcome)?;
                    }
                    if past.was_shut_down {
                        other.shut_down();
                    }
                    other.agree()?;
                    pair.adopt(other);
                }
            }
            pair.agree()?;
        }
        // The collector is well, and time goes by.
        pair.now += 2 * HOUR;
        for _ in 0..100 {
            pair.now += SECOND;
            pair.tick();
            pair.send(usize::MAX)?;
            while !pair.twin.under_way.is_empty() {
                pair.finish(0, &Outcome::Ok)?;
            }
            pair.agree()?;
        }
        prop_assert!(pair.tracer.is_idle(), "all was sent in the end");
    }
}
