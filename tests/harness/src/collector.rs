//! A collector that receives traces by OTLP/gRPC and OTLP/HTTP and misbehaves on request.

mod otlp_grpc;
mod otlp_http;
mod rpc;

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tonic::Code;
use tonic::body::Body;

use crate::ReceivedSpan;
use crate::otlp::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
use crate::otlp::trace::v1::{ResourceSpans, Span};
use crate::server::Server;
use crate::span::flatten;

const SETTLE_TIMEOUT: Duration = Duration::from_secs(120);

/// What the collector does with a call.
#[derive(Clone, Debug, Default)]
pub enum Behaviour {
    /// Takes the spans and answers at once.
    #[default]
    Accept,
    /// Takes the spans and answers after a time, unless the caller has given up.
    Delay(Duration),
    /// Answers with a gRPC status; over HTTP with the HTTP status that stands for it, and the
    /// message in a `google.rpc.Status`.
    Fail(Code, String),
    /// Answers with a gRPC status whose details hold a `google.rpc.RetryInfo` with this delay; over
    /// HTTP with 429 for `ResourceExhausted`, else 503, and the delay in `retry-after`, in seconds
    /// rounded up.
    FailWithRetryInfo(Code, Duration),
    /// Answers with an HTTP status and a text, gRPC calls too, as a proxy in front of a collector
    /// does.
    FailHttp {
        /// The HTTP status.
        status: u16,
        /// The value of `retry-after`.
        retry_after: Option<String>,
        /// The text.
        body: String,
    },
    /// Never answers.
    Hang,
    /// Closes the TCP connection without an answer.
    DropConnection,
    /// Takes the spans, then closes the TCP connection without an answer.
    TakeAndDrop,
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
    /// Whether its content type is that of gRPC.
    pub is_grpc: bool,
    /// The request's `content-encoding`, or `grpc-encoding` if it is gRPC; "" when it has none.
    pub content_encoding: String,
    /// The request's headers other than the pseudo-headers; values that are no UTF-8 are lossy.
    pub metadata: Vec<(String, String)>,
    /// The number of spans in the message.
    pub span_count: usize,
    /// The length of the message as sent, which may be compressed, without gRPC's 5 bytes of
    /// framing.
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
        self.set_cycle(vec![behaviour]);
    }

    /// Sets what is done with calls from now on, in turn, again and again. An empty cycle accepts
    /// all.
    pub fn set_cycle(&self, behaviours: Vec<Behaviour>) {
        self.shared.lock().cycle = behaviours.into();
    }

    /// Sets what is done with the next calls, one each; the set behaviour or cycle follows.
    /// Replaces what is left of an earlier script.
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

    /// The number of different pairs of a trace id and a span id among the spans taken.
    pub fn distinct_span_count(&self) -> usize {
        self.ids().into_iter().collect::<HashSet<_>>().len()
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

    /// Speaks only HTTP/2 on connections from now on, as a gRPC server does.
    pub fn only_http2(&self) {
        self.shared.lock().only_http2 = true;
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
    cycle: VecDeque<Behaviour>,
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
    only_http2: bool,
}

type Callback = Arc<dyn Fn(&[ReceivedSpan]) + Send + Sync>;

impl State {
    fn next_behaviour(&mut self) -> Behaviour {
        if let Some(behaviour) = self.script.pop_front() {
            return behaviour;
        }
        let behaviour = self.cycle.pop_front().unwrap_or_default();
        self.cycle.push_back(behaviour.clone());
        behaviour
    }
}

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

    /// Records a call whose message cannot be read.
    fn unreadable(&self, call: Call) {
        self.change(|state| state.calls.push((u64::MAX, call)));
    }

    /// Records a call and does with its spans what its turn's behaviour says.
    async fn export(
        &self,
        head: Call,
        spans: Vec<ResourceSpans>,
        kill: &Notify,
    ) -> Result<ExportTraceServiceResponse, Refusal> {
        let span_count = spans.iter().flat_map(spans_of).count();
        let (id, behaviour) = self.arrived(Call { span_count, ..head });
        let mut answer = ExportTraceServiceResponse::default();
        match behaviour {
            Behaviour::Accept => self.take(id, spans),
            Behaviour::Delay(delay) => {
                let _delayed = Delayed::new(self);
                tokio::time::sleep(delay).await;
                self.take(id, spans);
            }
            Behaviour::Fail(code, message) => return Err(Refusal::Status(code, message)),
            Behaviour::FailWithRetryInfo(code, delay) => {
                return Err(Refusal::RetryAfter(code, delay));
            }
            Behaviour::FailHttp {
                status,
                retry_after,
                body,
            } => {
                return Err(Refusal::Plain(Plain {
                    status,
                    retry_after,
                    body,
                }));
            }
            Behaviour::Hang => std::future::pending().await,
            Behaviour::DropConnection => {
                kill.notify_one();
                std::future::pending().await
            }
            Behaviour::TakeAndDrop => {
                self.take(id, spans);
                kill.notify_one();
                std::future::pending().await
            }
            Behaviour::PartialSuccess { rejected, message } => {
                self.take(id, spans);
                answer.partial_success = Some(ExportTracePartialSuccess {
                    rejected_spans: rejected,
                    error_message: message,
                });
            }
        }
        Ok(answer)
    }

    /// Records a call and says what to do with it.
    fn arrived(&self, call: Call) -> (u64, Behaviour) {
        self.change(|state| {
            let id = state.next_call;
            state.next_call += 1;
            state.calls.push((id, call));
            (id, state.next_behaviour())
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

/// Why a call has no success.
enum Refusal {
    Status(Code, String),
    RetryAfter(Code, Duration),
    Plain(Plain),
}

/// An answer of HTTP alone, with a text.
struct Plain {
    status: u16,
    retry_after: Option<String>,
    body: String,
}

impl Plain {
    fn response(self) -> Response<Body> {
        let mut response = response(self.status, "text/plain", self.body);
        if let Some(value) = self.retry_after {
            let value = HeaderValue::try_from(value).expect("a header value");
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}

fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, content_type)
        .body(Body::new(Full::new(body.into())))
        .expect("a status from 100 to 999")
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let kill = Arc::new(Notify::new());
    let killed = Arc::clone(&kill);
    let mut builder = auto::Builder::new(TokioExecutor::new());
    if shared.lock().only_http2 {
        builder = builder.http2_only();
    }
    let service =
        service_fn(move |request| answer(Arc::clone(&shared), Arc::clone(&kill), request));
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = killed.notified() => {}
    }
}

async fn answer(
    shared: Arc<Shared>,
    kill: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let head = head(&request);
    Ok(if head.is_grpc {
        otlp_grpc::answer(shared, kill, head, request).await
    } else {
        otlp_http::answer(&shared, &kill, head, request).await
    })
}

fn head(request: &Request<Incoming>) -> Call {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let header = |name: HeaderName| request.headers().get(name).map(text);
    let authority = request.uri().authority().map(ToString::to_string);
    let is_grpc = header(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/grpc"));
    let encoding = match is_grpc {
        true => HeaderName::from_static("grpc-encoding"),
        false => CONTENT_ENCODING,
    };
    Call {
        authority: authority.or_else(|| header(HOST)).unwrap_or_default(),
        path: request.uri().path().to_owned(),
        is_grpc,
        content_encoding: header(encoding).unwrap_or_default(),
        metadata: request
            .headers()
            .iter()
            .map(|(k, v)| (k.to_string(), text(v)))
            .collect(),
        span_count: 0,
        message_len: 0,
        accepted: false,
        at: Instant::now(),
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
