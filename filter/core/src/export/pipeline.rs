//! Spans to a collector: the queue and its exports, with books that balance.

use crate::export::batch::{BatchConfig, nanos};
use crate::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use crate::export::event::{Notice, Pause};
use crate::export::exporter::{Exporter, Fate};
use crate::export::queue::BatchSpanProcessor;
use crate::export::settings::ExporterConfig;
use crate::host::environment::Environment;
use crate::otlp::encode::Envelope;
use crate::span::attributes::OwnedValue;
use crate::span::resource::{Resource, SDK_NAME, SDK_VERSION};
use crate::stats::{Level, Stat, Stats};
use std::time::Duration;

/// What a delivery is made of: two with equal values can be one.
#[derive(Clone, Debug, PartialEq)]
pub struct DeliveryConfig {
    /// Where spans go.
    pub exporter: ExporterConfig,
    /// The limits of the queue.
    pub batch: BatchConfig,
    /// The service in the resource, unless the environment names one.
    pub service_name: String,
    /// More attributes of the resource.
    pub resource_attributes: Vec<(String, OwnedValue)>,
}

/// Delivers the spans of one resource to one collector.
///
/// `jitter` in its functions gives numbers that are uniform from 0 to 1.
#[derive(Debug)]
pub struct Delivery {
    queue: BatchSpanProcessor,
    exporter: Exporter,
    /// When it gives up what is left, once its end has begun.
    ends_at: Option<u64>,
    stats: Stats,
    warnings: Vec<String>,
}

/// How long a delivery that ends goes on exporting: what an SDK waits for an
/// export when it shuts down (OpenTelemetry specification,
/// BatchSpanProcessor, `exportTimeoutMillis`).
const SHUTDOWN: Duration = Duration::from_secs(30);

fn ends_after(now: u64) -> u64 {
    now.saturating_add(nanos(SHUTDOWN))
}

/// How long a host may wait with its next tick, so that what is published is
/// fresh.
const MAX_TICK: Duration = Duration::from_secs(1);

/// What came of an export.
#[derive(Debug)]
pub struct ExportEnd {
    /// The time from its start.
    pub took: Duration,
    /// What an operator should read of it.
    pub notice: Option<Notice>,
    /// The pause that the collector asked for with it.
    pub pause: Option<Pause>,
}

/// An empty queue of what an exporter exports.
fn queue(exporter: &Exporter, limits: BatchConfig) -> BatchSpanProcessor {
    BatchSpanProcessor::new(limits, exporter.max_batch_bytes(), exporter.head_room())
}

impl Delivery {
    /// One for a configuration.
    pub fn new(config: DeliveryConfig, environment: &impl Environment) -> Self {
        let resource = Resource::new(
            &config.service_name,
            config.resource_attributes,
            environment,
        );
        let envelope = Envelope::new(&resource.encode(), SDK_NAME, SDK_VERSION);
        let (exporter, mut warnings) = Exporter::new(
            config.exporter,
            envelope,
            config.batch.max_concurrent_exports,
            environment,
        );
        warnings.extend_from_slice(resource.warnings());
        Self {
            queue: queue(&exporter, config.batch),
            exporter,
            ends_at: None,
            stats: Stats::default(),
            warnings,
        }
    }

    /// What an operator should know of the environment.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where callouts go.
    pub fn target(&self) -> &Target {
        self.exporter.target()
    }

    /// Where spans wait.
    pub fn queue(&mut self) -> &mut BatchSpanProcessor {
        &mut self.queue
    }

    /// The spans that wait.
    pub fn spans(&self) -> &BatchSpanProcessor {
        &self.queue
    }

    /// A queue with these limits, for a worker to fill.
    pub fn outbox(&self, limits: BatchConfig) -> BatchSpanProcessor {
        queue(&self.exporter, limits)
    }

    /// Takes what a worker's queue has, as far as there is space. Returns the rest:
    /// there may be space for it once [`next_callout`](Self::next_callout) has taken
    /// the batches that are full now.
    pub fn merge(&mut self, outbox: BatchSpanProcessor) -> Option<BatchSpanProcessor> {
        let rest = self.queue.take_in(outbox);
        (rest.queued_spans() > 0).then_some(rest)
    }

    /// Takes what a worker's queue has, as far as there is space, and drops the
    /// rest.
    pub fn take_in(&mut self, outbox: BatchSpanProcessor) {
        let rest = self.queue.take_in(outbox).queued_spans();
        self.stats.add(Stat::SpansDroppedQueueFull, rest as u64);
    }

    /// How long the host may wait with the next [`on_tick`](Self::on_tick):
    /// until a batch is due, and a second at most. Never zero.
    pub fn next_tick(&self, now: u64) -> Duration {
        let most = self.queue.config().schedule_delay.min(MAX_TICK);
        let due = [
            self.queue.next_due(),
            self.exporter.next_due(&self.queue, now),
        ];
        let until = |due: u64| Duration::from_nanos(due.saturating_sub(now));
        let wait = due.into_iter().flatten().map(until).fold(most, Ord::min);
        // A host's clock has milliseconds: a tick before its time is for nothing.
        (wait + Duration::from_micros(999)).max(Duration::from_millis(1))
    }

    /// Time goes by: a batch that waited long enough goes though not full, and
    /// an end that takes too long is made.
    pub fn on_tick(&mut self, now: u64) {
        self.queue.on_tick(now);
        self.exporter.on_tick(&mut self.queue, now);
        // The clock can be set back.
        self.ends_at = self.ends_at.map(|end| end.min(ends_after(now)));
        if self.ends_at.is_some_and(|end| now >= end) {
            self.give_up();
        }
    }

    /// The end is near: what waits is exported while there is time.
    pub fn shutdown(&mut self, now: u64, jitter: impl FnMut() -> f64) {
        self.exporter
            .hurry(&mut self.queue, now, SHUTDOWN / 10, jitter);
        self.queue.flush();
        let end = ends_after(now);
        self.ends_at = Some(self.ends_at.map_or(end, |earlier| earlier.min(end)));
    }

    /// The end is here: what is not delivered is lost.
    pub fn give_up(&mut self) {
        let lost = self.queue.clear() + self.exporter.clear();
        self.stats.add(Stat::SpansDroppedShutdown, lost as u64);
    }

    /// Takes over what another delivery of the same configuration has not
    /// delivered, and what it has not published. What was under way is sent
    /// again: nobody will tell what came of it. If the end of the other one
    /// had begun, so has this one's.
    pub fn adopt(&mut self, mut other: Self, now: u64) {
        self.ends_at = self.ends_at.or(other.ends_at);
        self.queue.adopt(other.queue);
        self.exporter.adopt(other.exporter, &mut self.queue, now);
        self.stats.add_all(&mut other.stats);
    }

    /// The next export to send, while one is ready and may be under way.
    pub fn next_callout(&mut self, now: u64) -> Option<Callout> {
        let (callout, is_retry) = self.exporter.next(&mut self.queue, now)?;
        if is_retry {
            self.stats.add(Stat::Retries, 1);
        }
        Some(callout)
    }

    /// A callout ended. Gives what became of it, if it was under way.
    pub fn on_callout_end(
        &mut self,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
        jitter: impl FnMut() -> f64,
    ) -> Option<ExportEnd> {
        let ended = self
            .exporter
            .end(id, outcome, &mut self.queue, now, jitter)?;
        let spans = ended.spans as u64;
        let (exports, lost) = match ended.fate {
            Fate::Taken { rejected: 0 } => (Stat::ExportsAccepted, None),
            Fate::Taken { .. } => (Stat::ExportsPartial, None),
            Fate::Waiting => (Stat::ExportsFailed, None),
            Fate::Exhausted => (Stat::ExportsFailed, Some(Stat::SpansDroppedRetryExhausted)),
            Fate::Refused => (Stat::ExportsRefused, Some(Stat::SpansDroppedPermanent)),
        };
        self.stats.add(exports, 1);
        if let Fate::Taken { rejected } = ended.fate {
            self.stats
                .add(Stat::SpansAcknowledged, spans - rejected as u64);
            self.stats.add(Stat::SpansRejected, rejected as u64);
        }
        if let Some(lost) = lost {
            self.stats.add(lost, spans);
        }
        Some(ExportEnd {
            took: ended.took,
            notice: ended.notice,
            pause: ended.pause,
        })
    }

    /// The host forgot a callout with whatever made it: its spans are sent
    /// again. That is no failure of the collector's.
    pub fn recall(&mut self, id: CalloutId, now: u64) {
        self.exporter.recall(id, &mut self.queue, now);
    }

    /// Whether every span was exported or given up.
    pub fn is_idle(&self) -> bool {
        self.queue.queued_spans() == 0 && self.exporter.is_idle()
    }

    /// A level as it is now.
    pub fn level(&self, level: Level) -> u64 {
        let level = match level {
            Level::SpansQueued => self.queue.queued_spans(),
            Level::SpansInFlight => self.exporter.spans_in_flight(),
            Level::BytesQueued => self.queue.queued_bytes(),
            Level::ExportsPausedUntil => {
                return self.exporter.paused_until().div_ceil(1_000_000_000);
            }
        };
        level as u64
    }

    /// What was counted.
    pub fn stats(&mut self) -> &mut Stats {
        &mut self.stats
    }
}
