//! Root contexts: one for each worker and plugin. Configuration, ticks,
//! exports, the end.

use crate::hostcalls::Metric;
use crate::property_query::{Answer, Question};
use crate::stream_properties::Ended;
use crate::types::{Buffer, LogLevel, Map, MetricType, NotSent};
use crate::{floor, hostcalls, shared_data, stale};
use sidespan_core::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use sidespan_core::export::deferred_spans::DeferredSpans;
use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::environment::Environment;
use sidespan_core::host::request_info::RequestInfo;
use sidespan_core::host::response_info::ResponseInfo as _;
use sidespan_core::propagation::settings::Carrier;
use sidespan_core::protobuf::envoy_struct as document;
use sidespan_core::recording::stream::StreamTracer;
use sidespan_core::sampling::policy::Decision;
use sidespan_core::source::Started;
use sidespan_core::stats::{EXPORT_TIME, Level, Stat};
use sidespan_core::tracer::Tracer;
use std::cell::RefCell;
use std::time::Duration;

thread_local! {
    /// Few, so that a look at each is the fastest.
    static ROOTS: RefCell<Vec<(u32, Option<Root>)>> = RefCell::default();
    static METRICS: Metrics = Metrics::define();
}

/// What is published. Every stat appears at once, at zero.
struct Metrics {
    counters: Vec<Option<Metric>>,
    levels: Vec<Option<Metric>>,
    export_time: Option<Metric>,
}

impl Metrics {
    fn define() -> Self {
        let counters = Stat::ALL.iter();
        let levels = Level::ALL.iter();
        Self {
            counters: counters
                .map(|stat| Metric::define(MetricType::Counter, stat.name()))
                .collect(),
            levels: levels
                .map(|level| Metric::define(MetricType::Gauge, level.name()))
                .collect(),
            export_time: Metric::define(MetricType::Histogram, EXPORT_TIME),
        }
    }
}

/// A root context with a configuration. One without lets requests through
/// untouched.
pub(crate) struct Root {
    id: u32,
    tracer: Tracer,
    /// What it was configured with: roots with the same document are the same
    /// to the host.
    document: Vec<u8>,
    /// That was wrong, and the last good one is in force.
    is_fallback: bool,
    /// The host has called, and the document is known to live.
    is_confirmed: bool,
    /// The headers of each export, as the host takes them.
    headers: Vec<u8>,
    response_header: Option<String>,
    carrier: Carrier,
    /// No stream has shown yet whether a filter writes what the carrier holds.
    is_carrier_unproven: bool,
    question: Question,
    /// Streams that have ended, about which all is known, and when they did.
    settled: DeferredSpans<(StreamTracer, Answer)>,
    /// Asked for at each tick: a question at each request would cost.
    is_debug: bool,
    /// Those under way, by the host's tokens.
    callouts: Vec<(u32, CalloutId)>,
    /// The levels that are published as this root's part.
    published: [u64; Level::ALL.len()],
    tick_period: Duration,
    /// When the host will call the next time, since the Unix epoch.
    next_tick: Duration,
    /// The host asked for the end and waits for `done`.
    ending: bool,
}

/// What the proxy knows of itself.
struct Proxy {
    variables: Vec<(String, String)>,
}

impl Environment for Proxy {
    fn variable(&self, name: &str) -> Option<String> {
        let mut named = self.variables.iter().filter(|(key, _)| key == name);
        named.next().map(|(_, value)| value.clone())
    }

    fn node(&self, path: &[&str]) -> Option<String> {
        let path = format!("xds\0node\0{}", path.join("\0"));
        String::from_utf8(hostcalls::property(&path)?).ok()
    }
}

pub(crate) fn on_create(root_id: u32) {
    std::panic::set_hook(Box::new(|panic| {
        hostcalls::log(
            LogLevel::Critical,
            &format!("sidespan: internal error: {panic}"),
        );
    }));
    insert(root_id, None);
}

/// Calls `f` with a root, if it is there and configured.
pub(crate) fn with<T>(root_id: u32, f: impl FnOnce(&mut Root) -> T) -> Option<T> {
    ROOTS.with(|roots| {
        // Taken only if the host called back into a call of ours, which it
        // promises not to do.
        let mut roots = roots.try_borrow_mut().ok()?;
        let (_, root) = roots.iter_mut().find(|(id, _)| *id == root_id)?;
        Some(f(root.as_mut()?))
    })
}

/// Takes the configuration. `false` makes Envoy refuse it, and with it every
/// request if there was no earlier one; only who validates wants that.
pub(crate) fn on_configure(root_id: u32) -> bool {
    let proxy = Proxy {
        variables: hostcalls::environment(),
    };
    let document = document::to_json(hostcalls::buffer(Buffer::PluginConfiguration, usize::MAX));
    let parsed = sidespan_config::parse(&document);
    let strict = proxy.variable(sidespan_config::STRICT);
    let is_fallback = parsed.is_err();
    let config = match parsed {
        Ok(config) => {
            shared_data::accepted(&document, &config);
            config
        }
        Err(faults) => {
            let is_strict = strict.as_deref() == Some("1");
            let replacement = shared_data::rejected(&document, &faults, is_strict);
            if !is_strict {
                stale::expect(root_id, &document);
                hostcalls::set_tick_period(FIRST_TICK);
            }
            match replacement {
                Some(config) => config,
                None => return !is_strict,
            }
        }
    };
    if cfg!(feature = "floor") {
        floor::on_configure(&config);
    }
    let response_header = config.response_header.clone();
    let carrier = config.carrier;
    let tracer = Tracer::new(config, &proxy, hostcalls::random_seed());
    let mut warnings = tracer.warnings();
    warnings.extend(sidespan_config::strict_warning(strict.as_deref()));
    shared_data::warn(&warnings);
    let Target {
        cluster, headers, ..
    } = tracer.target();
    shared_data::expect_news(cluster);
    let pairs = headers.iter().map(|(name, value)| (&**name, &*value.0));
    let recorder = tracer.recorder();
    let question = Question::new(|direction| recorder.makes_client_span(direction));
    let mut root = Root {
        id: root_id,
        headers: hostcalls::encode_pairs(pairs),
        tracer,
        document,
        is_fallback,
        is_confirmed: is_fallback,
        response_header,
        carrier,
        is_carrier_unproven: carrier == Carrier::FilterState,
        question,
        settled: DeferredSpans::default(),
        is_debug: hostcalls::is_debug(),
        callouts: Vec::new(),
        published: Default::default(),
        tick_period: Duration::ZERO,
        next_tick: Duration::ZERO,
        ending: false,
    };
    root.expect_first_tick(hostcalls::now());
    METRICS.with(|_| ());
    insert(root_id, Some(root));
    true
}

/// When a new root is called for the first time: at once, as far as the host
/// can.
const FIRST_TICK: Duration = Duration::from_millis(1);

/// How often a root without a configuration is called.
const MAX_TICK: Duration = Duration::from_secs(1);

pub(crate) fn on_tick(root_id: u32) {
    if stale::on_tick(root_id) && with(root_id, |_| ()).is_none() {
        // Without a configuration there is nothing else to do.
        hostcalls::set_tick_period(MAX_TICK);
        return;
    }
    let ended = with(root_id, |root| {
        let now = hostcalls::now();
        root.is_debug = hostcalls::is_debug();
        if !std::mem::replace(&mut root.is_confirmed, true) {
            shared_data::confirm(&root.document);
        }
        root.make_spans();
        root.tracer.on_tick(now);
        root.export(now);
        root.publish(now);
        root.expect_tick(now);
        root.has_ended()
    });
    if ended == Some(true) {
        remove(root_id);
        hostcalls::done();
    }
}

/// Whether the context may go now. Of a stream there is nothing to wait for;
/// a root sends what it has and stays until it knows what came of it.
pub(crate) fn on_done(context_id: u32) -> bool {
    let is_last = is_last(context_id);
    if is_last.is_some() {
        stale::on_done(context_id);
        end_document(context_id);
    }
    match is_last {
        None => return true,
        Some(true) => {
            give_up();
            return true;
        }
        Some(false) => {}
    }
    let twin = take_ending_twin(context_id);
    let ended = with(context_id, |root| {
        let now = hostcalls::now();
        if let Some(twin) = twin {
            root.adopt(twin, now);
        }
        root.ending = true;
        root.make_spans();
        root.tracer.shutdown(now);
        root.export(now);
        root.publish(now);
        root.expect_tick(now);
        root.has_ended()
    });
    let may_go = ended != Some(false);
    if may_go {
        remove(context_id);
    }
    may_go
}

/// The accepted document of a root that goes ends, if no other root here has it.
fn end_document(root_id: u32) {
    ROOTS.with_borrow(|roots| {
        let has_document = |root: &&Root| !root.is_fallback && !root.ending;
        let own = roots.iter().find(|(id, _)| *id == root_id);
        let Some(own) = own.and_then(|(_, root)| root.as_ref()).filter(has_document) else {
            return;
        };
        let mut others = roots.iter().filter(|(id, _)| *id != root_id);
        let is_same = |root: &Root| has_document(&root) && root.document == own.document;
        if !others.any(|(_, root)| root.as_ref().is_some_and(is_same)) {
            shared_data::end(&own.document);
        }
    });
}

/// Whether all other roots are asked to end: then the host ends the VM when
/// this one has been asked, whatever it says, and every call with it. `None`
/// for what is no root.
fn is_last(root_id: u32) -> Option<bool> {
    ROOTS.with_borrow(|roots| {
        roots.iter().find(|(id, _)| *id == root_id)?;
        let mut others = roots.iter().filter(|(id, _)| *id != root_id);
        Some(others.all(|(_, root)| root.as_ref().is_some_and(|root| root.ending)))
    })
}

/// The VM ends: what is not delivered is lost, and counted.
fn give_up() {
    let now = hostcalls::now();
    ROOTS.with_borrow_mut(|roots| {
        for mut root in roots.drain(..).filter_map(|(_, root)| root) {
            root.make_spans();
            root.tracer.give_up();
            root.publish(now);
        }
    });
}

/// A root with the same document whose end takes time. The host knows one root
/// by a document and forgets it for the next one, with its calls.
fn take_ending_twin(root_id: u32) -> Option<Root> {
    ROOTS.with_borrow_mut(|roots| {
        let root = |id| roots.iter().find(|(i, _)| *i == id)?.1.as_ref();
        let document = &root(root_id)?.document;
        let index = roots.iter().position(|(_, root)| {
            let root = root.as_ref();
            root.is_some_and(|root| root.ending && root.document == *document)
        })?;
        roots.swap_remove(index).1
    })
}

pub(crate) fn on_http_call_response(root_id: u32, token: u32, is_answered: bool) {
    /// What a collector says is short, even where it names each span that it
    /// did not take. Whatever is longer is not worth the memory.
    const MAX_BODY: usize = 1 << 20;
    if !is_answered {
        on_callout_end(root_id, token, CalloutOutcome::Reset);
        return;
    }
    let headers = hostcalls::header_pairs(Map::CallResponseHeaders);
    let trailers = hostcalls::header_pairs(Map::CallResponseTrailers);
    let outcome = CalloutOutcome::Answered {
        headers: &headers.headers().collect::<Vec<_>>(),
        body: &hostcalls::buffer(Buffer::CallResponseBody, MAX_BODY),
        trailers: &trailers.headers().collect::<Vec<_>>(),
    };
    on_callout_end(root_id, token, outcome);
}

fn on_callout_end(root_id: u32, token: u32, outcome: CalloutOutcome<'_>) {
    let ended = with(root_id, |root| {
        let Some(index) = root.callouts.iter().position(|(t, _)| *t == token) else {
            return false;
        };
        let (_, id) = root.callouts.swap_remove(index);
        let now = hostcalls::now();
        root.book(id, outcome, now);
        root.export(now);
        root.publish(now);
        if Duration::from_nanos(now) + root.tracer.next_tick(now) < root.next_tick {
            root.expect_tick(now);
        }
        root.has_ended()
    });
    if ended == Some(true) {
        remove(root_id);
        hostcalls::done();
    }
}

fn insert(root_id: u32, root: Option<Root>) {
    forget(root_id);
    ROOTS.with_borrow_mut(|roots| roots.push((root_id, root)));
}

/// Forgets a root, in a callback of its own. The host would go on ticking for
/// it.
fn remove(root_id: u32) {
    hostcalls::set_tick_period(Duration::ZERO);
    forget(root_id);
}

fn forget(root_id: u32) {
    ROOTS.with_borrow_mut(|roots| roots.retain(|(id, _)| *id != root_id));
}

impl Root {
    /// A request came.
    pub(crate) fn start(
        &mut self,
        request: &impl Extractor,
        info: &impl RequestInfo,
        injector: &mut impl Injector,
    ) -> Started {
        let started = self.tracer.on_request(request, info, injector);
        if self.is_debug {
            let line = self.tracer.line(request, &started.decision);
            hostcalls::log(LogLevel::Debug, &format!("sidespan: {line}"));
        }
        started
    }

    /// The header that tells a client its trace, if one is configured.
    pub(crate) fn response_header(&self, decision: &Decision) -> Option<(String, String)> {
        Some((self.response_header.clone()?, decision.told()?))
    }

    /// What is asked of a stream that has ended.
    pub(crate) fn question(&self) -> &Question {
        &self.question
    }

    /// How contexts are handed on.
    pub(crate) fn carrier(&self) -> Carrier {
        self.carrier
    }

    /// An attempt ended that an upstream filter saw.
    pub(crate) fn end_attempt(&mut self, mut stream: StreamTracer, response: Option<Pairs>) {
        let now = hostcalls::now();
        stream.set_attempt();
        self.tracer
            .on_end(stream, &Ended::of_attempt(response), now);
        self.export(now);
    }

    /// A stream ended.
    pub(crate) fn end(&mut self, stream: StreamTracer) {
        let now = hostcalls::now();
        let mut ended = Ended::new(Some(&self.question), stream.is_sampled());
        if self.is_carrier_unproven && ended.attempt_count() > 0 {
            self.is_carrier_unproven = false;
            let sent = hostcalls::header_pairs(Map::RequestHeaders);
            if !stream.is_context_in(&sent) {
                shared_data::log_unwritten_context();
            }
        }
        match ended.take_settled(&stream) {
            Some(answer) => {
                if !self
                    .settled
                    .push((stream, answer), now, self.tracer.queue())
                {
                    return;
                }
                self.make_spans();
            }
            None => self.tracer.on_end(stream, &ended, now),
        }
        self.export(now);
    }

    /// Makes the spans of streams of which all is known.
    fn make_spans(&mut self) {
        for ((stream, answer), now) in self.settled.drain() {
            self.tracer.on_end(stream, &Ended::from(answer), now);
        }
    }

    /// Sends every export that is ready and may be under way.
    fn export(&mut self, now: u64) {
        while let Some(callout) = self.tracer.next_callout(now) {
            match self.send(&callout) {
                Ok(token) => {
                    self.callouts.push((token, callout.id));
                }
                Err(NotSent::NoCluster) => self.book(callout.id, CalloutOutcome::NoCluster, now),
                Err(NotSent::NoEndpoint) => self.book(callout.id, CalloutOutcome::NoEndpoint, now),
            }
        }
    }

    fn send(&self, callout: &Callout) -> Result<u32, NotSent> {
        // A call belongs to the context that makes it and ends with it, and a
        // stream is about to end.
        if !hostcalls::set_effective_context(self.id) {
            return Err(NotSent::NoEndpoint);
        }
        let target = self.tracer.target();
        hostcalls::http_call(
            &target.cluster,
            &self.headers,
            &callout.body,
            target.timeout,
        )
    }

    fn book(&mut self, id: CalloutId, outcome: CalloutOutcome<'_>, now: u64) {
        let Some(end) = self.tracer.on_callout_end(id, outcome, now) else {
            return;
        };
        METRICS.with(|metrics| {
            if let Some(histogram) = metrics.export_time {
                histogram.record(u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX));
            }
        });
        if let Some(pause) = end.pause {
            shared_data::log_pause(&self.tracer.target().cluster, &pause, now);
        }
        if let Some(notice) = end.notice {
            shared_data::announce(&self.tracer.target().cluster, &notice, now);
        }
    }

    /// Adds what was counted to the proxy's stats, and what changed to its
    /// levels, which are those of all workers.
    fn publish(&mut self, now: u64) {
        METRICS.with(|metrics| {
            for (stat, n) in self.tracer.stats().take() {
                if let Some(Some(counter)) = metrics.counters.get(stat as usize) {
                    counter.add(i64::try_from(n).unwrap_or(i64::MAX));
                }
                shared_data::tell_drops(stat, n, now);
            }
            let levels = Level::ALL.iter().zip(&metrics.levels);
            for ((level, gauge), published) in levels.zip(&mut self.published) {
                let current = self.tracer.level(*level);
                if !level.is_sum() {
                    if let Some(gauge) = gauge.filter(|_| current != *published) {
                        gauge.raise(current);
                    }
                    *published = current;
                    continue;
                }
                let change = current.cast_signed().wrapping_sub(published.cast_signed());
                *published = current;
                if let Some(gauge) = gauge.filter(|_| change != 0) {
                    gauge.add(change);
                }
            }
        });
    }

    /// Takes over from a root that the host is about to forget.
    fn adopt(&mut self, mut twin: Root, now: u64) {
        twin.make_spans();
        if self.is_fallback {
            // The last good document may have been another one for it.
            twin.tracer.give_up();
            twin.publish(now);
        }
        let levels = Level::ALL.iter().zip(&mut self.published);
        for ((level, published), its) in levels.zip(twin.published) {
            if level.is_sum() {
                *published = published.wrapping_add(its);
            }
        }
        self.tracer.adopt(twin.tracer, now);
        if hostcalls::set_effective_context(twin.id) {
            hostcalls::set_tick_period(Duration::ZERO);
            hostcalls::done();
            hostcalls::set_effective_context(self.id);
        }
    }

    /// Has the host call soon, which shows that it keeps this root.
    fn expect_first_tick(&mut self, now: u64) {
        hostcalls::set_tick_period(FIRST_TICK);
        self.tick_period = FIRST_TICK;
        self.next_tick = Duration::from_nanos(now) + FIRST_TICK;
    }

    /// Has the host call when there is something to do.
    fn expect_tick(&mut self, now: u64) {
        let period = self.tracer.next_tick(now);
        if period != self.tick_period {
            hostcalls::set_tick_period(period);
            self.tick_period = period;
        }
        self.next_tick = Duration::from_nanos(now) + period;
    }

    fn has_ended(&self) -> bool {
        self.ending && self.settled.is_empty() && self.tracer.is_idle()
    }
}
