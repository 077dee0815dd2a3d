//! The examples: a folder each with parts that run, what to ask them, and what must be seen.
//!
//! `scenario.json` names the parts, back to front, and the steps. A step sends one request `count`
//! times and says what comes of it: how many spans, exactly or as a share, or the tree that they
//! make, what stands in them, and what is answered. What is done to the parts `before` the
//! requests, `during` them and `then`, and what their stats, logs and calls show, are actions. With
//! `variants`, all of it is done once for each.

mod action;
mod mock;
mod part;
mod step;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use self::mock::Mock;
use self::part::{Part, Running};
use self::step::Step;
use crate::{MockCollector, Upstream, workspace_root};

/// Much longer than the filter's own delay of a second: after it, nothing more comes.
const QUIET: Duration = Duration::from_millis(2500);

/// What became of an example that did not fail.
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Outcome {
    /// All is as the scenario has it.
    Ran,
    /// It did not run, as this machine lacks what the text says.
    Skipped(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    parts: Vec<Part>,
    #[serde(default)]
    variants: Vec<Variant>,
    steps: Vec<Step>,
}

/// A way to run the whole scenario.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    /// Variables of every application.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Pieces of text to replace in the file of every Envoy, each of which must have them.
    #[serde(default)]
    replace: BTreeMap<String, String>,
    /// Headers by the names that steps call them by.
    #[serde(default)]
    callers: BTreeMap<String, BTreeMap<String, String>>,
}

/// Whether an example has applications or Collectors, which are installed before it runs.
pub fn has_programs(name: &str) -> bool {
    let (_, scenario) = read(name);
    scenario.parts.iter().any(Part::is_program)
}

/// The folder of an example and its scenario.
fn read(name: &str) -> (PathBuf, Scenario) {
    let dir = workspace_root().join("examples").join(name);
    let path = dir.join("scenario.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("no example {name:?}: {}: {error}", path.display()));
    let scenario =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (dir, scenario)
}

/// Runs the example in this folder of `examples/` and tells of it on standard output. Panics where
/// something is not as the scenario has it.
pub fn run(name: &str) -> Outcome {
    let (dir, scenario) = read(name);

    // Before anything is installed, which takes a while.
    if let Some(missing) = scenario.parts.iter().find_map(|part| part.missing(&dir)) {
        return Outcome::Skipped(missing);
    }
    for part in &scenario.parts {
        part.install(&dir);
    }
    if scenario.variants.is_empty() {
        scenario.run(&dir, &Variant::default());
    }
    for variant in &scenario.variants {
        println!("== {}\n", variant.name);
        scenario.run(&dir, variant);
    }
    Outcome::Ran
}

impl Scenario {
    fn run(&self, dir: &Path, variant: &Variant) {
        let upstream = Upstream::start();
        let collector = MockCollector::start();
        let mut running = Running::start(&self.parts, dir, variant, &upstream, &collector);
        let send = |(n, step): (usize, &Step)| step.send(n, &running, variant, &upstream);
        let sent: Vec<_> = self.steps.iter().enumerate().map(send).collect();
        // Applications hold spans back, and send them when they end; so do Collectors.
        running.end_applications();
        std::thread::scope(|scope| {
            for mock in running.mocks() {
                scope.spawn(|| mock.settled(QUIET));
            }
            collector.settled(QUIET);
        });
        running.end_collectors();
        let mut spans = collector.spans();
        spans.extend(running.mocks().flat_map(Mock::spans));
        let (by_step, strays) = step::assign(&spans, self.steps.len());
        for ((step, sent), spans) in self.steps.iter().zip(&sent).zip(by_step) {
            step.check(sent, spans);
        }
        assert!(
            strays.is_empty(),
            "spans in traces of no step: {:#?}",
            tree::lines(&strays)
        );
    }
}
