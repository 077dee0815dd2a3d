//! One block of a round: an Envoy of each variant, all with the same share of sampled requests.

use std::time::{Duration, Instant};

use harness::load::run_paced;
use harness::{Envoy, MockCollector, workspace_root};

use crate::load::{Client, Upstream};
use crate::machine::Cores;
use crate::statistics::Spread;
use crate::variant::{HEADERS, LISTENER, NONE, VARIANTS, Variant};

/// What every request asks for.
pub(crate) const PATH: &str = "/orders/4711?page=2";
/// Of one client.
pub(crate) const CONNECTIONS: usize = 16;
/// The bytes that the upstream answers with.
pub(crate) const BODY: usize = 10;
/// Five full batches of 512 spans, so that at 100 % no slice leaves its export to the next one. With
/// fewer requests, filling the caches after another Envoy's turn would be what is measured.
const SLICE: u64 = 2560;
/// What is under way at a slice's end, such as the export of the last batch, is of the slice.
pub(crate) const AFTERGLOW: Duration = Duration::from_millis(20);
/// Ours publish their counters and send what they have every second.
const PUBLICATION: Duration = Duration::from_secs(2);
/// The built-in tracer sends what it has every five seconds.
const LAST_FLUSH: Duration = Duration::from_secs(7);

/// How much is done.
pub(crate) struct Effort {
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Requests that are not measured; V8 compiles what is hot meanwhile.
    warm_up: u64,
    /// The parts of a variant's load. They take a fraction of a second, and those of all variants are
    /// taken in turn, so that what disturbs the machine for a second disturbs all of them.
    slices: u32,
    /// The rate at which latency is measured, far below what an Envoy on one core can do.
    pub(crate) pace: u64,
    paced_for: Duration,
}

impl Effort {
    /// What a record takes.
    pub(crate) const FULL: Self = Self {
        rounds: 11,
        warm_up: 4 * SLICE,
        slices: 8,
        pace: 1000,
        paced_for: Duration::from_secs(2),
    };

    /// Enough to see whether it works.
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        warm_up: 2 * SLICE,
        slices: 2,
        paced_for: Duration::from_secs(1),
        ..Self::FULL
    };

    /// The requests of a round whose CPU time is measured, of each variant.
    pub(crate) fn requests(&self) -> u64 {
        u64::from(self.slices) * SLICE
    }
}

/// What one Envoy has shown.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) round: u32,
    /// How many percent of the requests were to be sampled.
    pub(crate) percent: u32,
    pub(crate) variant: &'static str,
    pub(crate) is_ours: bool,
    /// The requests of the slices.
    pub(crate) requests: u64,
    /// The CPU time of all of Envoy's threads for a request of them, in µs: the slices' median.
    pub(crate) cpu_us: f64,
    /// What of that is due to tracing: the median of what the slices have over those of `none` in
    /// the same turn.
    pub(crate) added_us: f64,
    /// Requests answered in a second of the slices.
    pub(crate) per_second: f64,
    /// Which part of that time Envoy was on its core.
    pub(crate) busy: f64,
    /// At the pace.
    pub(crate) p50: Duration,
    /// At the pace.
    pub(crate) p99: Duration,
    /// Resident memory after all that.
    pub(crate) rss_bytes: u64,
    /// All requests, the warm-up and those at the pace among them.
    answered: u64,
    /// Those of them that were sampled, as Envoy counts them.
    sampled: u64,
    /// The different spans at the collector.
    pub(crate) received: u64,
    /// The calls that brought them.
    pub(crate) calls: u64,
}

impl Sample {
    /// How many spans must be at the collector. Where every request is sampled, nobody's counter is
    /// needed to tell.
    pub(crate) fn spans_due(&self) -> u64 {
        match self.percent {
            100 => self.answered,
            _ => self.sampled,
        }
    }
}

/// Measures all variants once.
pub(crate) fn block(
    round: u32,
    percent: u32,
    effort: &Effort,
    cores: &Cores,
    upstream: &Upstream,
) -> Vec<Sample> {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let edge = std::fs::read_to_string(path).expect("the gateway");
    let start = |variant| Stage::start(variant, &edge, percent, upstream, cores);
    let mut stages: Vec<_> = VARIANTS.iter().map(start).collect();
    // Nobody is always the first, or always after the same one.
    let first = usize::try_from(round).unwrap_or(0) % stages.len();
    stages.rotate_left(first);

    stages.iter_mut().for_each(|stage| stage.warm_up(effort));
    for turn in 0..effort.slices {
        stages.iter_mut().for_each(|stage| stage.slice(turn));
    }
    stages.iter_mut().for_each(|stage| stage.paced(effort));
    settle(&stages);
    let base = stages.iter().find(|stage| stage.variant.name == NONE);
    let base = base.map_or(Vec::new(), |stage| stage.costs.clone());
    let sample = |stage: &Stage| stage.sample(round, percent, &base);
    stages.iter().map(sample).collect()
}

/// Waits until all spans have arrived, or none comes any more.
fn settle(stages: &[Stage]) {
    let start = Instant::now();
    std::thread::sleep(PUBLICATION);
    let complete = |stage: &Stage| stage.received() >= stage.sampled();
    while start.elapsed() < LAST_FLUSH && !stages.iter().all(complete) {
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// An Envoy under load, and the collector of its spans.
struct Stage {
    variant: &'static Variant,
    envoy: Envoy,
    collector: MockCollector,
    client: Client,
    /// The CPU time for a request of each turn's slice, in µs.
    costs: Vec<(u32, f64)>,
    requests: u64,
    answered: u64,
    cpu: Duration,
    elapsed: Duration,
    p50: Duration,
    p99: Duration,
}

impl Stage {
    fn start(
        variant: &'static Variant,
        edge: &str,
        percent: u32,
        upstream: &Upstream,
        cores: &Cores,
    ) -> Self {
        let collector = MockCollector::start();
        collector.keep_only_ids();
        let envoy = Envoy::from_yaml((variant.config)(edge, percent))
            .artefact(variant.artefact)
            .prefix_command(cores.envoy_command())
            .port(8080, upstream.port())
            .port(4317, collector.port())
            .log_level("warn")
            .start();
        let client = Client::connect(envoy.addr(LISTENER), PATH, CONNECTIONS, &HEADERS, BODY);
        Self {
            variant,
            envoy,
            collector,
            client: client.expect("connections to Envoy"),
            costs: Vec::new(),
            requests: 0,
            answered: 0,
            cpu: Duration::ZERO,
            elapsed: Duration::ZERO,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
        }
    }

    fn warm_up(&mut self, effort: &Effort) {
        self.load(effort.warm_up);
    }

    fn slice(&mut self, turn: u32) {
        let before = self.envoy.cpu_time();
        let elapsed = self.load(SLICE);
        std::thread::sleep(AFTERGLOW);
        let cpu = self.envoy.cpu_time().saturating_sub(before);
        self.costs
            .push((turn, cpu.as_secs_f64() * 1e6 / SLICE as f64));
        self.cpu += cpu;
        self.elapsed += elapsed;
        self.requests += SLICE;
    }

    /// An error is no request that costs what a request costs, and no figure comes of it.
    fn load(&mut self, requests: u64) -> Duration {
        let time = self.client.run(requests);
        self.answered += requests;
        time.unwrap_or_else(|error| panic!("{}: {error}", self.variant.name))
    }

    fn paced(&mut self, effort: &Effort) {
        let addr = self.envoy.addr(LISTENER);
        let (pace, time) = (effort.pace, effort.paced_for);
        let report = run_paced(addr, PATH, CONNECTIONS, pace, time, &HEADERS);
        let name = self.variant.name;
        assert_eq!(report.failed, 0, "{name}: {:?}", report.statuses);
        self.answered += report.ok;
        (self.p50, self.p99) = (report.p50, report.p99);
    }

    fn sampled(&self) -> u64 {
        let stat = self.variant.sampled_stat;
        stat.and_then(|name| self.envoy.stat(name)).unwrap_or(0)
    }

    fn received(&self) -> u64 {
        self.collector.distinct_span_count() as u64
    }

    fn sample(&self, round: u32, percent: u32, base: &[(u32, f64)]) -> Sample {
        let cpu = self.cpu.as_secs_f64();
        let elapsed = self.elapsed.as_secs_f64();
        let requests = self.requests as f64;
        // With a tracer that has not started, all that follows would look well.
        let is_silent = percent > 0 && self.sampled() == 0;
        let is_traced = self.variant.sampled_stat.is_some();
        assert!(
            !(is_traced && is_silent),
            "{} traces nothing",
            self.variant.name
        );
        Sample {
            round,
            percent,
            variant: self.variant.name,
            is_ours: self.variant.is_ours,
            requests: self.requests,
            cpu_us: Spread::of(self.costs.iter().map(|&(_, cost)| cost)).median,
            added_us: Spread::of_differences(&self.costs, base).median,
            per_second: requests / elapsed,
            busy: cpu / elapsed,
            p50: self.p50,
            p99: self.p99,
            rss_bytes: self.envoy.rss_bytes(),
            answered: self.answered,
            sampled: self.sampled(),
            received: self.received(),
            calls: self.collector.calls().len() as u64,
        }
    }
}
