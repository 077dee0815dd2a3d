//! One block of a round: an Envoy of each variant, all with the same share of sampled requests.

use std::time::{Duration, Instant};

use harness::load::run_paced;
use harness::workspace_root;

use crate::load::Upstream;
use crate::machine::Cores;
use crate::rig::{CONNECTIONS, Load, PATH, SLICE, Stage, costs_of, take_turns};
use crate::statistics::Spread;
use crate::variant::{HEADERS, LISTENER, NONE, Variant};

/// Ours publish their counters and send what they have every second.
const PUBLICATION: Duration = Duration::from_secs(2);
/// The built-in tracer sends what it has every five seconds.
const LAST_FLUSH: Duration = Duration::from_secs(7);

/// How much is done.
pub(crate) struct Effort {
    /// How often everything is measured.
    pub(crate) rounds: u32,
    /// Requests that are not measured.
    warm_up: u64,
    /// The parts of a variant's load, which all take in turn.
    turns: u32,
    /// The rate at which latency is measured, far below what an Envoy on one core can do.
    pub(crate) pace: u64,
    paced_for: Duration,
}

impl Effort {
    /// What a record takes.
    pub(crate) const FULL: Self = Self {
        rounds: 9,
        warm_up: 10 * SLICE,
        turns: 40,
        pace: 1000,
        paced_for: Duration::from_secs(1),
    };

    /// Enough to see whether it works.
    pub(crate) const QUICK: Self = Self {
        rounds: 2,
        turns: 4,
        ..Self::FULL
    };

    /// The requests of a round whose CPU time is measured, of each variant.
    pub(crate) fn requests(&self) -> u64 {
        u64::from(self.turns) * SLICE
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
    /// Whether it makes spans.
    pub(crate) is_traced: bool,
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
            100 if self.is_traced => self.answered,
            _ => self.sampled,
        }
    }
}

/// Measures all of these once.
pub(crate) fn block(
    variants: &[&'static Variant],
    round: u32,
    percent: u32,
    effort: &Effort,
    cores: &Cores,
    upstream: &Upstream,
) -> Vec<Sample> {
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let edge = std::fs::read_to_string(path).expect("the gateway");
    let mut stages: Vec<_> = variants
        .iter()
        .map(|&variant| {
            let config = (variant.config)(&edge, percent);
            Stage::start(variant, config, &Load::USUAL, upstream, cores)
        })
        .collect();
    // Another one is the first in each round.
    let first = usize::try_from(round).unwrap_or(0) % stages.len();
    stages.rotate_left(first);

    for stage in &mut stages {
        stage.load(effort.warm_up);
    }
    take_turns(&mut stages, effort.turns);
    let latencies: Vec<_> = stages.iter_mut().map(|s| paced(s, effort)).collect();
    settle(&stages);
    let base = costs_of(&stages, NONE);
    let each = stages.iter().zip(latencies);
    each.map(|(stage, latency)| sample(stage, latency, round, percent, base))
        .collect()
}

/// The median and the 99th percentile at the pace.
fn paced(stage: &mut Stage, effort: &Effort) -> (Duration, Duration) {
    let addr = stage.envoy.addr(LISTENER);
    let (pace, time) = (effort.pace, effort.paced_for);
    let report = run_paced(addr, PATH, CONNECTIONS, pace, time, &HEADERS);
    let name = stage.variant.name;
    assert_eq!(report.failed, 0, "{name}: {:?}", report.statuses);
    stage.answered += report.ok;
    (report.p50, report.p99)
}

/// Waits until all spans have arrived, or none comes any more.
pub(crate) fn settle(stages: &[Stage]) {
    let start = Instant::now();
    std::thread::sleep(PUBLICATION);
    let complete = |stage: &Stage| stage.received() >= stage.sampled();
    while start.elapsed() < LAST_FLUSH && !stages.iter().all(complete) {
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn sample(
    stage: &Stage,
    (p50, p99): (Duration, Duration),
    round: u32,
    percent: u32,
    base: &[(u32, f64)],
) -> Sample {
    let cpu = stage.cpu.as_secs_f64();
    let elapsed = stage.elapsed.as_secs_f64();
    let variant = stage.variant;
    // With a tracer that has not started, all that follows would look well.
    let is_silent = percent > 0 && stage.sampled() == 0;
    let is_traced = variant.sampled_stat.is_some();
    assert!(!(is_traced && is_silent), "{} traces nothing", variant.name);
    Sample {
        round,
        percent,
        variant: variant.name,
        is_ours: variant.is_ours,
        is_traced,
        requests: stage.requests,
        cpu_us: Spread::of(stage.costs.iter().map(|&(_, cost)| cost)).median,
        added_us: Spread::of_differences(&stage.costs, base).median,
        per_second: stage.requests as f64 / elapsed,
        busy: cpu / elapsed,
        p50,
        p99,
        rss_bytes: stage.envoy.rss_bytes(),
        answered: stage.answered,
        sampled: stage.sampled(),
        received: stage.received(),
        calls: stage.collector.calls().len() as u64,
    }
}
