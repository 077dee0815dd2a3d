//! Clients: a raw HTTP/1.1 one that sends any bytes, and one for HTTP/2 and gRPC.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_HEADERS: usize = 256;

/// Header names and values as received, in order.
pub type Headers = Vec<(String, Vec<u8>)>;

/// An answer to an HTTP request.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers; of HTTP/2, those of one name stand together.
    pub headers: Headers,
    /// The trailers.
    pub trailers: Headers,
    /// The body without its transfer coding.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name, in any case; a value that is no UTF-8 is lossy.
    pub fn header(&self, name: &str) -> Option<String> {
        find(&self.headers, name).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The body as text, lossy if it is no UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON. Panics when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}", self.text()))
    }
}

/// The answer to GET over HTTP/1.1. Panics when there is none within 10 s.
pub fn get(addr: SocketAddr, path: &str) -> Response {
    request(addr, "GET", path, &[], b"")
        .unwrap_or_else(|error| panic!("GET {path} from {addr}: {error}"))
}

/// Makes a request over a new HTTP/1.1 connection; see [`Connection::send`].
pub fn request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> io::Result<Response> {
    Connection::open(addr)?.send(method, path, headers, body)
}

/// Asks for a WebSocket and gives the stream after the answer 101. Panics on another answer.
pub fn websocket_upgrade(addr: SocketAddr, path: &str) -> TcpStream {
    try_websocket_upgrade(addr, path)
        .unwrap_or_else(|error| panic!("upgrade {path} at {addr}: {error}"))
}

fn try_websocket_upgrade(addr: SocketAddr, path: &str) -> io::Result<TcpStream> {
    let mut connection = Connection::open(addr)?;
    let headers: &[(&str, &[u8])] = &[
        ("connection", b"Upgrade"),
        ("upgrade", b"websocket"),
        ("sec-websocket-version", b"13"),
        ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    connection
        .stream
        .write_all(&encode(addr, "GET", path, headers, b""))?;
    // Byte by byte, as what follows the head belongs to the caller.
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        return Ok(connection.stream);
    }
    Err(Error::other(String::from_utf8_lossy(&head).into_owned()))
}

/// An HTTP/1.1 connection that is kept for several requests.
pub struct Connection {
    addr: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
    used: usize,
    timeout: Duration,
}

impl Connection {
    /// Connects; answers are waited for 10 s.
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            addr,
            stream,
            buffer: Vec::new(),
            used: 0,
            timeout: TIMEOUT,
        };
        connection.set_timeout(TIMEOUT)?;
        Ok(connection)
    }

    /// Sets how long an answer is waited for.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.timeout = timeout;
        self.stream.set_read_timeout(Some(timeout))?;
        self.stream.set_write_timeout(Some(timeout))
    }

    /// Sends a request and reads the answer.
    ///
    /// Nothing is checked: the bytes go out as given. `host` is added unless given, and
    /// `content-length` if there is a body and neither it nor `transfer-encoding` is given.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &[u8])],
        body: &[u8],
    ) -> io::Result<Response> {
        self.send_raw(
            &encode(self.addr, method, path, headers, body),
            method == "HEAD",
        )
    }

    /// Sends any bytes and reads an answer, which has no body if they are a HEAD request.
    pub fn send_raw(&mut self, bytes: &[u8], head: bool) -> io::Result<Response> {
        self.stream.write_all(bytes)?;
        self.read_response(head)
    }

    /// The stream, for what this client does not do.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    fn read_response(&mut self, head: bool) -> io::Result<Response> {
        let deadline = Instant::now() + self.timeout;
        let (status, headers) = loop {
            let (status, headers) = self.read_head(deadline)?;
            if status >= 200 || status == 101 {
                break (status, headers);
            }
        };
        let mut response = Response {
            status,
            headers,
            trailers: Vec::new(),
            body: Vec::new(),
        };
        if head || status < 200 || status == 204 || status == 304 {
            return Ok(response);
        }
        if has_token(&response.headers, "transfer-encoding", "chunked") {
            self.read_chunks(&mut response, deadline)?;
        } else if let Some(length) = response.header("content-length") {
            let length = length
                .trim()
                .parse()
                .map_err(|_| invalid("content-length"))?;
            response.body = self.take(length, deadline)?;
        } else {
            while self.fill(deadline)? {}
            response.body = self.buffer.split_off(self.used);
        }
        Ok(response)
    }

    fn read_head(&mut self, deadline: Instant) -> io::Result<(u16, Headers)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head
                .parse(&self.buffer[self.used..])
                .map_err(Error::other)?;
            if let httparse::Status::Complete(length) = parsed {
                let status = head.code.unwrap_or(0);
                let headers = own(head.headers);
                self.used += length;
                return Ok((status, headers));
            }
            self.fill_more(deadline)?;
        }
    }

    fn read_chunks(&mut self, response: &mut Response, deadline: Instant) -> io::Result<()> {
        loop {
            let parsed = httparse::parse_chunk_size(&self.buffer[self.used..]);
            let httparse::Status::Complete((length, size)) =
                parsed.map_err(|_| invalid("chunk size"))?
            else {
                self.fill_more(deadline)?;
                continue;
            };
            self.used += length;
            if size == 0 {
                response.trailers = self.read_trailers(deadline)?;
                return Ok(());
            }
            let size = usize::try_from(size).map_err(|_| invalid("chunk size"))?;
            response.body.append(&mut self.take(size, deadline)?);
            self.take(2, deadline)?;
        }
    }

    fn read_trailers(&mut self, deadline: Instant) -> io::Result<Headers> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let parsed = httparse::parse_headers(&self.buffer[self.used..], &mut headers);
            if let httparse::Status::Complete((length, headers)) = parsed.map_err(Error::other)? {
                let headers = own(headers);
                self.used += length;
                return Ok(headers);
            }
            self.fill_more(deadline)?;
        }
    }

    fn take(&mut self, length: usize, deadline: Instant) -> io::Result<Vec<u8>> {
        while self.buffer.len() - self.used < length {
            self.fill_more(deadline)?;
        }
        let bytes = self.buffer[self.used..self.used + length].to_vec();
        self.used += length;
        Ok(bytes)
    }

    fn fill_more(&mut self, deadline: Instant) -> io::Result<()> {
        match self.fill(deadline)? {
            true => Ok(()),
            false => Err(ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Reads what there is; false at the stream's end.
    fn fill(&mut self, deadline: Instant) -> io::Result<bool> {
        self.buffer.drain(..std::mem::take(&mut self.used));
        if Instant::now() > deadline {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut chunk = [0; 16 << 10];
        let n = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }
}

/// The answer to a gRPC call.
#[derive(Clone, Debug)]
pub struct GrpcReply {
    /// The HTTP status.
    pub status: u16,
    /// `grpc-status` of the trailers, else of the headers.
    pub grpc_status: Option<i32>,
    /// The headers, those of one name together.
    pub headers: Headers,
    /// The trailers; empty in a trailers-only answer.
    pub trailers: Headers,
    /// The body with gRPC's framing.
    pub body: Vec<u8>,
}

/// Makes a unary gRPC call over h2c; see [`h2_request`]. Panics when there is no answer.
pub fn grpc_unary(
    addr: SocketAddr,
    path: &str,
    headers: &[(&str, &[u8])],
    message: &[u8],
) -> GrpcReply {
    let mut all: Vec<(&str, &[u8])> =
        vec![("content-type", b"application/grpc"), ("te", b"trailers")];
    all.extend_from_slice(headers);
    let mut body = vec![0];
    body.extend(
        u32::try_from(message.len())
            .expect("a gRPC message")
            .to_be_bytes(),
    );
    body.extend_from_slice(message);
    let response = h2_request(addr, "POST", path, &all, &body)
        .unwrap_or_else(|error| panic!("gRPC {path} at {addr}: {error}"));
    let status = find(&response.trailers, "grpc-status")
        .or_else(|| find(&response.headers, "grpc-status"))
        .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    GrpcReply {
        status: response.status,
        grpc_status: status,
        headers: response.headers,
        trailers: response.trailers,
        body: response.body,
    }
}

/// Makes a request over a new h2c connection and waits 10 s for the answer.
///
/// `:authority` is the address, or the value of a header `host`, which is then not sent.
pub fn h2_request(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> io::Result<Response> {
    let host = headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let authority = match host {
        Some((_, value)) => String::from_utf8_lossy(value).into_owned(),
        None => addr.to_string(),
    };
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(format!("http://{authority}{path}"));
    for (name, value) in headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("host"))
    {
        request = request.header(*name, *value);
    }
    let request = request
        .body(Full::new(Bytes::copy_from_slice(body)))
        .map_err(Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match tokio::time::timeout(TIMEOUT, h2_exchange(addr, request)).await {
            Ok(result) => result,
            Err(_) => Err(ErrorKind::TimedOut.into()),
        }
    })
}

async fn h2_exchange(
    addr: SocketAddr,
    request: hyper::Request<Full<Bytes>>,
) -> io::Result<Response> {
    let stream = tokio::net::TcpStream::connect(addr).await?;
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(Error::other)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(Error::other)?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(Error::other)?;
    let trailers = body.trailers().map(owned_map).unwrap_or_default();
    Ok(Response {
        status: parts.status.as_u16(),
        headers: owned_map(&parts.headers),
        trailers,
        body: body.to_bytes().to_vec(),
    })
}

/// The bytes of a request as [`Connection::send`] describes them.
pub(crate) fn encode(
    addr: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Vec<u8> {
    let given = |wanted: &str| {
        headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(wanted))
    };
    let mut out = format!("{method} {path} HTTP/1.1\r\n").into_bytes();
    if !given("host") {
        out.extend_from_slice(format!("host: {addr}\r\n").as_bytes());
    }
    for (name, value) in headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    let needs_length = !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH");
    if needs_length && !given("content-length") && !given("transfer-encoding") {
        out.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body);
    out
}

/// Whether a comma-separated header holds a token.
pub(crate) fn has_token(headers: &Headers, name: &str, token: &str) -> bool {
    headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name))
        .any(|(_, value)| {
            let mut tokens = value.split(|&byte| byte == b',');
            tokens.any(|item| item.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
        })
}

fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a [u8]> {
    let (_, value) = headers
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn own(headers: &[httparse::Header<'_>]) -> Headers {
    headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect()
}

fn owned_map(headers: &hyper::HeaderMap) -> Headers {
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect()
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("invalid {what}"))
}
