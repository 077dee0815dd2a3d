//! The life of a stream.

use crate::fake_host::{FakeEnvironment, Inbound};
use sidespan_core::headers::header_map::Injector;
use sidespan_core::headers::serialized_map::{Pairs, serialize};
use sidespan_core::source::SpanSource;
use sidespan_core::stats::Stat;
use sidespan_runtime::stream::HttpStream;

#[derive(Default)]
struct Written(Vec<(&'static str, String)>);

impl Injector for Written {
    fn set(&mut self, name: &'static str, value: &str) {
        self.0.push((name, value.to_owned()));
    }

    fn remove(&mut self, name: &'static str) {
        self.0.push((name, String::new()));
    }
}

fn source(keys: &str) -> SpanSource {
    let document = format!(r#"{{"exporter": {{"otlp_grpc": {{"cluster": "c"}}}} {keys}}}"#);
    let config = sidespan_config::parse(document.as_bytes()).expect("a valid document");
    SpanSource::new(config, &FakeEnvironment::default(), [7; 32])
}

fn request() -> Pairs {
    let lines = [(":method", "GET"), (":path", "/orders/4711")];
    Pairs(serialize(lines.into_iter()))
}

fn started(source: &mut SpanSource, written: &mut Written, header: Option<&str>) -> HttpStream {
    let mut stream = HttpStream::default();
    assert!(stream.is_created());
    stream.start(source, &request(), &Inbound, written, header);
    assert!(!stream.is_created());
    stream
}

#[test]
fn sampled_stream_is_recorded_and_ends_once() {
    let mut written = Written::default();
    let mut stream = started(&mut source(""), &mut written, None);
    assert!(stream.has_work());
    assert_eq!(written.0.len(), 1, "{:?}", written.0);
    stream.add_request_body(17);
    assert!(stream.end().is_some_and(|stream| stream.is_sampled()));
    assert!(stream.end().is_none(), "it has ended");
}

#[test]
fn unsampled_stream_is_left_with_nothing_to_do() {
    let mut written = Written::default();
    let mut stream = started(
        &mut source(r#", "sampler": {"ratio": 0}"#),
        &mut written,
        None,
    );
    assert!(!stream.has_work());
    stream.add_request_body(17);
    assert!(stream.end().is_none());
}

#[test]
fn stream_answered_by_an_earlier_filter_is_recorded_without_a_write() {
    let mut source = source("");
    let mut stream = HttpStream::default();
    stream.start_answered(&mut source, &request(), &Inbound);
    assert!(stream.take_response_header().is_none());
    assert!(stream.end().is_some());
}

#[test]
fn stream_without_headers_is_untraced() {
    let mut source = source("");
    let mut stream = HttpStream::default();
    let empty = Pairs(serialize(std::iter::empty()));
    stream.start(
        &mut source,
        &empty,
        &Inbound,
        &mut Written::default(),
        Some("trace"),
    );
    assert!(!stream.is_created() && !stream.has_work());
    assert!(stream.end().is_none());
    assert_eq!(source.stats().take().count(), 0, "nothing is counted");
}

/// Its filter is destroyed without a log: the request never came.
#[test]
fn stream_that_never_started_has_no_span() {
    assert!(HttpStream::default().end().is_none());
}

#[test]
fn abandoned_stream_has_no_span() {
    let mut stream = started(&mut source(""), &mut Written::default(), None);
    stream.abandon();
    assert!(!stream.has_work());
    assert!(stream.end().is_none());
}

#[test]
fn response_header_has_the_trace_id_and_is_taken_once() {
    let mut written = Written::default();
    let mut stream = started(&mut source(""), &mut written, Some("x-trace-id"));
    let (name, value) = stream.take_response_header().expect("a header");
    assert_eq!(name, "x-trace-id");
    let [("traceparent", context)] = &written.0[..] else {
        panic!("{:?}", written.0);
    };
    assert!(context.contains(&value), "{context} {value}");
    assert!(stream.take_response_header().is_none());
}

#[test]
fn response_header_is_work_of_an_unsampled_stream() {
    let mut source = source(r#", "sampler": {"ratio": 0}"#);
    let mut stream = started(&mut source, &mut Written::default(), Some("x-trace-id"));
    assert_eq!(stream.has_work(), stream.take_response_header().is_some());
    assert!(stream.end().is_none());
    let counted: Vec<_> = source.stats().take().collect();
    assert_eq!(counted, [(Stat::NotSampled, 1)]);
}
