//! Requests as fast as Envoy answers them, and the upstream that answers Envoy.
//!
//! Both share a core with the collector, and if that core were the slower one, Envoy would wait for
//! it: so they do no more than they must, where the harness's own read all that HTTP may be.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// For what takes less than a second, so that an Envoy that hangs is told.
const TIMEOUT: Duration = Duration::from_secs(120);
const OK: &[u8] = b"HTTP/1.1 200";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// No head is that long here, nor a head and its body.
const BUFFER: usize = 256 << 10;

/// Keep-alive connections to one server, and the request that goes over them.
pub(crate) struct Client {
    runtime: Runtime,
    connections: Vec<Connection>,
}

impl Client {
    /// Connects; every request is a GET of `path` with these headers, and the answer has a body of
    /// so many bytes.
    pub(crate) fn connect(
        addr: SocketAddr,
        path: &str,
        connections: usize,
        headers: &[(&str, &[u8])],
        body: usize,
    ) -> io::Result<Self> {
        let request: Arc<[u8]> = request(addr, path, headers).into();
        let runtime = runtime()?;
        let connect = |_| runtime.block_on(Connection::open(addr, Arc::clone(&request), body));
        let connections = (0..connections).map(connect).collect::<io::Result<_>>()?;
        Ok(Self {
            runtime,
            connections,
        })
    }

    /// Makes exactly so many requests, as fast as they are answered, and gives the time they took.
    /// The error is that of the first request that had no answer, or another one than the
    /// upstream's; the client is of no use then.
    pub(crate) fn run(&mut self, requests: u64) -> io::Result<Duration> {
        let left = Arc::new(AtomicU64::new(requests));
        let start = Instant::now();
        let run = async {
            let start = |connection: Connection| tokio::spawn(connection.run(Arc::clone(&left)));
            let tasks: Vec<_> = self.connections.drain(..).map(start).collect();
            for task in tasks {
                self.connections
                    .push(task.await.map_err(io::Error::other)??);
            }
            io::Result::Ok(())
        };
        let in_time = async { tokio::time::timeout(TIMEOUT, run).await };
        self.runtime.block_on(in_time)??;
        Ok(start.elapsed())
    }
}

struct Connection {
    stream: TcpStream,
    request: Arc<[u8]>,
    body: usize,
    buffer: Box<[u8]>,
}

impl Connection {
    async fn open(addr: SocketAddr, request: Arc<[u8]>, body: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            request,
            body,
            buffer: vec![0; BUFFER].into(),
        })
    }

    /// Makes requests for as long as any are left to make.
    async fn run(mut self, left: Arc<AtomicU64>) -> io::Result<Self> {
        let take = |left: u64| left.checked_sub(1);
        while left.fetch_update(Relaxed, Relaxed, take).is_ok() {
            self.stream.write_all(&self.request).await?;
            // That of an error nobody reads.
            let body_of = |head: &[u8]| if head.starts_with(OK) { self.body } else { 0 };
            let head = read_head(&mut self.stream, &mut self.buffer, body_of).await?;
            if !head.starts_with(OK) {
                let answer = String::from_utf8_lossy(head);
                return Err(io::Error::other(format!("no answer but {answer:?}")));
            }
        }
        Ok(self)
    }
}

fn request(addr: SocketAddr, path: &str, headers: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n").into_bytes();
    for (name, value) in headers {
        out.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Reads a head and the body behind it, and gives the head; an empty one at the stream's end.
async fn read_head<'a>(
    stream: &mut TcpStream,
    buffer: &'a mut [u8],
    body_of: impl Fn(&[u8]) -> usize,
) -> io::Result<&'a [u8]> {
    let mut length = 0;
    loop {
        let read = stream.read(&mut buffer[length..]).await?;
        if read == 0 {
            return match length {
                0 => Ok(&[]),
                _ => Err(ErrorKind::UnexpectedEof.into()),
            };
        }
        length += read;
        let mut ends = buffer[..length].windows(END_OF_HEAD.len());
        if let Some(at) = ends.position(|bytes| bytes == END_OF_HEAD)
            && length >= at + END_OF_HEAD.len() + body_of(&buffer[..at])
        {
            return Ok(&buffer[..at]);
        }
    }
}

/// A server that gives the same answer to every request; it ends with the process.
pub(crate) struct Upstream {
    port: u16,
}

fn response(body: usize) -> Vec<u8> {
    let mut out =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {body}\r\n\r\n")
            .into_bytes();
    out.resize(out.len() + body, b'.');
    out
}

impl Upstream {
    /// Listens on a free port; its answers have bodies of so many bytes.
    pub(crate) fn start(body: usize) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = runtime()?;
        std::thread::spawn(move || runtime.block_on(accept(listener, response(body).into())));
        Ok(Self { port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

async fn accept(listener: std::net::TcpListener, response: Arc<[u8]>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(answer(stream, Arc::clone(&response)));
    }
}

async fn answer(mut stream: TcpStream, response: Arc<[u8]>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    while !read_head(&mut stream, &mut buffer, |_| 0).await?.is_empty() {
        stream.write_all(&response).await?;
    }
    Ok(())
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_an_answer() {
        for body in [0, 10, 100_000] {
            let upstream = Upstream::start(body).expect("an upstream");
            let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream.port()));
            let client = Client::connect(addr, "/", 3, &[("x-tenant", b"acme")], body);
            let mut client = client.expect("connections");
            for requests in [100, 1, 50] {
                let time = client.run(requests).expect("answers");
                assert!(time > Duration::ZERO);
            }
        }
    }

    #[test]
    fn another_answer_is_an_error() {
        let upstream = harness::Upstream::start();
        let client = Client::connect(upstream.addr(), "/status/503", 1, &[], 0);
        let error = client.expect("a connection").run(1).expect_err("no 200");
        assert!(error.to_string().contains("503"), "{error}");
    }
}
