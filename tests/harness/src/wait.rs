use std::time::{Duration, Instant};

/// Calls `f` until it returns `Some`, with pauses of a few milliseconds.
///
/// Panics naming `what` when `timeout` has passed; `f` is called at least once, and once more after
/// the time is over.
pub fn eventually<T>(timeout: Duration, what: &str, f: impl FnMut() -> Option<T>) -> T {
    poll(timeout, f).unwrap_or_else(|| panic!("{what}: not within {timeout:?}"))
}

/// As [`eventually`], but gives `None` when the time is over.
pub(crate) fn poll<T>(timeout: Duration, mut f: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + timeout;
    let mut pause = Duration::from_millis(1);
    loop {
        let over = Instant::now() >= deadline;
        if let Some(value) = f() {
            return Some(value);
        }
        if over {
            return None;
        }
        // Between two looks.
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_first_value() {
        let mut n = 0;
        let got = eventually(Duration::from_secs(5), "three calls", || {
            n += 1;
            (n == 3).then_some(n)
        });
        assert_eq!(got, 3);
    }

    #[test]
    #[should_panic(expected = "the impossible: not within 5ms")]
    fn panics_naming_the_condition() {
        eventually(Duration::from_millis(5), "the impossible", || None::<()>);
    }
}
