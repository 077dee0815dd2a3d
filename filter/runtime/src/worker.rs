//! One worker that traces and exports on its own.

use crate::dispatch::DispatchError;
use crate::log_throttle::LogThrottle;
use crate::metrics::{GaugeShare, Metrics, SharedGauges};
use crate::shared_state::SharedState;
use sidespan_core::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use sidespan_core::export::deferred_spans::DeferredSpans;
use sidespan_core::host::response_info::ResponseInfo;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::source::SpanSource;
use sidespan_core::tracer::Tracer;
use std::time::Duration;

/// A host that calls each worker by a context id.
pub trait WorkerHost: SharedState + SharedGauges {
    /// Unix time in nanoseconds.
    fn now(&self) -> u64;

    /// Sets the time from one tick of the current context to the next; zero stops
    /// them.
    fn set_tick_period(&self, period: Duration);

    /// Makes the calls that follow, up to the end of the callback, those of
    /// another context. Returns whether the host has it.
    fn set_effective_context(&self, context_id: u32) -> bool;

    /// Lets the host delete the current context, which it kept for an answer of
    /// `false` in its `done` callback.
    fn done(&self);

    /// Sends an export of the current context. Returns the token of its response.
    fn dispatch(&self, target: &Target, callout: &Callout) -> Result<u32, DispatchError>;
}

/// What is stored of the end of a deferred stream.
pub trait StoredResponse {
    /// What it says to the recorder.
    type Response: ResponseInfo;

    /// Restores it.
    fn restore(self) -> Self::Response;
}

/// When the first tick of a new context comes: at once, as far as a host can.
pub const FIRST_TICK: Duration = Duration::from_millis(1);

/// How often a context without a configuration has a tick.
pub const MAX_TICK: Duration = Duration::from_secs(1);

/// A context with a configuration: a tracer, its exports, and the state that
/// keeps them going.
#[derive(Debug)]
pub struct Worker<R, X> {
    /// What the adapter keeps with the context.
    pub adapter: X,
    context_id: u32,
    tracer: Tracer,
    /// Of the keys in shared state.
    key_prefix: String,
    /// Contexts with the same document are the same one to the host.
    document: Vec<u8>,
    is_fallback: bool,
    /// The host has called the context, so that the document is known to be in
    /// force.
    is_confirmed: bool,
    deferred: DeferredSpans<(StreamTracer, R)>,
    /// Exports under way, by the host's tokens.
    in_flight: Vec<(u32, CalloutId)>,
    gauges: GaugeShare,
    tick_period: Duration,
    next_tick: Duration,
    is_ending: bool,
}

impl<R: StoredResponse, X> Worker<R, X> {
    /// A worker for a configuration, which the host calls soon.
    ///
    /// `document` is what the host configured. `is_fallback` says that it was
    /// rejected, and that the last good one is in force.
    pub fn new(
        host: &impl WorkerHost,
        context_id: u32,
        tracer: Tracer,
        key_prefix: String,
        document: Vec<u8>,
        is_fallback: bool,
        adapter: X,
    ) -> Self {
        let throttle = LogThrottle::new(host, &key_prefix);
        for warning in tracer.warnings() {
            throttle.warn_once(&warning);
        }
        throttle.prepare(&tracer.target().cluster);
        host.set_tick_period(FIRST_TICK);
        Self {
            adapter,
            context_id,
            tracer,
            key_prefix,
            document,
            is_fallback,
            is_confirmed: is_fallback,
            deferred: DeferredSpans::default(),
            in_flight: Vec::new(),
            gauges: GaugeShare::default(),
            tick_period: FIRST_TICK,
            next_tick: Duration::from_nanos(host.now()) + FIRST_TICK,
            is_ending: false,
        }
    }

    /// Returns what traces requests, and what the adapter keeps with the context.
    pub fn parts(&mut self) -> (&mut SpanSource, &X) {
        (self.tracer.source(), &self.adapter)
    }

    /// Whether the document is in force: it was accepted, and the context does not
    /// end.
    pub(crate) fn has_document(&self) -> bool {
        !self.is_fallback && !self.is_ending
    }

    /// Whether the host calls the context for the first time.
    pub(crate) fn confirm(&mut self) -> bool {
        !std::mem::replace(&mut self.is_confirmed, true)
    }

    pub(crate) fn key_prefix(&self) -> &str {
        &self.key_prefix
    }

    pub(crate) fn document(&self) -> &[u8] {
        &self.document
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// Whether the host may delete the context: it asked for that, and nothing is
    /// left to export.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_ending && self.deferred.is_empty() && self.tracer.is_idle()
    }

    /// Ends a stream whose response needs the host no more. Its spans are built
    /// together with those of others.
    pub fn end_deferrable<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        stream: StreamTracer,
        response: R,
        now: u64,
    ) {
        if self
            .deferred
            .push((stream, response), now, self.tracer.queue())
        {
            self.build_deferred();
            self.export(host, metrics, now);
        }
    }

    /// Ends a stream: its spans are built and queued.
    pub fn end<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        stream: StreamTracer,
        response: &impl ResponseInfo,
        now: u64,
    ) {
        self.tracer.on_end(stream, response, now);
        self.export(host, metrics, now);
    }

    fn build_deferred(&mut self) {
        for ((stream, response), end) in self.deferred.drain() {
            self.tracer.on_end(stream, &response.restore(), end);
        }
    }

    /// Sends every export that is ready and may be under way.
    fn export<M: Copy>(&mut self, host: &impl WorkerHost<Id = M>, metrics: &Metrics<M>, now: u64) {
        while let Some(callout) = self.tracer.next_callout(now) {
            // A call belongs to the context that makes it and ends with it, and
            // this may be the callback of a stream that is about to end.
            let sent = match host.set_effective_context(self.context_id) {
                true => host.dispatch(self.tracer.target(), &callout),
                false => Err(DispatchError::NoEndpoint),
            };
            match sent {
                Ok(token) => self.in_flight.push((token, callout.id)),
                Err(error) => {
                    self.end_export(host, metrics, callout.id, CalloutOutcome::from(error), now);
                }
            }
        }
    }

    fn end_export<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
    ) {
        let Some(end) = self.tracer.on_callout_end(id, outcome, now) else {
            return;
        };
        let millis = u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX);
        metrics.record_export_time(host, millis);
        LogThrottle::new(host, &self.key_prefix).log_export_end(
            &self.tracer.target().cluster,
            &end,
            now,
        );
    }

    /// The export with this token ended.
    pub(crate) fn complete_export<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        token: u32,
        outcome: CalloutOutcome<'_>,
    ) {
        let Some(index) = self.in_flight.iter().position(|(known, _)| *known == token) else {
            return;
        };
        let (_, id) = self.in_flight.swap_remove(index);
        let now = host.now();
        self.end_export(host, metrics, id, outcome, now);
        self.export(host, metrics, now);
        self.publish(host, metrics, now);
        if Duration::from_nanos(now) + self.tracer.next_tick(now) < self.next_tick {
            self.schedule_tick(host, now);
        }
    }

    /// Builds, exports and publishes what is due.
    pub(crate) fn on_tick<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        now: u64,
    ) {
        self.build_deferred();
        self.tracer.on_tick(now);
        self.export(host, metrics, now);
        self.publish(host, metrics, now);
        self.schedule_tick(host, now);
    }

    /// The host asks whether it may delete the context: all that waits is exported
    /// while there is time. Takes over from `predecessor`, if there is one.
    pub(crate) fn shut_down<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        predecessor: Option<Self>,
        now: u64,
    ) {
        if let Some(predecessor) = predecessor {
            self.adopt(host, metrics, predecessor, now);
        }
        self.is_ending = true;
        self.build_deferred();
        self.tracer.shutdown(now);
        self.export(host, metrics, now);
        self.publish(host, metrics, now);
        self.schedule_tick(host, now);
    }

    /// The host ends with all of its contexts: what is not delivered is dropped,
    /// and counted.
    pub(crate) fn drop_undelivered<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        now: u64,
    ) {
        self.build_deferred();
        self.tracer.give_up();
        self.publish(host, metrics, now);
    }

    /// Takes over from a context with the same document, which the host forgets
    /// with its exports.
    fn adopt<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        mut predecessor: Self,
        now: u64,
    ) {
        predecessor.build_deferred();
        if self.is_fallback {
            // The last good document may have been another one for it.
            predecessor.drop_undelivered(host, metrics, now);
        }
        self.gauges.adopt(predecessor.gauges);
        self.tracer.adopt(predecessor.tracer, now);
        if host.set_effective_context(predecessor.context_id) {
            host.set_tick_period(Duration::ZERO);
            host.done();
            host.set_effective_context(self.context_id);
        }
    }

    /// Publishes what was counted, and how the levels of this worker changed.
    fn publish<M: Copy>(&mut self, host: &impl WorkerHost<Id = M>, metrics: &Metrics<M>, now: u64) {
        let throttle = LogThrottle::new(host, &self.key_prefix);
        for (stat, n) in self.tracer.stats().take() {
            metrics.count(host, stat, n);
            throttle.log_drops(stat, n, now);
        }
        let tracer = &self.tracer;
        self.gauges
            .publish(metrics, host, |level| tracer.level(level));
    }

    /// Has the host call when something is due.
    fn schedule_tick(&mut self, host: &impl WorkerHost, now: u64) {
        let period = self.tracer.next_tick(now);
        if period != self.tick_period {
            host.set_tick_period(period);
            self.tick_period = period;
        }
        self.next_tick = Duration::from_nanos(now) + period;
    }
}
