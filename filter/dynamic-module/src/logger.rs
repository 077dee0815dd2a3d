//! Log messages to Envoy's log.

use crate::envoy::process;
use sidespan_runtime::logger::{HostLogger, LogLevel, set_level};
use std::sync::Once;

static LOGGER: HostLogger = HostLogger::new(process::log);

/// Sends messages to Envoy's log, and has a panic write one line there in place of
/// its standard error; only the first one, as the next is most likely the same.
pub(crate) fn install() {
    static FIRST: Once = Once::new();
    LOGGER.install();
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
    set_level(process::is_debug());
}
