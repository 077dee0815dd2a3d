//! The tracer: what one worker owns, and all that an adapter drives.

use crate::batch::BatchSpanProcessor;
use crate::config::Config;
use crate::decision::{Decider, Decision, Policy, Verdict};
use crate::exporter::{Callout, CalloutId, CalloutOutcome, Exporter, Notice};
use crate::id::IdGenerator;
use crate::keep::Keep;
use crate::otlp::Envelope;
use crate::propagation::{Extraction, Extractor, Injector, Propagator};
use crate::request::{Direction, Request, RequestHead, RequestInfo, ResponseInfo};
use crate::resource::{Environment, Resource, SDK_NAME, SDK_VERSION};
use crate::rule::Rules;
use crate::sampler::{self, Threshold};
use crate::semconv;
use crate::span_context::SpanContext;
use crate::stats::{Stat, Stats};
use crate::stream::StreamTracer;
use std::time::Duration;

/// Everything that one worker needs to trace its streams.
#[derive(Debug)]
pub struct Tracer {
    propagator: Propagator,
    policy: Policy,
    keep: Keep,
    ids: IdGenerator,
    batch: BatchSpanProcessor,
    exporter: Exporter,
    stats: Stats,
}

/// What came of a request.
#[derive(Debug)]
pub struct Started {
    /// To be ended with the stream, if its span is recorded.
    pub stream: Option<StreamTracer>,
    /// The decision; [`Tracer::explain`] puts it in words.
    pub decision: Decision,
}

impl Tracer {
    /// A tracer for a configuration. `seed` is 32 bytes of entropy, other
    /// ones for each worker.
    pub fn new(config: Config, environment: &Environment, seed: [u8; 32]) -> Self {
        let resource = Resource::new(&config.service_name, environment);
        let envelope = Envelope::new(resource.as_bytes(), SDK_NAME, SDK_VERSION);
        Self {
            propagator: config.propagator,
            policy: Policy::new(
                Rules::new(config.rules),
                config.sampler,
                config.incoming,
                config.route_metadata,
            ),
            keep: config.keep,
            ids: IdGenerator::new(seed),
            exporter: Exporter::new(envelope, config.batch.max_concurrent_exports),
            batch: BatchSpanProcessor::new(config.batch),
            stats: Stats::default(),
        }
    }

    /// A request came: reads its context, decides, writes the context that
    /// goes on, and starts its span.
    ///
    /// `now` is Unix time in nanoseconds.
    pub fn on_request(
        &mut self,
        headers: &impl Extractor,
        info: &impl RequestInfo,
        direction: Direction,
        now: u64,
        injector: &mut impl Injector,
    ) -> Started {
        let request = Request {
            headers,
            head: RequestHead::read(headers),
            info,
            direction,
            now,
        };
        let mut extraction = self.propagator.extract(headers);
        let foreign_state = extraction.trace_state;
        let decision = self.policy.decide(&request, &mut extraction, &mut self.ids);
        self.count(&decision, &extraction);
        if decision.verdict == Verdict::Untouched {
            return Started {
                stream: None,
                decision,
            };
        }
        let context = SpanContext {
            trace_id: decision.trace_id,
            span_id: self.ids.span_id(),
            flags: decision.flags,
        };
        let trace_state = sampler::rewrite(&extraction.trace_state, decision.threshold);
        let parent = extraction.parent.map(|parent| parent.span_id);
        self.propagator.inject(
            &context,
            parent,
            trace_state.as_deref(),
            &extraction,
            injector,
        );
        let is_recorded = context.flags.is_sampled() || self.keep.is_anything();
        let stream = is_recorded.then(|| {
            let mut stream = StreamTracer::start(&request, context);
            let span = stream.span();
            span.parent = parent;
            span.trace_state = trace_state.unwrap_or_else(|| {
                // Kept for another reason, its threshold would be wrong.
                let cleared = (!context.flags.is_sampled())
                    .then(|| sampler::rewrite(&extraction.trace_state, Threshold::Clear));
                cleared
                    .flatten()
                    .unwrap_or_else(|| extraction.trace_state.to_string())
            });
            if decision.links {
                span.link = decision
                    .restarted
                    .map(|context| (context, foreign_state.to_string()));
            }
            if let Decider::Rule(index) = decision.decider
                && let Some(name) = self.policy.rule_name(index).filter(|name| !name.is_empty())
            {
                span.set_str(semconv::SIDESPAN_RULE, name);
            }
            stream
        });
        Started { stream, decision }
    }

    fn count(&mut self, decision: &Decision, extraction: &Extraction<'_>) {
        self.stats.add(decision.stat(), 1);
        if extraction.malformed.is_some() {
            self.stats.add(Stat::Malformed, 1);
        }
        if decision.restarted.is_some() && decision.verdict != Verdict::Untouched {
            self.stats.add(Stat::Restarted, 1);
        }
    }

    /// A decision in words.
    pub fn explain(&self, decision: &Decision) -> String {
        self.policy.explain(decision)
    }

    /// A stream ended: its span goes into the queue.
    pub fn on_end(&mut self, stream: StreamTracer, response: &impl ResponseInfo, now: u64) {
        let Some(span) = stream.end(response, &self.keep, now) else {
            return;
        };
        if !span.context.flags.is_sampled() {
            self.stats.add(Stat::Kept, 1);
        }
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
