//! `make bench`: what tracing costs an Envoy, by us and by its own tracer.
//!
//! A round starts an Envoy of each variant, loads them in turn, and ends them. Every round has new
//! processes, so that where memory happened to lie does not decide; what is reported is a median
//! over the rounds of differences within a round, so that what else the machine does counts for
//! little. How it is measured is in `tests/bench/README.md`.

mod chart;
mod growth;
mod load;
mod machine;
mod measure;
mod memory;
mod record;
mod report;
mod rig;
mod statistics;
mod variant;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use load::Upstream;
use machine::{Cores, Machine};
use measure::{Effort, Sample};
use report::Summary;
use variant::{AGAINST, BUILT_IN, FLOORS, NONE, VARIANTS, Variant};

/// The shares of the requests that are sampled, in percent.
const PERCENTAGES: [u32; 3] = [100, 1, 0];
/// A floor is the same for a sampled request whatever becomes of the others.
const PERCENTAGES_OF_FLOORS: [u32; 2] = [100, 0];

/// A median of fewer does not take the place of one of more.
const ROUNDS_OF_A_RECORD: u32 = 9;

fn main() -> ExitCode {
    let plan = Plan::from_env();
    let cores = Cores::from_env();
    if let Err(reason) = cores.keep_this_process_off_envoys() {
        eprintln!("bench: {reason}");
        return ExitCode::FAILURE;
    }
    let machine = Machine::read();
    if std::env::var_os("GROWTH").is_some() {
        return exit_code(grow(&machine, &cores, plan.is_quick));
    }
    if std::env::var_os("MEMORY").is_some() {
        return memory(&machine, &cores, &plan);
    }
    let upstream = Upstream::start(rig::BODY).expect("an upstream");
    let samples = run(&plan, &cores, &upstream);
    let summaries = report::summarise(&samples, &plan.variants, plan.percentages);
    print!("{}", report::text(&machine, &plan.effort, &summaries));
    let written = plan.write(&machine, &samples, &summaries);
    complete(written, report::spans_of_ours_lost(&samples))
}

/// What was measured of a tracer that loses spans is worth nothing.
fn complete(written: io::Result<()>, lost: u64) -> ExitCode {
    if lost > 0 {
        eprintln!("bench: {lost} spans of ours are not at the collector");
        return ExitCode::FAILURE;
    }
    exit_code(written)
}

fn run(plan: &Plan, cores: &Cores, upstream: &Upstream) -> Vec<Sample> {
    let start = Instant::now();
    let mut samples = Vec::new();
    for round in 0..plan.effort.rounds {
        for &percent in plan.percentages {
            samples.extend(measure::block(
                &plan.variants,
                round,
                percent,
                &plan.effort,
                cores,
                upstream,
            ));
        }
        let (done, all) = (round + 1, plan.effort.rounds);
        eprintln!("round {done} of {all}, {} s", start.elapsed().as_secs());
    }
    samples
}

fn memory(machine: &Machine, cores: &Cores, plan: &Plan) -> ExitCode {
    let memories = memory::run(&plan.variants, cores, plan.is_quick);
    print!("{}", memory::text(machine, &memories));
    let path = record_of(machine, "memory", plan.is_quick);
    let written = write(&path, &memory::csv(machine, &memories));
    complete(written, memory::lost(&memories))
}

/// Where a record stands that is about one thing.
fn record_of(machine: &Machine, what: &str, is_quick: bool) -> PathBuf {
    match is_quick {
        true => format!("build/bench/{what}.csv").into(),
        false => format!("tests/bench/record/{}-{what}.csv", machine.record_name()).into(),
    }
}

fn grow(machine: &Machine, cores: &Cores, is_quick: bool) -> io::Result<()> {
    let points = growth::run(cores, is_quick);
    print!("{}", growth::text(machine, &points));
    let path = record_of(machine, "growth", is_quick);
    write(&path, &growth::csv(machine, &points))
}

fn exit_code(written: io::Result<()>) -> ExitCode {
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: cannot write what was measured: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How much is done, and where the outcome goes.
struct Plan {
    variants: Vec<&'static Variant>,
    percentages: &'static [u32],
    effort: Effort,
    /// What the variants beside the usual ones are, for the name of a record.
    beside: Option<&'static str>,
    is_quick: bool,
    /// A short run is no record.
    is_record: bool,
}

impl Plan {
    /// `QUICK` asks for a short run, `ROUNDS` for another number of rounds, `FLOOR` for the floors
    /// beside all others, `AGAINST` for the older artefacts in a folder, `ONLY` for the variants
    /// with one of these texts, separated by semicolons, in their names.
    fn from_env() -> Self {
        let is_quick = std::env::var_os("QUICK").is_some();
        let mut effort = match is_quick {
            true => Effort::QUICK,
            false => Effort::FULL,
        };
        let rounds = std::env::var("ROUNDS").ok();
        if let Some(rounds) = rounds.and_then(|text| text.parse().ok()) {
            effort.rounds = rounds;
        }
        let with_floors = std::env::var_os("FLOOR").is_some();
        let mut variants: Vec<_> = VARIANTS.iter().collect();
        if with_floors {
            variants.extend(&FLOORS);
        }
        if rig::against().is_some() {
            variants.extend(&AGAINST);
        }
        let only = std::env::var("ONLY").ok().filter(|only| !only.is_empty());
        if let Some(only) = &only {
            variants.retain(|variant| is_among(variant.name, only));
        }
        let is_record = !is_quick && only.is_none() && effort.rounds >= ROUNDS_OF_A_RECORD;
        Self {
            variants,
            percentages: match with_floors {
                true => &PERCENTAGES_OF_FLOORS,
                false => &PERCENTAGES,
            },
            effort,
            beside: match (rig::against(), with_floors) {
                (Some(_), _) => Some("against"),
                (None, true) => Some("floor"),
                (None, false) => None,
            },
            is_quick,
            is_record,
        }
    }

    fn write(
        &self,
        machine: &Machine,
        samples: &[Sample],
        summaries: &[Summary],
    ) -> io::Result<()> {
        let csv = record::csv(machine, &self.effort, samples);
        if let Some(beside) = self.beside {
            return write(&record_of(machine, beside, !self.is_record), &csv);
        }
        let (path, svg) = self.files(machine);
        write(&path, &csv)?;
        write(&svg, &chart::svg(machine, self.percentages, summaries))
    }

    fn files(&self, machine: &Machine) -> (PathBuf, PathBuf) {
        let name = machine.record_name();
        match self.is_record {
            true => (
                format!("tests/bench/record/{name}.csv").into(),
                "docs/bench.svg".into(),
            ),
            false => (
                "build/bench/quick.csv".into(),
                "build/bench/quick.svg".into(),
            ),
        }
    }
}

/// Whether `ONLY` asks for a variant. Both that all are compared to are always there.
fn is_among(name: &str, only: &str) -> bool {
    [NONE, BUILT_IN].contains(&name) || only.split(';').any(|text| name.contains(text.trim()))
}

/// Writes a file of the workspace and says so.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let whole = harness::workspace_root().join(path);
    if let Some(folder) = whole.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(whole, text)?;
    println!("written: {}", path.display());
    Ok(())
}
