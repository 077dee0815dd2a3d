//! Log messages to the log of a host.

use log::{Level, LevelFilter, Log, Metadata, Record};

/// The levels of Envoy's log, as its ABIs number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// What a single request was about.
    Debug = 1,
    /// What operators may want to know.
    Info = 2,
    /// What they should know.
    Warn = 3,
    /// What they must mend.
    Error = 4,
    /// A bug.
    Critical = 5,
}

/// Writes each message as a line of a host's log.
pub struct HostLogger {
    write: fn(LogLevel, &str),
}

impl HostLogger {
    /// A logger that writes lines by a function of the host.
    pub const fn new(write: fn(LogLevel, &str)) -> Self {
        Self { write }
    }

    /// Sends the messages of this process, or of this VM, to the host.
    pub fn install(&'static self) {
        // Fails where it was done before.
        let _ = log::set_logger(self);
    }
}

/// Sets the level from which messages are logged.
pub fn set_level(is_debug: bool) {
    log::set_max_level(match is_debug {
        true => LevelFilter::Debug,
        false => LevelFilter::Info,
    });
}

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
        (self.write)(level, &format!("sidespan: {}", record.args()));
    }

    fn flush(&self) {}
}
