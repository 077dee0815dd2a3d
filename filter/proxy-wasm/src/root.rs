//! Root contexts: one for each worker and plugin. Configuration, ticks,
//! exports, the end.

use crate::document;
use crate::host::{self, Buffer, Counter, LogLevel};
use crate::shared;
use percent_encoding::percent_decode_str;
use prost::Message as _;
use sidespan_core::decision::{Decision, Verdict};
use sidespan_core::exporter::{
    Callout, CalloutId, CalloutOutcome, Failure, METHOD, Notice, OtlpGrpc, SERVICE,
};
use sidespan_core::propagation::{Extractor, Injector};
use sidespan_core::request::{Direction, RequestInfo, ResponseInfo};
use sidespan_core::resource::Environment;
use sidespan_core::stats::Stat;
use sidespan_core::stream::StreamTracer;
use sidespan_core::tracer::{Started, Tracer};
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

thread_local! {
    static ROOTS: RefCell<HashMap<u32, Option<Root>>> = RefCell::default();
    static COUNTERS: Vec<Option<Counter>> =
        Stat::ALL.iter().map(|stat| Counter::define(stat.name())).collect();
}

/// A root context with a configuration. One without lets requests through
/// untouched.
pub(crate) struct Root {
    id: u32,
    tracer: Tracer,
    target: Target,
    response_header: Option<String>,
    /// Asked for at each tick: a question at each request would cost.
    is_debug: bool,
    callouts: HashMap<u32, CalloutId>,
    /// The host asked for the end and waits for `done`.
    ending: bool,
}

/// What the proxy knows of itself.
struct Proxy {
    variables: HashMap<String, String>,
}

impl Environment for Proxy {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn node(&self, path: &[&str]) -> Option<String> {
        let path = format!("xds\0node\0{}", path.join("\0"));
        String::from_utf8(host::property(&path)?).ok()
    }
}

/// Where exports go.
struct Target {
    cluster: String,
    /// The encoded [`GrpcService`].
    service: Vec<u8>,
    timeout: Duration,
}

pub(crate) fn on_create(root_id: u32) {
    std::panic::set_hook(Box::new(|panic| {
        host::log(
            LogLevel::Critical,
            &format!("sidespan: internal error: {panic}"),
        );
    }));
    ROOTS.with_borrow_mut(|roots| roots.insert(root_id, None));
}

/// Calls `f` with a root, if it is there and configured.
pub(crate) fn with<T>(root_id: u32, f: impl FnOnce(&mut Root) -> T) -> Option<T> {
    ROOTS.with(|roots| {
        // Taken only if the host called back into a call of ours, which it
        // promises not to do.
        let mut roots = roots.try_borrow_mut().ok()?;
        Some(f(roots.get_mut(&root_id)?.as_mut()?))
    })
}

/// Takes the configuration. `false` makes Envoy refuse it, and with it every
/// request if there was no earlier one; only who validates wants that.
pub(crate) fn on_configure(root_id: u32) -> bool {
    let variables: HashMap<_, _> = host::environment().into_iter().collect();
    let document = document::to_json(host::buffer(Buffer::PluginConfiguration));
    let config = match sidespan_config::parse(&document) {
        Ok(config) => {
            shared::accepted(&document);
            config
        }
        Err(faults) => {
            let strict = variables.get("SIDESPAN_STRICT").is_some_and(|v| v == "1");
            let earlier = if strict { None } else { shared::last_good() };
            let consequence = match (strict, &earlier) {
                (true, _) => "refused, SIDESPAN_STRICT is 1",
                (false, Some(_)) => "the last good configuration stays",
                (false, None) => "requests go through untraced",
            };
            shared::rejected(&document, &faults, consequence);
            match earlier {
                Some(config) => config,
                None => return !strict,
            }
        }
    };
    let target = Target::new(&config.exporter);
    let response_header = config.response_header.clone();
    let tracer = Tracer::new(config, &Proxy { variables }, host::random_seed());
    if let Some(warning) = tracer.warning() {
        shared::warn(warning);
    }
    host::set_tick_period(tracer.tick_period());
    let root = Root {
        id: root_id,
        tracer,
        target,
        response_header,
        is_debug: host::is_debug(),
        callouts: HashMap::new(),
        ending: false,
    };
    shared::expect_news(&root.target.cluster);
    // Every counter appears, at zero.
    COUNTERS.with(|_| ());
    ROOTS.with_borrow_mut(|roots| roots.insert(root_id, Some(root)));
    true
}

pub(crate) fn on_tick(root_id: u32) {
    with(root_id, |root| {
        root.is_debug = host::is_debug();
        root.tracer.on_tick(host::now());
        root.export();
        root.publish();
    });
}

/// Whether the context may go now. Of a stream there is nothing to wait for;
/// a root sends what it has and stays until it knows what came of it.
pub(crate) fn on_done(context_id: u32) -> bool {
    let idle = with(context_id, |root| {
        root.ending = true;
        root.tracer.flush();
        root.export();
        root.publish();
        root.tracer.is_idle()
    });
    if idle == Some(true) {
        remove(context_id);
    }
    idle.unwrap_or(true)
}

pub(crate) fn on_grpc_receive(root_id: u32, token: u32) {
    let answer = host::buffer(Buffer::GrpcReceive);
    on_callout_end(root_id, token, CalloutOutcome::Answered(&answer));
}

pub(crate) fn on_grpc_close(root_id: u32, token: u32, status: u32) {
    on_callout_end(root_id, token, CalloutOutcome::Failed(status));
}

fn on_callout_end(root_id: u32, token: u32, outcome: CalloutOutcome<'_>) {
    let ended = with(root_id, |root| {
        let Some(id) = root.callouts.remove(&token) else {
            return false;
        };
        root.book(id, outcome);
        root.export();
        root.publish();
        root.ending && root.tracer.is_idle()
    });
    if ended == Some(true) {
        remove(root_id);
        host::done();
    }
}

fn remove(root_id: u32) {
    ROOTS.with_borrow_mut(|roots| roots.remove(&root_id));
}

impl Root {
    /// A request came.
    pub(crate) fn start(
        &mut self,
        request: &impl Extractor,
        info: &impl RequestInfo,
        direction: Direction,
        injector: &mut impl Injector,
    ) -> Started {
        let started = self
            .tracer
            .on_request(request, info, direction, host::now(), injector);
        if self.is_debug {
            let header = |name| String::from_utf8_lossy(request.header(name).unwrap_or_default());
            let explanation = self.tracer.explain(&started.decision);
            let (method, path) = (header(b":method"), header(b":path"));
            // What stands in a query is nobody's business.
            let path = path.split('?').next().unwrap_or_default();
            host::log(
                LogLevel::Debug,
                &format!("sidespan: {method} {path:?}: {explanation}"),
            );
        }
        started
    }

    /// The header that tells a client its trace, if one is configured.
    pub(crate) fn response_header(&self, decision: &Decision) -> Option<(String, String)> {
        let name = self.response_header.as_ref()?;
        if decision.verdict == Verdict::Untouched {
            return None;
        }
        let trace_id = decision.trace_id.to_hex();
        Some((
            name.clone(),
            String::from_utf8_lossy(&trace_id).into_owned(),
        ))
    }

    /// A stream ended.
    pub(crate) fn end(&mut self, stream: StreamTracer, response: &impl ResponseInfo) {
        self.tracer.on_end(stream, response, host::now());
        self.export();
    }

    /// Sends every export that is ready and may be under way.
    fn export(&mut self) {
        while let Some(callout) = self.tracer.next_callout() {
            match self.send(&callout) {
                Some(token) => {
                    self.callouts.insert(token, callout.id);
                }
                None => self.book(callout.id, CalloutOutcome::NotSent),
            }
        }
    }

    fn send(&self, callout: &Callout) -> Option<u32> {
        // A call belongs to the context that makes it and ends with it, and a
        // stream is about to end.
        if !host::set_effective_context(self.id) {
            return None;
        }
        let target = &self.target;
        host::grpc_call(
            &target.service,
            SERVICE,
            METHOD,
            &callout.message,
            target.timeout,
        )
    }

    fn book(&mut self, id: CalloutId, outcome: CalloutOutcome<'_>) {
        if let Some(notice) = self.tracer.on_callout_end(id, outcome) {
            shared::announce(&self.target.cluster, &notice);
        }
    }

    /// Adds what was counted to the proxy's stats.
    fn publish(&mut self) {
        COUNTERS.with(|counters| {
            for (stat, n) in self.tracer.stats().take() {
                if let Some(Some(counter)) = counters.get(stat as usize) {
                    counter.add(n);
                }
            }
        });
    }
}

/// `envoy.config.core.v3.GrpcService`. A plain cluster name would do for the
/// host, but then the name is the `:authority` of each call, and HTTP/2 peers
/// refuse the `|` in Istio's names.
#[derive(Clone, PartialEq, prost::Message)]
struct GrpcService {
    #[prost(message, optional, tag = "1")]
    envoy_grpc: Option<EnvoyGrpc>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnvoyGrpc {
    #[prost(string, tag = "1")]
    cluster_name: String,
    #[prost(string, tag = "2")]
    authority: String,
}

impl Target {
    fn new(exporter: &OtlpGrpc) -> Self {
        let service = GrpcService {
            envoy_grpc: Some(EnvoyGrpc {
                cluster_name: exporter.cluster.clone(),
                authority: exporter.authority.clone(),
            }),
        };
        Self {
            cluster: exporter.cluster.clone(),
            service: service.encode_to_vec(),
            timeout: exporter.timeout,
        }
    }
}

/// A failure in words, with the collector's own where it has some.
fn describe(failure: Failure) -> String {
    match failure {
        Failure::NotSent => "there is no such cluster".to_owned(),
        Failure::Status(status) => match host::grpc_message() {
            message if message.is_empty() => format!("gRPC status {status}"),
            // "Status-Message → "grpc-message" Percent-Encoded" (gRPC over HTTP2)
            message => {
                let message = percent_decode_str(&message).decode_utf8_lossy();
                format!("gRPC status {status}: {message:?}")
            }
        },
    }
}

/// What an operator reads once.
pub(crate) fn log_notice(cluster: &str, notice: &Notice) {
    match notice {
        Notice::Failing(failure) => host::log(
            LogLevel::Warn,
            &format!(
                "sidespan: export to cluster {cluster:?} fails, spans are dropped: {}",
                describe(*failure)
            ),
        ),
        Notice::Recovered => host::log(
            LogLevel::Info,
            &format!("sidespan: export to cluster {cluster:?} works again"),
        ),
        Notice::Rejected { spans, message } => host::log(
            LogLevel::Warn,
            &format!("sidespan: the collector rejected {spans} spans: {message:?}"),
        ),
    }
}
