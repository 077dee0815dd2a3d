//! Load over keep-alive HTTP/1.1 connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::client::{Connection, encode, has_token};

/// The outcome of [`run`].
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Requests answered with 2xx.
    pub ok: u64,
    /// Requests answered otherwise or not at all.
    pub failed: u64,
    /// Answers by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// The time from the first request's start to the last one's end.
    pub elapsed: Duration,
}

/// Makes exactly `total_requests` GET requests, as fast as the server answers.
///
/// Each connection has one request under way at a time; one that fails or is closed by the server
/// is replaced, and no request is made twice.
pub fn run(
    addr: SocketAddr,
    path: &str,
    connections: usize,
    total_requests: u64,
    headers: &[(&str, &[u8])],
) -> LoadReport {
    assert!(connections > 0, "a load needs a connection");
    let request = encode(addr, "GET", path, headers, b"");
    let taken = AtomicU64::new(0);
    let start = Instant::now();
    let mut report = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| worker(addr, &request, &taken, total_requests)))
            .collect();
        let reports = workers
            .into_iter()
            .map(|worker| worker.join().expect("a load thread"));
        reports.fold(LoadReport::default(), sum)
    });
    report.elapsed = start.elapsed();
    report
}

fn worker(addr: SocketAddr, request: &[u8], taken: &AtomicU64, total: u64) -> LoadReport {
    let mut report = LoadReport::default();
    let mut connection = None;
    while taken.fetch_add(1, Ordering::Relaxed) < total {
        match exchange(addr, &mut connection, request) {
            Ok(status) => {
                *report.statuses.entry(status).or_insert(0) += 1;
                match status {
                    200..300 => report.ok += 1,
                    _ => report.failed += 1,
                }
            }
            Err(_) => {
                connection = None;
                report.failed += 1;
            }
        }
    }
    report
}

fn exchange(
    addr: SocketAddr,
    connection: &mut Option<Connection>,
    request: &[u8],
) -> std::io::Result<u16> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(Connection::open(addr)?),
    };
    let response = open.send_raw(request, false)?;
    if has_token(&response.headers, "connection", "close") {
        *connection = None;
    }
    Ok(response.status)
}

fn sum(mut left: LoadReport, right: LoadReport) -> LoadReport {
    left.ok += right.ok;
    left.failed += right.failed;
    for (status, count) in right.statuses {
        *left.statuses.entry(status).or_insert(0) += count;
    }
    left
}
