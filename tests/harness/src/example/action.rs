//! What a step does to the parts beside its requests, and what it looks for in them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;

use super::mock::Manner;
use super::part::Running;
use super::step::{is_like, plural};
use crate::wait::poll;
use crate::{Call, Envoy};

/// For what must come to be.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Action {
    /// Ends the mock collector of this name and all connections to it.
    Stop(String),
    /// Starts it again on the same port, well behaved.
    Start(String),
    Behave(Behave),
    Calls(Calls),
    Stats(Stats),
    Log(Log),
    Hides(Hides),
}

/// Has a mock collector behave in a way from now on, or only with the next calls, one each.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) struct Behave {
    collector: String,
    #[serde(rename = "as")]
    always: Option<Manner>,
    #[serde(default)]
    next: Vec<Manner>,
}

/// Waits until a mock collector has got calls, and looks at all that it got so far.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calls {
    collector: String,
    /// Waits for so many from now on.
    #[serde(default)]
    more: usize,
    /// Headers of each call, `:authority` and `:path` too, `*` for what may be anything; null for
    /// one that must not be there.
    #[serde(default)]
    each: BTreeMap<String, Option<String>>,
}

/// Waits until stats of an Envoy are as asked for, all at once.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stats {
    /// Needed where there are several.
    envoy: Option<String>,
    /// Counters and gauges by their names; `NAME P50` is a quantile of a histogram, P100 the
    /// longest. See [`Is`].
    are: BTreeMap<String, Is>,
}

/// Waits for a text in a line of an Envoy's log.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    /// Needed where there are several.
    envoy: Option<String>,
    has: String,
    /// Not more lines than this have it.
    lines: Option<usize>,
}

/// A text stands in no line of an Envoy's log, in no stat, and in nothing else that its admin
/// interface tells.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hides {
    /// Needed where there are several.
    envoy: Option<String>,
    text: String,
}

/// What a stat is: a number, or a comparison with one or with another stat, as `> 0` or
/// `= wasmcustom.sidespan.spans_created`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Is {
    Exactly(u64),
    Compared(String),
}

impl Action {
    /// Does it and says what was seen, a line each. Panics where that is not as asked for.
    pub(super) fn run(&self, running: &Running) -> String {
        match self {
            Self::Stop(name) => {
                running.mock(name).stop();
                format!("  {name} is stopped\n")
            }
            Self::Start(name) => {
                running.mock(name).start();
                format!("  {name} is started\n")
            }
            Self::Behave(behave) => behave.run(running),
            Self::Calls(calls) => calls.run(running),
            Self::Stats(stats) => stats.run(running),
            Self::Log(log) => log.run(running),
            Self::Hides(hides) => hides.run(running),
        }
    }
}

impl Behave {
    fn run(&self, running: &Running) -> String {
        let name = &self.collector;
        let mock = running.mock(name);
        let mut told = String::new();
        if let Some(manner) = &self.always {
            mock.behave(manner);
            told = format!("  {name} from now on {manner}\n");
        }
        if !self.next.is_empty() {
            mock.behave_next(&self.next);
            for manner in &self.next {
                let _ = writeln!(told, "  {name} once {manner}");
            }
        }
        told
    }
}

impl Calls {
    fn run(&self, running: &Running) -> String {
        let name = &self.collector;
        let mock = running.mock(name);
        let wanted = mock.calls().len() + self.more;
        let calls = poll(PATIENCE, || {
            let calls = mock.calls();
            (calls.len() >= wanted).then_some(calls)
        });
        let calls = calls.unwrap_or_else(|| {
            panic!(
                "{name} got no {} after {PATIENCE:?}",
                plural(self.more as u64, "call")
            )
        });
        let mut told = match self.more {
            0 => String::new(),
            n => format!("  {name} got {}\n", plural(n as u64, "export")),
        };
        if self.each.is_empty() {
            return told;
        }
        assert!(!calls.is_empty(), "{name} got no call");
        for (header, wanted) in &self.each {
            for call in &calls {
                let actual = values(call, header);
                let same = match wanted {
                    None => actual.is_empty(),
                    Some(pattern) => matches!(&*actual, [value] if is_like(value, pattern)),
                };
                assert!(same, "{name}: {header}: {actual:?}, expected {wanted:?}");
            }
            let _ = match wanted {
                Some(value) => writeln!(told, "  each call to {name} has {header}: {value}"),
                None => writeln!(told, "  no call to {name} has {header}"),
            };
        }
        told
    }
}

fn values<'a>(call: &'a Call, header: &str) -> Vec<&'a str> {
    match header {
        ":authority" => vec![&call.authority],
        ":path" => vec![&call.path],
        _ => {
            let named = call.metadata.iter().filter(|(name, _)| name == header);
            named.map(|(_, value)| &**value).collect()
        }
    }
}

impl Stats {
    fn run(&self, running: &Running) -> String {
        let envoy = running.envoy(self.envoy.as_deref());
        let mut difference = None;
        let seen = poll(PATIENCE, || match self.look(envoy) {
            Ok(seen) => Some(seen),
            Err(what) => {
                difference = Some(what);
                None
            }
        });
        seen.unwrap_or_else(|| panic!("{} after {PATIENCE:?}", difference.unwrap_or_default()))
    }

    /// Looks once, and panics where something is not as asked for.
    pub(super) fn assert(&self, running: &Running) {
        let envoy = running.envoy(self.envoy.as_deref());
        if let Err(difference) = self.look(envoy) {
            panic!("{difference}");
        }
    }

    fn look(&self, envoy: &Envoy) -> Result<String, String> {
        let page = envoy.admin(&format!("/stats?filter={}", self.filter()));
        let mut told = String::new();
        for (name, is) in &self.are {
            let actual = value_of(&page, name).ok_or_else(|| format!("there is no stat {name}"))?;
            if !is.holds(actual, |name| value_of(&page, name)) {
                return Err(format!("{name} is {actual}, expected {is:?}"));
            }
            let _ = writeln!(told, "  {name}: {actual:.0}");
        }
        Ok(told)
    }

    /// A regular expression for the names of all stats that are asked for, and perhaps some others.
    fn filter(&self) -> String {
        let others = self.are.values().filter_map(Is::operand);
        let names = self.are.keys().map(String::as_str).chain(others);
        // What stands after a blank is no part of the name.
        let names: Vec<_> = names.filter_map(|name| name.split(' ').next()).collect();
        names.join("%7C")
    }

    /// What it looks at, in words.
    pub(super) fn told(&self) -> String {
        let words = self.are.iter().map(|(name, is)| match is {
            Is::Exactly(n) => format!("  always {name} = {n}\n"),
            Is::Compared(text) => format!("  always {name} {text}\n"),
        });
        words.collect()
    }
}

impl Is {
    fn holds(&self, actual: f64, stat: impl Fn(&str) -> Option<f64>) -> bool {
        let text = match self {
            Self::Exactly(n) => return actual == *n as f64,
            Self::Compared(text) => text,
        };
        let operand = self.operand().unwrap_or_default();
        let operand = operand.parse().ok().or_else(|| stat(operand));
        let operand = operand.unwrap_or_else(|| panic!("{text:?}: neither a number nor a stat"));
        match text.split(' ').next() {
            Some("=") => actual == operand,
            Some(">") => actual > operand,
            Some(">=") => actual >= operand,
            Some("<=") => actual <= operand,
            _ => panic!("{text:?} begins with none of =, >, >= and <="),
        }
    }

    /// What it is compared with.
    fn operand(&self) -> Option<&str> {
        match self {
            Self::Exactly(_) => None,
            Self::Compared(text) => Some(text.split_once(' ')?.1),
        }
    }
}

/// The value of a stat on Envoy's page of them. A line is `NAME: VALUE`, of a histogram
/// `NAME: P0(nan,1) P25(nan,1.025) …`, where the second number of each pair is since the start.
fn value_of(page: &str, name: &str) -> Option<f64> {
    let (name, quantile) = name.split_once(' ').unwrap_or((name, ""));
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))?;
    if quantile.is_empty() {
        return value.parse().ok();
    }
    let mut pairs = value.split(' ');
    let pair = pairs.find_map(|pair| pair.strip_prefix(quantile)?.strip_prefix('('))?;
    pair.strip_suffix(')')?.split_once(',')?.1.parse().ok()
}

impl Log {
    fn run(&self, running: &Running) -> String {
        let envoy = running.envoy(self.envoy.as_deref());
        let line = envoy.wait_log(&self.has, PATIENCE);
        if let Some(most) = self.lines {
            let log = envoy.log();
            let found = log.lines().filter(|line| line.contains(&self.has)).count();
            assert!(found <= most, "{found} lines have {:?}", self.has);
        }
        // What Envoy writes before it is a time and a place in its source.
        let begin = line.find("sidespan: ").unwrap_or(0);
        format!("  log: {}\n", last_of(&line[begin..], "sidespan: "))
    }
}

/// From the last of some repetitions on: Envoy puts a plugin's name before what it says.
fn last_of<'a>(mut text: &'a str, prefix: &str) -> &'a str {
    while let Some(rest) = text.strip_prefix(prefix)
        && rest.starts_with(prefix)
    {
        text = rest;
    }
    text
}

impl Hides {
    fn run(&self, running: &Running) -> String {
        let envoy = running.envoy(self.envoy.as_deref());
        let pages = ["/stats", "/config_dump", "/clusters", "/server_info"];
        let pages = pages.map(|page| (page, envoy.admin(page)));
        let log = ("the log", envoy.log());
        for (place, text) in pages.iter().chain([&log]) {
            let line = text.lines().find(|line| line.contains(&self.text));
            assert_eq!(line, None, "{place} has {:?}", self.text);
        }
        format!(
            "  {:?} is not in the log ({}), the stats and the configuration\n",
            self.text,
            plural(log.1.lines().count() as u64, "line")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons() {
        let stat = |name: &str| (name == "other").then_some(7.0);
        for (text, holds) in [
            ("\"= 7\"", true),
            ("\"= other\"", true),
            ("\"> 7\"", false),
            ("\">= other\"", true),
            ("\"<= 6\"", false),
            ("7", true),
            ("8", false),
        ] {
            let is: Is = serde_json::from_str(text).expect("a comparison");
            assert_eq!(is.holds(7.0, stat), holds, "{text}");
        }
    }

    #[test]
    fn values_and_quantiles() {
        let page = "a: 1\nb.time: P0(nan,0) P50(nan,2050) P100(nan,2100)\nb.time.x: 3\n";
        assert_eq!(value_of(page, "a"), Some(1.0));
        assert_eq!(value_of(page, "b.time P50"), Some(2050.0));
        assert_eq!(value_of(page, "b.time P5"), None);
        assert_eq!(value_of(page, "b.tim P50"), None);
        assert_eq!(value_of("b: No recorded values\n", "b P50"), None);
    }

    #[test]
    fn a_line_begins_once() {
        assert_eq!(
            last_of("sidespan: sidespan: x", "sidespan: "),
            "sidespan: x"
        );
        assert_eq!(last_of("other", "sidespan: "), "other");
    }
}
