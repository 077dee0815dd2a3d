//! Requests to spans: what one worker does on its own.

use crate::config::Config;
use crate::context::id_generator::IdGenerator;
use crate::context::span_context::SpanContext;
use crate::headers::header_map::{Extractor, Injector};
use crate::headers::request::RequestHead;
use crate::host::environment::Environment;
use crate::host::request_info::RequestInfo;
use crate::host::response_info::ResponseInfo;
use crate::propagation::composite::Propagator;
use crate::propagation::extracted::{ContextHeaders, Extraction};
use crate::recording::recorder::Recorder;
use crate::recording::stream::{Ended, StreamTracer};
use crate::sampling::policy::{Decider, Decision, Policy, Verdict};
use crate::sampling::ratio;
use crate::sampling::ratio::Threshold;
use crate::sampling::request::Request;
use crate::sampling::rules::Rules;
use crate::stats::{Stat, Stats};
use std::sync::Arc;

/// Reads contexts, decides, writes contexts and makes spans, for the streams
/// of one worker.
#[derive(Debug)]
pub struct SpanSource {
    propagator: Propagator,
    policy: Policy,
    recorder: Arc<Recorder>,
    ids: IdGenerator,
    stats: Stats,
}

/// What came of a request.
#[derive(Debug)]
pub struct Started {
    /// To be ended with the stream, if its span is recorded.
    pub stream: Option<StreamTracer>,
    /// The decision; [`SpanSource::explain`] puts it in words.
    pub decision: Decision,
}

impl SpanSource {
    /// One for a configuration. `seed` is 32 bytes of entropy, other ones for
    /// each worker.
    pub fn new(config: Config, environment: &impl Environment, seed: [u8; 32]) -> Self {
        let rules = config.rules.iter().map(|rule| rule.name.clone()).collect();
        let (span, tags, keep) = (config.span, config.custom_tags, config.keep);
        Self {
            propagator: config.propagator,
            policy: Policy::new(
                Rules::new(config.rules),
                config.sampler,
                config.incoming,
                config.route_metadata,
            ),
            recorder: Arc::new(Recorder::new(span, tags, keep, rules, environment)),
            ids: IdGenerator::new(seed),
            stats: Stats::default(),
        }
    }

    /// A request came: reads its context, decides, writes the context that
    /// goes on, and keeps what its span is made of.
    pub fn on_request(
        &mut self,
        headers: &impl Extractor,
        info: &impl RequestInfo,
        injector: &mut impl Injector,
    ) -> Started {
        let (mut head, mut found) = (RequestHead::default(), ContextHeaders::default());
        for (name, value) in headers.headers() {
            if !head.add(name, value) {
                found.add(name, value);
            }
        }
        let mut extraction = self.propagator.extract_found(&found, headers);
        let request = Request::new(headers, head, info);
        let foreign_state = extraction.trace_state.clone();
        let decision = self.policy.decide(&request, &mut extraction, &mut self.ids);
        self.count(&decision, &extraction);
        let is_left_alone = match decision.verdict {
            Verdict::Untouched => true,
            Verdict::NotSampled => {
                !self.recorder.may_keep() && self.propagator.forwards_unchanged(&found, &extraction)
            }
            Verdict::Sampled => false,
        };
        if is_left_alone {
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
        let is_recorded = context.flags.is_sampled() || self.recorder.may_keep();
        let own_id = is_recorded.then(|| {
            // The span starts now, and not when headers have been written.
            request.now();
            self.ids.span_id()
        });
        let trace_state = ratio::rewrite(&extraction.trace_state, decision.threshold);
        let caller = extraction.parent.map(|parent| parent.span_id);
        // What lies behind hangs below the span of the call upstream, if that
        // has one. Only B3 says below what that hangs itself.
        let is_told = || self.propagator.tells_parent(&extraction);
        let has_upstream_span = || self.recorder.has_upstream_span(|| request.direction());
        let parent = match own_id {
            Some(own_id) if is_told() && has_upstream_span() => Some(own_id),
            _ => caller,
        };
        self.propagator.inject(
            &context,
            parent,
            trace_state.as_deref(),
            &extraction,
            injector,
        );
        let stream = own_id.map(|own_id| {
            let mut stream = self.recorder.start(&request, context, own_id);
            stream.caller = caller;
            stream.trace_state = trace_state.unwrap_or_else(|| {
                // Kept for another reason, its threshold would be wrong.
                let cleared = (!context.flags.is_sampled())
                    .then(|| ratio::rewrite(&extraction.trace_state, Threshold::Clear));
                cleared
                    .flatten()
                    .unwrap_or_else(|| extraction.trace_state.as_str().to_owned())
            });
            if decision.links {
                stream.link = decision
                    .restarted
                    .map(|context| (context, foreign_state.as_str().to_owned()));
            }
            if let Decider::Rule(index) = decision.decider {
                stream.rule = Some(index);
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

    /// What a log says of a request and the decision about it.
    pub fn line(&self, headers: &impl Extractor, decision: &Decision) -> String {
        let header = |name| String::from_utf8_lossy(headers.header(name).unwrap_or_default());
        let (method, path) = (header(b":method"), header(b":path"));
        // What stands in a query is nobody's business.
        let path = path.split('?').next().unwrap_or_default();
        format!("{method} {path:?}: {}", self.explain(decision))
    }

    /// A stream ended. Gives its spans, if they are to be exported.
    pub fn on_end(
        &self,
        stream: StreamTracer,
        response: &impl ResponseInfo,
        now: u64,
    ) -> Option<Ended> {
        self.recorder.end(stream, response, now)
    }

    /// What makes the spans, to be used when and where the host likes.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.recorder
    }

    /// Makes numbers that are uniform from 0 to 1.
    pub(crate) fn jitter(&mut self) -> impl FnMut() -> f64 {
        || self.ids.fraction()
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
