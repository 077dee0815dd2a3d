//! What the workers of one proxy tell each other through the host's shared
//! data, so that an operator reads a thing once and not once a worker: which
//! document is good, which is known to be bad, whether exports fail.

use crate::host::{self, LogLevel, Metric, MetricType};
use sidespan_config::Faults;
use sidespan_core::config::Config;
use sidespan_core::exporter::{Notice, Pause};
use sidespan_core::stats::Stat;

/// Counts documents that were not accepted.
const CONFIG_REJECTED: &str = "sidespan.config_rejected";

/// Keys are of this plugin: shared data is one space for all modules of a VM.
fn key(what: &str) -> String {
    let property = |name| String::from_utf8(host::property(name).unwrap_or_default());
    let plugin = property("plugin_name").unwrap_or_default();
    let root = property("plugin_root_id").unwrap_or_default();
    format!("sidespan/{plugin}/{root}/{what}")
}

/// The document is good and stays in mind for the day that one is not.
pub(crate) fn accepted(document: &[u8]) {
    Metric::define(MetricType::Counter, CONFIG_REJECTED);
    if is_first(&key("good"), document) {
        // From here on, a fault that was reported before is news again.
        host::set_shared_data(&key("bad"), b"", 0);
    }
}

/// The last good configuration of this plugin, whichever worker took it.
pub(crate) fn last_good() -> Option<Config> {
    let (document, _) = host::shared_data(&key("good"))?;
    sidespan_config::parse(&document).ok()
}

/// Reports a document that is not good, once for all workers.
pub(crate) fn rejected(document: &[u8], faults: &Faults, consequence: &str) {
    let counter = Metric::define(MetricType::Counter, CONFIG_REJECTED);
    if !is_first(&key("bad"), document) {
        return;
    }
    if let Some(counter) = counter {
        counter.add(1);
    }
    host::log(
        LogLevel::Error,
        &format!("sidespan: configuration rejected, {consequence}: {faults}"),
    );
}

/// Says a thing about the environment, once for all workers.
pub(crate) fn warn(warning: &str) {
    if is_first(&key("environment"), warning.as_bytes()) {
        host::log(LogLevel::Warn, &format!("sidespan: {warning}"));
    }
}

/// Makes a place for what will come of exports: the version of a state tells
/// which worker changed it, and what is not there has none.
pub(crate) fn expect_news(cluster: &str) {
    let about_exports = ["export", "failing", "refused", "rejected", "paused"];
    let keys = about_exports.map(|what| key(&format!("{what}/{cluster}")));
    let drops = Stat::ALL.iter().filter(|stat| stat.why_lost().is_some());
    for key in keys.into_iter().chain(drops.map(|stat| key(stat.name()))) {
        if host::shared_data(&key).is_none() {
            host::set_shared_data(&key, b"", 0);
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
            let is_known = host::shared_data(&state).is_some_and(|(state, _)| !state.is_empty());
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
    host::log(level, &format!("sidespan: {line}"));
}

/// Reports a pause that the collector asked for, once for all workers.
pub(crate) fn log_pause(cluster: &str, pause: &Pause, now: u64) {
    if is_time(&key(&format!("paused/{cluster}")), now) {
        let line = pause.line(cluster);
        host::log(LogLevel::Warn, &format!("sidespan: {line}"));
    }
}

/// Reports spans that are lost for a reason that no notice tells.
pub(crate) fn tell_drops(stat: Stat, n: u64, now: u64) {
    // The stats may go with the configuration, so each line has its number.
    if let Some(line) = stat.lost_line(n)
        && (stat == Stat::SpansDroppedShutdown || is_time(&key(stat.name()), now))
    {
        host::log(LogLevel::Warn, &format!("sidespan: {line}"));
    }
}

/// Whether this is said for the first time in a minute, by any worker: what is
/// wrong for an hour is sixty lines, and the stats have the numbers.
fn is_time(key: &str, now: u64) -> bool {
    const MINUTE: u64 = 60_000_000_000;
    let (said, version) = host::shared_data(key).unwrap_or_default();
    let said = said.try_into().map(u64::from_le_bytes);
    let is_recent = said.is_ok_and(|said| now.abs_diff(said) < MINUTE);
    !is_recent && host::set_shared_data(key, &now.to_le_bytes(), version)
}

/// Shares a state. Whether this worker is the one that changed it.
fn is_first(key: &str, state: &[u8]) -> bool {
    let (known, version) = host::shared_data(key).unwrap_or_default();
    known != state && host::set_shared_data(key, state, version)
}
