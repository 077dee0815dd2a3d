//! An application in the middle of a mesh.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::client;
use crate::server::Server;

/// What an application without an SDK passes on, so that traces do not break in it.
const CONTEXT_HEADERS: [&str; 9] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// A service that asks the next one for whatever it is asked, forwards the context headers and
/// nothing else, and answers with the status and the body that it got; 502 when it got none.
pub struct Relay {
    server: Server,
}

impl Relay {
    /// Starts a relay on a free port.
    pub fn start(next: SocketAddr) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start("relay", addr, move |stream| serve(next, stream));
        Self { server }
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.server.addr().port()
    }
}

async fn serve(next: SocketAddr, stream: TcpStream) {
    let service = service_fn(move |request| relay(next, request));
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn relay(
    next: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let asked = tokio::task::spawn_blocking(move || {
        let headers: Vec<_> = request
            .headers()
            .iter()
            .filter(|(name, _)| CONTEXT_HEADERS.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
        client::request(next, request.method().as_str(), path, &headers, b"")
    });
    let (status, body) = match asked.await {
        Ok(Ok(answer)) => (answer.status, answer.body),
        _ => (502, b"no answer from the next service\n".to_vec()),
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    Ok(response)
}
