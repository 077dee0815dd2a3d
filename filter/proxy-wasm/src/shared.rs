//! What the workers of one proxy tell each other through the host's shared
//! data, so that an operator reads a thing once and not once a worker: which
//! document is good, which is known to be bad, whether exports fail.

use crate::host::{self, Counter, LogLevel};
use crate::root;
use sidespan_config::Faults;
use sidespan_core::config::Config;
use sidespan_core::exporter::Notice;

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
    Counter::define(CONFIG_REJECTED);
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
    let counter = Counter::define(CONFIG_REJECTED);
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
    let key = key(&format!("export/{cluster}"));
    if host::shared_data(&key).is_none() {
        host::set_shared_data(&key, b"", 0);
    }
}

/// Reports what came of exports, once for all workers.
pub(crate) fn announce(cluster: &str, notice: &Notice) {
    let state = match notice {
        Notice::Failing(_) => "failing".to_owned(),
        Notice::Recovered => String::new(),
        // With its verb: a collector may reject without a word.
        Notice::Rejected { message, .. } => format!("rejected {message}"),
    };
    if is_first(&key(&format!("export/{cluster}")), state.as_bytes()) {
        root::log_notice(cluster, notice);
    }
}

/// Shares a state. Whether this worker is the one that changed it.
fn is_first(key: &str, state: &[u8]) -> bool {
    let (known, version) = host::shared_data(key).unwrap_or_default();
    known != state && host::set_shared_data(key, state, version)
}
