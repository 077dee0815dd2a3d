//! Load over keep-alive HTTP/1.1 connections.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::client::{Connection, encode, has_token};

/// The outcome of a load.
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
    /// The time within which half of the answers came. Requests without an answer do not count.
    /// This one and the two below are at most 0.1 % too long.
    pub p50: Duration,
    /// The time within which 99 % of the answers came.
    pub p99: Duration,
    /// The time that the slowest answer took.
    pub max: Duration,
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
    let taken = AtomicU64::new(0);
    load(addr, path, connections, headers, || {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        (number < total_requests).then(Instant::now)
    })
}

/// As [`run`], but begins no request after `duration`.
pub fn run_for(
    addr: SocketAddr,
    path: &str,
    connections: usize,
    duration: Duration,
    headers: &[(&str, &[u8])],
) -> LoadReport {
    let end = Instant::now() + duration;
    load(addr, path, connections, headers, || {
        Some(Instant::now()).filter(|&now| now < end)
    })
}

/// Makes `per_second` GET requests a second for `duration`, evenly spread.
///
/// A request's time counts from when it is due, also when all connections are busy then: what a
/// slow server makes wait is counted. So is how late the thread wakes up.
pub fn run_paced(
    addr: SocketAddr,
    path: &str,
    connections: usize,
    per_second: u64,
    duration: Duration,
    headers: &[(&str, &[u8])],
) -> LoadReport {
    assert!(per_second > 0, "a pace needs a request");
    let taken = AtomicU64::new(0);
    let start = Instant::now();
    load(addr, path, connections, headers, || {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        let after = Duration::from_nanos(number * 1_000_000_000 / per_second);
        if after >= duration {
            return None;
        }
        let due = start + after;
        // The pace of the load.
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Some(due)
    })
}

/// Makes requests for as long as `next` gives the time from which the next one's counts.
fn load(
    addr: SocketAddr,
    path: &str,
    connections: usize,
    headers: &[(&str, &[u8])],
    next: impl Fn() -> Option<Instant> + Sync,
) -> LoadReport {
    assert!(connections > 0, "a load needs a connection");
    let request = encode(addr, "GET", path, headers, b"");
    let start = Instant::now();
    let (mut report, times) = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| worker(addr, &request, &next)))
            .collect();
        let reports = workers
            .into_iter()
            .map(|worker| worker.join().expect("a load thread"));
        reports.fold((LoadReport::default(), no_times()), sum)
    });
    report.elapsed = start.elapsed();
    report.p50 = Duration::from_nanos(times.value_at_quantile(0.5));
    report.p99 = Duration::from_nanos(times.value_at_quantile(0.99));
    report.max = Duration::from_nanos(times.max());
    report
}

/// A histogram of nanoseconds that grows with the times that it gets.
fn no_times() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn worker(
    addr: SocketAddr,
    request: &[u8],
    next: impl Fn() -> Option<Instant>,
) -> (LoadReport, Histogram<u64>) {
    let mut report = LoadReport::default();
    let mut times = no_times();
    let mut connection = None;
    while let Some(start) = next() {
        match exchange(addr, &mut connection, request) {
            Ok(status) => {
                let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                times.record(nanos).expect("a histogram that grows");
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
    (report, times)
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

fn sum(
    (mut left, mut times): (LoadReport, Histogram<u64>),
    (right, more): (LoadReport, Histogram<u64>),
) -> (LoadReport, Histogram<u64>) {
    left.ok += right.ok;
    left.failed += right.failed;
    for (status, count) in right.statuses {
        *left.statuses.entry(status).or_insert(0) += count;
    }
    times.add(more).expect("a histogram that grows");
    (left, times)
}
