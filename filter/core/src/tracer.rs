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
use crate::span::Parent;
use crate::span_context::SpanContext;
use crate::stats::{Stat, Stats};
use crate::stream::{Recorder, StreamTracer};
use std::iter::once;
use std::time::Duration;

/// Everything that one worker needs to trace its streams.
#[derive(Debug)]
pub struct Tracer {
    propagator: Propagator,
    policy: Policy,
    keep: Keep,
    recorder: Recorder,
    ids: IdGenerator,
    batch: BatchSpanProcessor,
    exporter: Exporter,
    stats: Stats,
    warning: Option<String>,
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
    pub fn new(config: Config, environment: &impl Environment, seed: [u8; 32]) -> Self {
        let resource = Resource::new(
            &config.service_name,
            config.resource_attributes,
            environment,
        );
        let envelope = Envelope::new(&resource.encode(), SDK_NAME, SDK_VERSION);
        Self {
            propagator: config.propagator,
            policy: Policy::new(
                Rules::new(config.rules),
                config.sampler,
                config.incoming,
                config.route_metadata,
            ),
            keep: config.keep,
            recorder: Recorder::new(config.span, config.custom_tags, environment),
            ids: IdGenerator::new(seed),
            exporter: Exporter::new(envelope, config.batch.max_concurrent_exports),
            batch: BatchSpanProcessor::new(config.batch),
            stats: Stats::default(),
            warning: resource.warning().map(str::to_owned),
        }
    }

    /// What an operator should know of the environment.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
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
        let is_recorded = context.flags.is_sampled() || self.keep.is_anything();
        let upstream_id =
            (is_recorded && self.recorder.has_upstream_span(direction)).then(|| self.ids.span_id());
        let trace_state = sampler::rewrite(&extraction.trace_state, decision.threshold);
        let caller = extraction.parent.map(|parent| parent.span_id);
        // What lies behind hangs below the span of the call upstream.
        let (injected, parent) = match upstream_id {
            Some(span_id) => (SpanContext { span_id, ..context }, Some(context.span_id)),
            None => (context, caller),
        };
        self.propagator.inject(
            &injected,
            parent,
            trace_state.as_deref(),
            &extraction,
            injector,
        );
        let stream = is_recorded.then(|| {
            let mut stream = self.recorder.start(&request, context, upstream_id);
            let span = stream.span();
            span.parent = caller.map(|span_id| Parent {
                span_id,
                is_remote: true,
            });
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
                span.attributes.set_str(semconv::SIDESPAN_RULE, name);
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

    /// A stream ended: its spans go into the queue.
    pub fn on_end(&mut self, stream: StreamTracer, response: &impl ResponseInfo, now: u64) {
        let Some(ended) = self.recorder.end(stream, response, &self.keep, now) else {
            return;
        };
        // If there is room for one only, the other one has its parent.
        for span in once(&ended.span).chain(&ended.upstream) {
            if !span.context.flags.is_sampled() {
                self.stats.add(Stat::Kept, 1);
            }
            self.stats.add(Stat::SpansCreated, 1);
            // The system's clock can be set back while a stream lasts.
            let end = now.max(span.start_unix_nanos);
            if self.batch.on_end(span, end).is_err() {
                self.stats.add(Stat::SpansDroppedQueueFull, 1);
            }
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
