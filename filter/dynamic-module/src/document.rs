//! The configuration documents that Envoy hands over, and what a rejected one
//! means.

use crate::environment;
use crate::exporter::{self, lock, now};
use crate::ffi::{self, LogLevel};
use sidespan_config::fallback::DocumentHistory;
use sidespan_config::{Faults, STRICT};
use sidespan_core::VERSION;
use sidespan_core::config::{Config, RouteConfig};
use sidespan_core::host::environment::Environment;
use sidespan_core::protobuf::envoy_struct::to_json;
use std::fmt;
use std::sync::Mutex;

/// The documents of each place that was configured.
static HISTORIES: Mutex<Vec<(String, DocumentHistory)>> = Mutex::new(Vec::new());

/// The documents that Envoy keeps configurations for, each as often as it does.
static HELD: Mutex<Vec<(String, Vec<u8>)>> = Mutex::new(Vec::new());

/// The main thread has its turn: each configuration that is held now lives.
pub(crate) fn confirm_all() {
    for (_, history) in lock(&HISTORIES).iter_mut() {
        history.confirm_all();
    }
}

/// How many workers have a newest document that is not in force: all of them,
/// for each such document.
pub(crate) fn stale_workers() -> u64 {
    let now = now();
    let histories = lock(&HISTORIES);
    let stale = histories
        .iter()
        .map(|(_, history)| history.stale_documents(now));
    let workers = ffi::workers().saturating_mul(stale.sum());
    u64::try_from(workers).unwrap_or(u64::MAX)
}

/// Where a document stands, as an operator names it in Envoy's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    key: &'static str,
    name: String,
}

impl Place {
    pub(crate) fn filter(name: &str) -> Self {
        Self::new("filter_name", name)
    }

    pub(crate) fn tracer(name: &str) -> Self {
        Self::new("tracer_name", name)
    }

    fn route(name: &str) -> Self {
        Self::new("per_route_config_name", name)
    }

    fn new(key: &'static str, name: &str) -> Self {
        Self {
            key,
            name: name.to_owned(),
        }
    }

    /// Whether the name is this place's own. The one that all documentation has
    /// is not, nor is none.
    fn has_identity(&self) -> bool {
        !matches!(&*self.name, "" | "sidespan")
    }

    /// Calls `f` with the documents of this place.
    fn with_history<T>(&self, f: impl FnOnce(&mut DocumentHistory) -> T) -> T {
        let place = self.to_string();
        let mut all = lock(&HISTORIES);
        if let Some((_, history)) = all.iter_mut().find(|(known, _)| *known == place) {
            return f(history);
        }
        let mut history = DocumentHistory::default();
        let result = f(&mut history);
        all.push((place, history));
        result
    }

    /// Reports a rejected document.
    fn log_rejected(&self, faults: &Faults, consequence: &str) {
        exporter::count_rejected();
        ffi::log(
            LogLevel::Error,
            &format!("sidespan: configuration rejected, {consequence}, {self}: {faults}"),
        );
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.key, self.name)
    }
}

/// A document for as long as Envoy keeps the configuration that it is for.
#[derive(Debug)]
pub(crate) struct Held {
    place: Place,
    document: Vec<u8>,
}

impl Held {
    fn new(place: Place, document: &[u8]) -> Self {
        let document = document.to_vec();
        lock(&HELD).push((place.to_string(), document.clone()));
        Self { place, document }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let place = self.place.to_string();
        let is_it = |held: &(String, Vec<u8>)| held.0 == place && held.1 == self.document;
        let mut held = lock(&HELD);
        if let Some(index) = held.iter().position(is_it) {
            held.swap_remove(index);
        }
        if !held.iter().any(is_it) {
            drop(held);
            self.place
                .with_history(|history| history.end(&self.document));
        }
    }
}

/// Whether a rejected document is to be refused, which only who validates
/// wants.
fn is_strict() -> bool {
    let strict = environment::process().variable(STRICT);
    exporter::warn(sidespan_config::strict_warning(strict.as_deref()).as_slice());
    strict.as_deref() == Some("1")
}

/// A document's configuration, or the one that takes its place, if there is
/// one; `None` if the document is to be refused.
pub(crate) fn read(place: Place, document: &[u8]) -> Option<(Option<Config>, Held)> {
    let strict = is_strict();
    let faults = match sidespan_config::parse(document) {
        Ok(config) => {
            if place.with_history(|history| history.accept(document, now())) {
                let summary = config.summary();
                ffi::log(
                    LogLevel::Info,
                    &format!(
                        "sidespan: version {VERSION}, configuration loaded, {place}: {summary}"
                    ),
                );
            }
            return Some((Some(config), Held::new(place, document)));
        }
        Err(faults) => faults,
    };
    let is_own = place.has_identity();
    let (is_new, replacement) =
        place.with_history(|history| history.reject(document, is_own, now()));
    let replacement = replacement.filter(|_| !strict);
    if is_new {
        let consequence = match (strict, &replacement) {
            (true, _) => "refused, SIDESPAN_STRICT is 1",
            (false, Some(_)) => "the last good configuration stays",
            (false, None) => "requests go through untraced",
        };
        place.log_rejected(&faults, consequence);
    }
    (!strict).then(|| (replacement, Held::new(place, document)))
}

/// A route's configuration of its own.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) config: RouteConfig,
    _held: Option<Held>,
}

/// What a route says of its own, nothing if that is wrong; `None` if that is
/// to be refused.
pub(crate) fn read_route(name: &str, document: &[u8]) -> Option<Route> {
    let faults = match sidespan_config::parse_route(&to_json(document.to_vec())) {
        Ok(config) => {
            return Some(Route {
                config,
                _held: None,
            });
        }
        Err(faults) => faults,
    };
    let strict = is_strict();
    let consequence = match strict {
        true => "refused, SIDESPAN_STRICT is 1",
        false => "its route is as all others",
    };
    let place = Place::route(name);
    // Another route's document is no replacement.
    let (is_new, _) = place.with_history(|history| history.reject(document, false, now()));
    if is_new {
        place.log_rejected(&faults, consequence);
    }
    (!strict).then(|| Route {
        config: RouteConfig::default(),
        _held: Some(Held::new(place, document)),
    })
}
