//! Every counter that is published, with its meaning.

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $variant:ident => $name:literal,)+) => {
        /// A counter. Hosts publish it under [`name`](Stat::name).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Stat {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Stat {
            /// Every counter.
            pub const ALL: &'static [Stat] = &[$(Stat::$variant,)+];

            /// The name under which it is published.
            pub fn name(self) -> &'static str {
                match self {
                    $(Stat::$variant => $name,)+
                }
            }
        }
    };
}

stats! {
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
    /// Spans of an export that failed.
    SpansDroppedExportFailed => "sidespan.spans_dropped.export_failed",
    /// Exports that the collector answered with OK.
    ExportsSucceeded => "sidespan.exports_succeeded",
    /// Exports that failed or could not be sent.
    ExportsFailed => "sidespan.exports_failed",
}

/// What was counted since the host last asked.
#[derive(Debug, Default)]
pub struct Stats([u64; Stat::ALL.len()]);

impl Stats {
    pub(crate) fn add(&mut self, stat: Stat, n: u64) {
        if let Some(count) = self.0.get_mut(stat as usize) {
            *count += n;
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
