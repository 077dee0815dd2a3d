//! Export, on the main thread: one for the whole process and each collector,
//! fed by all workers.
//!
//! Envoy lets a *configuration* of a filter send requests of its own, on the
//! main thread and until the configuration goes; nothing else in a module can.
//! So the spans of all exporters go out by way of whichever configuration is
//! the newest, its *host*, and when that goes, by way of another.
//!
//! Envoy gives no timer either: a thread sleeps until something is due and has
//! the main thread take its turn.

use crate::document;
use crate::environment;
use crate::ffi::{self, Config, LogLevel, NotStarted, Scheduler, TracerConfig};
use crate::guard;
use crate::per_worker::PerWorker;
use crate::stats::{Metrics, Sink};
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::callout::{CalloutId, CalloutOutcome};
use sidespan_core::export::deferred_spans::DeferredSpans;
use sidespan_core::export::event::{Notice, Pause};
use sidespan_core::export::pipeline::{Delivery, DeliveryConfig};
use sidespan_core::export::queue::BatchSpanProcessor;
use sidespan_core::recording::envoy_span::TaggedSpan;
use sidespan_core::recording::envoy_tracer::SpanTagger;
use sidespan_core::recording::recorder::Recorder;
use sidespan_core::recording::snapshot::Settled;
use sidespan_core::recording::stream::{Ended, StreamTracer};
use sidespan_core::stats::{Level, Stat, Stats};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

/// What a collector says is short, even where it names each span that it did
/// not take. Whatever is longer is not worth the memory.
const MAX_BODY: usize = 1 << 20;

/// A lock whose holder may have panicked: what it guards is valid after each
/// statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix time in nanoseconds.
pub(crate) fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// 32 bytes of entropy.
pub(crate) fn seed() -> [u8; 32] {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        // Ids need to be unique, not secret.
        let (time, place) = (now().to_le_bytes(), (&raw const seed).addr().to_le_bytes());
        for (byte, noise) in seed.iter_mut().zip(time.into_iter().chain(place)) {
            *byte = noise;
        }
    }
    seed
}

// -------------------------------------------------------------- worker's side

/// Where a worker's spans go. Exists once for each resource and collector.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// A queue for each worker. Only the main thread takes its lock beside the
    /// worker itself, and for no longer than it takes to put an empty one in
    /// its place.
    outboxes: PerWorker<Outbox>,
    /// The main thread was called and has not come yet.
    is_called: AtomicBool,
}

/// What a worker has for the main thread: spans, and what is to be counted
/// with them, so that the books balance at every moment.
#[derive(Debug)]
struct Outbox {
    /// With the time when each ended.
    told: DeferredSpans<Told>,
    queue: BatchSpanProcessor,
    stats: Stats,
}

/// What has ended, and of which no span is made yet.
#[derive(Debug)]
pub(crate) enum Told {
    /// A stream of the filter.
    Stream(Arc<Recorder>, StreamTracer, Settled),
    /// A span of Envoy's.
    Span(Arc<SpanTagger>, TaggedSpan),
}

impl Told {
    fn end(self, now: u64) -> Option<Ended> {
        match self {
            Self::Stream(recorder, stream, settled) => recorder.end(stream, &settled, now),
            Self::Span(tagger, span) => tagger.end(span),
        }
    }
}

impl Outbox {
    /// Makes spans of what was told. A bug costs the one whose turn it is.
    fn make_spans(&mut self) {
        let Self { told, queue, stats } = self;
        for (told, end) in told.drain() {
            guard::call((), || {
                #[cfg(feature = "trap")]
                crate::trap::in_span();
                if let Some(ended) = told.end(end) {
                    queue.add(&ended, stats, end);
                }
            });
        }
    }
}

/// A number of this thread, for workers that Envoy gives none.
pub(crate) fn worker() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static WORKER: usize = NEXT.fetch_add(1, Ordering::Relaxed);
    }
    WORKER.with(|worker| *worker)
}

impl Exporter {
    /// Counts what the main thread is to publish.
    pub(crate) fn count(&self, worker: usize, stat: Stat) {
        if let Some(mut outbox) = self.outboxes.of(worker) {
            outbox.stats.add(stat, 1);
        }
    }

    /// Puts the spans of a stream that ended into the worker's queue.
    pub(crate) fn queue(&self, worker: usize, ended: &Ended, now: u64) {
        let Some(mut outbox) = self.outboxes.of(worker) else {
            return;
        };
        let Outbox { queue, stats, .. } = &mut *outbox;
        queue.add(ended, stats, now);
        let is_ready = queue.is_ready();
        drop(outbox);
        self.call_if(is_ready);
    }

    /// Puts there what ended at `now`, to be made spans of.
    pub(crate) fn tell(&self, worker: usize, told: Told, now: u64) {
        let Some(mut outbox) = self.outboxes.of(worker) else {
            return;
        };
        let Outbox {
            told: deferred,
            queue,
            ..
        } = &mut *outbox;
        if !deferred.push(told, now, queue) {
            return;
        }
        outbox.make_spans();
        let is_ready = outbox.queue.is_ready();
        drop(outbox);
        self.call_if(is_ready);
    }

    fn call_if(&self, is_ready: bool) {
        if is_ready && !self.is_called.swap(true, Ordering::Relaxed) {
            TICKER.call(Duration::ZERO);
        }
    }
}

// ------------------------------------------------------------------ the clock

/// A thread that calls the main one.
struct Ticker {
    state: Mutex<Alarm>,
    changed: Condvar,
}

struct Alarm {
    due: Option<Instant>,
    scheduler: Option<Arc<Scheduler>>,
    is_running: bool,
}

static TICKER: Ticker = Ticker {
    state: Mutex::new(Alarm {
        due: None,
        scheduler: None,
        is_running: false,
    }),
    changed: Condvar::new(),
};

impl Ticker {
    /// Has the main thread come in a while, or earlier if it is to come
    /// earlier already.
    fn call(&self, after: Duration) {
        let due = Instant::now() + after;
        let mut alarm = lock(&self.state);
        if alarm.due.is_none_or(|earlier| due < earlier) {
            alarm.due = Some(due);
            self.changed.notify_one();
        }
    }

    /// Goes by way of this host from now on.
    fn go_by(&self, scheduler: Option<Arc<Scheduler>>) {
        lock(&self.state).scheduler = scheduler;
        self.call(Duration::ZERO);
    }

    /// Starts the thread, which lasts as long as the process.
    fn start(&'static self) {
        let mut alarm = lock(&self.state);
        if alarm.is_running {
            return;
        }
        let thread = std::thread::Builder::new().name("sidespan".to_owned());
        match thread.spawn(|| self.run()) {
            Ok(_) => alarm.is_running = true,
            Err(error) => ffi::log(
                LogLevel::Critical,
                &format!("sidespan: no thread for exports, no span is exported: {error}"),
            ),
        }
    }

    fn run(&self) {
        let mut alarm = lock(&self.state);
        loop {
            let wait = alarm
                .due
                .map(|due| due.saturating_duration_since(Instant::now()));
            alarm = match wait {
                Some(Duration::ZERO) => {
                    alarm.due = None;
                    let scheduler = alarm.scheduler.clone();
                    // To call may destroy the host, which has its own say here.
                    drop(alarm);
                    match scheduler {
                        Some(scheduler) => scheduler.commit(),
                        None => guard::call((), on_turn_without_host),
                    }
                    lock(&self.state)
                }
                Some(wait) => {
                    let waited = self.changed.wait_timeout(alarm, wait);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.changed.wait(alarm);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

// --------------------------------------------------------- main thread's side

#[derive(Debug)]
struct Export {
    config: DeliveryConfig,
    shared: Arc<Exporter>,
    delivery: Delivery,
    /// Nobody feeds it any more.
    is_ending: bool,
}

impl Export {
    /// The one that this is the workers' side of.
    fn of<'a>(all: &'a mut [Self], exporter: &Arc<Exporter>) -> Option<&'a mut Self> {
        let mut all = all.iter_mut();
        all.find(|export| Arc::ptr_eq(&export.shared, exporter))
    }
}

/// A configuration by way of which exports go.
struct Host {
    config: Config,
    scheduler: Arc<Scheduler>,
    metrics: Metrics,
}

/// An export under way, and as much of the answer as came.
struct Call {
    host: Config,
    stream: u64,
    exporter: Arc<Exporter>,
    id: CalloutId,
    began_unix_nanos: u64,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    body: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Call {
    fn is(&self, host: Config, stream: u64) -> bool {
        self.host == host && self.stream == stream
    }
}

/// What no host could count yet.
#[derive(Default)]
struct Unpublished {
    stats: Stats,
    export_millis: Vec<u64>,
    levels: Option<[u64; Level::ALL.len()]>,
    rejected: u64,
}

/// A configuration of the tracer: it can count, on any thread, and no more.
struct Counter {
    config: TracerConfig,
    metrics: Metrics,
}

struct Hub {
    hosts: Vec<Host>,
    counters: Vec<Counter>,
    exports: Vec<Export>,
    calls: Vec<Call>,
    news: News,
    ids: IdGenerator,
    unpublished: Unpublished,
}

static HUB: LazyLock<Mutex<Hub>> = LazyLock::new(|| {
    Mutex::new(Hub {
        hosts: Vec::new(),
        counters: Vec::new(),
        exports: Vec::new(),
        calls: Vec::new(),
        news: News::default(),
        ids: IdGenerator::new(seed()),
        unpublished: Unpublished::default(),
    })
});

/// Something waits for a stream to publish it: before 1.39 no host can.
static IS_UNPUBLISHED: AtomicBool = AtomicBool::new(false);

fn with_hub<T>(f: impl FnOnce(&mut Hub) -> T) -> T {
    f(&mut lock(&HUB))
}

/// One that holds what the document says of each worker.
fn empty_outbox(delivery: &Delivery, limits: &BatchConfig) -> Outbox {
    Outbox {
        told: DeferredSpans::default(),
        queue: delivery.outbox(limits.clone()),
        stats: Stats::default(),
    }
}

/// The exporter for a configuration: one that is there, or a new one. Main
/// thread.
pub(crate) fn exporter(config: &sidespan_core::config::Config) -> Arc<Exporter> {
    let config = config.delivery();
    with_hub(|hub| {
        let same = |export: &&Export| !export.is_ending && export.config == config;
        if let Some(export) = hub.exports.iter().find(same) {
            return Arc::clone(&export.shared);
        }
        // The document's limits are for each worker, and here all share them. A
        // turn merges the queues of all workers before the open batch, which one
        // more queue holds, can leave in an export.
        let workers = ffi::workers();
        let mut shared_by_all = config.clone();
        let batch = &mut shared_by_all.batch;
        for limit in [&mut batch.max_queue_size, &mut batch.max_queue_bytes] {
            *limit = limit.saturating_mul(workers + 1);
        }
        batch.max_concurrent_exports = batch.max_concurrent_exports.saturating_mul(workers);
        let delivery = Delivery::new(shared_by_all, environment::process());
        for warning in delivery.warnings() {
            hub.news.warn(warning);
        }
        let shared = Arc::new(Exporter {
            outboxes: PerWorker::new(|| empty_outbox(&delivery, &config.batch)),
            is_called: AtomicBool::new(false),
        });
        hub.exports.push(Export {
            config,
            shared: Arc::clone(&shared),
            delivery,
            is_ending: false,
        });
        shared
    })
}

/// A configuration that is alive from now on: exports may go by way of it.
/// Main thread.
pub(crate) fn join(config: Config, metrics: Metrics) {
    if ffi::is_validation() {
        return;
    }
    let scheduler = Arc::new(config.scheduler());
    let host = Host {
        config,
        scheduler: Arc::clone(&scheduler),
        metrics,
    };
    with_hub(|hub| hub.hosts.push(host));
    TICKER.start();
    TICKER.go_by(Some(scheduler));
}

/// A configuration of the tracer that is alive from now on. Main thread.
pub(crate) fn join_tracer(config: TracerConfig, metrics: Metrics) {
    if ffi::is_validation() {
        return;
    }
    with_hub(|hub| hub.counters.push(Counter { config, metrics }));
    TICKER.start();
    TICKER.call(Duration::from_secs(1));
}

/// A configuration of the tracer goes. Any thread.
pub(crate) fn leave_tracer(config: TracerConfig) {
    with_hub(|hub| {
        let now = now();
        let is_last = hub.counters.iter().all(|counter| counter.config == config);
        if hub.hosts.is_empty() && is_last {
            hub.unpublished.export_millis.clear();
            hub.give_up(now);
        }
        hub.counters.retain(|counter| counter.config != config);
    });
}

/// A configuration goes, and its calls with it: their exports are made again
/// by way of another one. If it is the last, what is left is lost, and
/// counted. Any thread.
pub(crate) fn leave(config: Config) {
    let now = now();
    let _sending = Sending::begin();
    let scheduler = with_hub(|hub| {
        let index = hub.hosts.iter().position(|host| host.config == config)?;
        let (gone, left): (Vec<_>, Vec<_>) = std::mem::take(&mut hub.calls)
            .into_iter()
            .partition(|call| call.host == config);
        hub.calls = left;
        for call in gone {
            hub.recall(&call, now);
        }
        // Spans of a tracer wait for another host.
        if hub.hosts.len() == 1 && hub.counters.is_empty() {
            hub.give_up(now);
        }
        hub.hosts.remove(index);
        let next = hub.hosts.last();
        Some(next.map(|host| Arc::clone(&host.scheduler)))
    });
    if let Some(scheduler) = scheduler {
        TICKER.go_by(scheduler);
    }
}

/// The main thread's turn: takes what workers have, sends what is due,
/// publishes, and says when it is to come again.
pub(crate) fn on_turn() {
    // Whatever happens in this one, there is another one.
    TICKER.call(Duration::from_secs(1));
    #[cfg(feature = "trap")]
    crate::trap::in_first_turn();
    let now = now();
    document::confirm_all();
    with_hub(|hub| hub.collect(now));
    leave_old_hosts(now);
    send(now);
    let wait = with_hub(|hub| {
        hub.publish(now);
        hub.end_orphans(now);
        hub.next_turn(now)
    });
    TICKER.call(wait);
}

/// A turn that only counts, as nothing can be sent; on the thread that ticks,
/// where Envoy takes no more than that.
fn on_turn_without_host() {
    let now = now();
    with_hub(|hub| {
        // Without a tracer either there is nothing to come again for; a host
        // that came meanwhile has called.
        if hub.hosts.is_empty() && !hub.counters.is_empty() {
            TICKER.call(Duration::from_secs(1));
            hub.collect(now);
            hub.unpublished.export_millis.clear();
            hub.publish(now);
            hub.news.warn(
                "no span is exported, they wait: the tracer sends its spans by way of the HTTP filter of the same module, and there is none",
            );
        }
    });
}

static SENDING: Mutex<()> = Mutex::new(());

thread_local! {
    static IS_SENDING: Cell<bool> = const { Cell::new(false) };
}

/// While it lasts, no host goes, unless this very thread lets it go.
struct Sending(Option<MutexGuard<'static, ()>>);

impl Sending {
    fn begin() -> Self {
        if IS_SENDING.replace(true) {
            return Self(None);
        }
        Self(Some(lock(&SENDING)))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.0.is_some() {
            IS_SENDING.set(false);
        }
    }
}

/// Sends every export that is ready and may be under way.
fn send(now: u64) {
    loop {
        // No host may go between being chosen and having its call.
        let _sending = Sending::begin();
        let Some((host, exporter, callout, target)) = with_hub(|hub| {
            let host = hub.hosts.last()?.config;
            hub.exports.iter_mut().find_map(|export| {
                let callout = export.delivery.next_callout(now)?;
                let target = export.delivery.target().clone();
                Some((host, Arc::clone(&export.shared), callout, target))
            })
        }) else {
            return;
        };
        // Not while the hub is locked: Envoy may call back.
        let headers = target.headers.iter();
        let started = host.start_stream(
            &target.cluster,
            headers.map(|(name, value)| (&**name, &*value.0)),
            &callout.body,
            target.timeout,
        );
        with_hub(|hub| match started {
            Ok(stream) => hub.calls.push(Call {
                host,
                stream,
                exporter,
                id: callout.id,
                began_unix_nanos: now,
                headers: Vec::new(),
                body: Vec::new(),
                trailers: Vec::new(),
            }),
            Err(NotStarted::NoCluster) => {
                hub.book(&exporter, callout.id, CalloutOutcome::NoCluster, now);
            }
            Err(NotStarted::NoEndpoint) => {
                hub.book(&exporter, callout.id, CalloutOutcome::NoEndpoint, now);
            }
        });
    }
}

fn with_call(host: Config, stream: u64, f: impl FnOnce(&mut Call)) {
    with_hub(|hub| {
        let mut calls = hub.calls.iter_mut();
        if let Some(call) = calls.find(|call| call.is(host, stream)) {
            f(call);
        }
    });
}

fn owned(lines: &[(&[u8], &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let own = |(name, value): &(&[u8], &[u8])| (name.to_vec(), value.to_vec());
    lines.iter().map(own).collect()
}

/// The answer to an export begins.
pub(crate) fn on_headers(host: Config, stream: u64, headers: &[(&[u8], &[u8])]) {
    with_call(host, stream, |call| call.headers = owned(headers));
}

/// A part of its body.
pub(crate) fn on_data(host: Config, stream: u64, data: &[u8]) {
    with_call(host, stream, |call| {
        let room = MAX_BODY.saturating_sub(call.body.len());
        call.body.extend(data.iter().take(room));
    });
}

/// Its trailers.
pub(crate) fn on_trailers(host: Config, stream: u64, trailers: &[(&[u8], &[u8])]) {
    with_call(host, stream, |call| call.trailers = owned(trailers));
}

/// The answer is whole.
pub(crate) fn on_complete(host: Config, stream: u64) {
    on_end(host, stream, true);
}

/// It ended before it was.
pub(crate) fn on_reset(host: Config, stream: u64) {
    on_end(host, stream, false);
}

fn on_end(host: Config, stream: u64, is_whole: bool) {
    TICKER.call(Duration::from_secs(1));
    fn lines(lines: &[(Vec<u8>, Vec<u8>)]) -> Vec<(&[u8], &[u8])> {
        lines
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect()
    }
    let now = now();
    let is_known = with_hub(|hub| {
        let Some(index) = hub.calls.iter().position(|call| call.is(host, stream)) else {
            return false;
        };
        let call = hub.calls.swap_remove(index);
        let outcome = if is_whole {
            CalloutOutcome::Answered {
                headers: &lines(&call.headers),
                body: &call.body,
                trailers: &lines(&call.trailers),
            }
        } else {
            CalloutOutcome::Reset
        };
        hub.book(&call.exporter, call.id, outcome, now);
        true
    });
    if !is_known {
        return;
    }
    send(now);
    let wait = with_hub(|hub| {
        hub.publish(now);
        hub.next_turn(now)
    });
    TICKER.call(wait);
}

/// Takes back what is under way by way of hosts that are no longer the newest,
/// once it had its time: what a configuration has under way when it goes,
/// Envoy ends on whichever thread lets it go.
fn leave_old_hosts(now: u64) {
    const TIME: u64 = 2_000_000_000;
    let _sending = Sending::begin();
    let old = with_hub(|hub| {
        let newest = hub.hosts.last().map(|host| host.config);
        let is_old = |call: &Call| {
            Some(call.host) != newest && now.saturating_sub(call.began_unix_nanos) > TIME
        };
        let (old, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut hub.calls).into_iter().partition(is_old);
        hub.calls = kept;
        for call in &old {
            hub.recall(call, now);
        }
        old
    });
    for call in old {
        // Tells us of it at once, and we no longer know it.
        call.host.reset_stream(call.stream);
    }
}

impl Hub {
    /// A call goes with its host: its spans are sent again.
    fn recall(&mut self, call: &Call, now: u64) {
        if let Some(export) = Export::of(&mut self.exports, &call.exporter) {
            export.delivery.recall(call.id, now);
        }
    }

    /// Takes what workers have, and lets time go by.
    fn collect(&mut self, now: u64) {
        for export in &mut self.exports {
            // Before the queues are looked at: what comes later calls again.
            export.shared.is_called.store(false, Ordering::Relaxed);
            for mut outbox in export.shared.outboxes.each() {
                let empty = empty_outbox(&export.delivery, &export.config.batch);
                let mut filled = std::mem::replace(&mut *outbox, empty);
                drop(outbox);
                filled.make_spans();
                export.delivery.take_in(filled.queue);
                export.delivery.stats().add_all(&mut filled.stats);
            }
            export.delivery.on_tick(now);
        }
    }

    /// Nobody is left to send anything: what there is is lost, and counted.
    fn give_up(&mut self, now: u64) {
        self.collect(now);
        for export in &mut self.exports {
            export.delivery.give_up();
        }
        self.publish(now);
        self.exports
            .retain(|export| Arc::strong_count(&export.shared) > 1);
    }

    /// Exporters that nobody feeds deliver what they have, within 30 s.
    fn end_orphans(&mut self, now: u64) {
        // Those that are marked only now may have been fed since the queues
        // were looked at, and go no earlier than the next turn.
        self.exports
            .retain(|export| !(export.is_ending && export.delivery.is_idle()));
        let ids = &mut self.ids;
        for export in &mut self.exports {
            if !export.is_ending && Arc::strong_count(&export.shared) == 1 {
                export.is_ending = true;
                export.delivery.shutdown(now, || ids.fraction());
            }
        }
    }

    fn book(
        &mut self,
        exporter: &Arc<Exporter>,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
    ) {
        let ids = &mut self.ids;
        let Some(export) = Export::of(&mut self.exports, exporter) else {
            return;
        };
        let ended = export
            .delivery
            .on_callout_end(id, outcome, now, || ids.fraction());
        let Some(ended) = ended else {
            return;
        };
        let millis = u64::try_from(ended.took.as_millis()).unwrap_or(u64::MAX);
        // Where nobody publishes them for long, the first ones tell enough.
        if self.unpublished.export_millis.len() < 1024 {
            self.unpublished.export_millis.push(millis);
        }
        if let Some(pause) = ended.pause {
            let cluster = &export.delivery.target().cluster;
            self.news.log_pause(cluster, &pause, now);
        }
        if let Some(notice) = ended.notice {
            let cluster = &export.delivery.target().cluster;
            self.news.announce(cluster, &notice, now);
        }
    }

    /// When it is to come again.
    fn next_turn(&self, now: u64) -> Duration {
        let waits = self
            .exports
            .iter()
            .map(|export| export.delivery.next_tick(now));
        waits.min().unwrap_or(Duration::from_secs(1))
    }

    /// Adds what was counted to Envoy's stats, by way of the newest host. A
    /// version that cannot leaves it to the next stream.
    fn publish(&mut self, now: u64) {
        let mut levels = [0; Level::ALL.len()];
        for export in &mut self.exports {
            for (stat, n) in export.delivery.stats().take() {
                self.news.tell_drops(stat, n, now);
                self.unpublished.stats.add(stat, n);
            }
            for (sum, level) in levels.iter_mut().zip(Level::ALL) {
                let its = export.delivery.level(*level);
                *sum = match level.is_sum() {
                    true => *sum + its,
                    false => its.max(*sum),
                };
            }
        }
        self.unpublished.levels = Some(levels);
        match (self.hosts.last(), self.counters.last()) {
            (Some(host), _) if host.config.can_count() => {
                self.unpublished.publish(&host.config, &host.metrics);
            }
            (_, Some(counter)) => self.unpublished.publish(&counter.config, &counter.metrics),
            _ => IS_UNPUBLISHED.store(true, Ordering::Relaxed),
        }
    }
}

impl Unpublished {
    fn publish(&mut self, sink: &impl Sink, metrics: &Metrics) {
        for (stat, n) in self.stats.take() {
            metrics.count(sink, stat, n);
        }
        for millis in self.export_millis.drain(..) {
            metrics.export_time(sink, millis);
        }
        for (level, value) in Level::ALL
            .iter()
            .zip(self.levels.take().into_iter().flatten())
        {
            metrics.level(sink, *level, value);
        }
        let rejected = std::mem::take(&mut self.rejected);
        if rejected > 0 {
            metrics.config_rejected(sink, rejected);
        }
        metrics.internal_errors(sink);
        metrics.process(sink);
    }
}

/// Publishes what no host could, by way of a stream on its worker.
pub(crate) fn publish_by(sink: &impl Sink, metrics: &Metrics) {
    if !IS_UNPUBLISHED.load(Ordering::Relaxed) {
        return;
    }
    let mut hub = match HUB.try_lock() {
        Ok(hub) => hub,
        Err(TryLockError::Poisoned(hub)) => hub.into_inner(),
        // No request waits for the main thread; the next one tries again.
        Err(TryLockError::WouldBlock) => return,
    };
    IS_UNPUBLISHED.store(false, Ordering::Relaxed);
    hub.unpublished.publish(sink, metrics);
}

/// Reports what an operator should know of the environment, each once.
pub(crate) fn warn(warnings: &[String]) {
    if !warnings.is_empty() {
        with_hub(|hub| warnings.iter().for_each(|warning| hub.news.warn(warning)));
    }
}

/// A document was not accepted.
pub(crate) fn count_rejected() {
    with_hub(|hub| hub.unpublished.rejected += 1);
}

// ----------------------------------------------------------------------- news

/// What was logged and when: what is wrong for an hour is sixty lines, and the
/// stats have the numbers.
#[derive(Default)]
struct News {
    said: Vec<(String, u64)>,
    /// Clusters of which a failure was told, and no success since.
    failing: Vec<String>,
    warned: Vec<String>,
}

impl News {
    /// Whether this is said for the first time in a minute.
    fn is_time(&mut self, what: &str, now: u64) -> bool {
        const MINUTE: u64 = 60_000_000_000;
        match self.said.iter_mut().find(|(said, _)| said == what) {
            Some((_, last)) if now.abs_diff(*last) < MINUTE => false,
            Some((_, last)) => {
                *last = now;
                true
            }
            None => {
                self.said.push((what.to_owned(), now));
                true
            }
        }
    }

    fn announce(&mut self, cluster: &str, notice: &Notice, now: u64) {
        let is_failing = |failing: &String| failing == cluster;
        let level = match notice {
            Notice::Failing(_) => {
                if !self.is_time(&format!("failing/{cluster}"), now) {
                    return;
                }
                if !self.failing.iter().any(is_failing) {
                    self.failing.push(cluster.to_owned());
                }
                LogLevel::Warn
            }
            Notice::Recovered => {
                let Some(index) = self.failing.iter().position(is_failing) else {
                    return;
                };
                self.failing.swap_remove(index);
                LogLevel::Info
            }
            Notice::Refused { .. } if self.is_time(&format!("refused/{cluster}"), now) => {
                LogLevel::Warn
            }
            Notice::Rejected { .. } if self.is_time(&format!("rejected/{cluster}"), now) => {
                LogLevel::Warn
            }
            Notice::Refused { .. } | Notice::Rejected { .. } => return,
        };
        ffi::log(level, &format!("sidespan: {}", notice.line(cluster)));
    }

    fn log_pause(&mut self, cluster: &str, pause: &Pause, now: u64) {
        if self.is_time(&format!("paused/{cluster}"), now) {
            let line = pause.line(cluster);
            ffi::log(LogLevel::Warn, &format!("sidespan: {line}"));
        }
    }

    fn tell_drops(&mut self, stat: Stat, n: u64, now: u64) {
        // The stats may go with the process, so each line has its number.
        if let Some(line) = stat.lost_line(n)
            && (stat == Stat::SpansDroppedShutdown || self.is_time(stat.name(), now))
        {
            ffi::log(LogLevel::Warn, &format!("sidespan: {line}"));
        }
    }

    /// Says a thing about the environment, once.
    fn warn(&mut self, warning: &str) {
        if !self.warned.iter().any(|said| said == warning) {
            self.warned.push(warning.to_owned());
            ffi::log(LogLevel::Warn, &format!("sidespan: {warning}"));
        }
    }
}
