//! What operators should know of exports, with its log lines.

use crate::export::response::Failure;
use std::time::{Duration, UNIX_EPOCH};

/// A pause of all exports, which the collector asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, in Unix nanoseconds.
    pub until_unix_nanos: u64,
    /// How long the collector asked for.
    pub asked: Duration,
    /// `retry.max_elapsed_time`, which bounds it.
    pub most: Duration,
}

impl Pause {
    /// The log line about exports to this cluster.
    pub fn line(&self, cluster: &str) -> String {
        /// The last second of the year 9999, as HTTP's dates have four digits.
        const LAST: Duration = Duration::from_secs(253_402_300_799);
        let until = Duration::from_nanos(self.until_unix_nanos).min(LAST);
        let until = httpdate::fmt_http_date(UNIX_EPOCH + until);
        let seconds = |duration: Duration| duration.as_millis().div_ceil(1000);
        let bound = match self.asked > self.most {
            true => format!(
                ", of which retry.max_elapsed_time allows {} s",
                seconds(self.most)
            ),
            false => String::new(),
        };
        let asked = seconds(self.asked);
        format!(
            "exports to cluster {cluster:?} pause until {until}: the collector asked for {asked} s{bound}"
        )
    }
}

/// Something about exports that an operator should read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An export failed in a way that may pass.
    Failing(Failure),
    /// The first success, at all or after failures.
    Recovered,
    /// The collector refused an export for good.
    Refused {
        /// Spans that are lost by it.
        spans: usize,
        /// Its words.
        failure: Failure,
    },
    /// The collector took only a part, or warns.
    Rejected {
        /// Spans that it did not take.
        spans: usize,
        /// Its words.
        message: String,
    },
}

impl Notice {
    /// What an operator reads, of exports to this cluster.
    pub fn line(&self, cluster: &str) -> String {
        match self {
            Self::Failing(failure) => {
                format!("export to cluster {cluster:?} fails, spans wait: {failure}")
            }
            Self::Recovered => format!("export to cluster {cluster:?} works again"),
            Self::Refused { spans, failure } => format!(
                "the collector at cluster {cluster:?} refused an export, {spans} spans are lost: {failure}"
            ),
            Self::Rejected { spans, message } => {
                format!("the collector at cluster {cluster:?} rejected {spans} spans: {message:?}")
            }
        }
    }
}
