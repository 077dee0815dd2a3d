//! Log messages to Envoy's log.

use crate::envoy::abi::LogLevel;
use crate::envoy::process;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::sync::Once;

struct EnvoyLogger;

static LOGGER: EnvoyLogger = EnvoyLogger;

impl Log for EnvoyLogger {
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
        process::log(level, &format!("sidespan: {}", record.args()));
    }

    fn flush(&self) {}
}

/// Sends messages to Envoy's log, and has a panic write one line there in place of
/// its standard error; only the first one, as the next is most likely the same.
pub(crate) fn install() {
    static FIRST: Once = Once::new();
    // Fails where it was done before.
    let _ = log::set_logger(&LOGGER);
    update_level();
    std::panic::set_hook(Box::new(|panic| {
        FIRST.call_once(|| {
            process::log(
                LogLevel::Critical,
                &format!("sidespan: internal error, a request is not traced: {panic}"),
            );
        });
    }));
}

/// Reads the level of Envoy's log.
pub(crate) fn update_level() {
    log::set_max_level(match process::is_debug() {
        true => LevelFilter::Debug,
        false => LevelFilter::Info,
    });
}
