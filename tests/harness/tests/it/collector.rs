//! The collector's behaviours, as a gRPC client sees them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use harness::otlp::collector::trace::v1::trace_service_client::TraceServiceClient;
use harness::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use harness::otlp::common::v1::any_value::Value;
use harness::otlp::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use harness::otlp::resource::v1::Resource;
use harness::otlp::trace::v1::span::SpanKind;
use harness::otlp::trace::v1::{ResourceSpans, ScopeSpans, Span};
use harness::{Behaviour, Code, MockCollector, client};
use prost::Message;
use tonic::Status;

const SOON: Duration = Duration::from_secs(10);

fn pair(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn request(count: u8) -> ExportTraceServiceRequest {
    let span = |n| Span {
        trace_id: vec![0xa0; 16],
        span_id: vec![n; 8],
        name: "GET".to_owned(),
        kind: SpanKind::Server.into(),
        attributes: vec![
            pair("i", Value::IntValue(7)),
            pair("b", Value::BoolValue(true)),
            pair("s", Value::StringValue("x".to_owned())),
        ],
        start_time_unix_nano: 5,
        end_time_unix_nano: 8,
        ..Span::default()
    };
    let scope = InstrumentationScope {
        name: "lib".to_owned(),
        ..Default::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans: (1..=count).map(span).collect(),
        ..ScopeSpans::default()
    };
    let service = pair("service.name", Value::StringValue("shop".to_owned()));
    let resource = Resource {
        attributes: vec![service],
        ..Resource::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn export(addr: SocketAddr, count: u8) -> Result<ExportTraceServiceResponse, Status> {
    block_on(async {
        let mut client = TraceServiceClient::connect(format!("http://{addr}"))
            .await
            .unwrap();
        let mut request = tonic::Request::new(request(count));
        request
            .metadata_mut()
            .insert("x-key", "secret".parse().unwrap());
        request.set_timeout(Duration::from_secs(5));
        client
            .export(request)
            .await
            .map(tonic::Response::into_inner)
    })
}

#[test]
fn accepted_spans_are_kept() {
    let collector = MockCollector::start();
    let answer = export(collector.addr(), 2).unwrap();
    assert_eq!(answer.partial_success, None);
    let spans = collector.wait_spans(2, SOON);
    assert_eq!((spans.len(), collector.span_count()), (2, 2));
    let span = &spans[1];
    assert_eq!((span.service_name(), span.name()), ("shop", "GET"));
    assert_eq!(span.kind(), SpanKind::Server);
    assert_eq!(span.trace_id_hex(), "a0".repeat(16));
    assert_eq!(span.span_id_hex(), "02".repeat(8));
    assert_eq!(span.parent_span_id_hex(), "");
    assert_eq!(span.scope.name, "lib");
    assert_eq!(span.duration(), Duration::from_nanos(3));
    let attributes = (span.int_attr("i"), span.bool_attr("b"), span.str_attr("s"));
    assert_eq!(attributes, (Some(7), Some(true), Some("x")));
    assert_eq!((span.int_attr("s"), span.attr("none")), (None, None));
    assert_eq!(collector.resource_spans(), request(2).resource_spans);

    let calls = collector.calls();
    let [call] = calls.as_slice() else {
        panic!("{calls:?}")
    };
    assert_eq!(call.authority, collector.addr().to_string());
    assert_eq!(
        call.path,
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    );
    assert!(
        call.metadata
            .contains(&("x-key".to_owned(), "secret".to_owned()))
    );
    assert!(
        call.metadata
            .contains(&("te".to_owned(), "trailers".to_owned()))
    );
    assert_eq!((call.span_count, call.accepted), (2, true));
    assert_eq!((call.is_grpc, call.content_encoding.as_str()), (true, ""));
    assert_eq!(call.message_len, request(2).encoded_len());

    collector.clear();
    assert_eq!((collector.span_count(), collector.calls().len()), (0, 0));
}

#[test]
fn only_ids() {
    let collector = MockCollector::start();
    collector.keep_only_ids();
    export(collector.addr(), 2).unwrap();
    assert_eq!(collector.wait_count(2, SOON), 2);
    assert!(collector.spans().is_empty());
    assert_eq!(
        collector.ids(),
        [([0xa0; 16], [1; 8]), ([0xa0; 16], [2; 8])]
    );
}

#[test]
fn failures_by_script_then_as_set() {
    let collector = MockCollector::start();
    collector.script(vec![
        Behaviour::Fail(Code::Unavailable, "later".to_owned()),
        Behaviour::PartialSuccess {
            rejected: 1,
            message: "one bad".to_owned(),
        },
    ]);
    collector.set_behaviour(Behaviour::Fail(Code::PermissionDenied, String::new()));
    let error = export(collector.addr(), 1).unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unavailable, "later")
    );
    let partial = export(collector.addr(), 2)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(
        (partial.rejected_spans, partial.error_message.as_str()),
        (1, "one bad")
    );
    assert_eq!(
        export(collector.addr(), 1).unwrap_err().code(),
        Code::PermissionDenied
    );
    let accepted: Vec<bool> = collector.calls().iter().map(|call| call.accepted).collect();
    assert_eq!(accepted, [false, true, false]);
    assert_eq!(collector.span_count(), 2);
}

#[test]
fn a_cycle_after_a_script() {
    let collector = MockCollector::start();
    let fail = || Behaviour::Fail(Code::Unavailable, String::new());
    collector.script(vec![fail()]);
    collector.set_cycle(vec![Behaviour::Accept, fail()]);
    let addr = collector.addr();
    let accepted: Vec<bool> = (0..5).map(|_| export(addr, 1).is_ok()).collect();
    assert_eq!(accepted, [false, true, false, true, false]);
    collector.set_cycle(Vec::new());
    assert!(export(addr, 1).is_ok() && export(addr, 1).is_ok());
}

#[test]
fn a_failure_of_http_alone() {
    let collector = MockCollector::start();
    collector.set_behaviour(Behaviour::FailHttp {
        status: 503,
        retry_after: Some("2".to_owned()),
        body: "no healthy upstream".to_owned(),
    });
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let message = request(1).encode_to_vec();
    let reply = client::grpc_unary(collector.addr(), path, &[], &message);
    assert_eq!((reply.status, reply.grpc_status), (503, None));
    assert_eq!(reply.body, b"no healthy upstream");
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    assert!(reply.headers.contains(&header("retry-after", b"2")));
    assert!(
        reply
            .headers
            .contains(&header("content-type", b"text/plain"))
    );
    assert_eq!(collector.calls()[0].span_count, 1);
    assert_eq!(collector.span_count(), 0);
}

#[test]
fn retry_info() {
    let collector = MockCollector::start();
    let delay = Duration::from_millis(1500);
    collector.set_behaviour(Behaviour::FailWithRetryInfo(Code::ResourceExhausted, delay));
    let error = export(collector.addr(), 1).unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted);
    // Status { 1: code 8, 2: message, 3: Any { 1: type, 2: RetryInfo { 1: { 1: 1 s, 2: n ns } } } }
    let mut want = b"\x08\x08\x12\x0bretry later\x1a\x36\x0a\x28".to_vec();
    want.extend(b"type.googleapis.com/google.rpc.RetryInfo");
    want.extend(b"\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01");
    assert_eq!(error.details(), want);
}

#[test]
fn delays_count_when_they_are_over() {
    let collector = MockCollector::start();
    let delay = Duration::from_millis(300);
    collector.set_behaviour(Behaviour::Delay(delay));
    let start = Instant::now();
    let addr = collector.addr();
    let client = std::thread::spawn(move || export(addr, 3));
    collector.wait_calls(1, SOON);
    assert_eq!(collector.span_count(), 0);
    assert_eq!(collector.settled(Duration::from_millis(50)).len(), 3);
    assert!(start.elapsed() >= delay);
    client.join().unwrap().unwrap();
}

#[test]
fn a_cancelled_delay_takes_nothing() {
    let collector = MockCollector::start();
    collector.set_behaviour(Behaviour::Delay(Duration::from_secs(60)));
    let addr = collector.addr();
    block_on(async {
        let mut client = TraceServiceClient::connect(format!("http://{addr}"))
            .await
            .unwrap();
        let call = client.export(request(1));
        assert!(
            tokio::time::timeout(Duration::from_millis(200), call)
                .await
                .is_err()
        );
    });
    assert!(collector.settled(Duration::from_millis(20)).is_empty());
    assert!(!collector.calls()[0].accepted);
}

#[test]
fn a_dropped_connection() {
    let collector = MockCollector::start();
    collector.script(vec![Behaviour::DropConnection]);
    let start = Instant::now();
    let error = export(collector.addr(), 1).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(4), "{error:?}");
    assert!(!collector.calls()[0].accepted);
    export(collector.addr(), 1).unwrap();
}

#[test]
fn spans_sent_twice() {
    let collector = MockCollector::start();
    collector.script(vec![Behaviour::TakeAndDrop]);
    export(collector.addr(), 2).unwrap_err();
    assert!(collector.calls()[0].accepted);
    export(collector.addr(), 2).unwrap();
    export(collector.addr(), 3).unwrap();
    assert_eq!(collector.span_count(), 7);
    assert_eq!(collector.distinct_span_count(), 3);
    collector.keep_only_ids();
    export(collector.addr(), 4).unwrap();
    assert_eq!(collector.distinct_span_count(), 4);
}

#[test]
fn a_hanging_call() {
    let collector = MockCollector::start();
    collector.set_behaviour(Behaviour::Hang);
    let addr = collector.addr();
    block_on(async {
        let mut client = TraceServiceClient::connect(format!("http://{addr}"))
            .await
            .unwrap();
        let call = client.export(request(1));
        assert!(
            tokio::time::timeout(Duration::from_millis(200), call)
                .await
                .is_err()
        );
    });
    assert_eq!(collector.wait_calls(1, SOON).len(), 1);
    assert_eq!(collector.span_count(), 0);
}

#[test]
fn the_same_port_after_a_stop() {
    let mut collector = MockCollector::start();
    let addr = collector.addr();
    export(addr, 1).unwrap();
    collector.stop();
    assert!(std::net::TcpStream::connect(addr).is_err());
    assert_eq!(collector.span_count(), 1);
    let second = MockCollector::start_on(addr);
    export(addr, 2).unwrap();
    assert_eq!((second.addr(), second.span_count()), (addr, 2));
}

#[test]
fn what_cannot_be_decoded_is_a_call_too() {
    let collector = MockCollector::start();
    let path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let reply = client::grpc_unary(collector.addr(), path, &[], b"\xff\xff\xff");
    assert_ne!(reply.grpc_status, Some(0));
    let other = client::grpc_unary(collector.addr(), "/a.B/C", &[("host", b"name")], b"");
    assert_eq!(other.grpc_status, Some(12));
    let calls = collector.wait_calls(2, SOON);
    assert_eq!(
        (calls[0].message_len, calls[0].span_count, calls[0].accepted),
        (3, 0, false)
    );
    assert_eq!(
        (calls[1].path.as_str(), calls[1].authority.as_str()),
        ("/a.B/C", "name")
    );
}

#[test]
fn spans_are_called_back() {
    let collector = MockCollector::start();
    let (give, take) = mpsc::channel();
    let total = Arc::new(AtomicUsize::new(0));
    let sum = Arc::clone(&total);
    collector.on_spans(move |spans| {
        sum.fetch_add(spans.len(), Ordering::Relaxed);
        let _ = give.send(spans[0].service_name().to_owned());
    });
    export(collector.addr(), 2).unwrap();
    assert_eq!(take.recv_timeout(SOON).unwrap(), "shop");
    assert_eq!(total.load(Ordering::Relaxed), 2);
}

#[test]
#[should_panic(expected = "1 of 2 spans in 1 calls")]
fn too_few_spans() {
    let collector = MockCollector::start();
    export(collector.addr(), 1).unwrap();
    collector.wait_spans(2, Duration::from_millis(20));
}

#[test]
fn a_hundred_thousand_spans() {
    let collector = MockCollector::start();
    collector.keep_only_ids();
    let mut batch = request(128);
    let scope = &mut batch.resource_spans[0].scope_spans[0];
    scope.spans = scope.spans.iter().cycle().take(512).cloned().collect();
    let addr = collector.addr();
    block_on(async {
        let mut client = TraceServiceClient::connect(format!("http://{addr}"))
            .await
            .unwrap();
        for _ in 0..196 {
            client.export(batch.clone()).await.unwrap();
        }
    });
    assert_eq!(collector.wait_count(100_000, SOON), 196 * 512);
    assert_eq!(collector.ids().len(), 196 * 512);
}
