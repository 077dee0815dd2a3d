//! The tracer: a source of spans and their delivery in one, for a host whose
//! workers share nothing.

use crate::config::Config;
use crate::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use crate::export::pipeline::{Delivery, ExportEnd};
use crate::export::queue::BatchSpanProcessor;
use crate::headers::header_map::{Extractor, Injector};
use crate::host::environment::Environment;
use crate::host::request_info::RequestInfo;
use crate::host::response_info::ResponseInfo;
use crate::recording::recorder::Recorder;
use crate::recording::stream::StreamTracer;
use crate::sampling::policy::Decision;
use crate::source::{SpanSource, Started};
use crate::stats::{Level, Stats};
use std::sync::Arc;
use std::time::Duration;

/// Everything that one worker needs to trace its streams.
#[derive(Debug)]
pub struct Tracer {
    source: SpanSource,
    delivery: Delivery,
}

impl Tracer {
    /// A tracer for a configuration. `seed` is 32 bytes of entropy, other
    /// ones for each worker.
    pub fn new(config: Config, environment: &impl Environment, seed: [u8; 32]) -> Self {
        let delivery = Delivery::new(config.delivery(), environment);
        let source = SpanSource::new(config, environment, seed);
        Self { source, delivery }
    }

    /// What an operator should know of the environment.
    pub fn warnings(&self) -> Vec<String> {
        let of_delivery = self.delivery.warnings().iter().cloned();
        of_delivery.chain(self.recorder().warnings()).collect()
    }

    /// [`Delivery::target`].
    pub fn target(&self) -> &Target {
        self.delivery.target()
    }

    /// What traces the requests of this worker.
    pub fn source(&mut self) -> &mut SpanSource {
        &mut self.source
    }

    /// [`SpanSource::on_request`].
    pub fn on_request(
        &mut self,
        headers: &impl Extractor,
        info: &impl RequestInfo,
        injector: &mut impl Injector,
    ) -> Started {
        self.source.on_request(headers, info, injector)
    }

    /// [`SpanSource::recorder`].
    pub fn recorder(&self) -> &Arc<Recorder> {
        self.source.recorder()
    }

    /// [`SpanSource::explain`].
    pub fn explain(&self, decision: &Decision) -> String {
        self.source.explain(decision)
    }

    /// [`SpanSource::line`].
    pub fn line(&self, headers: &impl Extractor, decision: &Decision) -> String {
        self.source.line(headers, decision)
    }

    /// A stream ended: its spans go into the queue.
    pub fn on_end(&mut self, stream: StreamTracer, response: &impl ResponseInfo, now: u64) {
        if let Some(ended) = self.source.on_end(stream, response, now) {
            self.delivery.queue().add(&ended, self.source.stats(), now);
        }
    }

    /// The queue of spans that wait for export.
    pub fn queue(&self) -> &BatchSpanProcessor {
        self.delivery.spans()
    }

    /// [`Delivery::next_tick`].
    pub fn next_tick(&self, now: u64) -> Duration {
        self.delivery.next_tick(now)
    }

    /// [`Delivery::on_tick`].
    pub fn on_tick(&mut self, now: u64) {
        self.delivery.on_tick(now);
    }

    /// [`Delivery::shutdown`].
    pub fn shutdown(&mut self, now: u64) {
        self.delivery.shutdown(now, self.source.jitter());
    }

    /// [`Delivery::give_up`].
    pub fn give_up(&mut self) {
        self.delivery.give_up();
    }

    /// Takes over what another tracer of the same configuration has not
    /// delivered, and what it has not published.
    pub fn adopt(&mut self, mut other: Self, now: u64) {
        self.source.stats().add_all(other.stats());
        self.delivery.adopt(other.delivery, now);
    }

    /// [`Delivery::next_callout`].
    pub fn next_callout(&mut self, now: u64) -> Option<Callout> {
        self.delivery.next_callout(now)
    }

    /// [`Delivery::on_callout_end`].
    pub fn on_callout_end(
        &mut self,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
    ) -> Option<ExportEnd> {
        self.delivery
            .on_callout_end(id, outcome, now, self.source.jitter())
    }

    /// [`Delivery::is_idle`].
    pub fn is_idle(&self) -> bool {
        self.delivery.is_idle()
    }

    /// [`Delivery::level`].
    pub fn level(&self, level: Level) -> u64 {
        self.delivery.level(level)
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        self.source.stats().add_all(self.delivery.stats());
        self.source.stats()
    }
}
