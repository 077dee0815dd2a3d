//! Log lines about exports.

use crate::fake_host::{SECOND, START};
use crate::logs;
use log::Level;
use sidespan_core::export::event::{Notice, Pause};
use sidespan_core::export::response::{Failure, FailureKind};
use sidespan_core::stats::Stat;
use sidespan_runtime::log_throttle::LogThrottle;
use sidespan_runtime::shared_state::{ProcessState, SharedState as _};
use std::time::Duration;

const MINUTE: u64 = 60 * SECOND;

fn failure() -> Failure {
    Failure {
        kind: FailureKind::Grpc(14),
        message: "not now".to_owned(),
    }
}

fn failing() -> Notice {
    Notice::Failing(failure())
}

#[test]
fn failing_exports_are_logged_once_a_minute_by_all_workers_together() {
    logs::capture();
    let state = ProcessState::default();
    let workers = [
        LogThrottle::new(&state, "a/"),
        LogThrottle::new(&state, "a/"),
    ];
    for second in 0..150 {
        for worker in &workers {
            worker.log_event("collector", &failing(), START + second * SECOND);
        }
    }
    let lines = logs::take();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().all(|(level, _)| *level == Level::Warn));
}

#[test]
fn plugins_and_clusters_are_throttled_apart() {
    logs::capture();
    let state = ProcessState::default();
    for prefix in ["a/", "b/"] {
        for cluster in ["one", "two"] {
            LogThrottle::new(&state, prefix).log_event(cluster, &failing(), START);
        }
    }
    assert_eq!(logs::take().len(), 4);
}

#[test]
fn recovery_is_logged_once_and_only_after_a_failure() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "a/");
    throttle.prepare("collector");
    throttle.log_event("collector", &Notice::Recovered, START);
    assert_eq!(logs::take(), []);
    throttle.log_event("collector", &failing(), START);
    throttle.log_event("collector", &Notice::Recovered, START);
    throttle.log_event("collector", &Notice::Recovered, START);
    let lines = logs::take();
    let levels: Vec<Level> = lines.iter().map(|(level, _)| *level).collect();
    assert_eq!(levels, [Level::Warn, Level::Info], "{lines:?}");
}

#[test]
fn refusals_and_rejections_are_throttled_apart_from_failures() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "");
    let refused = Notice::Refused {
        spans: 3,
        failure: failure(),
    };
    let rejected = Notice::Rejected {
        spans: 1,
        message: "bad span".to_owned(),
    };
    for _ in 0..2 {
        for event in [&failing(), &refused, &rejected] {
            throttle.log_event("collector", event, START);
        }
    }
    assert_eq!(logs::take().len(), 3);
}

#[test]
fn pause_is_logged_once_a_minute() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "");
    let pause = Pause {
        until_unix_nanos: START + 5 * SECOND,
        asked: Duration::from_secs(5),
        most: Duration::from_secs(300),
    };
    for now in [START, START + SECOND, START + MINUTE] {
        throttle.log_pause("collector", &pause, now);
    }
    assert_eq!(logs::take().len(), 2);
}

#[test]
fn drops_have_their_number_and_their_counter() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "");
    throttle.log_drops(Stat::SpansDroppedQueueFull, 12, START);
    throttle.log_drops(Stat::SpansDroppedQueueFull, 13, START + SECOND);
    throttle.log_drops(Stat::Sampled, 5, START);
    let lines = logs::texts();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("12") && lines[0].contains("sidespan.spans_dropped.queue_full"));
}

/// Metrics may go with the configuration.
#[test]
fn drops_of_a_shutdown_are_logged_each_time() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "");
    throttle.log_drops(Stat::SpansDroppedShutdown, 1, START);
    throttle.log_drops(Stat::SpansDroppedShutdown, 2, START);
    assert_eq!(logs::take().len(), 2);
}

#[test]
fn warning_is_logged_once_for_all_workers() {
    logs::capture();
    let state = ProcessState::default();
    for _ in 0..3 {
        LogThrottle::new(&state, "a/").warn_once("no OTEL_TOKEN");
        LogThrottle::new(&state, "a/").warn_once("no OTHER_TOKEN");
    }
    assert_eq!(logs::texts(), ["no OTEL_TOKEN", "no OTHER_TOKEN"]);
}

/// A clock that was set back does not silence a line for long.
#[test]
fn line_is_due_when_the_clock_was_set_back() {
    logs::capture();
    let state = ProcessState::default();
    let throttle = LogThrottle::new(&state, "");
    throttle.log_event("collector", &failing(), START);
    throttle.log_event("collector", &failing(), START - 2 * MINUTE);
    assert_eq!(logs::take().len(), 2);
}

#[test]
fn shared_state_tells_writers_apart_by_version() {
    let state = ProcessState::default();
    assert!(state.compare_and_set("a", b"", 0));
    let (_, version) = state.get("a").unwrap();
    assert!(state.compare_and_set("a", b"1", version));
    assert!(
        !state.compare_and_set("a", b"2", version),
        "written meanwhile"
    );
    assert!(!state.change("a", b"1"), "it has this value");
    assert!(state.change("a", b"3"));
}
