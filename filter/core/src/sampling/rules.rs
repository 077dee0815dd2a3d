//! Rules: the first with an action that matches decides.

use crate::headers::header_map::Extractor;
use crate::host::request_info::{Direction, RequestInfo};
use crate::propagation::settings::Incoming;
use crate::sampling::matcher::{HeaderMatcher, StringMatcher};
use crate::sampling::path_index::PathMatchers;
use crate::sampling::ratio::Ratio;
use crate::sampling::request::Request;

/// What happens to a request that matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// No span, and its headers go on as they came.
    Disable,
    /// A span, whatever the caller says.
    Force,
    /// Decided here, whatever the caller says.
    Sample(Ratio),
}

/// A rule. All that it has must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Told in the span and in the log; empty for none.
    pub name: String,
    /// The path without its query.
    pub path: Option<StringMatcher>,
    /// One of these; none: any.
    pub methods: Vec<String>,
    /// The host without its port.
    pub host: Option<StringMatcher>,
    /// All of these.
    pub headers: Vec<HeaderMatcher>,
    /// The side of the proxy.
    pub direction: Option<Direction>,
    /// Ends the search.
    pub action: Option<Action>,
    /// How a context that came in is taken.
    pub incoming: Option<Incoming>,
}

/// What the rules say of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct RuleOutcome {
    /// The action, and the index of its rule.
    pub action: Option<(Action, usize)>,
    /// The first `incoming` of a rule that matched.
    pub incoming: Option<Incoming>,
}

/// All rules, compiled.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    paths: PathMatchers,
}

impl Rules {
    /// The rules in their order.
    pub fn new(mut rules: Vec<Rule>) -> Self {
        let paths = rules.iter_mut().map(|rule| rule.path.take()).collect();
        Self {
            rules,
            paths: PathMatchers::new(paths),
        }
    }

    /// The name of a rule.
    pub fn name(&self, index: usize) -> Option<&str> {
        self.rules.get(index).map(|rule| rule.name.as_str())
    }

    /// Finds what the rules say of a request.
    pub fn decide(
        &mut self,
        request: &Request<'_, impl Extractor, impl RequestInfo>,
    ) -> RuleOutcome {
        let mut outcome = RuleOutcome::default();
        if self.rules.is_empty() {
            return outcome;
        }
        for index in self.paths.matching(request.head.path_without_query()) {
            let Some(rule) = self.rules.get(index) else {
                continue;
            };
            if !rule.holds(request) {
                continue;
            }
            outcome.incoming = outcome.incoming.or(rule.incoming);
            if let Some(action) = rule.action {
                outcome.action = Some((action, index));
                break;
            }
        }
        outcome
    }
}

impl Rule {
    /// Whether everything but the path holds.
    fn holds(&self, request: &Request<'_, impl Extractor, impl RequestInfo>) -> bool {
        let is_method = |method: &String| method.as_bytes() == request.head.method;
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && self
                .direction
                .is_none_or(|wanted| wanted == request.direction())
            && self
                .host
                .as_ref()
                .is_none_or(|host| host.matches(request.head.host()))
            && self
                .headers
                .iter()
                .all(|header| header.matches(request.headers))
    }
}
