//! An Envoy under load, and what it takes for that.

use std::time::Duration;

use harness::{Envoy, MockCollector};

use crate::load::{Client, Upstream};
use crate::machine::Cores;
use crate::variant::{Build, HEADERS, LISTENER, Variant};

/// What every request asks for.
pub(crate) const PATH: &str = "/orders/4711?page=2";
/// Of one client.
pub(crate) const CONNECTIONS: usize = 16;
/// The bytes that the upstream answers with.
pub(crate) const BODY: usize = 10;
/// One full batch of a worker's spans, so that at 100 % no slice leaves its export to the next one. As short as
/// that, hundreds of them can be taken in turn, and what disturbs the machine disturbs all variants.
pub(crate) const SLICE: u64 = 512;
/// What is under way at a slice's end, such as the export of the last batch, is of the slice.
const AFTERGLOW: Duration = Duration::from_millis(20);

/// What an Envoy is given to do.
pub(crate) struct Load<'a> {
    pub(crate) headers: &'a [(&'a str, &'a [u8])],
    pub(crate) connections: usize,
    pub(crate) workers: u32,
    /// The bytes that the upstream answers with.
    pub(crate) body: usize,
}

impl Load<'_> {
    pub(crate) const USUAL: Self = Load {
        headers: &HEADERS,
        connections: CONNECTIONS,
        workers: 1,
        body: BODY,
    };
}

/// The folder of older artefacts, if there is one.
pub(crate) fn against() -> Option<String> {
    std::env::var("AGAINST")
        .ok()
        .filter(|folder| !folder.is_empty())
}

/// An Envoy, its client and the collector of its spans.
pub(crate) struct Stage {
    pub(crate) variant: &'static Variant,
    pub(crate) envoy: Envoy,
    pub(crate) collector: MockCollector,
    client: Client,
    slice: u64,
    /// The CPU time for a request of each turn's slice, in µs.
    pub(crate) costs: Vec<(u32, f64)>,
    /// Requests of the slices, and what these took.
    pub(crate) requests: u64,
    pub(crate) cpu: Duration,
    pub(crate) elapsed: Duration,
    /// All requests.
    pub(crate) answered: u64,
}

impl Stage {
    pub(crate) fn start(
        variant: &'static Variant,
        config: String,
        load: &Load<'_>,
        upstream: &Upstream,
        cores: &Cores,
    ) -> Self {
        let collector = MockCollector::start();
        collector.keep_only_ids();
        let mut envoy = Envoy::from_yaml(config);
        match variant.build {
            Build::Current => {}
            Build::Baseline => {
                envoy = envoy
                    .wasm("build/sidespan-baseline.wasm")
                    .modules("build/baseline");
            }
            Build::BaselineSdk => envoy = envoy.wasm("build/sidespan-baseline-sdk.wasm"),
            Build::BaselineSdkPruned => {
                envoy = envoy.wasm("build/sidespan-baseline-sdk-pruned.wasm");
            }
            Build::Against => {
                let folder = against().expect("AGAINST names a folder");
                envoy = envoy
                    .wasm(format!("{folder}/sidespan.wasm"))
                    .modules(&folder);
            }
        }
        let envoy = envoy
            .artefact(variant.artefact)
            .prefix_command(cores.envoy_command())
            .concurrency(load.workers)
            .port(8080, upstream.port())
            .port(4317, collector.port())
            .log_level("warn")
            .start();
        let addr = envoy.addr(LISTENER);
        let client = Client::connect(addr, PATH, load.connections, load.headers, load.body);
        Self {
            variant,
            envoy,
            collector,
            client: client.expect("connections to Envoy"),
            slice: SLICE * u64::from(load.workers),
            costs: Vec::new(),
            requests: 0,
            cpu: Duration::ZERO,
            elapsed: Duration::ZERO,
            answered: 0,
        }
    }

    /// An error is no request that costs what a request costs, and no figure comes of it.
    pub(crate) fn load(&mut self, requests: u64) -> Duration {
        let time = self.client.run(requests);
        self.answered += requests;
        time.unwrap_or_else(|error| panic!("{}: {error}", self.variant.name))
    }

    /// Takes its turn.
    pub(crate) fn slice(&mut self, turn: u32) {
        let before = self.envoy.cpu_time();
        let elapsed = self.load(self.slice);
        std::thread::sleep(AFTERGLOW);
        let cpu = self.envoy.cpu_time().saturating_sub(before);
        self.costs
            .push((turn, cpu.as_secs_f64() * 1e6 / self.slice as f64));
        self.cpu += cpu;
        self.elapsed += elapsed;
        self.requests += self.slice;
    }

    /// Requests that were sampled, as Envoy counts them.
    pub(crate) fn sampled(&self) -> u64 {
        let stat = self.variant.sampled_stat;
        stat.and_then(|name| self.envoy.stat(name)).unwrap_or(0)
    }

    /// The different spans at the collector.
    pub(crate) fn received(&self) -> u64 {
        self.collector.distinct_span_count() as u64
    }
}

/// Has each take its slices in turn. Nobody is always after the same one.
pub(crate) fn take_turns(stages: &mut [Stage], turns: u32) {
    for turn in 0..turns {
        stages.rotate_left(1);
        stages.iter_mut().for_each(|stage| stage.slice(turn));
    }
}

/// The slices of the Envoy with this name.
pub(crate) fn costs_of<'a>(stages: &'a [Stage], name: &str) -> &'a [(u32, f64)] {
    let stage = stages.iter().find(|stage| stage.variant.name == name);
    stage.map_or(&[], |stage| &stage.costs)
}
