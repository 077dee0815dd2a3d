//! What the workers of one proxy tell each other through the host's shared
//! data, so that an operator reads a thing once and not once a worker: which
//! document is good, which is known to be bad, whether exports fail.

use crate::hostcalls;
use crate::hostcalls::Metric;
use crate::types::{LogLevel, MetricType};
use sidespan_config::Faults;
use sidespan_config::fallback::DocumentHistory;
use sidespan_core::VERSION;
use sidespan_core::config::Config;
use sidespan_core::export::event::{Notice, Pause};
use sidespan_core::stats::{CONFIG_REJECTED, CONFIG_STALE, Stat, VERSION_NUMBER, version_number};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The stats about documents, defined once for a VM.
struct Metrics {
    /// Counts rejected documents.
    rejected: Option<Metric>,
    /// How many workers have a newest document that is not in force.
    stale: Option<Metric>,
}

thread_local! {
    static METRICS: Metrics = Metrics::define();
}

impl Metrics {
    fn define() -> Self {
        let version = Metric::define(MetricType::Gauge, VERSION_NUMBER);
        if let Some(version) = version {
            version.record(version_number());
        }
        Self {
            rejected: Metric::define(MetricType::Counter, CONFIG_REJECTED),
            stale: Metric::define(MetricType::Gauge, CONFIG_STALE),
        }
    }
}

/// The plugin of the current root, as it is configured in Envoy.
struct Plugin {
    name: String,
    root_id: String,
}

impl Plugin {
    fn current() -> Self {
        let property =
            |name| hostcalls::property(name).and_then(|text| String::from_utf8(text).ok());
        Self {
            name: property("plugin_name").unwrap_or_default(),
            root_id: property("plugin_root_id").unwrap_or_default(),
        }
    }

    /// Whether no other plugin can have the same name and root id: it has a root
    /// id, or the name that Istio gives a WasmPlugin, `NAMESPACE.NAME`.
    fn has_identity(&self) -> bool {
        let is_istio = || hostcalls::property("xds\0node\0metadata\0ISTIO_VERSION").is_some();
        !self.root_id.is_empty() || (self.name.contains('.') && is_istio())
    }

    /// Keys are of this plugin: shared data is one space for all modules of a
    /// VM.
    fn key(&self, what: &str) -> String {
        format!("sidespan/{:?}/{:?}/{what}", self.name, self.root_id)
    }

    /// Reads and writes the documents of this plugin, which all workers share.
    fn update_history<T>(&self, update: impl Fn(&mut DocumentHistory) -> T) -> T {
        /// More than all workers of a proxy that are configured at once.
        const ATTEMPTS: usize = 256;
        let key = self.key("documents");
        let attempt = || {
            let (stored, version) = hostcalls::shared_data(&key).unwrap_or_default();
            let mut history = DocumentHistory::decode(&stored);
            let result = update(&mut history);
            let encoded = history.encode();
            let is_written =
                encoded == stored || hostcalls::set_shared_data(&key, &encoded, version);
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

impl fmt::Display for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plugin {:?}, root_id {:?}", self.name, self.root_id)
    }
}

fn key(what: &str) -> String {
    Plugin::current().key(what)
}

/// A document is accepted: it may take a rejected one's place later.
pub(crate) fn accepted(document: &[u8], config: &Config) {
    METRICS.with(|_| ());
    let plugin = Plugin::current();
    let now = hostcalls::now();
    if plugin.update_history(|history| history.accept(document, now)) {
        let summary = config.summary();
        hostcalls::log(
            LogLevel::Info,
            &format!("sidespan: version {VERSION}, configuration loaded, {plugin}: {summary}"),
        );
    }
}

/// A document is rejected. Returns the configuration that takes its place; a
/// strict host wants none.
pub(crate) fn rejected(document: &[u8], faults: &Faults, is_strict: bool) -> Option<Config> {
    let plugin = Plugin::current();
    let is_own = plugin.has_identity();
    let now = hostcalls::now();
    let (is_new, replacement) =
        plugin.update_history(|history| history.reject(document, is_own, now));
    let replacement = replacement.filter(|_| !is_strict);
    METRICS.with(|metrics| {
        if let Some(counter) = metrics.rejected.filter(|_| is_new) {
            counter.add(1);
        }
    });
    if is_new {
        let consequence = match (is_strict, &replacement) {
            (true, _) => "refused, SIDESPAN_STRICT is 1",
            (false, Some(_)) => "the last good configuration stays",
            (false, None) => "requests go through untraced",
        };
        hostcalls::log(
            LogLevel::Error,
            &format!("sidespan: configuration rejected, {consequence}, {plugin}: {faults}"),
        );
    }
    replacement
}

/// A root with a document is called, and so lives.
pub(crate) fn confirm(document: &[u8]) {
    Plugin::current().update_history(|history| history.confirm(document));
}

/// The last root of this VM with a document ends.
pub(crate) fn end(document: &[u8]) {
    Plugin::current().update_history(|history| history.end(document));
}

/// Whether a rejected document is the newest that its roots were given.
pub(crate) fn is_stale(document: &[u8]) -> bool {
    let now = hostcalls::now();
    Plugin::current().update_history(|history| history.is_stale(document, now))
}

/// The key under which roots with a rejected document agree which one stands for
/// the main thread.
pub(crate) fn stale_key(document: &[u8]) -> String {
    key(&format!("stale/{:x}", hash(document)))
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// Adds to the number of workers whose newest document is not in force.
pub(crate) fn add_stale(n: i64) {
    METRICS.with(|metrics| {
        if let Some(gauge) = metrics.stale {
            gauge.add(n);
        }
    });
}

/// Says a thing about the environment, once for all workers.
pub(crate) fn warn(warnings: &[String]) {
    for warning in warnings {
        let key = key(&format!("warning/{:x}", hash(warning.as_bytes())));
        if is_first(&key, b"1") {
            hostcalls::log(LogLevel::Warn, &format!("sidespan: {warning}"));
        }
    }
}

/// Reports that a request was sent without the context in its filter state, once
/// for all workers.
pub(crate) fn log_unwritten_context() {
    if is_first(&key("carrier"), b"unwritten") {
        hostcalls::log(
            LogLevel::Warn,
            "sidespan: propagation.carrier is filter_state, but a request was sent without its context: no filter behind Sidespan sets headers to %FILTER_STATE(wasm.sidespan.NAME:PLAIN)%",
        );
    }
}

/// Makes a place for what will come of exports: the version of a state tells
/// which worker changed it, and what is not there has none.
pub(crate) fn expect_news(cluster: &str) {
    let about_exports = ["export", "failing", "refused", "rejected", "paused"];
    let keys = about_exports.map(|what| key(&format!("{what}/{cluster}")));
    let drops = Stat::ALL.iter().filter(|stat| stat.why_lost().is_some());
    for key in keys.into_iter().chain(drops.map(|stat| key(stat.name()))) {
        if hostcalls::shared_data(&key).is_none() {
            hostcalls::set_shared_data(&key, b"", 0);
        }
    }
}

/// Reports what came of exports, once for all workers.
pub(crate) fn announce(cluster: &str, notice: &Notice, now: u64) {
    let state = key(&format!("export/{cluster}"));
    let may_say = |what| is_time(&key(&format!("{what}/{cluster}")), now);
    let level = match notice {
        Notice::Failing(_) => {
            if !may_say("failing") {
                return;
            }
            is_first(&state, b"failing");
            LogLevel::Warn
        }
        Notice::Recovered => {
            let is_known =
                hostcalls::shared_data(&state).is_some_and(|(state, _)| !state.is_empty());
            if !is_known || !is_first(&state, b"") {
                return;
            }
            LogLevel::Info
        }
        Notice::Refused { .. } if may_say("refused") => LogLevel::Warn,
        Notice::Rejected { .. } if may_say("rejected") => LogLevel::Warn,
        Notice::Refused { .. } | Notice::Rejected { .. } => return,
    };
    let line = notice.line(cluster);
    hostcalls::log(level, &format!("sidespan: {line}"));
}

/// Reports a pause that the collector asked for, once for all workers.
pub(crate) fn log_pause(cluster: &str, pause: &Pause, now: u64) {
    if is_time(&key(&format!("paused/{cluster}")), now) {
        let line = pause.line(cluster);
        hostcalls::log(LogLevel::Warn, &format!("sidespan: {line}"));
    }
}

/// Reports spans that are lost for a reason that no notice tells.
pub(crate) fn tell_drops(stat: Stat, n: u64, now: u64) {
    // The stats may go with the configuration, so each line has its number.
    if let Some(line) = stat.lost_line(n)
        && (stat == Stat::SpansDroppedShutdown || is_time(&key(stat.name()), now))
    {
        hostcalls::log(LogLevel::Warn, &format!("sidespan: {line}"));
    }
}

/// Whether this is said for the first time in a minute, by any worker: what is
/// wrong for an hour is sixty lines, and the stats have the numbers.
fn is_time(key: &str, now: u64) -> bool {
    const MINUTE: u64 = 60_000_000_000;
    let (said, version) = hostcalls::shared_data(key).unwrap_or_default();
    let said = said.try_into().map(u64::from_le_bytes);
    let is_recent = said.is_ok_and(|said| now.abs_diff(said) < MINUTE);
    !is_recent && hostcalls::set_shared_data(key, &now.to_le_bytes(), version)
}

/// Shares a state. Whether this worker is the one that changed it.
pub(crate) fn is_first(key: &str, state: &[u8]) -> bool {
    let (known, version) = hostcalls::shared_data(key).unwrap_or_default();
    known != state && hostcalls::set_shared_data(key, state, version)
}
