//! One Envoy under load, and what it took of the CPU.

use crate::variant::Variant;
use harness::{Envoy, MockCollector, Upstream, eventually, load};
use std::time::Duration;

/// The core of the Envoys; that of everything else is the one of this process.
const ENVOYS_CORE: &str = "0";

const CONNECTIONS: usize = 16;

/// A request as an application behind a gateway gets it.
const HEADERS: [(&str, &[u8]); 6] = [
    ("user-agent", b"Mozilla/5.0 (X11; Linux x86_64) bench/1.0"),
    ("accept", b"application/json"),
    ("accept-encoding", b"gzip, br"),
    ("x-tenant", b"acme"),
    ("x-user-id", b"u-4711"),
    ("cookie", b"session=0123456789abcdef0123456789abcdef"),
];

/// How long exports may lag behind the requests: longer than our own
/// `schedule_delay`. What they cost belongs to the requests.
const SETTLING: Duration = Duration::from_millis(1_300);

/// Of the load at a fixed rate, well below what one core can do.
const RATE: u64 = 2_000;

/// A variant that runs.
pub struct Subject {
    pub variant: Variant,
    pub sampled: u32,
    envoy: Envoy,
    collector: MockCollector,
    _upstream: Upstream,
}

/// What one load took.
pub struct Measured {
    /// Nanoseconds of CPU a request.
    pub cpu: f64,
    /// Requests a second.
    pub rate: f64,
}

impl Subject {
    pub fn start(variant: Variant, sampled: u32) -> Self {
        let (upstream, collector) = (Upstream::start(), MockCollector::start());
        upstream.record(false);
        collector.keep_only_ids();
        let binary = harness::envoy::find_binary();
        let pinned = ["taskset", "-c", ENVOYS_CORE].map(Into::into);
        let envoy = variant
            .envoy(sampled)
            .prefix_command(pinned.into_iter().chain([binary.into_os_string()]))
            .port(8080, upstream.port())
            .port(4317, collector.port())
            .start();
        Self {
            variant,
            sampled,
            envoy,
            collector,
            _upstream: upstream,
        }
    }

    /// Makes so many requests, and waits for their exports.
    pub fn load(&self, requests: u64) -> Measured {
        let before = self.cpu();
        let report = load::run(
            self.envoy.addr(10000),
            "/bytes/100",
            CONNECTIONS,
            requests,
            &HEADERS,
        );
        std::thread::sleep(SETTLING);
        let cpu = self.cpu() - before;
        assert_eq!(report.failed, 0, "{}", self.variant.name());
        Measured {
            cpu: cpu as f64 / requests as f64,
            rate: requests as f64 / report.elapsed.as_secs_f64(),
        }
    }

    /// Nanoseconds that all threads were on a CPU (`schedstat`, first field).
    fn cpu(&self) -> u64 {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.envoy.pid()));
        let on_cpu = |thread: std::fs::DirEntry| {
            let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        threads
            .expect("Envoy's threads")
            .flatten()
            .filter_map(on_cpu)
            .sum()
    }
}

/// All that was measured of a variant.
pub struct Point {
    pub variant: Variant,
    pub sampled: u32,
    pub rounds: Vec<Measured>,
    /// At a fixed rate, and full sampling only.
    pub latency: Option<(Duration, Duration)>,
    pub resident: u64,
    pub spans: Spans,
}

/// Whether each span came.
#[derive(Default)]
pub struct Spans {
    /// That had to come; unknown where nobody counts them.
    pub sampled: Option<u64>,
    /// That came.
    pub received: u64,
}

impl Point {
    pub fn new(subject: &Subject) -> Self {
        Self {
            variant: subject.variant,
            sampled: subject.sampled,
            rounds: Vec::new(),
            latency: None,
            resident: 0,
            spans: Spans::default(),
        }
    }

    pub fn add(&mut self, measured: Measured) {
        self.rounds.push(measured);
    }

    /// What is measured once.
    pub fn finish(&mut self, subject: &Subject, seconds: u64) {
        let time = Duration::from_secs(seconds);
        if subject.sampled == 100 {
            let addr = subject.envoy.addr(10000);
            let report = load::run_paced(addr, "/bytes/100", CONNECTIONS, RATE, time);
            self.latency = Some((report.p50, report.p99));
        }
        // A client has its answer before its stream is over.
        std::thread::sleep(SETTLING);
        self.resident = subject.envoy.rss_bytes();
        let counter = |name: &str| {
            let prefix = subject.variant.stats_prefix()?;
            subject.envoy.stat(&format!("{prefix}sidespan.{name}"))
        };
        if subject.variant.stats_prefix().is_some() {
            self.spans.sampled = Some(eventually(
                Duration::from_secs(20),
                "that every span is acknowledged",
                || {
                    let created = counter("spans_created")?;
                    (counter("spans_acknowledged")? == created).then_some(created)
                },
            ));
        } else if subject.sampled == 100 && subject.variant != Variant::None {
            // Its own counter says what was sent, not what came.
            std::thread::sleep(Duration::from_secs(6));
            let requests = subject.envoy.stat("http.edge.downstream_rq_total");
            self.spans.sampled = requests;
        }
        self.spans.received = subject.collector.span_count() as u64;
    }
}
