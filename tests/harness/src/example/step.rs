//! One step of an example: what is sent, and what must come of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

use super::action::{Action, Stats};
use super::part::{Place, Running};
use super::{Variant, tree};
use crate::load::{self, LoadReport};
use crate::otlp::common::v1::any_value;
use crate::waterfall::{self, Style};
use crate::{ReceivedSpan, Upstream, client};

/// The two-sided 99.9 % quantile of the normal distribution.
const Z: f64 = 3.29;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    what: String,
    to: Place,
    #[serde(default = "get")]
    method: String,
    path: String,
    /// The headers that the variant has by this name.
    caller: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default = "one")]
    count: u64,
    /// In place of `count`: so many a second for as long as `during` takes.
    per_second: Option<u64>,
    #[serde(default = "ok")]
    status: u16,
    /// How long the slowest of the requests may take.
    within_ms: Option<u64>,
    /// Done before the first request.
    #[serde(default)]
    before: Vec<Action>,
    /// Done while requests are made.
    #[serde(default)]
    during: Vec<Action>,
    /// Done after the last one was answered.
    #[serde(default)]
    then: Vec<Action>,
    /// How stats are from the first request on until all is done, looked at again and again.
    #[serde(default)]
    throughout: Vec<Stats>,
    /// A span counts once though it came twice, as it does when an answer to an export is lost.
    #[serde(default)]
    distinct: bool,
    /// How many come of it; else `tree` says which.
    spans: Option<Expected>,
    /// The spans of the trace that comes of each request, as [`tree::lines`] has them.
    tree: Option<Vec<String>>,
    /// The caller's span, as `TRACE-SPAN`: the tree hangs below it.
    below: Option<String>,
    /// What each of the spans has.
    #[serde(default)]
    each: Like,
    /// What all of those have that are of a service, a kind, a name or a scope.
    #[serde(default)]
    those: Vec<Like>,
    /// Headers that the upstream sees, `*` for what may be anything; null for one that it must not.
    #[serde(default)]
    upstream: BTreeMap<String, Option<String>>,
    /// JSON pointers into the answer and what is there, `*` as above; null for what must not be.
    #[serde(default)]
    answer: BTreeMap<String, Value>,
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
    Share {
        share: f64,
    },
    /// Some are lost.
    Fewer {
        fewer_than: usize,
    },
}

/// What a span is like.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Like {
    service: Option<String>,
    kind: Option<String>,
    name: Option<String>,
    scope: Option<String>,
    /// Texts with `*` as above; null for one that must not be there.
    #[serde(default)]
    attributes: BTreeMap<String, Value>,
    #[serde(default)]
    resource: BTreeMap<String, Value>,
}

/// Spans are told apart by a query that each step adds.
fn mark(step: usize) -> String {
    format!("example-step={step}")
}

fn is_marked(span: &ReceivedSpan, step: usize) -> bool {
    ["url.query", "url.full", "http.url"]
        .iter()
        .filter_map(|key| span.str_attr(key))
        .any(|query| query.split(['?', '&']).any(|pair| pair == mark(step)))
}

/// The spans of each step, and those of none: an SDK's may lack the mark, and belong to the step
/// that another one of their trace is marked for.
pub(super) fn assign(
    spans: &[ReceivedSpan],
    steps: usize,
) -> (Vec<Vec<ReceivedSpan>>, Vec<ReceivedSpan>) {
    let marked: Vec<_> = spans
        .iter()
        .map(|span| (0..steps).find(|&step| is_marked(span, step)))
        .collect();
    let by_trace: HashMap<_, _> = spans
        .iter()
        .zip(&marked)
        .filter_map(|(span, step)| Some((&span.span.trace_id, (*step)?)))
        .collect();
    let mut by_step = vec![Vec::new(); steps];
    let mut strays = Vec::new();
    for (span, step) in spans.iter().zip(&marked) {
        match step.or_else(|| by_trace.get(&span.span.trace_id).copied()) {
            Some(step) => by_step[step].push(span.clone()),
            None => strays.push(span.clone()),
        }
    }
    (by_step, strays)
}

/// What a step did.
pub(super) struct Sent {
    requests: u64,
    /// What its actions saw.
    told: String,
}

impl Step {
    pub(super) fn send(
        &self,
        n: usize,
        running: &Running,
        variant: &Variant,
        upstream: &Upstream,
    ) -> Sent {
        let what = &self.what;
        let _named = NameOnPanic(what);
        let separator = if self.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}{}", self.path, mark(n));
        let caller = self.caller.as_ref().map(|name| {
            let headers = variant.callers.get(name);
            headers.unwrap_or_else(|| panic!("{what}: no caller {name:?} in {:?}", variant.name))
        });
        let headers: Vec<_> = caller
            .into_iter()
            .flatten()
            .chain(&self.headers)
            .map(|(n, v)| (n.as_str(), v.as_bytes()))
            .collect();
        let addr = running.addr(&self.to);
        let seen_before = upstream.count();
        let act =
            |actions: &[Action]| -> String { actions.iter().map(|a| a.run(running)).collect() };

        let mut told = act(&self.before);
        let over = AtomicBool::new(false);
        let requests = std::thread::scope(|scope| {
            let _over = SetOnDrop(&over);
            for stats in &self.throughout {
                told += &stats.told();
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        stats.assert(running);
                        // Between two looks at the stats.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                });
            }
            let requests = match self.per_second {
                Some(per_second) => {
                    assert!(headers.is_empty(), "{what}: `headers` with `per_second`");
                    let (report, seen) =
                        while_under_load(addr, &path, per_second, || act(&self.during));
                    told += &seen;
                    self.check_report(&report, None)
                }
                None => {
                    assert!(
                        self.during.is_empty(),
                        "{what}: `during` without `per_second`"
                    );
                    self.request(addr, &path, &headers)
                }
            };
            told += &act(&self.then);
            requests
        });
        if !self.upstream.is_empty() {
            assert!(
                upstream.count() > seen_before,
                "{what}: the upstream saw nothing"
            );
            self.check_upstream(upstream);
        }
        Sent { requests, told }
    }

    /// Makes `count` requests.
    fn request(&self, addr: SocketAddr, path: &str, headers: &[(&str, &[u8])]) -> u64 {
        let what = &self.what;
        if self.count > 1 {
            assert!(self.answer.is_empty(), "{what}: an answer of many requests");
            let report = load::run(addr, path, 8, self.count, headers);
            return self.check_report(&report, Some(self.count));
        }
        let start = Instant::now();
        let answer = client::request(addr, &self.method, path, headers, b"")
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        self.check_time(start.elapsed());
        assert_eq!(answer.status, self.status, "{what}: {}", answer.text());
        self.check_answer(&answer);
        1
    }

    /// All were answered as they should be; gives their number.
    fn check_report(&self, report: &LoadReport, count: Option<u64>) -> u64 {
        let made = report.ok + report.failed;
        let same = report.statuses.get(&self.status).copied().unwrap_or(0);
        let expected = count.unwrap_or(made);
        assert_eq!(same, expected, "{}: {:?}", self.what, report.statuses);
        self.check_time(report.max);
        made
    }

    fn check_time(&self, slowest: Duration) {
        let Some(within) = self.within_ms.map(Duration::from_millis) else {
            return;
        };
        assert!(slowest <= within, "{}: took {slowest:?}", self.what);
    }

    fn check_answer(&self, answer: &client::Response) {
        if self.answer.is_empty() {
            return;
        }
        let json = answer.json();
        for (pointer, expected) in &self.answer {
            let actual = json.pointer(pointer).unwrap_or(&Value::Null);
            assert!(
                is_value_like(actual, expected),
                "{}: {pointer} is {actual}, expected {expected}, in {json:#}",
                self.what
            );
        }
    }

    fn check_upstream(&self, upstream: &Upstream) {
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

    pub(super) fn check(&self, sent: &Sent, mut spans: Vec<ReceivedSpan>) {
        let what = &self.what;
        let came = spans.len();
        if self.distinct {
            let mut ids = HashSet::new();
            spans.retain(|span| ids.insert((span.trace_id_hex(), span.span_id_hex())));
        }
        let spans = &*spans;
        let told = format!("{what}: {}, ", plural(sent.requests, "request"));
        let mut found = plural(spans.len() as u64, "span");
        if came > spans.len() {
            found += &format!(" ({} came twice)", came - spans.len());
        }
        match (self.spans, &self.tree) {
            (Some(Expected::Exactly(n)), None) => {
                assert_eq!(spans.len(), n, "{what}: spans");
                println!("{told}{found}");
            }
            (Some(Expected::Fewer { fewer_than }), None) => {
                assert!(spans.len() < fewer_than, "{told}{found}");
                println!("{told}{found} (fewer than {fewer_than} expected)");
            }
            (Some(Expected::Share { share }), None) => {
                let n = sent.requests as f64;
                let bound = Z * (n * share * (1.0 - share)).sqrt();
                let off = (spans.len() as f64 - n * share).abs();
                assert!(
                    off <= bound,
                    "{told}{found}, expected {:.0} ± {bound:.0}",
                    n * share
                );
                println!("{told}{found} ({:.0} ± {bound:.0} expected)", n * share);
            }
            (None, Some(tree)) => {
                self.check_trees(tree, sent, spans);
                let trees = match sent.requests {
                    1 => "one tree".to_owned(),
                    n => format!("{n} trees alike"),
                };
                println!("{told}{found} in {trees}");
            }
            _ => panic!("{what}: expects neither `spans` nor `tree`, or both"),
        }
        assert!(
            self.below.is_none() || self.tree.is_some(),
            "{what}: `below` without `tree`"
        );
        for span in spans {
            if let Some(difference) = self.each.difference(span) {
                panic!("{what}: {difference}");
            }
        }
        let mut told = self.each.told("each span", spans.first());
        for like in &self.those {
            let those = || spans.iter().filter(|span| like.identity(span).is_none());
            let whose = like.whose();
            assert!(those().next().is_some(), "{what}: no span is of {whose}");
            if let Some(difference) = those().find_map(|span| like.difference(span)) {
                panic!("{what}: {whose}: {difference}");
            }
            told += &like.told(&whose, those().next());
        }
        if sent.requests == 1 && !spans.is_empty() {
            println!("{}{told}", drawn(spans));
        }
        if !sent.told.is_empty() {
            println!("{}", sent.told);
        }
    }

    fn check_trees(&self, tree: &[String], sent: &Sent, spans: &[ReceivedSpan]) {
        let what = &self.what;
        let traces = waterfall::group_by_trace(spans);
        let differs = |trace: &&Vec<ReceivedSpan>| tree::lines(trace) != tree;
        if let Some(trace) = traces.iter().find(differs) {
            let actual = tree::lines(trace);
            panic!(
                "{what}: a tree is {actual:#?}, expected {tree:#?}\n{}",
                drawn(trace)
            );
        }
        assert_eq!(traces.len() as u64, sent.requests, "{what}: traces");
        for trace in &traces {
            assert_eq!(above(trace), self.below, "{what}: the span above the tree");
        }
    }
}

/// Requests, so many a second, for as long as `f` takes.
fn while_under_load<T>(
    addr: SocketAddr,
    path: &str,
    per_second: u64,
    f: impl FnOnce() -> T,
) -> (LoadReport, T) {
    const PART: Duration = Duration::from_millis(100);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut sum = LoadReport::default();
            while !over.load(Ordering::Relaxed) {
                let part = load::run_paced(addr, path, 8, per_second, PART, &[]);
                sum.ok += part.ok;
                sum.failed += part.failed;
                sum.max = sum.max.max(part.max);
                for (status, count) in part.statuses {
                    *sum.statuses.entry(status).or_insert(0) += count;
                }
            }
            sum
        });
        let set = SetOnDrop(&over);
        let value = f();
        drop(set);
        (load.join().expect("the load"), value)
    })
}

/// So that a thread ends when another one panics, too.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Says which step it was that something panicked in.
struct NameOnPanic<'a>(&'a str);

impl Drop for NameOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- in the step {:?}", self.0);
        }
    }
}

/// The span above those of a tree, as [`Step::below`] has it.
fn above(trace: &[ReceivedSpan]) -> Option<String> {
    let ids: Vec<_> = trace.iter().map(ReceivedSpan::span_id_hex).collect();
    let root = trace
        .iter()
        .find(|span| !ids.contains(&span.parent_span_id_hex()))
        .expect("a tree has a root");
    match root.parent_span_id_hex() {
        none if none.is_empty() => None,
        parent => Some(format!("{}-{parent}", root.trace_id_hex())),
    }
}

fn drawn(spans: &[ReceivedSpan]) -> String {
    let style = Style {
        color: false,
        width: 0,
    };
    let traces = waterfall::group_by_trace(spans);
    let traces = traces.iter().map(|trace| waterfall::render(trace, style));
    traces.collect::<Vec<_>>().join("\n")
}

impl Like {
    /// What a span that is like this has of what is asked for here, a line each.
    fn told(&self, whose: &str, span: Option<&ReceivedSpan>) -> String {
        let Some(span) = span else {
            return String::new();
        };
        let attributes = self.attributes.keys().map(|key| (key, span.attr(key)));
        let resource = self.resource.keys();
        let resource = resource.map(|key| (key, span.resource_attr(key)));
        let lines: String = attributes
            .chain(resource)
            .map(|(key, value)| match json(value) {
                Value::Null => format!("  no {key}\n"),
                value => format!("  {key} = {value}\n"),
            })
            .collect();
        if lines.is_empty() {
            lines
        } else {
            format!("{whose}:\n{lines}")
        }
    }

    /// The first difference to a span.
    fn difference(&self, span: &ReceivedSpan) -> Option<String> {
        let value = |key: &String, expected: &Value, actual: Value| {
            (!is_value_like(&actual, expected))
                .then(|| format!("{key} is {actual}, expected {expected}"))
        };
        let mut attributes = self.attributes.iter();
        let mut resource = self.resource.iter();
        self.identity(span)
            .or_else(|| attributes.find_map(|(key, want)| value(key, want, json(span.attr(key)))))
            .or_else(|| {
                resource.find_map(|(key, want)| value(key, want, json(span.resource_attr(key))))
            })
    }

    /// The first difference to a span in what tells spans apart.
    fn identity(&self, span: &ReceivedSpan) -> Option<String> {
        let text = |name: &str, expected: &Option<String>, actual: &str| {
            let expected = expected.as_ref().filter(|expected| *expected != actual)?;
            Some(format!("{name} is {actual:?}, expected {expected:?}"))
        };
        let kind = format!("{:?}", span.kind()).to_uppercase();
        text("service", &self.service, span.service_name())
            .or_else(|| text("kind", &self.kind, &kind))
            .or_else(|| text("name", &self.name, span.name()))
            .or_else(|| text("scope", &self.scope, &span.scope.name))
    }

    /// What tells spans apart, in words.
    fn whose(&self) -> String {
        let identity = [&self.service, &self.kind, &self.name, &self.scope];
        let words: Vec<_> = identity.into_iter().flatten().map(String::as_str).collect();
        words.join(" ")
    }
}

/// Whether a value is as a pattern has it, in which one `*` stands for anything.
pub(super) fn is_like(value: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => value == pattern,
        Some((start, end)) => {
            value.len() >= start.len() + end.len()
                && value.starts_with(start)
                && value.ends_with(end)
        }
    }
}

/// Whether a text is as a pattern has it, and anything else the same.
fn is_value_like(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (Value::String(value), Value::String(pattern)) => is_like(value, pattern),
        _ => value == pattern,
    }
}

fn json(value: Option<&any_value::Value>) -> Value {
    use any_value::Value as Any;
    match value {
        None => Value::Null,
        Some(Any::StringValue(s)) => s.clone().into(),
        Some(Any::BoolValue(b)) => (*b).into(),
        Some(Any::IntValue(i)) => (*i).into(),
        Some(Any::DoubleValue(d)) => (*d).into(),
        Some(other) => format!("{other:?}").into(),
    }
}

pub(super) fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::common::v1::{AnyValue, KeyValue};
    use crate::otlp::trace::v1::{Span, span::SpanKind};

    fn span(trace: u8, query: Option<&str>) -> ReceivedSpan {
        let attribute = |query: &str| KeyValue {
            key: "url.query".to_owned(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(query.to_owned())),
            }),
            ..Default::default()
        };
        ReceivedSpan {
            span: Span {
                trace_id: vec![trace; 16],
                span_id: vec![trace; 8],
                attributes: query.map(attribute).into_iter().collect(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[test]
    fn unmarked_spans_belong_to_the_step_of_their_trace() {
        let spans = [
            span(1, None),
            span(1, Some("a=b&example-step=1")),
            span(2, Some("example-step=10")),
            span(3, Some("example-step=0")),
        ];
        let (by_step, strays) = assign(&spans, 2);
        assert_eq!(by_step[0], spans[3..]);
        assert_eq!(by_step[1], spans[..2]);
        assert_eq!(strays, spans[2..3]);
    }

    /// What a step of two requests did.
    const TWO: Sent = Sent {
        requests: 2,
        told: String::new(),
    };

    fn step(tree: &[&str]) -> Step {
        let step = serde_json::json!({
            "what": "test", "to": 1, "path": "/", "count": 2, "tree": tree,
        });
        serde_json::from_value(step).expect("a step")
    }

    #[test]
    fn a_tree_for_each_request() {
        step(&[" UNSPECIFIED "]).check(&TWO, vec![span(1, None), span(2, None)]);
    }

    #[test]
    #[should_panic(expected = "traces")]
    fn a_request_without_a_tree() {
        step(&[" UNSPECIFIED "]).check(&TWO, vec![span(1, None)]);
    }

    #[test]
    #[should_panic(expected = "a tree is")]
    fn a_tree_unlike_the_others() {
        let other = ReceivedSpan {
            span: Span {
                kind: SpanKind::Server.into(),
                ..span(2, None).span
            },
            ..Default::default()
        };
        step(&[" UNSPECIFIED "]).check(&TWO, vec![span(1, None), other]);
    }

    fn those(like: Value) -> Step {
        let step = serde_json::json!({
            "what": "test", "to": 1, "path": "/", "count": 2, "spans": 2, "those": [like],
        });
        serde_json::from_value(step).expect("a step")
    }

    #[test]
    fn those_of_a_kind_are_alike() {
        let like =
            serde_json::json!({ "kind": "UNSPECIFIED", "attributes": { "url.query": "a*" } });
        those(like).check(&TWO, vec![span(1, Some("a=1")), span(2, Some("a=2"))]);
    }

    #[test]
    #[should_panic(expected = "url.query is null")]
    fn one_of_a_kind_is_not() {
        let like =
            serde_json::json!({ "kind": "UNSPECIFIED", "attributes": { "url.query": "a*" } });
        those(like).check(&TWO, vec![span(1, Some("a=1")), span(2, None)]);
    }

    #[test]
    #[should_panic(expected = "no span is of SERVER")]
    fn none_is_of_the_kind() {
        let like = serde_json::json!({ "kind": "SERVER" });
        those(like).check(&TWO, vec![span(1, Some("a=1")), span(2, None)]);
    }
}
