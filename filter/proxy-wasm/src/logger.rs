//! Log messages to the proxy's log.

use crate::hostcalls;
use crate::types::LogLevel;
use log::{Level, LevelFilter, Log, Metadata, Record};

struct HostLogger;

static LOGGER: HostLogger = HostLogger;

impl Log for HostLogger {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let level = match record.level() {
            Level::Error => LogLevel::Error,
            Level::Warn => LogLevel::Warn,
            Level::Info => LogLevel::Info,
            Level::Debug | Level::Trace => LogLevel::Debug,
        };
        hostcalls::log(level, &format!("sidespan: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends messages, and panics, to the proxy's log.
pub(crate) fn install() {
    // Fails where it was done before.
    let _ = log::set_logger(&LOGGER);
    update_level();
    std::panic::set_hook(Box::new(|panic| {
        let line = format!("sidespan: internal error: {panic}");
        hostcalls::log(LogLevel::Critical, &line);
    }));
}

/// Reads the level of the proxy's log. To read it at each request would cost.
pub(crate) fn update_level() {
    log::set_max_level(match hostcalls::is_debug() {
        true => LevelFilter::Debug,
        false => LevelFilter::Info,
    });
}
