//! `make run`: a small mesh on loopback whose traces are printed as they finish.
//!
//! ```text
//! client → edge → sidecar(in) → checkout → sidecar(out) → sidecar(in) → stock
//! ```
//!
//! Four real Envoys with the filter, two applications, and a collector.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use harness::relay::Relay;
use harness::waterfall::{self, Style};
use harness::{Envoy, MockCollector, ReceivedSpan, Upstream, client};

/// The spans of one request: two of the edge, one of each of checkout's two sidecars and of stock's.
const SPANS: usize = 5;
/// Longer than any worker waits for its batch to fill, so that what is late is not printed apart.
const QUIET: Duration = Duration::from_millis(600);
const SCHEDULE_DELAY: &str = "100ms";
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let stay = std::io::stdout().is_terminal() && std::env::var_os("ONCE").is_none();
    let (events, inbox) = channel();

    let collector = MockCollector::start();
    let spans = events.clone();
    collector.on_spans(move |received| {
        let _ = spans.send(Event::Spans(received.to_vec()));
    });
    ctrlc(move || {
        let _ = events.send(Event::Interrupted);
    });

    let mesh = Mesh::start(&collector);
    let edge = mesh.edge.addr(10000);
    for request in &REQUESTS {
        request.send(edge);
    }
    if stay {
        println!("The mesh is up. Ask it for more, and end it with Ctrl-C:");
        println!("  curl http://{edge}/delay/30        # 200 after 30 ms, through both services");
        println!("  curl http://{edge}/status/404      # any status");
        println!(
            "  curl -H 'b3: 80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1' http://{edge}/"
        );
        println!();
    }
    let whole = Printer::new().run(&inbox, stay);
    if !stay && whole < TRACES {
        eprintln!("only {whole} of {TRACES} traces had their {SPANS} spans in one tree");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// A request that shows something.
struct Show {
    what: &'static str,
    path: &'static str,
    header: Option<(&'static str, &'static str)>,
}

/// Every sidecar has it: what the edge leaves alone goes on without a context, and would start a
/// trace at the next one.
const HEALTH_RULE: &str =
    "rules: [{ name: health, match: { path: { prefix: /healthz } }, action: disable }]";

const REQUESTS: [Show; 5] = [
    Show {
        what: "a success across both services",
        path: "/delay/20?page=2&sig=s3cret",
        header: None,
    },
    Show {
        what: "a failure in the last one",
        path: "/status/503",
        header: None,
    },
    Show {
        what: "a client that speaks B3",
        path: "/delay/5",
        header: Some(("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1")),
    },
    Show {
        what: "a client whose context is broken: a new trace, not a broken one",
        path: "/delay/5",
        header: Some((
            "traceparent",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        )),
    },
    Show {
        what: "a health check, which a rule leaves untraced",
        path: "/healthz",
        header: None,
    },
];

/// All requests but the health check.
const TRACES: usize = REQUESTS.len() - 1;

impl Show {
    fn send(&self, edge: SocketAddr) {
        let headers: Vec<_> = self
            .header
            .iter()
            .map(|(n, v)| (*n, v.as_bytes()))
            .collect();
        let shown = self
            .header
            .map_or(String::new(), |(n, v)| format!("  {n}: {v}"));
        match client::request(edge, "GET", self.path, &headers, b"") {
            Ok(answer) => println!(
                "GET {}{shown}\n  {}: {}",
                self.path, self.what, answer.status
            ),
            Err(error) => println!("GET {}{shown}\n  {}: {error}", self.path, self.what),
        }
    }
}

/// Everything that runs. Dropped front to back, so that no hop loses the next one while it lives.
struct Mesh {
    edge: Envoy,
    _checkout_inbound: Envoy,
    _checkout: Relay,
    _checkout_outbound: Envoy,
    _stock_inbound: Envoy,
    _stock: Upstream,
}

impl Mesh {
    fn start(collector: &MockCollector) -> Self {
        let envoy = |role: &str, service: &str, fixed: u16, next: u16| {
            Envoy::from_file(format!("envoy-configs/{role}.yaml"))
                .replace("service_name: ", format!("service_name: {service} # "))
                .replace(
                    "{ otlp_grpc: { cluster: otel-collector } }",
                    format!(
                        "{{ otlp_grpc: {{ cluster: otel-collector }}, batch: {{ schedule_delay: {SCHEDULE_DELAY} }} }}\n                    {HEALTH_RULE}"
                    ),
                )
                .port(fixed, next)
                .port(4317, collector.port())
                .start()
        };
        let stock = Upstream::start();
        let stock_inbound = envoy("inbound", "stock", 8080, stock.port());
        let checkout_outbound = envoy("outbound", "checkout", 8081, stock_inbound.port(15006));
        let checkout = Relay::start(checkout_outbound.addr(15001));
        let checkout_inbound = envoy("inbound", "checkout", 8080, checkout.port());
        let edge = envoy("edge", "edge", 8080, checkout_inbound.port(15006));
        Self {
            edge,
            _checkout_inbound: checkout_inbound,
            _checkout: checkout,
            _checkout_outbound: checkout_outbound,
            _stock_inbound: stock_inbound,
            _stock: stock,
        }
    }
}

enum Event {
    Spans(Vec<ReceivedSpan>),
    Interrupted,
}

/// Calls `f` when the process is to end.
fn ctrlc(f: impl Fn() + Send + 'static) {
    std::thread::spawn(move || {
        harness::wait_for_termination();
        f();
    });
}

/// Prints each trace when no span of it has come for a while.
struct Printer {
    open: HashMap<String, (Instant, Vec<ReceivedSpan>)>,
    style: Style,
    whole: usize,
}

impl Printer {
    fn new() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
        Self {
            open: HashMap::new(),
            style: Style {
                color: terminal && std::env::var_os("NO_COLOR").is_none(),
                width: if terminal { columns.unwrap_or(0) } else { 0 },
            },
            whole: 0,
        }
    }

    /// Until interrupted; unless to stay, until the traces of all requests are printed. Gives how
    /// many traces were whole.
    fn run(mut self, inbox: &Receiver<Event>, stay: bool) -> usize {
        let deadline = Instant::now() + PATIENCE;
        while stay || (self.whole < TRACES && Instant::now() < deadline) {
            match inbox.recv_timeout(QUIET / 4) {
                Ok(Event::Spans(spans)) => self.add(spans),
                Ok(Event::Interrupted) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.print_quiet();
        }
        self.whole
    }

    fn add(&mut self, spans: Vec<ReceivedSpan>) {
        for span in spans {
            let now = Instant::now();
            let (last, trace) = self
                .open
                .entry(span.trace_id_hex())
                .or_insert((now, vec![]));
            *last = now;
            trace.push(span);
        }
    }

    fn print_quiet(&mut self) {
        let mut quiet: Vec<_> = self
            .open
            .extract_if(|_, (last, _)| last.elapsed() >= QUIET)
            .map(|(_, (_, trace))| trace)
            .collect();
        quiet.sort_by_key(|trace| trace.iter().map(|s| s.span.start_time_unix_nano).min());
        for trace in quiet {
            println!("{}", waterfall::render(&trace, self.style));
            self.whole += usize::from(is_whole(&trace));
        }
    }
}

/// Whether every hop is there, and each but the first has its parent in the trace.
fn is_whole(trace: &[ReceivedSpan]) -> bool {
    let ids: Vec<_> = trace.iter().map(ReceivedSpan::span_id_hex).collect();
    let roots = trace
        .iter()
        .filter(|span| !ids.contains(&span.parent_span_id_hex()))
        .count();
    trace.len() == SPANS && roots == 1
}
