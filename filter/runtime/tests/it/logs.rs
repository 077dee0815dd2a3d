//! The log lines of a test's own thread.

use log::{Level, Log, Metadata, Record};
use std::cell::RefCell;

struct Capture;

thread_local! {
    static LINES: RefCell<Vec<(Level, String)>> = RefCell::default();
}

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = (record.level(), record.args().to_string());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

/// Captures the lines of this thread from here on.
pub(crate) fn capture() {
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Debug);
    take();
}

/// The lines since the last call, without those of the level debug.
pub(crate) fn take() -> Vec<(Level, String)> {
    let mut lines = LINES.take();
    lines.retain(|(level, _)| *level < Level::Debug);
    lines
}

/// The texts of these lines.
pub(crate) fn texts() -> Vec<String> {
    take().into_iter().map(|(_, text)| text).collect()
}
