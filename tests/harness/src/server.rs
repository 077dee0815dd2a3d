use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A TCP server on a thread and a runtime of its own; drop ends it and all its connections.
pub(crate) struct Server {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens on `addr` and spawns `serve` for each connection. Panics when it cannot listen.
    pub(crate) fn start<S, F>(name: &str, addr: SocketAddr, serve: S) -> Self
    where
        S: Fn(TcpStream) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener =
            bind(addr).unwrap_or_else(|error| panic!("{name}: cannot listen on {addr}: {error}"));
        listener.set_nonblocking(true).expect("set_nonblocking");
        let addr = listener.local_addr().expect("local address");
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(listener, serve, stopped))
            .expect("spawn a server thread");
        Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Listens on `addr`, on any free port if it has none.
///
/// That port is not one of those that systems give to connections: none of them can take it from a
/// server that is stopped to be started again.
fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    const PORTS: RangeInclusive<u16> = 10_000..=19_999;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    if addr.port() != 0 {
        return TcpListener::bind(addr);
    }
    let count = u32::from(PORTS.end() - PORTS.start()) + 1;
    // Processes begin at different places, so that they seldom meet.
    let start = std::process::id().wrapping_mul(101);
    loop {
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = start.wrapping_add(turn) % count;
        let port = PORTS.start() + u16::try_from(offset).expect("a port");
        match TcpListener::bind((addr.ip(), port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && turn < count => {}
            bound => return bound,
        }
    }
}

fn run<S, F>(listener: TcpListener, serve: S, stopped: oneshot::Receiver<()>)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        tokio::select! {
            () = accept(&listener, serve) => {}
            _ = stopped => {}
        }
    });
}

async fn accept<S, F>(listener: &tokio::net::TcpListener, serve: S)
where
    S: Fn(TcpStream) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(stream));
            }
            // Out of file descriptors, most likely: others may be closed meanwhile.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}
