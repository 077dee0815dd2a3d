//! The examples: a folder each with an Envoy, what to ask it, and what must be seen.
//!
//! `scenario.json` names the Envoys, back to front, and the steps. A step sends one request `count`
//! times and says how many spans come of it, exactly or as a share, and what stands in each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::otlp::common::v1::any_value::Value;
use crate::waterfall::{self, Style};
use crate::{Envoy, MockCollector, ReceivedSpan, Upstream, client, load, workspace_root};

/// Longer than the filter's own delay of a second: after it, nothing more comes.
const QUIET: Duration = Duration::from_millis(1500);

/// The two-sided 99.9 % quantile of the normal distribution.
const Z: f64 = 3.29;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scenario {
    envoys: Vec<EnvoyFile>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EnvoyFile {
    /// Beside the scenario, or from the root of the repository.
    file: String,
    /// Ports of the file and the listeners (by their port in another file, above in the list) that
    /// stand behind them; all others lead to the upstream.
    #[serde(default)]
    next: BTreeMap<u16, u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    what: String,
    /// The listener's port in its file.
    to: u16,
    #[serde(default = "get")]
    method: String,
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "one")]
    count: u64,
    #[serde(default = "ok")]
    status: u16,
    spans: Expected,
    /// What each of the spans has.
    #[serde(default)]
    each: Each,
    /// Headers that the upstream sees, `*` for what may be anything; null for one that it must not.
    #[serde(default)]
    upstream: BTreeMap<String, Option<String>>,
}

fn get() -> String {
    "GET".to_owned()
}

fn one() -> u64 {
    1
}

fn ok() -> u16 {
    200
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Expected {
    Exactly(usize),
    Share { share: f64 },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Each {
    service: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    /// Null for one that must not be there.
    #[serde(default)]
    attributes: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    resource: BTreeMap<String, serde_json::Value>,
}

/// Runs the example in this folder of `examples/` and tells of it on standard output. Panics where
/// something is not as the scenario has it.
pub fn run(name: &str) {
    let dir = workspace_root().join("examples").join(name);
    let path = dir.join("scenario.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("no example {name:?}: {}: {error}", path.display()));
    let scenario: Scenario =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));

    let upstream = Upstream::start();
    let collector = MockCollector::start();
    let mut listeners: BTreeMap<u16, SocketAddr> = BTreeMap::new();
    let mut envoys = Vec::new();
    for file in &scenario.envoys {
        let envoy = start(&dir, file, &upstream, &collector, &listeners);
        for port in file.listeners(&dir) {
            listeners.insert(port, envoy.addr(port));
        }
        envoys.push(envoy);
    }
    for (n, step) in scenario.steps.iter().enumerate() {
        let addr = listeners
            .get(&step.to)
            .unwrap_or_else(|| panic!("no Envoy listens on {}", step.to));
        step.send(n, *addr, &upstream);
    }
    let spans = collector.settled(QUIET);
    for (n, step) in scenario.steps.iter().enumerate() {
        let of_step: Vec<_> = spans
            .iter()
            .filter(|span| is_of(span, n))
            .cloned()
            .collect();
        step.check(&of_step);
    }
}

impl EnvoyFile {
    fn path(&self, dir: &Path) -> std::path::PathBuf {
        let beside = dir.join(&self.file);
        if beside.exists() {
            beside
        } else {
            workspace_root().join(&self.file)
        }
    }

    /// The ports of the listeners in the file: what stands before its clusters.
    fn listeners(&self, dir: &Path) -> Vec<u16> {
        let text = std::fs::read_to_string(self.path(dir)).expect("the file was started");
        let listeners = text.split("\n  clusters:").next().unwrap_or_default();
        listeners
            .split("port_value: ")
            .skip(1)
            .filter_map(|rest| {
                rest.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse()
                    .ok()
            })
            .collect()
    }
}

fn start(
    dir: &Path,
    file: &EnvoyFile,
    upstream: &Upstream,
    collector: &MockCollector,
    listeners: &BTreeMap<u16, SocketAddr>,
) -> Envoy {
    let mut envoy = Envoy::from_file(file.path(dir))
        .concurrency(2)
        .port(8080, upstream.port())
        .port(4317, collector.port());
    for (port, listener) in &file.next {
        let addr = listeners
            .get(listener)
            .unwrap_or_else(|| panic!("{}: no Envoy before it listens on {listener}", file.file));
        envoy = envoy.port(*port, addr.port());
    }
    envoy.start()
}

/// Spans are told apart by a query that each step adds.
fn mark(step: usize) -> String {
    format!("example-step={step}")
}

fn is_of(span: &ReceivedSpan, step: usize) -> bool {
    ["url.query", "url.full"]
        .iter()
        .filter_map(|key| span.str_attr(key))
        .any(|query| query.split(['?', '&']).any(|pair| pair == mark(step)))
}

impl Step {
    fn send(&self, n: usize, addr: SocketAddr, upstream: &Upstream) {
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}{}", self.path, mark(n));
        let headers: Vec<_> = self
            .headers
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        let before = upstream.count();
        if self.count == 1 {
            let answer = client::request(addr, &self.method, &path, &headers, b"")
                .unwrap_or_else(|error| panic!("{}: {error}", self.what));
            assert_eq!(answer.status, self.status, "{}", self.what);
        } else {
            let report = load::run(addr, &path, 8, self.count, &headers);
            let same = report.statuses.get(&self.status).copied().unwrap_or(0);
            assert_eq!(same, self.count, "{}: {:?}", self.what, report.statuses);
        }
        if self.upstream.is_empty() {
            return;
        }
        assert!(
            upstream.count() > before,
            "{}: the upstream saw nothing",
            self.what
        );
        let seen = upstream.last();
        for (name, value) in &self.upstream {
            let actual = seen.header(name);
            let expected: Vec<_> = value.iter().collect();
            let same = actual.len() == expected.len()
                && actual
                    .iter()
                    .zip(expected)
                    .all(|(actual, pattern)| is_like(actual, pattern));
            assert!(
                same,
                "{}: {name}: {actual:?}, expected {value:?}",
                self.what
            );
        }
    }

    fn check(&self, spans: &[ReceivedSpan]) {
        match self.spans {
            Expected::Exactly(n) => {
                assert_eq!(spans.len(), n, "{}: spans", self.what);
                println!("{}: {} requests, {n} spans", self.what, self.count);
            }
            Expected::Share { share } => {
                let n = self.count as f64;
                let bound = Z * (n * share * (1.0 - share)).sqrt();
                let off = (spans.len() as f64 - n * share).abs();
                assert!(
                    off <= bound,
                    "{}: {} spans of {n} requests, expected {:.0} ± {bound:.0}",
                    self.what,
                    spans.len(),
                    n * share
                );
                println!(
                    "{}: {n} requests, {} spans ({:.0} ± {bound:.0} expected)",
                    self.what,
                    spans.len(),
                    n * share
                );
            }
        }
        for span in spans {
            self.each.check(&self.what, span);
        }
        if self.count == 1 {
            for trace in waterfall::group_by_trace(spans) {
                let style = Style {
                    color: false,
                    width: 0,
                };
                println!("{}", waterfall::render(&trace, style));
            }
        }
    }
}

impl Each {
    fn check(&self, what: &str, span: &ReceivedSpan) {
        let same = |name: &str, expected: &Option<String>, actual: &str| {
            if let Some(expected) = expected {
                assert_eq!(actual, expected, "{what}: {name}");
            }
        };
        same("service", &self.service, span.service_name());
        same(
            "kind",
            &self.kind,
            &format!("{:?}", span.kind()).to_uppercase(),
        );
        same("name", &self.name, span.name());
        for (key, expected) in &self.attributes {
            assert_eq!(&json(span.attr(key)), expected, "{what}: {key}");
        }
        for (key, expected) in &self.resource {
            assert_eq!(&json(span.resource_attr(key)), expected, "{what}: {key}");
        }
    }
}

/// Whether a value is as a pattern has it, in which one `*` stands for anything.
fn is_like(value: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => value == pattern,
        Some((start, end)) => {
            value.len() >= start.len() + end.len()
                && value.starts_with(start)
                && value.ends_with(end)
        }
    }
}

fn json(value: Option<&Value>) -> serde_json::Value {
    match value {
        None => serde_json::Value::Null,
        Some(Value::StringValue(s)) => s.clone().into(),
        Some(Value::BoolValue(b)) => (*b).into(),
        Some(Value::IntValue(i)) => (*i).into(),
        Some(Value::DoubleValue(d)) => (*d).into(),
        Some(other) => format!("{other:?}").into(),
    }
}
