//! The configuration documents that Envoy hands over, and what a rejected one
//! means.

use crate::environment;
use crate::exporter::{self, lock, now};
use crate::ffi::{self, LogLevel};
use sidespan_config::fallback::DocumentHistory;
use sidespan_config::{Faults, STRICT};
use sidespan_core::VERSION;
use sidespan_core::config::{Config, RouteConfig};
use sidespan_core::document::to_json;
use sidespan_core::resource::Environment;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The documents of each place that was configured.
static HISTORIES: Mutex<Vec<(String, DocumentHistory)>> = Mutex::new(Vec::new());

/// Documents that are the newest of their place, and not in force.
static STALE: AtomicU64 = AtomicU64::new(0);

/// The main thread has its turn: each configuration that is held now lives.
pub(crate) fn confirm_all() {
    for (_, history) in lock(&HISTORIES).iter_mut() {
        history.confirm_all();
    }
}

/// How many workers have a newest document that is not in force: all of them,
/// for each such document.
pub(crate) fn stale_workers() -> u64 {
    let workers = u64::try_from(ffi::workers()).unwrap_or(u64::MAX);
    STALE.load(Ordering::Relaxed).saturating_mul(workers)
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
    /// is not.
    fn has_identity(&self) -> bool {
        self.name != "sidespan"
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
pub(crate) enum Held {
    Accepted(Place, Vec<u8>),
    Stale,
}

impl Held {
    fn stale() -> Self {
        STALE.fetch_add(1, Ordering::Relaxed);
        Self::Stale
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self {
            Self::Accepted(place, document) => {
                place.with_history(|history| history.retire(document));
            }
            Self::Stale => {
                STALE.fetch_sub(1, Ordering::Relaxed);
            }
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
            return Some((Some(config), Held::Accepted(place, document.to_vec())));
        }
        Err(faults) => faults,
    };
    let is_own = place.has_identity();
    let (is_new, replacement) = place.with_history(|history| {
        let replacement = history.replacement(document, is_own, now());
        (history.reject(document), replacement)
    });
    let replacement = replacement.filter(|_| !strict);
    if is_new {
        let consequence = match (strict, &replacement) {
            (true, _) => "refused, SIDESPAN_STRICT is 1",
            (false, Some(_)) => "the last good configuration stays",
            (false, None) => "requests go through untraced",
        };
        place.log_rejected(&faults, consequence);
    }
    (!strict).then(|| (replacement, Held::stale()))
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
    if place.with_history(|history| history.reject(document)) {
        place.log_rejected(&faults, consequence);
    }
    (!strict).then(|| Route {
        config: RouteConfig::default(),
        _held: Some(Held::stale()),
    })
}
