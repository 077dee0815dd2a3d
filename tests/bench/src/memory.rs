//! What tracing needs of memory, and that it does not grow: minutes of full load.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use harness::{Envoy, workspace_root};

use crate::load::Upstream;
use crate::machine::{Cores, Machine};
use crate::measure::settle;
use crate::rig::{BODY, Load, Stage};
use crate::variant::{NONE, Variant};

const MINUTES: u32 = 10;
/// What is not ours only shows what it needs.
const MINUTES_OF_OTHERS: u32 = 1;
/// Between two looks at the clock.
const REQUESTS: u64 = 1000;

/// What one variant needed.
pub(crate) struct Memory {
    variant: &'static str,
    is_ours: bool,
    /// At the end of each minute.
    minutes: Vec<Use>,
    requests: u64,
    lost: u64,
}

/// In bytes.
struct Use {
    resident: u64,
    /// What Envoy's allocator has given out. The rest is code, what that keeps of what was freed, and what V8 has
    /// mapped for itself.
    allocated: u64,
}

impl Use {
    fn of(envoy: &Envoy) -> Self {
        let memory: serde_json::Value =
            serde_json::from_str(&envoy.admin("/memory")).expect("Envoy's memory");
        let allocated = memory["allocated"].as_str().and_then(|n| n.parse().ok());
        Self {
            resident: envoy.rss_bytes(),
            allocated: allocated.expect("what is allocated"),
        }
    }
}

/// Loads one after the other. A quick run has seconds for minutes.
pub(crate) fn run(variants: &[&'static Variant], cores: &Cores, is_quick: bool) -> Vec<Memory> {
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
    variants.iter().copied().map(measure).collect()
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
            Use::of(&stage.envoy)
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
        lost: match stage.variant.sampled_stat {
            None => 0,
            Some(_) => stage.answered.saturating_sub(stage.received()),
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
Resident memory of an Envoy with one worker at full load and 100 % sampled, in MiB, and what of it
Envoy's allocator has given out (V8 has its own). What is not ours is loaded for a minute.

| variant | after 1 minute | 2 | 5 | 10 | over none, at most | allocated after 1 | 10 | requests | spans lost |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    let none = memories.iter().find(|memory| memory.variant == NONE);
    let none = none.and_then(|none| none.minutes.last());
    for memory in memories {
        let at = |minute: usize, of: fn(&Use) -> u64| match memory.minutes.get(minute - 1) {
            Some(used) => format!("{:.1}", mib(of(used))),
            None => String::new(),
        };
        let resident = |used: &Use| used.resident;
        let most = memory.minutes.iter().map(resident).max();
        let over = mib(most.unwrap_or_default()) - mib(none.map(resident).unwrap_or_default());
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {over:+.1} | {} | {} | {} | {} |",
            memory.variant,
            at(1, resident),
            at(2, resident),
            at(5, resident),
            at(10, resident),
            at(1, |used| used.allocated),
            at(10, |used| used.allocated),
            memory.requests,
            memory.lost
        );
    }
    out
}

/// The same for machines.
pub(crate) fn csv(machine: &Machine, memories: &[Memory]) -> String {
    let mut out = format!(
        "# machine: {}\n# date: {}\n# Envoy: {}\n# Sidespan: {}\nvariant,minute,rss_kib,allocated_kib\n",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    for memory in memories {
        for (minute, used) in memory.minutes.iter().enumerate() {
            let variant = crate::record::field(memory.variant);
            let (resident, allocated) = (used.resident / 1024, used.allocated / 1024);
            let _ = writeln!(out, "{variant},{},{resident},{allocated}", minute + 1);
        }
    }
    out
}
