//! Batches to callouts, and what came of them: the collector has them, they
//! are sent again, or they are lost and somebody says so.

use crate::export::batch::{Batch, nanos};
use crate::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use crate::export::event::{Notice, Pause};
use crate::export::queue::BatchSpanProcessor;
use crate::export::response::{Answer, Retry};
use crate::export::retry::RetryConfig;
use crate::export::settings::{ExporterConfig, Protocol};
use crate::export::transport;
use crate::host::environment::Environment;
use crate::otlp::encode::Envelope;
use std::time::Duration;

/// The most that a receiver of gRPC takes in one message unless it is told
/// otherwise, the Collector's too (`max_recv_msg_size_mib`).
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// After so many failures in a row, whichever batch they were of, the
/// collector counts as down, as an endpoint does in Envoy's outlier detection.
const DOWN_AFTER: u32 = 5;

/// What became of an export.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) fate: Fate,
    pub(crate) spans: usize,
    pub(crate) took: Duration,
    pub(crate) notice: Option<Notice>,
    pub(crate) pause: Option<Pause>,
}

/// What became of the spans of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The collector answered; this many it did not take.
    Taken { rejected: usize },
    /// They wait to be sent again.
    Waiting,
    /// They were sent again for long enough and are lost.
    Exhausted,
    /// The collector will never take them; they are lost.
    Refused,
}

#[derive(Debug)]
struct InFlight {
    id: CalloutId,
    batch: Batch,
    sent_unix_nanos: u64,
}

/// Makes callouts of batches and remembers those under way.
///
/// A batch whose export failed goes back into the queue and waits by itself,
/// longer each time; others pass it by. When failures are all there is, the
/// collector counts as down: one call at a time asks whether it is back, and
/// what is new waits behind it, growing into whole batches.
#[derive(Debug)]
pub(crate) struct Exporter {
    target: Target,
    protocol: Protocol,
    retry: RetryConfig,
    envelope: Envelope,
    max_concurrent: usize,
    in_flight: Vec<InFlight>,
    next_id: u64,
    failures_in_a_row: u32,
    /// A failure was told, and no success since. An exporter before this one
    /// may have told of one.
    is_failing: bool,
    /// The collector asked for silence until then.
    silent_until: u64,
    last_tick: u64,
}

impl Exporter {
    /// The exporter, and what is wrong with its headers in this environment.
    pub(crate) fn new(
        config: ExporterConfig,
        envelope: Envelope,
        max_concurrent: usize,
        environment: &impl Environment,
    ) -> (Self, Vec<String>) {
        let (headers, warnings) = transport::headers(&config, environment);
        let exporter = Self {
            target: Target {
                cluster: config.cluster,
                headers,
                timeout: config.timeout,
            },
            protocol: config.protocol,
            retry: config.retry,
            envelope,
            max_concurrent,
            in_flight: Vec::new(),
            next_id: 0,
            failures_in_a_row: 0,
            is_failing: true,
            silent_until: 0,
            last_tick: 0,
        };
        (exporter, warnings)
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// How many bytes of spans fit into a message.
    pub(crate) fn max_batch_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES.saturating_sub(self.envelope.overhead())
    }

    /// How many bytes stand before them.
    pub(crate) fn head_room(&self) -> usize {
        self.envelope.overhead()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty()
    }

    pub(crate) fn spans_in_flight(&self) -> usize {
        self.in_flight.iter().map(|call| call.batch.count).sum()
    }

    /// The next export, if one is ready and may be under way, and whether it
    /// was tried before.
    pub(crate) fn next(
        &mut self,
        queue: &mut BatchSpanProcessor,
        now: u64,
    ) -> Option<(Callout, bool)> {
        if !self.has_room() || now < self.silent_until {
            return None;
        }
        let mut batch = if self.is_down() && queue.next_waiting().is_some() {
            queue.take_waiting(now)?
        } else {
            queue.take(now)?
        };
        if batch.failures == 0 {
            batch.first_sent_unix_nanos = now;
        }
        let id = CalloutId(self.next_id);
        self.next_id += 1;
        let body = transport::body(&self.protocol, &self.envelope, &mut batch);
        let is_retry = batch.failures > 0;
        self.in_flight.push(InFlight {
            id,
            batch,
            sent_unix_nanos: now,
        });
        Some((Callout { id, body }, is_retry))
    }

    /// Books the end of a callout; `None` for one that is not under way.
    /// `jitter` gives numbers that are uniform from 0 to 1.
    pub(crate) fn end(
        &mut self,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        queue: &mut BatchSpanProcessor,
        now: u64,
        mut jitter: impl FnMut() -> f64,
    ) -> Option<Ended> {
        let index = self.in_flight.iter().position(|call| call.id == id)?;
        let call = self.in_flight.swap_remove(index);
        let spans = call.batch.count;
        let took = Duration::from_nanos(now.saturating_sub(call.sent_unix_nanos));
        let mut pause = None;
        let (fate, notice) = match transport::answer(&self.protocol, outcome, now) {
            Answer::Taken { rejected, message } => {
                self.collector_is_back(queue, now, jitter);
                let rejected = usize::try_from(rejected).unwrap_or(spans).min(spans);
                let notice = if rejected > 0 || !message.is_empty() {
                    let spans = rejected;
                    Some(Notice::Rejected { spans, message })
                } else {
                    std::mem::take(&mut self.is_failing).then_some(Notice::Recovered)
                };
                (Fate::Taken { rejected }, notice)
            }
            Answer::Failed(failure, Retry::No) => {
                // Its word is no, but it has one.
                self.collector_is_back(queue, now, jitter);
                (Fate::Refused, Some(Notice::Refused { spans, failure }))
            }
            Answer::Failed(failure, Retry::After(asked)) => {
                self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
                self.is_failing = true;
                let jitter = jitter();
                pause = asked
                    .filter(|asked| !asked.is_zero())
                    .map(|asked| self.pause(asked, now, jitter));
                let fate = self.send_again(call.batch, pause, queue, now, jitter);
                (fate, Some(Notice::Failing(failure)))
            }
        };
        Some(Ended {
            fate,
            spans,
            took,
            notice,
            pause,
        })
    }

    /// Pauses all exports as the collector asked.
    fn pause(&mut self, asked: Duration, now: u64, jitter: f64) -> Pause {
        let delay = self.retry.throttle_delay(asked, jitter);
        let until_unix_nanos = now.saturating_add(nanos(delay));
        self.silent_until = self.silent_until.max(until_unix_nanos);
        Pause {
            until_unix_nanos,
            asked,
            most: self.retry.max_elapsed_time,
        }
    }

    /// When the pause that the collector asked for ends, in Unix nanoseconds; 0
    /// if it never asked for one.
    pub(crate) fn paused_until(&self) -> u64 {
        self.silent_until
    }

    fn send_again(
        &mut self,
        mut batch: Batch,
        pause: Option<Pause>,
        queue: &mut BatchSpanProcessor,
        now: u64,
        jitter: f64,
    ) -> Fate {
        batch.failures = batch.failures.saturating_add(1);
        // The clock can be set back.
        batch.first_sent_unix_nanos = batch.first_sent_unix_nanos.min(now);
        let mut due = now.saturating_add(nanos(self.retry.wait(batch.failures, jitter)));
        if let Some(pause) = pause {
            due = due.max(pause.until_unix_nanos);
        }
        let elapsed = Duration::from_nanos(due.saturating_sub(batch.first_sent_unix_nanos));
        let is_asked_for_longer = pause.is_some_and(|pause| pause.asked > pause.most);
        if is_asked_for_longer || self.retry.is_exhausted(elapsed) {
            return Fate::Exhausted;
        }
        queue.give_back(batch, due);
        Fate::Waiting
    }

    /// Has what waited come again soon if the collector counted as down,
    /// spread so that not all proxies come at once.
    fn collector_is_back(
        &mut self,
        queue: &mut BatchSpanProcessor,
        now: u64,
        mut jitter: impl FnMut() -> f64,
    ) {
        if std::mem::take(&mut self.failures_in_a_row) >= DOWN_AFTER {
            let spread = self.retry.initial_interval;
            queue.hasten(|| now.saturating_add(nanos(spread.mul_f64(jitter()))));
        }
    }

    /// Time goes by. If the clock was set back, what waits has waited enough.
    pub(crate) fn on_tick(&mut self, queue: &mut BatchSpanProcessor, now: u64) {
        if now < self.last_tick {
            queue.hasten(|| now);
            self.silent_until = 0;
        }
        self.last_tick = now;
    }

    /// When there will be something to send that is not to be sent now, in
    /// Unix nanoseconds, but for what the end of an export gives room to.
    pub(crate) fn next_due(&self, queue: &BatchSpanProcessor, now: u64) -> Option<u64> {
        if !self.has_room() {
            return None;
        }
        let next = queue.next_waiting();
        // What is ready would have gone but for the silence.
        if queue.is_ready() && !(self.is_down() && next.is_some()) {
            return Some(self.silent_until).filter(|&end| now < end);
        }
        next.map(|due| due.max(self.silent_until))
    }

    fn is_down(&self) -> bool {
        self.failures_in_a_row >= DOWN_AFTER
    }

    fn has_room(&self) -> bool {
        let most = if self.is_down() {
            1
        } else {
            self.max_concurrent
        };
        self.in_flight.len() < most
    }

    /// The end is near: what waits comes soon, and none waits for long again.
    pub(crate) fn hurry(
        &mut self,
        queue: &mut BatchSpanProcessor,
        now: u64,
        most: Duration,
        mut jitter: impl FnMut() -> f64,
    ) {
        self.retry.hurry(most);
        let spread = self.retry.max_interval.min(self.retry.initial_interval);
        queue.hasten(|| now.saturating_add(nanos(spread.mul_f64(jitter()))));
    }

    /// Forgets all exports under way, and gives the number of their spans.
    pub(crate) fn clear(&mut self) -> usize {
        let spans = self.spans_in_flight();
        self.in_flight.clear();
        spans
    }

    /// Takes back what is under way with a call of which nobody will tell what
    /// became, as to be sent again at once.
    pub(crate) fn recall(&mut self, id: CalloutId, queue: &mut BatchSpanProcessor, now: u64) {
        if let Some(index) = self.in_flight.iter().position(|call| call.id == id) {
            let InFlight { mut batch, .. } = self.in_flight.swap_remove(index);
            batch.failures = batch.failures.max(1);
            queue.give_back(batch, now);
        }
    }

    /// Takes over what another exporter has under way, as to be sent again at
    /// once, and what its collector asked for.
    pub(crate) fn adopt(&mut self, other: Self, queue: &mut BatchSpanProcessor, now: u64) {
        self.silent_until = self.silent_until.max(other.silent_until);
        // So that a clock set back since then is noticed.
        self.last_tick = self.last_tick.max(other.last_tick);
        for InFlight { mut batch, .. } in other.in_flight {
            batch.failures = batch.failures.max(1);
            queue.give_back(batch, now);
        }
    }
}
