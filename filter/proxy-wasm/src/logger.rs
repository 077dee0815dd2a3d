//! Log messages to the proxy's log.

use crate::hostcalls;
use sidespan_runtime::logger::{HostLogger, LogLevel, set_level};

static LOGGER: HostLogger = HostLogger::new(hostcalls::log);

/// Sends messages, and panics, to the proxy's log.
pub(crate) fn install() {
    LOGGER.install();
    update_level();
    std::panic::set_hook(Box::new(|panic| {
        let line = format!("sidespan: internal error: {panic}");
        hostcalls::log(LogLevel::Critical, &line);
    }));
}

/// Reads the level of the proxy's log. To read it at each request would cost.
pub(crate) fn update_level() {
    set_level(hostcalls::is_debug());
}
