//! The tracer: what one worker owns, and all that an adapter drives.

use crate::batch::BatchSpanProcessor;
use crate::config::Config;
use crate::exporter::{Callout, CalloutId, CalloutOutcome, Exporter, Notice};
use crate::id::IdGenerator;
use crate::otlp::Envelope;
use crate::propagation::{Extractor, Injector, Propagator};
use crate::resource::{Environment, Resource, SDK_NAME, SDK_VERSION};
use crate::sampler::{self, SamplingDecision};
use crate::span_context::{SpanContext, TraceFlags};
use crate::stats::{Stat, Stats};
use crate::stream::{Direction, RequestInfo, ResponseInfo, StreamTracer};
use std::time::Duration;

/// Everything that one worker needs to trace its streams.
#[derive(Debug)]
pub struct Tracer {
    propagator: Propagator,
    ids: IdGenerator,
    batch: BatchSpanProcessor,
    exporter: Exporter,
    stats: Stats,
}

impl Tracer {
    /// A tracer for a configuration. `seed` is 32 bytes of entropy, other
    /// ones for each worker.
    pub fn new(config: &Config, environment: &Environment, seed: [u8; 32]) -> Self {
        let resource = Resource::new(&config.service_name, environment);
        let envelope = Envelope::new(resource.as_bytes(), SDK_NAME, SDK_VERSION);
        Self {
            propagator: config.propagator.clone(),
            ids: IdGenerator::new(seed),
            exporter: Exporter::new(envelope, config.batch.max_concurrent_exports),
            batch: BatchSpanProcessor::new(config.batch.clone()),
            stats: Stats::default(),
        }
    }

    /// A request came: reads its context, decides, writes the context that
    /// goes on. Gives the stream to end later if its span is recorded.
    ///
    /// `now` is Unix time in nanoseconds.
    pub fn on_request(
        &mut self,
        request: &impl Extractor,
        info: &impl RequestInfo,
        direction: Direction,
        now: u64,
        injector: &mut impl Injector,
    ) -> Option<StreamTracer> {
        let extraction = self.propagator.extract(request);
        if extraction.malformed.is_some() {
            self.stats.add(Stat::Malformed, 1);
        }
        let decision = sampler::decide(extraction.sampling);
        let sampled = decision == SamplingDecision::RecordAndSample;
        let context = match extraction.parent {
            Some(parent) => SpanContext {
                trace_id: parent.trace_id,
                span_id: self.ids.span_id(),
                flags: parent.flags.with_sampled(sampled),
            },
            // "If the right-most 7 bytes are randomly […] generated, the
            // corresponding random trace id flag SHOULD be set."
            None => SpanContext {
                trace_id: self.ids.trace_id(),
                span_id: self.ids.span_id(),
                flags: TraceFlags::default()
                    .with_random(true)
                    .with_sampled(sampled),
            },
        };
        let parent = extraction.parent.map(|parent| parent.span_id);
        self.propagator
            .inject(&context, parent, &extraction, injector);
        if !sampled {
            self.stats.add(Stat::NotSampled, 1);
            return None;
        }
        self.stats.add(Stat::Sampled, 1);
        Some(StreamTracer::start(
            request,
            info,
            direction,
            context,
            &extraction,
            now,
        ))
    }

    /// A stream ended: its span goes into the queue.
    pub fn on_end(&mut self, stream: StreamTracer, response: &impl ResponseInfo, now: u64) {
        let span = stream.end(response);
        self.stats.add(Stat::SpansCreated, 1);
        // The system's clock can be set back while a stream lasts.
        let end = now.max(span.start_unix_nanos);
        if self.batch.on_end(&span, end).is_err() {
            self.stats.add(Stat::SpansDroppedQueueFull, 1);
        }
    }

    /// How often [`on_tick`](Self::on_tick) is to be called.
    pub fn tick_period(&self) -> Duration {
        self.batch.tick_period()
    }

    /// Time goes by: a batch that waited long enough goes though not full.
    pub fn on_tick(&mut self, now: u64) {
        self.batch.on_tick(now);
    }

    /// The end is near: batches go though not full.
    pub fn flush(&mut self) {
        self.batch.flush();
    }

    /// The next export to send, while one is ready and may be under way.
    pub fn next_callout(&mut self) -> Option<Callout> {
        if !self.exporter.has_room() {
            return None;
        }
        let batch = self.batch.take()?;
        Some(self.exporter.export(&batch))
    }

    /// A callout ended. Gives what an operator should read of it.
    pub fn on_callout_end(&mut self, id: CalloutId, outcome: CalloutOutcome<'_>) -> Option<Notice> {
        let (booked, notice) = self.exporter.end(id, outcome)?;
        let answered = matches!(outcome, CalloutOutcome::Answered(_));
        let exports = if answered {
            Stat::ExportsSucceeded
        } else {
            Stat::ExportsFailed
        };
        self.stats.add(exports, 1);
        for (stat, spans) in [
            (Stat::SpansAcknowledged, booked.acknowledged),
            (Stat::SpansRejected, booked.rejected),
            (Stat::SpansDroppedExportFailed, booked.dropped),
        ] {
            self.stats.add(stat, spans as u64);
        }
        notice
    }

    /// Whether every span was exported or given up.
    pub fn is_idle(&self) -> bool {
        self.batch.queued_spans() == 0 && self.exporter.is_idle()
    }

    /// Spans that wait, and spans on their way.
    pub fn pending_spans(&self) -> (usize, usize) {
        (self.batch.queued_spans(), self.exporter.spans_in_flight())
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
