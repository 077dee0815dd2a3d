//! Metrics: defined at zero, published as deltas and levels.

use crate::fake_host::FakeHost;
use sidespan_core::stats::{Level, Stat, version_number};
use sidespan_runtime::metrics::{GaugeShare, MetricDefiner, Metrics};

#[test]
fn all_metrics_are_zero_from_the_start() {
    let host = FakeHost::new();
    Metrics::define(&host);
    let names = host.names();
    let of_core = Stat::ALL.iter().map(|stat| stat.name());
    for name in of_core.chain(Level::ALL.iter().map(|level| level.name())) {
        assert!(names.iter().any(|known| known == name), "{name}");
    }
    for name in ["export_time", "config_rejected", "config_stale", "version"] {
        assert_eq!(host.metric(name), Some(0), "{name}");
    }
    assert!(host.metrics().is_empty());
}

#[test]
fn counters_add_up() {
    let host = FakeHost::new();
    let metrics = Metrics::define(&host);
    metrics.count(&host, Stat::SpansCreated, 2);
    metrics.count(&host, Stat::SpansCreated, 3);
    metrics.count_rejected(&host, 1);
    metrics.set_version(&host);
    metrics.record_export_time(&host, 12);
    assert_eq!(host.metric("spans_created"), Some(5));
    assert_eq!(host.metric("config_rejected"), Some(1));
    assert_eq!(host.metric("version"), i64::try_from(version_number()).ok());
    assert_eq!(host.metric("export_time"), Some(1), "one value");
}

#[test]
fn gauges_are_the_sum_of_all_workers() {
    let host = FakeHost::new();
    let metrics = Metrics::define(&host);
    let mut shares = [GaugeShare::default(); 2];
    for (queued, expected) in [([3, 4], 7), ([0, 4], 4), ([10, 0], 10), ([0, 0], 0)] {
        for (share, queued) in shares.iter_mut().zip(queued) {
            share.publish(&metrics, &host, |level| match level {
                Level::SpansQueued => queued,
                _ => 0,
            });
        }
        assert_eq!(host.metric("spans_queued"), Some(expected), "{queued:?}");
    }
}

#[test]
fn gauge_of_a_pause_is_the_highest_of_all_workers() {
    let host = FakeHost::new();
    let metrics = Metrics::define(&host);
    let mut shares = [GaugeShare::default(); 2];
    for (share, until) in shares.iter_mut().zip([200, 100]) {
        share.publish(&metrics, &host, |level| match level {
            Level::ExportsPausedUntil => until,
            _ => 0,
        });
    }
    assert_eq!(host.metric("exports.paused_until"), Some(200));
}

/// What an adopted worker had published is subtracted when its spans are gone.
#[test]
fn adopted_share_leaves_the_gauge_with_its_spans() {
    let host = FakeHost::new();
    let metrics = Metrics::define(&host);
    let level_of = |queued| {
        move |level| match level {
            Level::SpansQueued => queued,
            _ => 0,
        }
    };
    let (mut first, mut second) = (GaugeShare::default(), GaugeShare::default());
    first.publish(&metrics, &host, level_of(5));
    second.adopt(first);
    second.publish(&metrics, &host, level_of(5));
    assert_eq!(host.metric("spans_queued"), Some(5), "the same spans");
    second.publish(&metrics, &host, level_of(0));
    assert_eq!(host.metric("spans_queued"), Some(0));
}

#[test]
fn levels_of_a_process_are_set() {
    let host = FakeHost::new();
    let metrics = Metrics::define(&host);
    for queued in [7, 3] {
        let mut levels = [0; Level::ALL.len()];
        levels[Level::SpansQueued as usize] = queued;
        metrics.set_levels(&host, &levels);
        assert_eq!(host.metric("spans_queued"), i64::try_from(queued).ok());
    }
    metrics.set_stale(&host, 4);
    metrics.add_stale(&host, -1);
    assert_eq!(host.metric("config_stale"), Some(3));
}

/// A host that defines nothing publishes nothing, and nothing fails.
#[test]
fn metrics_that_the_host_refused_are_not_published() {
    struct Refusing;
    impl MetricDefiner for Refusing {
        type Id = usize;
        fn define_counter(&self, _: &str) -> Option<usize> {
            None
        }
        fn define_gauge(&self, _: &str) -> Option<usize> {
            None
        }
        fn define_histogram(&self, _: &str) -> Option<usize> {
            None
        }
    }
    let host = FakeHost::new();
    let metrics = Metrics::define(&Refusing);
    metrics.count(&host, Stat::Sampled, 1);
    metrics.record_export_time(&host, 1);
    metrics.add_stale(&host, 1);
    metrics.set_version(&host);
    metrics.set_levels(&host, &[1; Level::ALL.len()]);
    GaugeShare::default().publish(&metrics, &host, |_| 1);
    assert!(host.names().is_empty());
}
