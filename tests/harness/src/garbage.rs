use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server::Server;

/// Neither a status line of HTTP/1 nor a frame of HTTP/2.
const ANSWER: [u8; 1024] = [0xff; 1024];

/// A TCP server that speaks no HTTP: it answers whatever comes with 1 KiB of other bytes, for as
/// long as the peer sends. Drop ends it.
pub struct Garbage {
    server: Server,
    connections: Arc<AtomicUsize>,
}

impl Garbage {
    /// Starts a server on a free port.
    pub fn start() -> Self {
        Self::start_on(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts a server on this address, such as that of a collector that was stopped. Panics when
    /// it cannot listen there.
    pub fn start_on(addr: SocketAddr) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let server = Server::start("garbage", addr, move |stream| {
            count.fetch_add(1, Ordering::Relaxed);
            serve(stream)
        });
        Self {
            server,
            connections,
        }
    }

    /// The address it listens on; still known when it is stopped.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// The number of connections accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Stops listening and closes all connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }
}

async fn serve(mut stream: TcpStream) {
    let mut received = [0; 16 << 10];
    while let Ok(1..) = stream.read(&mut received).await {
        if stream.write_all(&ANSWER).await.is_err() {
            return;
        }
    }
}
