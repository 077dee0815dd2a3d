//! The collector's behaviours, as an HTTP client sees them.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use harness::client::{self, Connection, Response};
use harness::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use harness::otlp::trace::v1::{ResourceSpans, ScopeSpans, Span};
use harness::{Behaviour, Code, MockCollector};
use prost::Message;

const SOON: Duration = Duration::from_secs(10);
const PATH: &str = "/v1/traces";
const PROTOBUF: (&str, &[u8]) = ("content-type", b"application/x-protobuf");
const GZIP: (&str, &[u8]) = ("content-encoding", b"gzip");

fn message(count: u8) -> Vec<u8> {
    let span = |n| Span {
        trace_id: vec![0xa0; 16],
        span_id: vec![n; 8],
        name: "GET".to_owned(),
        ..Span::default()
    };
    let scope_spans = ScopeSpans {
        spans: (1..=count).map(span).collect(),
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    };
    request.encode_to_vec()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn post(addr: SocketAddr, count: u8) -> std::io::Result<Response> {
    client::request(addr, "POST", PATH, &[PROTOBUF], &message(count))
}

fn kind(response: &Response) -> String {
    response.header("content-type").unwrap_or_default()
}

#[test]
fn accepted_spans_are_kept() {
    let collector = MockCollector::start();
    let addr = collector.addr();
    let plain = message(2);
    let packed = gzip(&message(9));
    let http1 = post(addr, 2).unwrap();
    let headers = [PROTOBUF, GZIP, ("x-key", b"secret")];
    let http2 = client::h2_request(addr, "POST", "/any", &headers, &packed).unwrap();
    for response in [http1, http2] {
        assert_eq!(response.status, 200);
        assert_eq!(kind(&response), "application/x-protobuf");
        let answer = ExportTraceServiceResponse::decode(&*response.body).unwrap();
        assert_eq!(answer.partial_success, None);
    }
    let spans = collector.wait_spans(11, SOON);
    assert_eq!(spans[10].span_id_hex(), "09".repeat(8));
    assert_eq!(collector.distinct_span_count(), 9);

    let calls = collector.calls();
    let [first, second] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!((first.path.as_str(), second.path.as_str()), (PATH, "/any"));
    assert_eq!((first.span_count, second.span_count), (2, 9));
    assert_eq!(first.message_len, plain.len());
    assert_eq!(second.message_len, packed.len());
    assert_eq!(first.content_encoding, "");
    assert_eq!(second.content_encoding, "gzip");
    for call in &calls {
        assert!(call.accepted && !call.is_grpc);
        assert_eq!(call.authority, addr.to_string());
    }
    let key = ("x-key".to_owned(), "secret".to_owned());
    assert!(second.metadata.contains(&key));
}

#[test]
fn a_kept_connection() {
    let collector = MockCollector::start();
    let mut connection = Connection::open(collector.addr()).unwrap();
    for count in 1..=3 {
        let response = connection.send("POST", PATH, &[PROTOBUF], &message(count));
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!(collector.span_count(), 6);
}

#[test]
fn what_cannot_be_read_is_a_call_too() {
    let collector = MockCollector::start();
    collector.script(vec![Behaviour::TakeAndDrop]);
    let (addr, good) = (collector.addr(), message(1));
    let unreadable: [(&str, &[_], &[u8], &str); 5] = [
        ("POST", &[PROTOBUF], b"\xff\xff\xff", "varint"),
        ("POST", &[PROTOBUF, GZIP], &good, "gzip"),
        (
            "POST",
            &[PROTOBUF, ("content-encoding", b"br")],
            &good,
            "br",
        ),
        (
            "POST",
            &[("content-type", b"application/json")],
            b"{}",
            "no POST of",
        ),
        ("PUT", &[PROTOBUF], &good, "no POST of"),
    ];
    for (method, headers, body, want) in unreadable {
        let response = client::request(addr, method, PATH, headers, body).unwrap();
        assert_eq!(
            (response.status, kind(&response).as_str()),
            (400, "text/plain")
        );
        assert!(response.text().contains(want), "{}", response.text());
    }
    let calls = collector.calls();
    assert_eq!((calls.len(), calls[0].message_len), (5, 3));
    assert!(
        calls
            .iter()
            .all(|call| !call.accepted && call.span_count == 0)
    );
    // The script is left for a call that can be read.
    assert!(post(addr, 1).is_err());
}

#[test]
fn failures() {
    let collector = MockCollector::start();
    let addr = collector.addr();
    let codes = [
        (Code::InvalidArgument, 400),
        (Code::Unauthenticated, 401),
        (Code::PermissionDenied, 403),
        (Code::ResourceExhausted, 429),
        (Code::Internal, 500),
        (Code::Unavailable, 503),
        (Code::DeadlineExceeded, 504),
    ];
    for (code, status) in codes {
        collector.set_behaviour(Behaviour::Fail(code, "no".to_owned()));
        let response = post(addr, 1).unwrap();
        assert_eq!(response.status, status);
        assert_eq!(kind(&response), "application/x-protobuf");
        // Status { 1: code, 2: message }
        assert_eq!(response.body, [8, code as u8, 0x12, 2, b'n', b'o']);
        assert_eq!(response.header("retry-after"), None);
    }
    assert_eq!((collector.calls().len(), collector.span_count()), (7, 0));
}

#[test]
fn failures_that_say_when_to_retry() {
    let collector = MockCollector::start();
    let delay = Duration::from_millis;
    collector.script(vec![
        Behaviour::FailWithRetryInfo(Code::ResourceExhausted, delay(1500)),
        Behaviour::FailWithRetryInfo(Code::Unavailable, delay(3000)),
        Behaviour::FailHttp {
            status: 502,
            retry_after: Some("soon".to_owned()),
            body: "bad gateway".to_owned(),
        },
        Behaviour::FailHttp {
            status: 418,
            retry_after: None,
            body: String::new(),
        },
    ]);
    for (status, after, kind_of_body) in [
        (429, Some("2"), "application/x-protobuf"),
        (503, Some("3"), "application/x-protobuf"),
        (502, Some("soon"), "text/plain"),
        (418, None, "text/plain"),
    ] {
        let response = post(collector.addr(), 1).unwrap();
        assert_eq!(response.status, status);
        assert_eq!(response.header("retry-after").as_deref(), after);
        assert_eq!(kind(&response), kind_of_body);
        assert_eq!(response.text() == "bad gateway", status == 502);
    }
    assert_eq!(collector.span_count(), 0);
}

#[test]
fn partial_success() {
    let collector = MockCollector::start();
    collector.set_behaviour(Behaviour::PartialSuccess {
        rejected: 1,
        message: "one bad".to_owned(),
    });
    let response = post(collector.addr(), 2).unwrap();
    let answer = ExportTraceServiceResponse::decode(&*response.body).unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.as_str()),
        (1, "one bad")
    );
    assert_eq!((response.status, collector.span_count()), (200, 2));
}

#[test]
fn dropped_connections() {
    let collector = MockCollector::start();
    collector.script(vec![Behaviour::DropConnection, Behaviour::TakeAndDrop]);
    for taken in [0, 2] {
        let start = Instant::now();
        assert!(post(collector.addr(), 2).is_err());
        assert!(start.elapsed() < Duration::from_secs(4));
        assert_eq!(collector.span_count(), taken);
    }
    assert_eq!(post(collector.addr(), 2).unwrap().status, 200);
    assert_eq!(collector.span_count(), 4);
    assert_eq!(collector.distinct_span_count(), 2);
}

#[test]
fn delays() {
    let collector = MockCollector::start();
    let delay = Duration::from_millis(300);
    collector.set_behaviour(Behaviour::Delay(delay));
    let start = Instant::now();
    let addr = collector.addr();
    let client = std::thread::spawn(move || post(addr, 3));
    collector.wait_calls(1, SOON);
    assert_eq!(collector.span_count(), 0);
    assert_eq!(collector.settled(Duration::from_millis(50)).len(), 3);
    assert!(start.elapsed() >= delay);
    assert_eq!(client.join().unwrap().unwrap().status, 200);
}

#[test]
fn callers_that_give_up() {
    let collector = MockCollector::start();
    collector.set_cycle(vec![
        Behaviour::Hang,
        Behaviour::Delay(Duration::from_secs(60)),
    ]);
    for calls in [1, 2] {
        let mut connection = Connection::open(collector.addr()).unwrap();
        connection.set_timeout(Duration::from_millis(200)).unwrap();
        let answer = connection.send("POST", PATH, &[PROTOBUF], &message(1));
        assert!(answer.is_err());
        collector.wait_calls(calls, SOON);
    }
    assert!(collector.settled(Duration::from_millis(20)).is_empty());
}
