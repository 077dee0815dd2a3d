//! Everything that is published, with its meaning.

macro_rules! stats {
    ($($(#[doc = $what:literal])+ $stat:ident {
        $($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+
    })+) => {$(
        $(#[doc = $what])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $stat {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $stat {
            /// Every one.
            pub const ALL: &'static [$stat] = &[$($stat::$variant,)+];

            /// The name under which it is published.
            pub fn name(self) -> &'static str {
                match self {
                    $($stat::$variant => $name,)+
                }
            }
        }
    )+};
}

stats! {
    /// A counter. Hosts publish it under [`name`](Stat::name).
    Stat {
        /// Requests that the sampler, or a rule's ratio, decided to sample.
        Sampled => "sidespan.sampled",
        /// Requests that it decided not to sample; their context goes on.
        NotSampled => "sidespan.not_sampled",
        /// Requests that a rule or a route forced.
        Forced => "sidespan.forced",
        /// Requests that a rule, a route or `incoming: require` left untraced.
        Disabled => "sidespan.disabled",
        /// Requests that the limit on new traces left unsampled.
        RateLimited => "sidespan.rate_limited",
        /// Requests whose context was dropped for a new trace.
        Restarted => "sidespan.restarted",
        /// Spans kept by what became of their request.
        Kept => "sidespan.kept",
        /// Requests that carried a context which was not believed.
        Malformed => "sidespan.malformed",
        /// Spans that ended and were offered to the queue.
        SpansCreated => "sidespan.spans_created",
        /// Spans that the collector took.
        SpansAcknowledged => "sidespan.spans_acknowledged",
        /// Spans that the collector refused in a partial success.
        SpansRejected => "sidespan.spans_rejected",
        /// Spans that found the queue full.
        SpansDroppedQueueFull => "sidespan.spans_dropped.queue_full",
        /// Spans whose exports failed until `max_elapsed_time` was over.
        SpansDroppedRetryExhausted => "sidespan.spans_dropped.retry_exhausted",
        /// Spans of an export that the collector refused for good.
        SpansDroppedPermanent => "sidespan.spans_dropped.permanent",
        /// Spans that could not be delivered before their configuration went.
        SpansDroppedShutdown => "sidespan.spans_dropped.shutdown",
        /// Spans too large for any message.
        SpansDroppedEncoding => "sidespan.spans_dropped.encoding",
        /// Exports of which the collector took everything.
        ExportsAccepted => "sidespan.exports.accepted",
        /// Exports of which it rejected a part.
        ExportsPartial => "sidespan.exports.partial",
        /// Exports that failed in a way that may pass.
        ExportsFailed => "sidespan.exports.failed",
        /// Exports that the collector refused for good.
        ExportsRefused => "sidespan.exports.refused",
        /// Exports of a batch that had failed before.
        Retries => "sidespan.retries",
    }
    /// A level, of all workers together: see [`Level::is_sum`].
    Level {
        /// Spans that wait to be sent, or to be sent again.
        SpansQueued => "sidespan.spans_queued",
        /// Spans sent, and not answered yet.
        SpansInFlight => "sidespan.spans_in_flight",
        /// Bytes of the spans that wait.
        BytesQueued => "sidespan.bytes_queued",
        /// The Unix time in seconds until which the collector asked for a pause
        /// of exports; in the past or 0 if there is none.
        ExportsPausedUntil => "sidespan.exports.paused_until",
    }
}

impl Level {
    /// Whether workers' levels add up; otherwise the highest counts.
    pub fn is_sum(self) -> bool {
        self != Self::ExportsPausedUntil
    }
}

impl Stat {
    /// Why spans are lost that are counted here, where no
    /// [`Notice`](crate::export::event::Notice) of an export tells.
    pub fn why_lost(self) -> Option<&'static str> {
        Some(match self {
            Self::SpansDroppedQueueFull => "the queue is full",
            Self::SpansDroppedRetryExhausted => "their exports failed for max_elapsed_time",
            Self::SpansDroppedShutdown => "their configuration went before they were delivered",
            Self::SpansDroppedEncoding => "they are too large for a message",
            _ => return None,
        })
    }

    /// The line that tells of `n` spans lost for it.
    pub fn lost_line(self, n: u64) -> Option<String> {
        let why = self.why_lost()?;
        let name = self.name();
        Some(format!("{n} spans are lost, {why}; see the stat {name}"))
    }
}

/// The time from an export's start to its end, in milliseconds.
pub const EXPORT_TIME: &str = "sidespan.export_time";

/// Counts documents that were rejected.
pub const CONFIG_REJECTED: &str = "sidespan.config_rejected";

/// A gauge: workers whose newest document is not in force.
pub const CONFIG_STALE: &str = "sidespan.config_stale";

/// A gauge: [`version_number`].
pub const VERSION_NUMBER: &str = "sidespan.version";

/// The version as a number: 1 002 003 for 1.2.3.
pub fn version_number() -> u64 {
    let part = |part: &str| part.parse::<u64>().unwrap_or_default();
    let parts = [
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
    ];
    parts
        .into_iter()
        .fold(0, |number, text| number * 1000 + part(text))
}

/// What was counted since the host last asked.
#[derive(Debug, Default)]
pub struct Stats([u64; Stat::ALL.len()]);

impl Stats {
    /// Counts.
    pub fn add(&mut self, stat: Stat, n: u64) {
        if let Some(count) = self.0.get_mut(stat as usize) {
            *count += n;
        }
    }

    /// Takes over what was counted elsewhere.
    pub fn add_all(&mut self, other: &mut Self) {
        for (stat, n) in other.take() {
            self.add(stat, n);
        }
    }

    /// Hands over what was counted, and counts from zero again.
    pub fn take(&mut self) -> impl Iterator<Item = (Stat, u64)> + use<> {
        let counts = std::mem::take(&mut self.0);
        Stat::ALL
            .iter()
            .copied()
            .zip(counts)
            .filter(|&(_, n)| n > 0)
    }
}
