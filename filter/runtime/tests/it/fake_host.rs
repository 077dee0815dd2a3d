//! A host whose time, clusters and metrics a test holds.

use sidespan_core::export::callout::{Callout, Target};
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::{Direction, RequestInfo};
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::ResponseInfo;
use sidespan_runtime::dispatch::DispatchError;
use sidespan_runtime::metrics::{MetricDefiner, MetricSink, SharedGauges};
use sidespan_runtime::shared_state::{ProcessState, SharedState};
use sidespan_runtime::worker::{StoredResponse, WorkerHost};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const START: u64 = 1_700_000_000 * SECOND;

/// An export that the host was asked to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) context_id: u32,
    pub(crate) token: u32,
    pub(crate) cluster: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) struct FakeHost {
    pub(crate) now: Cell<u64>,
    pub(crate) shared: ProcessState,
    /// How many writes of shared state fail, as if another worker had written.
    pub(crate) conflicts: Cell<u32>,
    /// Names of metrics; an id is a place in it.
    names: RefCell<Vec<String>>,
    values: RefCell<BTreeMap<String, i64>>,
    /// The context whose callback runs.
    pub(crate) current: Cell<u32>,
    /// Contexts that the host has deleted.
    pub(crate) deleted: RefCell<Vec<u32>>,
    pub(crate) tick_periods: RefCell<BTreeMap<u32, Duration>>,
    /// Contexts that were let go after `on_done` kept them.
    pub(crate) done: RefCell<Vec<u32>>,
    /// Why exports cannot be sent.
    pub(crate) refusal: Cell<Option<DispatchError>>,
    pub(crate) sent: RefCell<Vec<Sent>>,
}

impl FakeHost {
    pub(crate) fn new() -> Self {
        Self {
            now: Cell::new(START),
            shared: ProcessState::default(),
            conflicts: Cell::new(0),
            names: RefCell::default(),
            values: RefCell::default(),
            current: Cell::new(0),
            deleted: RefCell::default(),
            tick_periods: RefCell::default(),
            done: RefCell::default(),
            refusal: Cell::new(None),
            sent: RefCell::default(),
        }
    }

    pub(crate) fn advance(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap();
        self.now.set(self.now.get() + nanos);
    }

    /// The value of a metric, `None` if it was never defined.
    pub(crate) fn metric(&self, name: &str) -> Option<i64> {
        self.values
            .borrow()
            .get(&format!("sidespan.{name}"))
            .copied()
    }

    /// All metrics that are not zero.
    pub(crate) fn metrics(&self) -> BTreeMap<String, i64> {
        let mut values = self.values.borrow().clone();
        values.retain(|_, value| *value != 0);
        values
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.names.borrow().clone()
    }

    fn define(&self, name: &str) -> Option<usize> {
        self.values.borrow_mut().entry(name.to_owned()).or_default();
        let mut names = self.names.borrow_mut();
        names.push(name.to_owned());
        Some(names.len() - 1)
    }

    fn change(&self, id: usize, change: impl FnOnce(i64) -> i64) {
        let name = self.names.borrow()[id].clone();
        let mut values = self.values.borrow_mut();
        let value = values.get_mut(&name).expect("a metric that is defined");
        *value = change(*value);
    }
}

impl SharedState for FakeHost {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.shared.get(key)
    }

    fn compare_and_set(&self, key: &str, value: &[u8], version: u32) -> bool {
        if let Some(left) = self.conflicts.get().checked_sub(1) {
            self.conflicts.set(left);
            return false;
        }
        self.shared.compare_and_set(key, value, version)
    }
}

impl MetricDefiner for FakeHost {
    type Id = usize;

    fn define_counter(&self, name: &str) -> Option<usize> {
        self.define(name)
    }

    fn define_gauge(&self, name: &str) -> Option<usize> {
        self.define(name)
    }

    fn define_histogram(&self, name: &str) -> Option<usize> {
        self.define(name)
    }
}

impl MetricSink for FakeHost {
    type Id = usize;

    fn add(&self, counter: usize, n: u64) {
        self.change(counter, |value| value + i64::try_from(n).unwrap());
    }

    fn set(&self, gauge: usize, value: u64) {
        self.change(gauge, |_| i64::try_from(value).unwrap());
    }

    /// Counts the values of a histogram.
    fn record(&self, histogram: usize, _: u64) {
        self.change(histogram, |count| count + 1);
    }
}

impl SharedGauges for FakeHost {
    fn add_to_gauge(&self, gauge: usize, n: i64) {
        self.change(gauge, |value| value + n);
    }

    fn raise_gauge(&self, gauge: usize, value: u64) {
        self.change(gauge, |old| old.max(i64::try_from(value).unwrap()));
    }
}

impl WorkerHost for FakeHost {
    fn now(&self) -> u64 {
        self.now.get()
    }

    fn set_tick_period(&self, period: Duration) {
        let mut periods = self.tick_periods.borrow_mut();
        periods.insert(self.current.get(), period);
    }

    fn set_effective_context(&self, context_id: u32) -> bool {
        let is_there = !self.deleted.borrow().contains(&context_id);
        if is_there {
            self.current.set(context_id);
        }
        is_there
    }

    fn done(&self) {
        self.done.borrow_mut().push(self.current.get());
    }

    fn dispatch(&self, target: &Target, callout: &Callout) -> Result<u32, DispatchError> {
        if let Some(error) = self.refusal.get() {
            return Err(error);
        }
        let mut sent = self.sent.borrow_mut();
        let token = u32::try_from(sent.len()).unwrap() + 1;
        sent.push(Sent {
            context_id: self.current.get(),
            token,
            cluster: target.cluster.clone(),
            body: callout.body.to_vec(),
        });
        Ok(token)
    }
}

/// An environment with these variables.
#[derive(Default)]
pub(crate) struct FakeEnvironment(pub(crate) Vec<(&'static str, &'static str)>);

impl Environment for FakeEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        let mut named = self.0.iter().filter(|(key, _)| *key == name);
        named.next().map(|(_, value)| (*value).to_owned())
    }

    fn node(&self, _: &[&str]) -> Option<String> {
        None
    }
}

/// A request to an inbound listener.
pub(crate) struct Inbound;

impl RequestInfo for Inbound {
    fn listener_direction(&self) -> Direction {
        Direction::Inbound
    }

    fn now(&self) -> u64 {
        START
    }

    fn route_bool(&self, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn route_text(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn route_number(&self, _: &str, _: &str) -> Option<f64> {
        None
    }
}

/// The response of a stream that ended as most do.
#[derive(Debug)]
pub(crate) struct Ordinary;

impl ResponseInfo for Ordinary {
    fn listener_direction(&self) -> Direction {
        Direction::Inbound
    }

    fn status(&self) -> Option<u16> {
        Some(200)
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        Some("HTTP/1.1".into())
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        Some("192.0.2.7:50123".into())
    }

    fn response_header(&self, _: &str) -> Option<&[u8]> {
        None
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags::default()
    }

    fn response_size(&self) -> Option<u64> {
        Some(10)
    }

    fn attempt_count(&self) -> u64 {
        1
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        None
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        Some("orders".into())
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        Some("10.0.0.5:8080".into())
    }
}

impl StoredResponse for Ordinary {
    type Response = Self;

    fn restore(self) -> Self {
        self
    }
}
