//! The tracer: what one worker owns, and all that an adapter drives.

use crate::batch::{BatchSpanProcessor, Refusal, nanos};
use crate::config::Config;
use crate::decision::{Decider, Decision, Policy, Verdict};
use crate::exporter::{Callout, CalloutId, CalloutOutcome, Exporter, Fate, Notice, Target};
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
use crate::stats::{Level, Stat, Stats};
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
    /// When the tracer gives up what is left, once its end has begun.
    ends_at: Option<u64>,
    stats: Stats,
    warnings: Vec<String>,
}

/// How long a tracer that ends goes on exporting: what an SDK waits for an
/// export when it shuts down (OpenTelemetry specification,
/// BatchSpanProcessor, `exportTimeoutMillis`).
const SHUTDOWN: Duration = Duration::from_secs(30);

fn ends_after(now: u64) -> u64 {
    now.saturating_add(nanos(SHUTDOWN))
}

/// How long a host may wait with its next tick, so that what is published is
/// fresh.
const MAX_TICK: Duration = Duration::from_secs(1);

/// What came of an export.
#[derive(Debug)]
pub struct ExportEnd {
    /// The time from its start.
    pub took: Duration,
    /// What an operator should read of it.
    pub notice: Option<Notice>,
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
        let max_concurrent = config.batch.max_concurrent_exports;
        let (exporter, mut warnings) =
            Exporter::new(config.exporter, envelope, max_concurrent, environment);
        warnings.extend(resource.warning().map(str::to_owned));
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
            batch: BatchSpanProcessor::new(config.batch, exporter.max_batch_bytes()),
            exporter,
            ends_at: None,
            stats: Stats::default(),
            warnings,
        }
    }

    /// What an operator should know of the environment.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where callouts go.
    pub fn target(&self) -> &Target {
        self.exporter.target()
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
            let lost = match self.batch.on_end(span, end) {
                Ok(()) => continue,
                Err(Refusal::QueueFull) => Stat::SpansDroppedQueueFull,
                Err(Refusal::TooLarge) => Stat::SpansDroppedEncoding,
            };
            self.stats.add(lost, 1);
        }
    }

    /// How long the host may wait with the next [`on_tick`](Self::on_tick):
    /// until a batch is due, and a second at most. Never zero.
    pub fn next_tick(&self, now: u64) -> Duration {
        let most = self.batch.config().schedule_delay.min(MAX_TICK);
        let due = [
            self.batch.next_due(),
            self.exporter.next_due(&self.batch, now),
        ];
        let until = |due: u64| Duration::from_nanos(due.saturating_sub(now));
        let wait = due.into_iter().flatten().map(until).fold(most, Ord::min);
        // A host's clock has milliseconds: a tick before its time is for nothing.
        (wait + Duration::from_micros(999)).max(Duration::from_millis(1))
    }

    /// Time goes by: a batch that waited long enough goes though not full, and
    /// an end that takes too long is made.
    pub fn on_tick(&mut self, now: u64) {
        self.batch.on_tick(now);
        self.exporter.on_tick(&mut self.batch, now);
        // The clock can be set back.
        self.ends_at = self.ends_at.map(|end| end.min(ends_after(now)));
        if self.ends_at.is_some_and(|end| now >= end) {
            self.give_up();
        }
    }

    /// The end is near: what waits is exported while there is time.
    pub fn shutdown(&mut self, now: u64) {
        let jitter = || self.ids.fraction();
        self.exporter
            .hurry(&mut self.batch, now, SHUTDOWN / 10, jitter);
        self.batch.flush();
        let end = ends_after(now);
        self.ends_at = Some(self.ends_at.map_or(end, |earlier| earlier.min(end)));
    }

    /// The end is here: what is not delivered is lost.
    pub fn give_up(&mut self) {
        let lost = self.batch.clear() + self.exporter.clear();
        self.stats.add(Stat::SpansDroppedShutdown, lost as u64);
    }

    /// Takes over what another tracer of the same configuration has not
    /// delivered, and what it has not published. What was under way is sent
    /// again: nobody will tell what came of it. If the end of the other one
    /// had begun, so has this one's.
    pub fn adopt(&mut self, mut other: Self, now: u64) {
        self.ends_at = self.ends_at.or(other.ends_at);
        self.batch.adopt(other.batch);
        self.exporter.adopt(other.exporter, &mut self.batch, now);
        for (stat, n) in other.stats.take() {
            self.stats.add(stat, n);
        }
    }

    /// The next export to send, while one is ready and may be under way.
    pub fn next_callout(&mut self, now: u64) -> Option<Callout> {
        let (callout, is_retry) = self.exporter.next(&mut self.batch, now)?;
        if is_retry {
            self.stats.add(Stat::Retries, 1);
        }
        Some(callout)
    }

    /// A callout ended. Gives what became of it, if it was under way.
    pub fn on_callout_end(
        &mut self,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
    ) -> Option<ExportEnd> {
        let jitter = || self.ids.fraction();
        let ended = self
            .exporter
            .end(id, outcome, &mut self.batch, now, jitter)?;
        let spans = ended.spans as u64;
        let (exports, lost) = match ended.fate {
            Fate::Taken { rejected: 0 } => (Stat::ExportsAccepted, None),
            Fate::Taken { .. } => (Stat::ExportsPartial, None),
            Fate::Waiting => (Stat::ExportsFailed, None),
            Fate::Exhausted => (Stat::ExportsFailed, Some(Stat::SpansDroppedRetryExhausted)),
            Fate::Refused => (Stat::ExportsRefused, Some(Stat::SpansDroppedPermanent)),
        };
        self.stats.add(exports, 1);
        if let Fate::Taken { rejected } = ended.fate {
            self.stats
                .add(Stat::SpansAcknowledged, spans - rejected as u64);
            self.stats.add(Stat::SpansRejected, rejected as u64);
        }
        if let Some(lost) = lost {
            self.stats.add(lost, spans);
        }
        Some(ExportEnd {
            took: ended.took,
            notice: ended.notice,
        })
    }

    /// Whether every span was exported or given up.
    pub fn is_idle(&self) -> bool {
        self.batch.queued_spans() == 0 && self.exporter.is_idle()
    }

    /// A level as it is now.
    pub fn level(&self, level: Level) -> u64 {
        let level = match level {
            Level::SpansQueued => self.batch.queued_spans(),
            Level::SpansInFlight => self.exporter.spans_in_flight(),
            Level::BytesQueued => self.batch.queued_bytes(),
        };
        level as u64
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
