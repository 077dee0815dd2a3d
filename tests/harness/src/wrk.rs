//! Load by the program `wrk`, which takes less of the CPU than [`load`](crate::load).

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process::end_with_this_process;

/// The outcome of [`run`].
#[derive(Clone, Debug, PartialEq)]
pub struct WrkReport {
    /// Requests answered.
    pub requests: u64,
    /// Answers with a status of 400 or more, and errors of sockets, time-outs among them.
    pub failed: u64,
    /// The time within which 99 % of the answers came.
    pub p99: Duration,
}

/// Makes GET requests for `duration`, which is rounded up to seconds, as fast as the server answers.
/// Panics when `wrk` is not installed or cannot connect.
pub fn run(
    addr: SocketAddr,
    path: &str,
    threads: usize,
    connections: usize,
    duration: Duration,
) -> WrkReport {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let mut command = Command::new("wrk");
    command
        .arg("--latency")
        .args(["--threads", &threads.to_string()])
        .args(["--connections", &connections.to_string()])
        .args(["--duration", &format!("{seconds}s")])
        .arg(format!("http://{addr}{path}"))
        .stdin(Stdio::null());
    end_with_this_process(&mut command);
    let output = command.output().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("there is no wrk: install it (Debian: apt-get install wrk)"),
        _ => panic!("cannot run wrk: {error}"),
    });
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "wrk ended with {}: {text}{errors}",
        output.status
    );
    parse(&text).unwrap_or_else(|| panic!("wrk wrote something else than expected: {text}"))
}

fn parse(text: &str) -> Option<WrkReport> {
    let lines = || text.lines().map(str::trim);
    let rest_of = |start: &str| lines().find_map(|line| line.strip_prefix(start));
    let requests = lines().find_map(|line| line.split_once(" requests in ")?.0.parse().ok())?;
    let bad_statuses = match rest_of("Non-2xx or 3xx responses: ") {
        Some(count) => count.parse().ok()?,
        None => 0,
    };
    let socket_errors = match rest_of("Socket errors: ") {
        Some(counts) => counts
            .split(", ")
            .map(|item| item.split_once(' ')?.1.parse::<u64>().ok())
            .sum::<Option<u64>>()?,
        None => 0,
    };
    Some(WrkReport {
        requests,
        failed: bad_statuses + socket_errors,
        p99: parse_time(rest_of("99%")?.trim())?,
    })
}

fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic)?);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLEAN: &str = "\
Running 1s test @ http://127.0.0.1:35159/
  1 threads and 4 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   385.71us  275.58us   6.24ms   88.82%
    Req/Sec    10.95k     1.35k   12.98k    63.64%
  Latency Distribution
     50%  349.00us
     75%  465.00us
     90%  617.00us
     99%    1.20ms
  11964 requests in 1.10s, 1.34MB read
Requests/sec:  10875.82
Transfer/sec:      1.22MB
";

    fn report(requests: u64, failed: u64, p99: Duration) -> Option<WrkReport> {
        Some(WrkReport {
            requests,
            failed,
            p99,
        })
    }

    #[test]
    #[ignore = "needs wrk"]
    fn the_program() {
        let upstream = crate::Upstream::start();
        let second = Duration::from_secs(1);
        let report = run(upstream.addr(), "/", 1, 2, second);
        assert!(report.requests > 0 && report.p99 > Duration::ZERO);
        assert_eq!(report.failed, 0);
        let report = run(upstream.addr(), "/status/503", 1, 2, second);
        assert_eq!(report.failed, report.requests);
    }

    #[test]
    fn output_without_errors() {
        assert_eq!(parse(CLEAN), report(11964, 0, Duration::from_micros(1200)));
        let fast = CLEAN.replace("1.20ms", "987.65us");
        assert_eq!(parse(&fast).unwrap().p99, Duration::from_nanos(987_650));
        let slow = CLEAN.replace("1.20ms", "1.83s");
        assert_eq!(parse(&slow).unwrap().p99, Duration::from_millis(1830));
    }

    #[test]
    fn output_with_errors() {
        let text = CLEAN.replace(
            "Requests/sec",
            "  Socket errors: connect 1, read 20, write 300, timeout 4000
  Non-2xx or 3xx responses: 3988
Requests/sec",
        );
        let p99 = Duration::from_micros(1200);
        assert_eq!(parse(&text), report(11964, 4321 + 3988, p99));
        let text = CLEAN.replace(
            "Requests/sec",
            "  Non-2xx or 3xx responses: 7\nRequests/sec",
        );
        assert_eq!(parse(&text), report(11964, 7, p99));
    }

    #[test]
    fn other_output() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(&CLEAN.replace("1.20ms", "many")), None);
        assert_eq!(parse(&CLEAN.replace("99%", "98%")), None);
    }
}
