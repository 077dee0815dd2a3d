//! Configuration documents: accepted, refused, or replaced by the last good one.

use crate::shared_state::SharedState;
use sidespan_config::fallback::DocumentHistory;
use sidespan_config::{Faults, STRICT, strict_warning};
use sidespan_core::VERSION;
use sidespan_core::config::Config;
use sidespan_core::host::environment::Environment;

/// A plugin as an operator names it in the configuration of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its names for log lines: `plugin "a", root_id "b"`.
    pub description: String,
    /// Whether no other plugin can have the same names, so that every document
    /// under them was written for this one.
    pub has_identity: bool,
}

/// Where the documents of one plugin are remembered, for all workers.
pub trait DocumentStore {
    /// Reads and writes the documents. `update` may be called again if another
    /// worker wrote meanwhile; the result of the last call is returned.
    fn update<T>(&self, update: impl Fn(&mut DocumentHistory) -> T) -> T;
}

/// The documents of one plugin under a key of [`SharedState`].
#[derive(Debug)]
pub struct SharedDocuments<'a, S> {
    state: &'a S,
    key: String,
}

impl<'a, S: SharedState> SharedDocuments<'a, S> {
    /// The documents under a key.
    pub fn new(state: &'a S, key: String) -> Self {
        Self { state, key }
    }
}

impl<S: SharedState> DocumentStore for SharedDocuments<'_, S> {
    fn update<T>(&self, update: impl Fn(&mut DocumentHistory) -> T) -> T {
        /// More than all workers of a proxy that are configured at once.
        const ATTEMPTS: usize = 256;
        let attempt = || {
            let (stored, version) = self.state.get(&self.key).unwrap_or_default();
            let mut history = DocumentHistory::decode(&stored);
            let result = update(&mut history);
            let encoded = history.encode();
            let is_written =
                encoded == stored || self.state.compare_and_set(&self.key, &encoded, version);
            (result, is_written)
        };
        for _ in 1..ATTEMPTS {
            if let (result, true) = attempt() {
                return result;
            }
        }
        attempt().0
    }
}

/// Whether an invalid document is refused, which only those who validate a
/// configuration want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// The variable `SIDESPAN_STRICT` is 1.
    pub is_strict: bool,
    /// Why the variable has no effect, if it has another value than 0 and 1.
    pub warning: Option<String>,
}

impl Strictness {
    /// Reads the variable.
    pub fn read(environment: &impl Environment) -> Self {
        let value = environment.variable(STRICT);
        Self {
            is_strict: value.as_deref() == Some("1"),
            warning: strict_warning(value.as_deref()),
        }
    }
}

/// What a document comes to.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration in force; `None` if requests go through untraced, or if
    /// the document is refused.
    pub config: Option<Config>,
    /// The document is invalid.
    pub is_rejected: bool,
    /// It is invalid, and no worker has reported it before.
    pub is_newly_rejected: bool,
    /// The host must refuse the update.
    pub is_refused: bool,
}

/// Reads a document, and logs what it comes to, once for all workers.
pub fn load(
    document: &[u8],
    plugin: &Plugin,
    store: &impl DocumentStore,
    is_strict: bool,
    now: u64,
) -> Loaded {
    let faults = match sidespan_config::parse(document) {
        Ok(config) => {
            if store.update(|history| history.accept(document, now)) {
                let (plugin, summary) = (&plugin.description, config.summary());
                log::info!("version {VERSION}, configuration loaded, {plugin}: {summary}");
            }
            return Loaded {
                config: Some(config),
                is_rejected: false,
                is_newly_rejected: false,
                is_refused: false,
            };
        }
        Err(faults) => faults,
    };
    let has_identity = plugin.has_identity;
    let (is_new, replacement) = store.update(|history| history.reject(document, has_identity, now));
    let config = replacement.filter(|_| !is_strict);
    if is_new {
        let consequence = match config {
            Some(_) => "the last good configuration stays",
            None => "requests go through untraced",
        };
        log_rejected(plugin, &faults, is_strict, consequence);
    }
    Loaded {
        config,
        is_rejected: true,
        is_newly_rejected: is_new,
        is_refused: is_strict,
    }
}

/// Remembers the invalid document of a route, which no other route's document
/// replaces, and logs it if no worker has. Returns whether it is new.
pub fn reject_route(
    document: &[u8],
    plugin: &Plugin,
    faults: &Faults,
    store: &impl DocumentStore,
    is_strict: bool,
    now: u64,
) -> bool {
    let (is_new, _) = store.update(|history| history.reject(document, false, now));
    if is_new {
        log_rejected(plugin, faults, is_strict, "its route is as all others");
    }
    is_new
}

fn log_rejected(plugin: &Plugin, faults: &Faults, is_strict: bool, consequence: &str) {
    let consequence = match is_strict {
        true => "refused, SIDESPAN_STRICT is 1",
        false => consequence,
    };
    let plugin = &plugin.description;
    log::error!("configuration rejected, {consequence}, {plugin}: {faults}");
}
