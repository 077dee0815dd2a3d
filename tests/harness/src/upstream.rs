//! An upstream whose answers are chosen by the path.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Interval;

use crate::server::Server;
use crate::span::hex;

const CHUNK_INTERVAL: Duration = Duration::from_millis(50);

/// A request that the upstream has received.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// The headers in lower case, in the order in which their names first came; those of one name
    /// stand together.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Seen {
    /// The values of all headers of this name in lower case, lossy if they are no UTF-8.
    pub fn header(&self, name: &str) -> Vec<String> {
        let named = self.headers.iter().filter(|(key, _)| key == name);
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }
}

/// A running server for HTTP/1.1 and h2c on one port; drop ends it.
///
/// | path | answer |
/// |---|---|
/// | `/status/N` | status N |
/// | `/delay/MS` | the default answer after MS milliseconds |
/// | `/reset` | none: the TCP connection is closed |
/// | `/hang` | none |
/// | `/chunks/N` | a body of N chunks, 50 ms apart |
/// | `/slow-body` | as `/chunks/10` |
/// | `/stream` | a body that never ends |
/// | `/bytes/N` | a body of N bytes |
/// | other | 200 and JSON of the request: `method`, `path`, `version`, `headers`, and in `headers_hex` the values that are no UTF-8 |
///
/// A request with `upgrade: websocket` is answered with 101 and its bytes are echoed. A request
/// with a content type `application/grpc…` is answered by what follows the service in its path:
/// `Ok` echoes the message, `Fail` has status 14, `Status/N` has status N, `TrailersOnly` has
/// status 5 in the headers, `Hang` is not answered, and any other has status 12 in the headers.
pub struct Upstream {
    server: Server,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Starts an upstream on a free port.
    pub fn start() -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts an upstream on this address. Panics when it cannot listen there.
    pub fn start_on(addr: SocketAddr) -> Self {
        let shared = Arc::new(Shared::new());
        let state = Arc::clone(&shared);
        let server = Server::start("upstream", addr, move |stream| {
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

    /// The requests recorded, in the order of their arrival.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.lock().clone()
    }

    /// The last request recorded. Panics when there is none.
    pub fn last(&self) -> Seen {
        self.shared
            .lock()
            .last()
            .cloned()
            .expect("the upstream has seen no request")
    }

    /// Waits until at least `n` requests are recorded, and gives all. Panics saying how many there
    /// are when that takes longer than `timeout`.
    pub fn wait_requests(&self, n: usize, timeout: Duration) -> Vec<Seen> {
        let (seen, _) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), timeout, |seen| seen.len() < n)
            .unwrap_or_else(PoisonError::into_inner);
        let seen = seen.clone();
        assert!(
            seen.len() >= n,
            "{} of {n} requests after {timeout:?}",
            seen.len()
        );
        seen
    }

    /// The number of requests received, recorded or not.
    pub fn count(&self) -> usize {
        self.shared.count.load(Ordering::Relaxed)
    }

    /// Sets whether requests are recorded, which they are at first.
    pub fn record(&self, on: bool) {
        self.shared.record.store(on, Ordering::Relaxed);
    }

    /// Forgets the requests recorded, and counts from 0.
    pub fn forget(&self) {
        self.shared.lock().clear();
        self.shared.count.store(0, Ordering::Relaxed);
    }

    /// Stops listening and closes all connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    changed: Condvar,
    count: AtomicUsize,
    record: AtomicBool,
}

impl Shared {
    fn new() -> Self {
        Self {
            seen: Mutex::default(),
            changed: Condvar::new(),
            count: AtomicUsize::new(0),
            record: AtomicBool::new(true),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrived(&self, request: &Request<Incoming>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.record.load(Ordering::Relaxed) {
            let headers = request.headers().iter();
            self.lock().push(Seen {
                method: request.method().to_string(),
                path: path_and_query(request),
                headers: headers
                    .map(|(k, v)| (k.to_string(), v.as_bytes().to_vec()))
                    .collect(),
            });
            self.changed.notify_all();
        }
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let kill = Arc::new(Notify::new());
    let killed = Arc::clone(&kill);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        shared.arrived(&request);
        answer(Arc::clone(&kill), request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::select! {
        _ = connection => {}
        () = killed.notified() => {}
    }
}

async fn answer(kill: Arc<Notify>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let header = |name| {
        request
            .headers()
            .get(name)
            .map_or(&b""[..], HeaderValue::as_bytes)
    };
    if header(UPGRADE).eq_ignore_ascii_case(b"websocket") {
        return Ok(websocket(request));
    }
    if header(CONTENT_TYPE).starts_with(b"application/grpc") {
        return Ok(grpc(request).await);
    }
    let path = request.uri().path().to_owned();
    let (name, number) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    match (name, number.parse::<u64>().ok()) {
        ("hang", None) => return std::future::pending().await,
        ("reset", None) => {
            kill.notify_one();
            return std::future::pending().await;
        }
        ("stream", None) => return Ok(Response::new(Paced::new(None).boxed_unsync())),
        _ => {}
    }
    let plain = describe(&request);
    // An answer before the end of the request's body would be another test.
    let _ = request.into_body().collect().await;
    Ok(match (name, number.parse::<u64>().ok()) {
        ("status", Some(code)) => {
            let code = u16::try_from(code)
                .ok()
                .and_then(|code| StatusCode::from_u16(code).ok());
            let mut response = Response::new(full(Bytes::new()));
            *response.status_mut() = code.unwrap_or(StatusCode::BAD_REQUEST);
            response
        }
        ("delay", Some(millis)) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            plain
        }
        ("chunks", Some(n)) => Response::new(Paced::new(Some(n)).boxed_unsync()),
        ("slow-body", None) => Response::new(Paced::new(Some(10)).boxed_unsync()),
        ("bytes", Some(n)) => {
            let n = usize::try_from(n).unwrap_or(usize::MAX);
            Response::new(full(Bytes::from(vec![b'x'; n])))
        }
        _ => plain,
    })
}

fn describe(request: &Request<Incoming>) -> Answer {
    let lossy = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = || {
        request
            .headers()
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    };
    let odd = headers().filter(|(_, value)| std::str::from_utf8(value.as_bytes()).is_err());
    let body = json!({
        "method": request.method().as_str(),
        "path": path_and_query(request),
        "version": format!("{:?}", request.version()),
        "headers": headers().map(|(name, value)| (name, lossy(value))).collect::<Vec<_>>(),
        "headers_hex": odd.map(|(name, value)| (name, hex(value.as_bytes()))).collect::<Vec<_>>(),
    });
    let mut response = Response::new(full(Bytes::from(body.to_string())));
    set(response.headers_mut(), "content-type", "application/json");
    response
}

fn websocket(request: Request<Incoming>) -> Answer {
    tokio::spawn(async {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut write).await;
        }
    });
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    response
}

async fn grpc(request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let method = path[1..].split_once('/').map_or("", |(_, method)| method);
    if method == "Hang" {
        return std::future::pending().await;
    }
    let message = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    let message = message.unwrap_or_default();
    match method.strip_prefix("Status/").map(str::parse::<u32>) {
        Some(Ok(status)) => grpc_answer(Bytes::new(), status, ""),
        _ if method == "Ok" => grpc_answer(message, 0, ""),
        _ if method == "Fail" => grpc_answer(Bytes::new(), 14, "unavailable"),
        _ if method == "TrailersOnly" => trailers_only(5),
        _ => trailers_only(12),
    }
}

fn grpc_answer(message: Bytes, status: u32, text: &str) -> Answer {
    let mut trailers = HeaderMap::new();
    set(&mut trailers, "grpc-status", &status.to_string());
    if !text.is_empty() {
        set(&mut trailers, "grpc-message", text);
    }
    let body = Full::new(message).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed_unsync());
    set(response.headers_mut(), "content-type", "application/grpc");
    response
}

fn trailers_only(status: u32) -> Answer {
    let mut response = Response::new(full(Bytes::new()));
    set(response.headers_mut(), "content-type", "application/grpc");
    set(response.headers_mut(), "grpc-status", &status.to_string());
    response
}

fn set(headers: &mut HeaderMap, name: &'static str, value: &str) {
    headers.insert(name, HeaderValue::from_str(value).expect("a header value"));
}

fn full(bytes: Bytes) -> UnsyncBoxBody<Bytes, Infallible> {
    Full::new(bytes).boxed_unsync()
}

fn path_and_query(request: &Request<Incoming>) -> String {
    let uri = request.uri();
    uri.path_and_query()
        .map_or_else(|| uri.path().to_owned(), ToString::to_string)
}

/// A body of chunks with a pause after each.
struct Paced {
    left: Option<u64>,
    interval: Interval,
}

impl Paced {
    /// `left` is the number of chunks, `None` for no end.
    fn new(left: Option<u64>) -> Self {
        Self {
            left,
            interval: tokio::time::interval(CHUNK_INTERVAL),
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        ready!(self.interval.poll_tick(context));
        self.left = self.left.map(|left| left - 1);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"chunk\n")))))
    }
}
