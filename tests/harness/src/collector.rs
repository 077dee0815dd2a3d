//! A collector that receives OTLP/gRPC traces and misbehaves on request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tonic::codegen::{Service, http};
use tonic::{Code, Request, Response, Status};

use crate::ReceivedSpan;
use crate::otlp::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use crate::otlp::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use crate::otlp::trace::v1::{ResourceSpans, Span};
use crate::server::Server;
use crate::span::flatten;

const MAX_MESSAGE: usize = 64 << 20;
const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What the collector does with a call.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// Takes the spans and answers at once.
    #[default]
    Accept,
    /// Takes the spans and answers after a time, unless the caller has given up.
    Delay(Duration),
    /// Answers with a gRPC status.
    Fail(Code, String),
    /// Answers with a gRPC status whose details hold a `google.rpc.RetryInfo` with this delay.
    FailWithRetryInfo(Code, Duration),
    /// Never answers.
    Hang,
    /// Closes the TCP connection without an answer.
    DropConnection,
    /// Takes all spans, but says that it rejected some of them.
    PartialSuccess {
        /// The number of spans that the answer calls rejected.
        rejected: i64,
        /// The answer's error message.
        message: String,
    },
}

/// A call that the collector has received, also one that it could not decode.
#[derive(Clone, Debug)]
pub struct Call {
    /// The request's `:authority`, else its `host`; "" when it has neither.
    pub authority: String,
    /// The request's path.
    pub path: String,
    /// The request's headers other than the pseudo-headers; values that are no UTF-8 are lossy.
    pub metadata: Vec<(String, String)>,
    /// The number of spans in the message.
    pub span_count: usize,
    /// The length of the message as sent, without gRPC's 5 bytes of framing.
    pub message_len: usize,
    /// Whether the spans were taken.
    pub accepted: bool,
    /// When the request's headers arrived.
    pub at: Instant,
}

/// A running collector; drop ends it.
pub struct MockCollector {
    server: Server,
    shared: Arc<Shared>,
}

impl MockCollector {
    /// Starts a collector on a free port.
    pub fn start() -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts a collector on this address, such as that of one that was stopped. Panics when it
    /// cannot listen there.
    pub fn start_on(addr: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let server = Server::start("collector", addr, move |stream| {
            serve(Arc::clone(&state), stream)
        });
        Self { server, shared }
    }

    /// The address it listens on; still known when it is stopped.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// Sets what is done with calls from now on.
    pub fn set_behaviour(&self, behaviour: Behaviour) {
        self.shared.lock().behaviour = behaviour;
    }

    /// Sets what is done with the next calls, one each; the set behaviour follows. Replaces what
    /// is left of an earlier script.
    pub fn script(&self, behaviours: Vec<Behaviour>) {
        self.shared.lock().script = behaviours.into();
    }

    /// The calls received, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared
            .lock()
            .calls
            .iter()
            .map(|(_, call)| call.clone())
            .collect()
    }

    /// The spans taken; none if only ids are kept.
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        flatten(&self.shared.lock().taken)
    }

    /// The number of spans taken.
    pub fn span_count(&self) -> usize {
        self.shared.lock().span_count
    }

    /// The messages of the spans taken; none if only ids are kept.
    pub fn resource_spans(&self) -> Vec<ResourceSpans> {
        self.shared.lock().taken.clone()
    }

    /// Keeps only the ids of the spans taken from now on, for large numbers of spans.
    pub fn keep_only_ids(&self) {
        self.shared.lock().only_ids = true;
    }

    /// The trace and span ids of the spans taken; an id of a wrong length is all zero.
    pub fn ids(&self) -> Vec<([u8; 16], [u8; 8])> {
        let state = self.shared.lock();
        let kept = state.taken.iter().flat_map(spans_of).map(ids_of);
        state.ids.iter().copied().chain(kept).collect()
    }

    /// Waits until at least `n` spans were taken, and gives all. Panics saying how many there are
    /// when that takes longer than `timeout`.
    pub fn wait_spans(&self, n: usize, timeout: Duration) -> Vec<ReceivedSpan> {
        self.wait_count(n, timeout);
        self.spans()
    }

    /// As [`wait_spans`](Self::wait_spans), but gives only the number of spans.
    pub fn wait_count(&self, n: usize, timeout: Duration) -> usize {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| state.span_count < n)
            .unwrap_or_else(PoisonError::into_inner);
        let (count, calls) = (state.span_count, state.calls.len());
        drop(state);
        assert!(
            count >= n,
            "{count} of {n} spans in {calls} calls after {timeout:?}"
        );
        count
    }

    /// Waits until at least `n` calls have arrived, whatever became of them, and gives all. Panics
    /// when that takes longer than `timeout`.
    pub fn wait_calls(&self, n: usize, timeout: Duration) -> Vec<Call> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .changed
            .wait_timeout_while(state, timeout, |state| state.calls.len() < n)
            .unwrap_or_else(PoisonError::into_inner);
        let count = state.calls.len();
        drop(state);
        assert!(count >= n, "{count} of {n} calls after {timeout:?}");
        self.calls()
    }

    /// Waits until no call has arrived for `quiet` and no delayed one is left, and gives the spans
    /// taken. Panics when there is no such pause within two minutes.
    pub fn settled(&self, quiet: Duration) -> Vec<ReceivedSpan> {
        let started = Instant::now();
        let mut state = self.shared.lock();
        loop {
            let since = state.last_change.map_or(started, |at| at.max(started));
            let left = quiet.saturating_sub(since.elapsed());
            if left.is_zero() && state.delayed == 0 {
                return flatten(&state.taken);
            }
            if started.elapsed() > SETTLE_TIMEOUT {
                drop(state);
                panic!("no pause of {quiet:?} within {SETTLE_TIMEOUT:?}");
            }
            let pause = left.max(Duration::from_millis(1));
            state = self
                .shared
                .changed
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Forgets the calls and spans received.
    pub fn clear(&self) {
        let mut state = self.shared.lock();
        state.calls.clear();
        state.taken.clear();
        state.ids.clear();
        state.span_count = 0;
    }

    /// Stops listening and closes all connections. What was received stays.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Has each call's spans given to `callback` when they are taken.
    pub fn on_spans(&self, callback: impl Fn(&[ReceivedSpan]) + Send + Sync + 'static) {
        self.shared.lock().callback = Some(Arc::new(callback));
    }
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    behaviour: Behaviour,
    script: VecDeque<Behaviour>,
    calls: Vec<(u64, Call)>,
    next_call: u64,
    taken: Vec<ResourceSpans>,
    ids: Vec<([u8; 16], [u8; 8])>,
    only_ids: bool,
    span_count: usize,
    delayed: usize,
    last_change: Option<Instant>,
    callback: Option<Callback>,
}

type Callback = Arc<dyn Fn(&[ReceivedSpan]) + Send + Sync>;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let value = f(&mut state);
        state.last_change = Some(Instant::now());
        drop(state);
        self.changed.notify_all();
        value
    }

    /// Records a call and says what to do with it.
    fn arrived(&self, call: Call) -> (u64, Behaviour) {
        self.change(|state| {
            let id = state.next_call;
            state.next_call += 1;
            state.calls.push((id, call));
            (
                id,
                state
                    .script
                    .pop_front()
                    .unwrap_or_else(|| state.behaviour.clone()),
            )
        })
    }

    fn take(&self, id: u64, spans: Vec<ResourceSpans>) {
        let callback = self.lock().callback.clone();
        let received = callback.map(|callback| (callback, flatten(&spans)));
        self.change(|state| {
            if let Some((_, call)) = state.calls.iter_mut().rev().find(|(call, _)| *call == id) {
                call.accepted = true;
            }
            state.span_count += spans.iter().flat_map(spans_of).count();
            if state.only_ids {
                state
                    .ids
                    .extend(spans.iter().flat_map(spans_of).map(ids_of));
            } else {
                state.taken.extend(spans);
            }
        });
        if let Some((callback, received)) = received {
            callback(&received);
        }
    }
}

/// Counts as a delayed call for as long as it lives: the caller may cancel it.
struct Delayed<'a>(&'a Shared);

impl<'a> Delayed<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.change(|state| state.delayed += 1);
        Self(shared)
    }
}

impl Drop for Delayed<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.delayed -= 1);
    }
}

/// What the gRPC service cannot see of the HTTP/2 request by itself.
#[derive(Clone)]
struct Transport {
    head: Arc<Call>,
    received: Arc<AtomicUsize>,
    recorded: Arc<AtomicBool>,
    kill: Arc<Notify>,
}

impl Transport {
    fn call(&self, span_count: usize) -> Call {
        self.recorded.store(true, Ordering::Relaxed);
        let message_len = self.received.load(Ordering::Relaxed).saturating_sub(5);
        Call {
            span_count,
            message_len,
            ..Call::clone(&self.head)
        }
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let kill = Arc::new(Notify::new());
    let killed = Arc::clone(&kill);
    let service =
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&kill), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = killed.notified() => {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    kill: Arc<Notify>,
    request: http::Request<Incoming>,
) -> Result<http::Response<tonic::body::Body>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let transport = Transport {
        head: Arc::new(head(&parts)),
        received: Arc::default(),
        recorded: Arc::default(),
        kill,
    };
    parts.extensions.insert(transport.clone());
    let received = Arc::clone(&transport.received);
    let body = body.map_frame(move |frame| {
        let len = frame.data_ref().map_or(0, |data| data.len());
        received.fetch_add(len, Ordering::Relaxed);
        frame
    });
    let mut service = TraceServiceServer::new(Handler(Arc::clone(&shared)))
        .max_decoding_message_size(MAX_MESSAGE);
    let request = http::Request::from_parts(parts, tonic::body::Body::new(body));
    let response = service.call(request).await;
    if !transport.recorded.load(Ordering::Relaxed) {
        shared.change(|state| state.calls.push((u64::MAX, transport.call(0))));
    }
    response
}

fn head(parts: &http::request::Parts) -> Call {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let host = || parts.headers.get(http::header::HOST).map(text);
    Call {
        authority: parts
            .uri
            .authority()
            .map(ToString::to_string)
            .or_else(host)
            .unwrap_or_default(),
        path: parts.uri.path().to_owned(),
        metadata: parts
            .headers
            .iter()
            .map(|(k, v)| (k.to_string(), text(v)))
            .collect(),
        span_count: 0,
        message_len: 0,
        accepted: false,
        at: Instant::now(),
    }
}

struct Handler(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Handler {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let transport = request
            .extensions()
            .get::<Transport>()
            .expect("set above")
            .clone();
        let spans = request.into_inner().resource_spans;
        let count = spans.iter().flat_map(spans_of).count();
        let (id, behaviour) = self.0.arrived(transport.call(count));
        let mut answer = ExportTraceServiceResponse::default();
        match behaviour {
            Behaviour::Accept => {}
            Behaviour::Delay(delay) => {
                let _delayed = Delayed::new(&self.0);
                tokio::time::sleep(delay).await;
                self.0.take(id, spans);
                return Ok(Response::new(answer));
            }
            Behaviour::Fail(code, message) => return Err(Status::new(code, message)),
            Behaviour::FailWithRetryInfo(code, delay) => return Err(with_retry_info(code, delay)),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::DropConnection => {
                transport.kill.notify_one();
                std::future::pending().await
            }
            Behaviour::PartialSuccess { rejected, message } => {
                answer.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message,
                });
            }
        }
        self.0.take(id, spans);
        Ok(Response::new(answer))
    }
}

fn spans_of(resource_spans: &ResourceSpans) -> impl Iterator<Item = &Span> {
    resource_spans
        .scope_spans
        .iter()
        .flat_map(|scope_spans| &scope_spans.spans)
}

fn ids_of(span: &Span) -> ([u8; 16], [u8; 8]) {
    let trace_id = span.trace_id.as_slice().try_into().unwrap_or_default();
    (
        trace_id,
        span.span_id.as_slice().try_into().unwrap_or_default(),
    )
}

/// `google.rpc.Status`, as in the header `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

fn with_retry_info(code: Code, delay: Duration) -> Status {
    let message = "retry later";
    let retry_delay = ProtoDuration {
        seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
        nanos: delay.subsec_nanos().cast_signed(),
    };
    let detail = Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo {
            retry_delay: Some(retry_delay),
        }
        .encode_to_vec(),
    };
    let status = RpcStatus {
        code: code.into(),
        message: message.to_owned(),
        details: vec![detail],
    };
    Status::with_details(code, message, status.encode_to_vec().into())
}
