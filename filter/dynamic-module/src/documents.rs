//! The configuration documents that Envoy hands over.

use crate::envoy::process;
use crate::node;
use crate::system::now;
use sidespan_config::fallback::DocumentHistory;
use sidespan_core::config::{Config, RouteConfig};
use sidespan_core::protobuf::envoy_struct::to_json;
use sidespan_runtime::configuration::{self, DocumentStore, Plugin, Strictness};
use sidespan_runtime::process::per_worker::lock;
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
    let workers = process::workers().saturating_mul(stale.sum());
    u64::try_from(workers).unwrap_or(u64::MAX)
}

/// Where a document stands, as an operator names it in Envoy's configuration.
#[derive(Clone, Debug)]
pub(crate) struct Place(Plugin);

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
        Self(Plugin {
            description: format!("{key} {name:?}"),
            // The name that all documentation has is nobody's own.
            has_identity: !matches!(name, "" | "sidespan"),
        })
    }
}

impl DocumentStore for Place {
    fn update<T>(&self, update: impl Fn(&mut DocumentHistory) -> T) -> T {
        let place = &self.0.description;
        let mut all = lock(&HISTORIES);
        if let Some((_, history)) = all.iter_mut().find(|(known, _)| known == place) {
            return update(history);
        }
        let mut history = DocumentHistory::default();
        let result = update(&mut history);
        all.push((place.clone(), history));
        result
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
        lock(&HELD).push((place.0.description.clone(), document.clone()));
        Self { place, document }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let place = &self.place.0.description;
        let is_it = |held: &(String, Vec<u8>)| held.0 == *place && held.1 == self.document;
        let mut held = lock(&HELD);
        if let Some(index) = held.iter().position(is_it) {
            held.swap_remove(index);
        }
        if !held.iter().any(is_it) {
            drop(held);
            self.place.update(|history| history.end(&self.document));
        }
    }
}

/// What a document comes to.
pub(crate) struct Loaded<T> {
    /// What Envoy gets; `None` if it must refuse the document.
    pub(crate) accepted: Option<T>,
    /// The document is invalid, and was not reported before.
    pub(crate) is_newly_rejected: bool,
    /// What operators should know of the environment.
    pub(crate) warning: Option<String>,
}

/// Reads a document: its configuration, or the one that takes its place, if there
/// is one.
pub(crate) fn load(place: Place, document: &[u8]) -> Loaded<(Option<Config>, Held)> {
    let Strictness { is_strict, warning } = Strictness::read(node::process());
    let loaded = configuration::load(document, &place.0, &place, is_strict, now());
    let accepted = (!loaded.is_refused).then(|| (loaded.config, Held::new(place, document)));
    Loaded {
        accepted,
        is_newly_rejected: loaded.is_newly_rejected,
        warning,
    }
}

/// A route's configuration of its own.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) config: RouteConfig,
    _held: Option<Held>,
}

/// Reads what a route configures of its own: nothing, if that is invalid.
pub(crate) fn load_route(name: &str, document: &[u8]) -> Loaded<Route> {
    let faults = match sidespan_config::parse_route(&to_json(document.to_vec())) {
        Ok(config) => {
            return Loaded {
                accepted: Some(Route {
                    config,
                    _held: None,
                }),
                is_newly_rejected: false,
                warning: None,
            };
        }
        Err(faults) => faults,
    };
    let Strictness { is_strict, warning } = Strictness::read(node::process());
    let place = Place::route(name);
    let is_newly_rejected =
        configuration::reject_route(document, &place.0, &faults, &place, is_strict, now());
    let accepted = (!is_strict).then(|| Route {
        config: RouteConfig::default(),
        _held: Some(Held::new(place, document)),
    });
    Loaded {
        accepted,
        is_newly_rejected,
        warning,
    }
}
