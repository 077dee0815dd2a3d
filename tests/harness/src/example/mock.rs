//! A collector of the test that steps can stop, start again and make misbehave.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::{Behaviour, Call, Code, MockCollector, ReceivedSpan};

/// What a mock collector does with a call: `"hang"`, `{ "delay_ms": 2000 }`.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Manner {
    /// Takes the spans and answers at once, as it does at first.
    Accept,
    /// Takes the spans and answers after so many milliseconds.
    DelayMs(u64),
    /// Answers with the gRPC status of this number.
    Fail { code: i32, message: String },
    /// Never answers.
    Hang,
    /// Takes the spans and closes the connection without an answer.
    TakeAndDrop,
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("takes all"),
            Self::DelayMs(millis) => write!(f, "answers after {millis} ms"),
            Self::Fail { code, message } => {
                write!(f, "answers {:?}: {message:?}", Code::from(*code))
            }
            Self::Hang => f.write_str("never answers"),
            Self::TakeAndDrop => f.write_str("takes all and closes the connection"),
        }
    }
}

impl From<&Manner> for Behaviour {
    fn from(manner: &Manner) -> Self {
        match manner {
            Manner::Accept => Self::Accept,
            Manner::DelayMs(millis) => Self::Delay(Duration::from_millis(*millis)),
            Manner::Fail { code, message } => Self::Fail(Code::from(*code), message.clone()),
            Manner::Hang => Self::Hang,
            Manner::TakeAndDrop => Self::TakeAndDrop,
        }
    }
}

/// It keeps what it got when it is stopped, and after it was started again.
pub(super) struct Mock {
    addr: SocketAddr,
    only_http2: bool,
    /// Each from one start to the next; the last one is it.
    lives: Mutex<Vec<MockCollector>>,
}

impl Mock {
    pub(super) fn start_on(addr: SocketAddr, only_http2: bool) -> Self {
        let mock = Self {
            addr,
            only_http2,
            lives: Mutex::default(),
        };
        mock.live();
        mock
    }

    pub(super) fn stop(&self) {
        self.now(MockCollector::stop);
    }

    /// Starts it again, well behaved.
    pub(super) fn start(&self) {
        self.stop();
        self.live();
    }

    fn live(&self) {
        let collector = MockCollector::start_on(self.addr);
        if self.only_http2 {
            collector.only_http2();
        }
        self.lives().push(collector);
    }

    pub(super) fn behave(&self, manner: &Manner) {
        self.now(|mock| mock.set_behaviour(manner.into()));
    }

    /// As [`behave`](Self::behave), but with the next calls only, one each.
    pub(super) fn behave_next(&self, manners: &[Manner]) {
        let behaviours = manners.iter().map(Behaviour::from).collect();
        self.now(|mock| mock.script(behaviours));
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.lives().iter().flat_map(MockCollector::calls).collect()
    }

    pub(super) fn spans(&self) -> Vec<ReceivedSpan> {
        self.lives().iter().flat_map(MockCollector::spans).collect()
    }

    pub(super) fn settled(&self, quiet: Duration) {
        self.now(|mock| mock.settled(quiet));
    }

    fn now<T>(&self, f: impl FnOnce(&mut MockCollector) -> T) -> T {
        f(self.lives().last_mut().expect("it was started"))
    }

    fn lives(&self) -> MutexGuard<'_, Vec<MockCollector>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
