//! Batches to callouts, and what came of them: the collector has them, they
//! are sent again, or they are lost and somebody says so.

use crate::export::queue::{Batch, BatchSpanProcessor, Body, nanos};
use crate::export::response::{Answer, Failure, Retry};
use crate::export::retry::RetryConfig;
use crate::export::{otlp_grpc as grpc, otlp_http as http};
use crate::otlp::encode::Envelope;
use crate::span::resource::Environment;
use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// The most that a receiver of gRPC takes in one message unless it is told
/// otherwise, the Collector's too (`max_recv_msg_size_mib`).
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// After so many failures in a row, whichever batch they were of, the
/// collector counts as down, as an endpoint does in Envoy's outlier detection.
const DOWN_AFTER: u32 = 5;

/// Where spans go and how: OTLP to a cluster of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExporterConfig {
    /// The cluster's name.
    pub cluster: String,
    /// The `:authority` of each call, never empty.
    pub authority: String,
    /// How long a call may take.
    pub timeout: Duration,
    /// Sent with each call, beside those that the protocol has.
    pub headers: Vec<ExportHeader>,
    /// How OTLP is carried.
    pub protocol: Protocol,
    /// When a call that failed is made again.
    pub retry: RetryConfig,
}

/// How OTLP is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with binary protobuf.
    Http {
        /// The path, `/v1/traces` by default.
        path: String,
        /// Whether the body is compressed.
        gzip: bool,
    },
}

/// A header of each call, such as a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportHeader {
    /// In lower case.
    pub name: String,
    /// What it says, or where that is found.
    pub source: HeaderSource,
}

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderSource {
    /// This.
    Value(Secret),
    /// What this variable of the environment holds.
    Environment(String),
}

/// A text that must not be shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Whether a text can be the value of a header (RFC 9110, 5.5).
pub fn is_header_value(text: &str) -> bool {
    text.trim_ascii() == text && text.bytes().all(|b| b == b'\t' || !b.is_ascii_control())
}

/// The authority for a cluster where none is configured: the host in Istio's
/// `outbound|PORT|SUBSET|HOST`, whose `|` an HTTP/2 peer refuses in a header,
/// else the cluster's name.
pub fn default_authority(cluster: &str) -> &str {
    match cluster.rsplit_once('|') {
        Some((_, host)) if !host.is_empty() => host,
        _ => cluster,
    }
}

/// What is the same in all calls of one exporter.
#[derive(Clone, Debug)]
pub struct Target {
    /// The cluster's name.
    pub cluster: String,
    /// All headers, HTTP/2's own among them.
    pub headers: Vec<(String, Secret)>,
    /// How long a call may take.
    pub timeout: Duration,
}

/// Names a callout between the tracer and its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CalloutId(u64);

/// An HTTP request that the host is to make, to the exporter's [`Target`].
#[derive(Debug)]
pub struct Callout {
    /// To be handed back with the outcome.
    pub id: CalloutId,
    /// Its body.
    pub body: Body,
}

/// Header or trailer lines.
pub type Lines<'a> = [(&'a [u8], &'a [u8])];

/// How a callout ended.
#[derive(Clone, Copy, Debug)]
pub enum CalloutOutcome<'a> {
    /// With an answer, of the collector or of the proxy in its place.
    Answered {
        /// With `:status`.
        headers: &'a Lines<'a>,
        /// The beginning of the body, at least.
        body: &'a [u8],
        /// None for most.
        trailers: &'a Lines<'a>,
    },
    /// The connection ended before the answer did.
    Reset,
    /// The host has no such cluster.
    NoCluster,
    /// The host has, but nobody in it to send it to.
    NoEndpoint,
}

/// What became of an export.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) fate: Fate,
    pub(crate) spans: usize,
    pub(crate) took: Duration,
    pub(crate) notice: Option<Notice>,
    pub(crate) pause: Option<Pause>,
}

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
        let (headers, warnings) = headers(&config, environment);
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
        let body = match self.protocol {
            Protocol::Grpc => grpc::body(&self.envelope, &mut batch),
            Protocol::Http { gzip, .. } => http::body(&self.envelope, &mut batch, gzip),
        };
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
        let (fate, notice) = match Answer::read(&self.protocol, outcome, now) {
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

/// All headers of each call, and what is wrong with those of the environment.
fn headers(
    config: &ExporterConfig,
    environment: &impl Environment,
) -> (Vec<(String, Secret)>, Vec<String>) {
    let mut warnings = Vec::new();
    let own = match &config.protocol {
        Protocol::Grpc => grpc::headers(config.timeout),
        Protocol::Http { path, gzip } => http::headers(path, *gzip),
    };
    let mut headers = vec![
        (":method".to_owned(), Secret("POST".to_owned())),
        (":authority".to_owned(), Secret(config.authority.clone())),
        ("user-agent".to_owned(), Secret(USER_AGENT.to_owned())),
    ];
    headers.extend(own.map(|(name, value)| (name.to_owned(), Secret(value))));
    for header in &config.headers {
        let name = &header.name;
        match &header.source {
            HeaderSource::Value(value) => headers.push((name.clone(), value.clone())),
            HeaderSource::Environment(variable) => match environment.variable(variable) {
                // A secret that was mounted from a file often ends its line.
                Some(value) if is_header_value(value.trim_ascii()) => {
                    headers.push((name.clone(), Secret(value.trim_ascii().to_owned())));
                }
                Some(_) => warnings.push(format!(
                    "{variable} of the environment cannot be the header {name}, exports go without it"
                )),
                None => warnings.push(format!(
                    "{variable} is not in the environment that the filter sees, exports go without the header {name}"
                )),
            },
        }
    }
    (headers, warnings)
}

/// "Exporters SHOULD emit a User-Agent header to at a minimum identify the
/// exporter, the language of its implementation, and the version"
/// (OpenTelemetry Protocol Exporter, User Agent).
const USER_AGENT: &str = concat!("Sidespan-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));
