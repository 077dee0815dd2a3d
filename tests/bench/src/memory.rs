//! What tracing needs of memory, and that it does not grow: minutes of full load.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::workspace_root;

use crate::load::Upstream;
use crate::machine::{Cores, Machine};
use crate::measure::settle;
use crate::rig::{BODY, Load, Stage};
use crate::variant::{NONE, VARIANTS, Variant};

const MINUTES: u32 = 10;
/// What is not ours only shows what it needs.
const MINUTES_OF_OTHERS: u32 = 1;
/// Between two looks at the clock.
const REQUESTS: u64 = 1000;

/// What one variant needed.
pub(crate) struct Memory {
    variant: &'static str,
    is_ours: bool,
    /// Resident memory at the end of each minute.
    minutes: Vec<u64>,
    requests: u64,
    lost: u64,
}

/// Loads one after the other. A quick run has seconds for minutes.
pub(crate) fn run(cores: &Cores, is_quick: bool) -> Vec<Memory> {
    let minute = Duration::from_secs(if is_quick { 1 } else { 60 });
    let upstream = Upstream::start(BODY).expect("an upstream");
    let path = workspace_root().join("envoy-configs/edge.yaml");
    let edge = std::fs::read_to_string(path).expect("the gateway");
    let measure = |variant: &'static Variant| {
        let config = (variant.config)(&edge, 100);
        let stage = Stage::start(variant, config, &Load::USUAL, &upstream, cores);
        let memory = under_load(stage, minute);
        eprintln!("{}", variant.name);
        memory
    };
    VARIANTS.iter().map(measure).collect()
}

fn under_load(mut stage: Stage, minute: Duration) -> Memory {
    let Variant { name, is_ours, .. } = *stage.variant;
    let minutes = if is_ours { MINUTES } else { MINUTES_OF_OTHERS };
    let start = Instant::now();
    let minutes = (1..=minutes)
        .map(|n| {
            while start.elapsed() < n * minute {
                stage.load(REQUESTS);
            }
            stage.envoy.rss_bytes()
        })
        .collect();
    let stages = [stage];
    settle(&stages);
    let [stage] = stages;
    Memory {
        variant: name,
        is_ours,
        minutes,
        requests: stage.answered,
        lost: match name {
            NONE => 0,
            _ => stage.answered.saturating_sub(stage.received()),
        },
    }
}

/// Spans of ours that are not at the collector.
pub(crate) fn lost(memories: &[Memory]) -> u64 {
    let ours = memories.iter().filter(|memory| memory.is_ours);
    ours.map(|memory| memory.lost).sum()
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// A table for people.
pub(crate) fn text(machine: &Machine, memories: &[Memory]) -> String {
    let mut out = format!(
        "\
{}, {}, Envoy {}, Sidespan {}
Resident memory of an Envoy with one worker at full load and 100 % sampled, in MiB. The built-in
tracer is loaded for a minute.

| variant | after 1 minute | 2 | 5 | 10 | over none, at most | requests | spans lost |
|---|---:|---:|---:|---:|---:|---:|---:|
",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    let none = memories.iter().find(|memory| memory.variant == NONE);
    let none = none.and_then(|none| none.minutes.last()).copied();
    for memory in memories {
        let at = |minute: usize| match memory.minutes.get(minute - 1) {
            Some(&bytes) => format!("{:.1}", mib(bytes)),
            None => String::new(),
        };
        let most = memory.minutes.iter().copied().max().unwrap_or_default();
        let over = mib(most) - mib(none.unwrap_or_default());
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {over:+.1} | {} | {} |",
            memory.variant,
            at(1),
            at(2),
            at(5),
            at(10),
            memory.requests,
            memory.lost
        );
    }
    out
}

/// The same for machines.
pub(crate) fn csv(machine: &Machine, memories: &[Memory]) -> String {
    let mut out = format!(
        "# machine: {}\n# date: {}\n# Envoy: {}\n# Sidespan: {}\nvariant,minute,rss_kib\n",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    for memory in memories {
        for (minute, bytes) in memory.minutes.iter().enumerate() {
            let variant = crate::record::field(memory.variant);
            let _ = writeln!(out, "{variant},{},{}", minute + 1, bytes / 1024);
        }
    }
    out
}
