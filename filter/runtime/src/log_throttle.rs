//! Log messages about exports: once for all workers, and at most once a minute.

use crate::shared_state::SharedState;
use sidespan_core::export::event::{Notice, Pause};
use sidespan_core::export::pipeline::ExportEnd;
use sidespan_core::stats::Stat;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Logs what operators should know of exports and of the environment. The
/// metrics have every occurrence.
#[derive(Debug)]
pub struct LogThrottle<'a, S> {
    state: &'a S,
    /// Separates the keys of this plugin from those of others.
    prefix: &'a str,
}

/// An hour of failures is sixty lines.
const PERIOD_NANOS: u64 = 60_000_000_000;

impl<'a, S: SharedState> LogThrottle<'a, S> {
    /// A throttle whose keys start with `prefix`.
    pub fn new(state: &'a S, prefix: &'a str) -> Self {
        Self { state, prefix }
    }

    fn key(&self, what: &str) -> String {
        format!("{}{what}", self.prefix)
    }

    /// Whether a line is due: no worker has logged it for a minute.
    fn is_due(&self, what: &str, now: u64) -> bool {
        let key = self.key(what);
        let (logged, version) = self.state.get(&key).unwrap_or_default();
        let logged = logged.try_into().map(u64::from_le_bytes);
        let is_recent = logged.is_ok_and(|logged| now.abs_diff(logged) < PERIOD_NANOS);
        !is_recent
            && self
                .state
                .compare_and_set(&key, &now.to_le_bytes(), version)
    }

    /// Sets the keys of exports to this cluster. Workers that log at the same
    /// time are told apart by a key's version, and a key that is not set has none.
    pub fn prepare(&self, cluster: &str) {
        let of_exports = ["export", "failing", "refused", "rejected", "paused"];
        let of_exports = of_exports.map(|what| format!("{what}/{cluster}"));
        let of_drops = Stat::ALL.iter().filter(|stat| stat.why_lost().is_some());
        let of_drops = of_drops.map(|stat| stat.name().to_owned());
        for what in of_exports.into_iter().chain(of_drops) {
            let key = self.key(&what);
            if self.state.get(&key).is_none() {
                self.state.compare_and_set(&key, b"", 0);
            }
        }
    }

    /// Logs a warning, once for all workers.
    pub fn warn_once(&self, warning: &str) {
        let key = self.key(&format!("warning/{:x}", hash(warning.as_bytes())));
        if self.state.change(&key, b"1") {
            log::warn!("{warning}");
        }
    }

    /// Logs the pause and the event of an export that ended.
    pub fn log_export_end(&self, cluster: &str, end: &ExportEnd, now: u64) {
        if let Some(pause) = &end.pause {
            self.log_pause(cluster, pause, now);
        }
        if let Some(event) = &end.notice {
            self.log_event(cluster, event, now);
        }
    }

    /// Logs what became of an export.
    pub fn log_event(&self, cluster: &str, event: &Notice, now: u64) {
        let state = self.key(&format!("export/{cluster}"));
        let is_due = |what| self.is_due(&format!("{what}/{cluster}"), now);
        let level = match event {
            Notice::Failing(_) => {
                if !is_due("failing") {
                    return;
                }
                self.state.change(&state, b"failing");
                log::Level::Warn
            }
            Notice::Recovered => {
                let is_failing = self
                    .state
                    .get(&state)
                    .is_some_and(|(state, _)| !state.is_empty());
                if !is_failing || !self.state.change(&state, b"") {
                    return;
                }
                log::Level::Info
            }
            Notice::Refused { .. } if is_due("refused") => log::Level::Warn,
            Notice::Rejected { .. } if is_due("rejected") => log::Level::Warn,
            Notice::Refused { .. } | Notice::Rejected { .. } => return,
        };
        log::log!(level, "{}", event.line(cluster));
    }

    /// Logs a pause that the collector asked for.
    pub fn log_pause(&self, cluster: &str, pause: &Pause, now: u64) {
        if self.is_due(&format!("paused/{cluster}"), now) {
            log::warn!("{}", pause.line(cluster));
        }
    }

    /// Logs `n` spans that were dropped, if no event of an export reports them.
    pub fn log_drops(&self, stat: Stat, n: u64, now: u64) {
        // Metrics may go with the configuration, so that each shutdown has a line.
        if let Some(line) = stat.lost_line(n)
            && (stat == Stat::SpansDroppedShutdown || self.is_due(stat.name(), now))
        {
            log::warn!("{line}");
        }
    }
}

/// A hash for keys.
pub fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
