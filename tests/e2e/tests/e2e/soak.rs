//! What `make soak` runs: every failure of a collector for long, under full
//! load, and a table of what it cost. A load and each failure last a given
//! time, so the sleeps here are what is measured.

use super::delivery::{Books, ROOMY, stage};
use super::reload::reload_under_load;
use super::stage::{EXPORTER, Stage};
use harness::load::{self, LoadReport};
use harness::{Behaviour, Code, Garbage, MockCollector};
use std::collections::HashSet;
use std::thread::sleep;
use std::time::Duration;

/// How long each failure lasts.
fn lasting() -> Duration {
    let seconds = std::env::var("SOAK_SECONDS").ok();
    let seconds = seconds.and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(60))
}

const PATIENCE: Duration = Duration::from_secs(300);

/// What came of one load.
struct Outcome {
    report: LoadReport,
    books: Books,
    /// Of all collectors that took part.
    distinct: u64,
    resident: u64,
}

/// A load for so long, while `during` does things to the collector; it
/// gives the collectors whose place was taken.
fn run(
    exporter: &str,
    time: Duration,
    during: impl FnOnce(&mut Stage) -> Vec<MockCollector>,
) -> Outcome {
    let mut stage = stage(exporter);
    let addr = stage.addr();
    let load = std::thread::spawn(move || load::run_for(addr, "/bytes/10", 16, time, &[]));
    let earlier = during(&mut stage);
    let report = load.join().expect("the load");
    let resident = stage.envoy.rss_bytes();
    let books = harness::eventually(PATIENCE, "that all spans are accounted for", || {
        let books = Books::of(&stage);
        (books.created == report.ok + report.failed && books.queued + books.in_flight == 0)
            .then_some(books)
    });
    let collectors = earlier.iter().chain([&stage.collector]);
    let ids: HashSet<_> = collectors.flat_map(MockCollector::ids).collect();
    Outcome {
        report,
        books,
        distinct: ids.len() as u64,
        resident,
    }
}

/// Puts a new collector in the place of one that was stopped.
fn replace(stage: &mut Stage) -> MockCollector {
    let addr = stage.collector.addr();
    let collector = MockCollector::start_on(addr);
    collector.keep_only_ids();
    std::mem::replace(&mut stage.collector, collector)
}

fn behaving(stage: &Stage, cycle: Vec<Behaviour>) -> Vec<MockCollector> {
    stage.collector.set_cycle(cycle);
    sleep(lasting());
    stage.collector.set_behaviour(Behaviour::Accept);
    Vec::new()
}

fn told(name: &str, outcome: &Outcome) {
    let Outcome {
        report,
        books,
        distinct,
        resident,
    } = outcome;
    println!(
        "{name:<24} {:>9} requests {:>3} failed  p99 {:>9.2?}  {:>9} created {:>9} at the collector {:>7} rejected {:>8} declared lost  {:>4} MiB",
        report.ok + report.failed,
        report.failed,
        report.p99,
        books.created,
        distinct,
        books.rejected,
        books.dropped,
        resident >> 20,
    );
}

#[test]
#[ignore = "takes a quarter of an hour; make soak runs it"]
fn no_failure_of_a_collector_harms_a_request_or_loses_a_span_in_silence() {
    let seconds = lasting();
    let healthy = run(EXPORTER, seconds, |_| Vec::new());
    told("healthy", &healthy);
    assert_eq!(healthy.distinct, healthy.books.created);

    let half = seconds / 2;
    let unavailable = || Behaviour::Fail(Code::Unavailable, "not now".to_owned());
    let later = Behaviour::FailWithRetryInfo(Code::ResourceExhausted, Duration::from_secs(1));
    let late = Behaviour::Delay(Duration::from_secs(2));
    let partial = Behaviour::PartialSuccess {
        rejected: 3,
        message: "three too many".to_owned(),
    };
    let patient = ROOMY.replace("timeout: 2s", "timeout: 10s");
    let many_late = patient.replace(
        "schedule_delay",
        "max_concurrent_exports: 64, schedule_delay",
    );
    type During = Box<dyn FnOnce(&mut Stage) -> Vec<MockCollector>>;
    let cases: Vec<(&str, &str, During)> = vec![
        (
            "away for 20 s",
            ROOMY,
            Box::new(|stage| {
                sleep(Duration::from_secs(5));
                stage.collector.stop();
                sleep(Duration::from_secs(20));
                vec![replace(stage)]
            }),
        ),
        (
            "every second refused",
            ROOMY,
            Box::new(move |stage| behaving(stage, vec![unavailable(), Behaviour::Accept])),
        ),
        (
            "asks for time",
            ROOMY,
            Box::new(|stage| behaving(stage, vec![later, Behaviour::Accept, Behaviour::Accept])),
        ),
        (
            "never answers",
            ROOMY,
            Box::new(move |stage| {
                stage.collector.set_behaviour(Behaviour::Hang);
                sleep(half);
                stage.collector.set_behaviour(Behaviour::Accept);
                Vec::new()
            }),
        ),
        (
            "answers 2 s late",
            &many_late,
            Box::new(|stage| behaving(stage, vec![late])),
        ),
        (
            "closes in the middle",
            ROOMY,
            Box::new(|stage| {
                behaving(
                    stage,
                    vec![
                        Behaviour::Accept,
                        Behaviour::Accept,
                        Behaviour::DropConnection,
                    ],
                )
            }),
        ),
        (
            "partial success",
            ROOMY,
            Box::new(|stage| behaving(stage, vec![partial])),
        ),
        (
            "speaks garbage",
            ROOMY,
            Box::new(move |stage| {
                stage.collector.stop();
                let garbage = Garbage::start_on(stage.collector.addr());
                sleep(half);
                drop(garbage);
                vec![replace(stage)]
            }),
        ),
    ];
    for (name, exporter, during) in cases {
        let outcome = run(exporter, seconds, during);
        told(name, &outcome);
        let Outcome {
            report,
            books,
            distinct,
            ..
        } = &outcome;
        assert_eq!(report.failed, 0, "{name}");
        assert_eq!(books.dropped, 0, "{name}: {books:?}");
        assert_eq!(books.created, books.acknowledged + books.rejected, "{name}");
        assert_eq!(*distinct, books.created, "{name}");
        // Runs of the same load differ by less.
        assert!(
            report.p99 < 3 * healthy.report.p99,
            "{name}: {:?}",
            report.p99
        );
    }

    let dead = run(EXPORTER, 5 * seconds, |stage| {
        stage.collector.stop();
        sleep(5 * seconds);
        vec![replace(stage)]
    });
    told("dead", &dead);
    assert_eq!(dead.report.failed, 0);
    assert_eq!(dead.books.created, dead.distinct + dead.books.dropped);
    let grown = dead.resident.saturating_sub(healthy.resident);
    assert!(grown < 16 << 20, "{grown} bytes over the healthy run");
    assert!(dead.report.p99 < 3 * healthy.report.p99);
}

#[test]
#[ignore = "takes minutes; make soak runs it"]
fn a_million_requests_give_a_million_spans() {
    const REQUESTS: u64 = 1_000_000;
    let stage = stage(EXPORTER);
    let report = load::run(stage.addr(), "/bytes/10", 16, REQUESTS, &[]);
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    let books = Books::closed(&stage, REQUESTS, PATIENCE);
    assert_eq!((books.acknowledged, books.dropped), (REQUESTS, 0));
    let distinct: HashSet<_> = stage.collector.ids().into_iter().collect();
    let had = (stage.collector.span_count() as u64, distinct.len() as u64);
    assert_eq!(had, (REQUESTS, REQUESTS), "each once");
    println!("1,000,000 requests, 1,000,000 spans, each once");
}

#[test]
#[ignore = "takes minutes; make soak runs it"]
fn a_hundred_reloads_lose_nothing() {
    reload_under_load(100);
    println!("100 reloads, valid and invalid in turn: no request failed, no span lost");
}
