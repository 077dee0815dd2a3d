//! What a user sees of a filter on the proxy-wasm crate when Envoy's answer is a panic
//! of the crate: docs/decisions/0001-proxy-wasm-sdk.md. The filter is `tests/sdk`.

use harness::{Envoy, Upstream, client};
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const PROBE: &str = "build/sidespan-sdk-probe.wasm";

/// A filter before the probe that answers requests with the header `x-deny`.
const DENYING: &str = r#"          - name: envoy.filters.http.fault
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
              headers: [{ name: x-deny, present_match: true }]
              abort: { http_status: 403, percentage: { numerator: 100 } }
          - name: sidespan
"#;

const CONFIGURATION: &str = r#"                  "@type": type.googleapis.com/google.protobuf.Struct
                  value:
                    service_name: edge
                    exporter: { otlp_grpc: { cluster: otel-collector } }
"#;

/// A policy of Envoy's, and its answer to all requests that follow a panic.
const POLICIES: [(&str, u16); 2] = [
    // Envoy's default, which is FAIL_CLOSED.
    ("", 503),
    // Requests pass the filter by, untraced.
    ("failure_policy: FAIL_OPEN", 200),
];
const FAIL_OPEN: &str = POLICIES[1].0;

struct Probe {
    envoy: Envoy,
    upstream: Upstream,
}

impl Probe {
    /// `behaviour` is a callback, and the calls that are made in it.
    fn start(behaviour: &str, policy: &str) -> Self {
        let upstream = Upstream::start();
        let configuration = format!(
            "                  \"@type\": type.googleapis.com/google.protobuf.StringValue\n                  value: {behaviour}\n"
        );
        let envoy = Envoy::from_file("envoy-configs/edge.yaml")
            .wasm(PROBE)
            .replace("          - name: sidespan\n", DENYING)
            .replace("fail_open: true", policy)
            .replace(CONFIGURATION, configuration)
            .port(8080, upstream.port());
        Self {
            envoy: envoy.start(),
            upstream,
        }
    }

    fn get(&self, headers: &[(&str, &[u8])]) -> u16 {
        let addr = self.envoy.addr(10000);
        let response = client::request(addr, "GET", "/", headers, b"");
        response.expect("an answer").status
    }

    /// Sends a request that the filter before the probe answers.
    fn get_denied(&self) {
        assert_eq!(self.get(&[("x-deny", b"yes")]), 403);
    }

    /// Sends a request and closes the connection before the response.
    fn leave(&self) {
        let mut socket = TcpStream::connect(self.envoy.addr(10000)).expect("a connection");
        let request = b"GET /hang HTTP/1.1\r\nhost: edge\r\n\r\n";
        let seen = self.upstream.count();
        socket.write_all(request).expect("a request");
        self.upstream.wait_requests(seen + 1, PATIENCE);
    }

    fn wait_log(&self, text: &str) {
        self.envoy.wait_log(text, PATIENCE);
    }

    /// Waits for the filter's critical log line, and for Envoy's.
    fn wait_panic(&self, message: &str, callback: &str) {
        self.wait_log(message);
        let line = self.envoy.wait_log("panicked at", PATIENCE);
        assert!(line.contains("[critical][wasm]"), "{line}");
        assert!(line.contains("proxy-wasm-"), "it is the crate's: {line}");
        self.wait_log(&format!("Function: {callback} failed"));
    }
}

/// A write to headers in `on_log`, of a request that an earlier filter answered and of
/// any other: Envoy returns BadArgument.
#[test]
fn header_write_in_on_log_panics() {
    for (policy, next) in POLICIES {
        let probe = Probe::start("log:set_header", policy);
        probe.get_denied();
        probe.wait_panic("unexpected status: 2", "proxy_on_log");
        assert_eq!(probe.get(&[]), next, "{policy}");

        let probe = Probe::start("log:remove_header", policy);
        assert_eq!(probe.get(&[]), 200, "{policy}");
        probe.wait_panic("unexpected status: 2", "proxy_on_log");
        assert_eq!(probe.get(&[]), next, "{policy}");
    }
}

/// In `on_log`, Envoy returns NotFound for a header of a response that never came. In
/// `on_done`, the one callback at the end of an upstream filter, it returns BadArgument.
#[test]
fn status_read_after_client_left_panics_in_on_done_only() {
    for (policy, next) in POLICIES {
        let probe = Probe::start("log:read_status", policy);
        probe.leave();
        probe.wait_log("read_status returned Ok(None)");
        assert_eq!(probe.get(&[]), 200, "{policy}");

        let probe = Probe::start("done:read_status", policy);
        probe.leave();
        probe.wait_panic("unexpected status: 2", "proxy_on_done");
        assert_eq!(probe.get(&[]), next, "{policy}");
    }
}

/// The crate gives a response to the context whose callback made the call, here a
/// stream that is gone by then, though Envoy gives it to the root.
#[test]
fn response_of_call_from_on_log_is_lost() {
    const LINE: &str = "has the response";
    let probe = Probe::start("tick:call", FAIL_OPEN);
    probe.wait_log("the root has the response");

    let probe = Probe::start("log:call_of_root", FAIL_OPEN);
    for calls in 1..=2 {
        probe.get_denied();
        let is_complete = |n| n == calls;
        let stat = "cluster.service.upstream_rq_completed";
        probe.envoy.wait_stat(stat, is_complete, PATIENCE);
    }
    // The worker has been through the first response, and through another request.
    assert_eq!(probe.upstream.last().path, "/callout");
    let log = probe.envoy.log();
    assert_eq!(log.matches("call_of_root returned Ok").count(), 2, "{log}");
    assert!(!log.contains(LINE) && !log.contains("panicked"), "{log}");
}

/// A call past the crate has a token that the crate does not know.
#[test]
fn response_of_call_past_the_crate_panics() {
    for (policy, next) in POLICIES {
        let probe = Probe::start("log:raw_call_of_root", policy);
        probe.get_denied();
        probe.wait_panic("invalid token_id", "proxy_on_http_call_response");
        assert_eq!(probe.get(&[]), next, "{policy}");
    }
}

/// A client sends a header value that is not UTF-8, and gets no answer of the upstream.
#[test]
fn header_value_that_is_not_utf8_panics_where_read_as_text() {
    for (policy, next) in POLICIES {
        let probe = Probe::start("request:read_headers_as_text", policy);
        assert_eq!(probe.get(&[("x-name", b"Zo\xeb")]), 503, "{policy}");
        probe.wait_panic("Utf8Error", "proxy_on_request_headers");
        assert_eq!(probe.get(&[]), next, "{policy}");
    }
    let probe = Probe::start("request:read_headers", "");
    assert_eq!(probe.get(&[("x-name", b"Zo\xeb")]), 200);
}

/// The other calls that Sidespan makes at the end of a stream return an error as a value.
#[test]
fn other_errors_are_values() {
    let expected = [
        ("read_headers", "Ok("),
        ("read_property", "Ok(None)"),
        ("set_property", "Ok(())"),
        ("shared_data", "Err(CasMismatch)"),
        (
            "metric",
            "(Err(BadArgument), Err(NotFound), Err(BadArgument))",
        ),
        ("create_expression", "Err(BadArgument)"),
        ("evaluate_expression", "Err(InternalFailure)"),
        ("call_to_nowhere", "Err(BadArgument)"),
    ];
    let calls = expected.map(|(call, _)| call).join("+");
    for callback in ["log", "done"] {
        let probe = Probe::start(&format!("{callback}:{calls}"), "");
        probe.get_denied();
        for (call, result) in expected {
            probe.wait_log(&format!("{call} returned {result}"));
        }
        assert_eq!(probe.get(&[]), 200, "{callback}");
    }
}
