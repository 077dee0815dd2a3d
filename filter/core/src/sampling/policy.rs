//! Whose word counts: the route, the rules, the policy for contexts that come
//! in, and then the sampler.

use crate::context::id::TraceId;
use crate::context::id_generator::IdGenerator;
use crate::context::span_context::{SpanContext, TraceFlags};
use crate::headers::header_map::Extractor;
use crate::host::request_info::RequestInfo;
use crate::propagation::extracted::Extraction;
use crate::propagation::format::SamplingState;
use crate::propagation::settings::Incoming;
use crate::sampling::ratio::{Ratio, Threshold};
use crate::sampling::request::Request;
use crate::sampling::rules::{Action, Rules};
use crate::sampling::sampler::{Decision as Sampling, Reason, Sampler};
use crate::stats::Stat;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: no span, and its headers go on as they came.
    Untouched,
    /// Its context goes on unsampled.
    NotSampled,
    /// It has a span.
    Sampled,
}

/// Who decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// The rule with this index.
    Rule(usize),
    /// The metadata of the route.
    Route,
    /// `incoming: require`, and no context came.
    Require,
    /// The sampler.
    Sampler,
}

/// A decision, and all that follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// What happens.
    pub verdict: Verdict,
    /// Who decided.
    pub decider: Decider,
    /// Why, if a sampler or a ratio decided; `None` for force and disable.
    pub reason: Option<Reason>,
    /// What the trace state says of it.
    pub threshold: Threshold,
    /// The trace, and the flags that go on.
    pub trace_id: TraceId,
    /// Sampled and random.
    pub flags: TraceFlags,
    /// The context that was dropped for a new trace.
    pub restarted: Option<SpanContext>,
    /// Whether the span links to it.
    pub links: bool,
}

impl Decision {
    /// What a response header tells the client of its trace, if it has one.
    pub fn told(&self) -> Option<String> {
        let is_traced = self.verdict != Verdict::Untouched;
        is_traced.then(|| String::from_utf8_lossy(&self.trace_id.to_hex()).into_owned())
    }

    /// The counter of such decisions.
    pub fn stat(&self) -> Stat {
        match (self.verdict, self.reason) {
            (Verdict::Untouched, _) => Stat::Disabled,
            (Verdict::Sampled, None) => Stat::Forced,
            (Verdict::Sampled, Some(_)) => Stat::Sampled,
            (Verdict::NotSampled, Some(Reason::RateLimited)) => Stat::RateLimited,
            (Verdict::NotSampled, _) => Stat::NotSampled,
        }
    }
}

/// Everything that decides.
#[derive(Debug)]
pub struct Policy {
    rules: Rules,
    sampler: Sampler,
    incoming: Incoming,
    route_metadata: bool,
}

/// What a route says in its `filter_metadata`.
fn route_action(info: &impl RequestInfo) -> Option<Action> {
    const OURS: &str = "sidespan";
    // What people write who expect Envoy's router to obey it.
    if info.route_bool("envoy.filters.http.router", "disable_tracing") == Some(true) {
        return Some(Action::Disable);
    }
    match &*info.route_text(OURS, "action")? {
        "disable" => Some(Action::Disable),
        "force" => Some(Action::Force),
        "sample" => info
            .route_number(OURS, "ratio")
            .and_then(Ratio::new)
            .map(Action::Sample),
        _ => None,
    }
}

impl Policy {
    /// A route decides before the rules: it is the more special of the two.
    pub fn new(rules: Rules, sampler: Sampler, incoming: Incoming, route_metadata: bool) -> Self {
        Self {
            rules,
            sampler,
            incoming,
            route_metadata,
        }
    }

    /// Decides about a request. Where its trace starts anew, the extraction
    /// forgets what came.
    pub fn decide(
        &mut self,
        request: &Request<'_, impl Extractor, impl RequestInfo>,
        extraction: &mut Extraction<'_>,
        ids: &mut IdGenerator,
    ) -> Decision {
        let outcome = self.rules.decide(request);
        let incoming = outcome.incoming.unwrap_or(self.incoming);
        let by_rule = outcome
            .action
            .map(|(action, index)| (action, Decider::Rule(index)));
        let by_route = || route_action(request.info).map(|action| (action, Decider::Route));
        let decided = if self.route_metadata {
            by_route().or(by_rule)
        } else {
            by_rule
        };
        let forced = matches!(decided, Some((Action::Force, _)));
        let came = extraction.parent;
        let untouched = match decided {
            Some((Action::Disable, decider)) => Some(decider),
            _ if incoming == Incoming::Require && came.is_none() && !forced => {
                Some(Decider::Require)
            }
            _ => None,
        };

        let restarts = matches!(incoming, Incoming::Restart | Incoming::Link);
        if restarts && untouched.is_none() {
            extraction.restart();
        }
        if incoming == Incoming::Resample {
            // Nor does the caller's debug go on.
            extraction.sampling = SamplingState::Deferred;
        }
        let (trace_id, flags) = match extraction.parent {
            Some(parent) => (parent.trace_id, parent.flags),
            // "If the right-most 7 bytes are randomly […] generated, the
            // corresponding random trace id flag SHOULD be set."
            None => (ids.trace_id(), TraceFlags::default().with_random(true)),
        };
        let decision = |verdict, decider, reason, threshold| Decision {
            verdict,
            decider,
            reason,
            threshold,
            trace_id,
            flags: flags.with_sampled(verdict == Verdict::Sampled),
            restarted: if restarts { came } else { None },
            links: incoming == Incoming::Link,
        };
        if let Some(decider) = untouched {
            return decision(Verdict::Untouched, decider, None, Threshold::Keep);
        }
        let (sampling, decider) = match decided {
            Some((Action::Sample(ratio), decider)) => {
                let sampling = Sampling::by_ratio(ratio, trace_id, &extraction.trace_state);
                (sampling, decider)
            }
            Some((Action::Force | Action::Disable, decider)) => {
                return decision(Verdict::Sampled, decider, None, Threshold::Clear);
            }
            None => {
                let caller = extraction.sampling;
                let has_parent = extraction.parent.is_some();
                let state = &extraction.trace_state;
                let sampling = self
                    .sampler
                    .decide(caller, has_parent, trace_id, state, || request.now());
                (sampling, Decider::Sampler)
            }
        };
        let verdict = if sampling.sampled {
            Verdict::Sampled
        } else {
            Verdict::NotSampled
        };
        decision(verdict, decider, Some(sampling.reason), sampling.threshold)
    }

    /// A decision in words, for the log.
    pub fn explain(&self, decision: &Decision) -> String {
        let what = match (decision.verdict, decision.reason) {
            (Verdict::Untouched, _) => "not traced",
            (Verdict::NotSampled, _) => "not sampled",
            (Verdict::Sampled, None) => "forced",
            (Verdict::Sampled, Some(_)) => "sampled",
        };
        let who = match decision.decider {
            Decider::Rule(index) => {
                let name = self.rules.name(index).unwrap_or_default();
                format!("rules[{index}] {name:?}")
            }
            Decider::Route => "the route's metadata".to_owned(),
            Decider::Require => "incoming: require, and no context came".to_owned(),
            Decider::Sampler => "the sampler".to_owned(),
        };
        let why = match decision.reason {
            None => "",
            Some(Reason::Caller) => ": the caller's decision",
            Some(Reason::Debug) => ": the caller asks for a debug trace",
            Some(Reason::Always) => ": it always does so",
            Some(Reason::Ratio) => ": by its ratio and the trace's randomness",
            Some(Reason::RateLimited) => ": max_traces_per_second is reached",
        };
        let restarted = match decision.restarted {
            Some(_) => ", restarted",
            None => "",
        };
        format!("{what} by {who}{why}{restarted}")
    }
}
