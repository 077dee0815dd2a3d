//! Spans that end, exports, and what a collector says of them.

use super::{Headers, Info, Response, count, hex, read_upstream, request, spans, take_stats};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceResponse,
};
use prost::Message as _;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::callout::{Callout, CalloutId, CalloutOutcome};
use sidespan_core::export::event::Notice;
use sidespan_core::export::pipeline::ExportEnd;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings::Protocol;
use sidespan_core::host::request_info::Direction;
use sidespan_core::stats::{Level, Stat};
use sidespan_core::tracer::Tracer;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const MILLI: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MILLI;
pub(crate) const HOUR: u64 = 3600 * SECOND;

/// Most tests begin at this time.
pub(crate) const NOW: u64 = 1_790_000_000 * SECOND;

pub(crate) fn nanos(duration: Duration) -> u64 {
    duration.as_nanos().try_into().expect("584 years")
}

// ------------------------------------------------------------------- spans

/// A tracer with these limits and every other default.
pub(crate) fn tracer_with(batch: BatchConfig) -> Tracer {
    tracer_of(batch, RetryConfig::default(), Protocol::Grpc, 7)
}

/// A tracer with this seed.
pub(crate) fn tracer_of(
    batch: BatchConfig,
    retry: RetryConfig,
    protocol: Protocol,
    seed: u8,
) -> Tracer {
    let mut config = super::default_config();
    config.batch = batch;
    config.exporter.retry = retry;
    config.exporter.protocol = protocol;
    // Bytes that are all the same would make a generator's first numbers alike.
    let bytes = (0..32_u8).map(|n| (seed ^ n).wrapping_mul(167).rotate_left(3));
    let seed: Vec<u8> = bytes.collect();
    let seed = seed.try_into().expect("32 bytes");
    Tracer::new(config, &super::Host::default(), seed)
}

/// Ends a span whose path has `length` bytes, and gives its id.
pub(crate) fn end_span(tracer: &mut Tracer, length: usize, now: u64) -> String {
    let path = "p".repeat(length);
    let lines = Headers::from_wire([(":method", "GET"), (":path", path.as_str())]);
    let (stream, upstream) = request(tracer, &lines, &Info::default(), Direction::Inbound, now);
    tracer.on_end(stream.expect("sampled"), &Response::status(200), now);
    read_upstream(&upstream).expect("a context").span_id
}

/// The bytes that a span with such a path takes in an export, as OTLP's own
/// types count them: the span, its length, and the key in front.
pub(crate) fn span_bytes(length: usize) -> usize {
    let mut tracer = tracer_with(BatchConfig {
        max_export_batch_size: 1,
        ..BatchConfig::default()
    });
    end_span(&mut tracer, length, NOW);
    let span = spans(&tracer.next_callout(NOW).expect("it is full")).remove(0);
    let len = span.encoded_len();
    1 + prost::length_delimiter_len(len) + len
}

/// The ids of the spans of an export.
pub(crate) fn ids(callout: &Callout) -> Vec<String> {
    spans(callout).iter().map(|s| hex(&s.span_id)).collect()
}

/// Every export that may go now.
pub(crate) fn all_callouts(tracer: &mut Tracer, now: u64) -> Vec<Callout> {
    std::iter::from_fn(|| tracer.next_callout(now)).collect()
}

/// When the host is to call for what is neither ready nor answered, by going
/// from tick to tick; to the nanosecond.
pub(crate) fn next_due(tracer: &Tracer, mut now: u64) -> u64 {
    let longest = Duration::from_micros(1_000_999);
    for _ in 0..100_000 {
        match tracer.next_tick(now) {
            wait if wait < longest => return now + nanos(wait) - 999_000,
            // Less than a second, so that it is not met by chance.
            _ => now += 999_999_937,
        }
    }
    panic!("nothing is due for a day");
}

// ----------------------------------------------------------------- answers

type Line = (Vec<u8>, Vec<u8>);

/// How a callout ends.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Answered {
        headers: Vec<Line>,
        body: Vec<u8>,
        trailers: Vec<Line>,
    },
    Reset,
    NoCluster,
    NoEndpoint,
    /// gRPC's OK.
    Ok,
}

impl Reply {
    pub(crate) const OK: Self = Self::Ok;

    /// An answer to a gRPC call with this status.
    pub(crate) fn grpc(status: impl ToString) -> Self {
        Self::http(200).trailer("grpc-status", status.to_string())
    }

    /// An answer without a body.
    pub(crate) fn http(status: impl ToString) -> Self {
        Self::Answered {
            headers: vec![(b":status".to_vec(), status.to_string().into_bytes())],
            body: Vec::new(),
            trailers: Vec::new(),
        }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Self::Answered { headers, .. } = &mut self {
            headers.push((name.into(), value.as_ref().to_vec()));
        }
        self
    }

    pub(crate) fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        if let Self::Answered { trailers, .. } = &mut self {
            trailers.push((name.into(), value.as_ref().to_vec()));
        }
        self
    }

    pub(crate) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        if let Self::Answered { body, .. } = &mut self {
            *body = bytes.as_ref().to_vec();
        }
        self
    }

    /// Tells a tracer.
    pub(crate) fn tell(&self, tracer: &mut Tracer, id: CalloutId, now: u64) -> Option<ExportEnd> {
        fn pairs(lines: &[Line]) -> Vec<(&[u8], &[u8])> {
            let pair = |(name, value)| (Vec::as_slice(name), Vec::as_slice(value));
            lines
                .iter()
                .map(|(name, value)| pair((name, value)))
                .collect()
        }
        let outcome = match self {
            Self::Reset => CalloutOutcome::Reset,
            Self::NoCluster => CalloutOutcome::NoCluster,
            Self::NoEndpoint => CalloutOutcome::NoEndpoint,
            Self::Ok => return Self::grpc(0).tell(tracer, id, now),
            Self::Answered {
                headers,
                body,
                trailers,
            } => {
                let (headers, trailers) = (pairs(headers), pairs(trailers));
                let outcome = CalloutOutcome::Answered {
                    headers: &headers,
                    body,
                    trailers: &trailers,
                };
                return tracer.on_callout_end(id, outcome, now);
            }
        };
        tracer.on_callout_end(id, outcome, now)
    }

    /// The same, for its notice.
    pub(crate) fn notice(&self, tracer: &mut Tracer, id: CalloutId, now: u64) -> Option<Notice> {
        self.tell(tracer, id, now).expect("it was under way").notice
    }
}

/// An `ExportTraceServiceResponse` with a partial success.
pub(crate) fn partial(rejected_spans: i64, error_message: &str) -> Vec<u8> {
    let response = ExportTraceServiceResponse {
        partial_success: Some(ExportTracePartialSuccess {
            rejected_spans,
            error_message: error_message.to_owned(),
        }),
    };
    response.encode_to_vec()
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("a short message");
    [&[0], &len.to_be_bytes()[..], message].concat()
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(crate) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct Delay {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// A detail that asks for a wait.
pub(crate) fn retry_info(seconds: i64, nanos: i32) -> Any {
    let info = RetryInfo {
        retry_delay: Some(Delay { seconds, nanos }),
    };
    Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: info.encode_to_vec(),
    }
}

/// `grpc-status-details-bin`.
pub(crate) fn details(details: Vec<Any>) -> String {
    let status = Status {
        code: 8,
        message: "slow down".to_owned(),
        details,
    };
    BASE64_STANDARD.encode(status.encode_to_vec())
}

/// A status that asks to wait for so many seconds.
pub(crate) fn throttled(code: u32, seconds: i64) -> Reply {
    let details = details(vec![retry_info(seconds, 0)]);
    Reply::grpc(code).trailer("grpc-status-details-bin", details)
}

// ------------------------------------------------------------------- books

/// All that tracers counted.
#[derive(Default)]
pub(crate) struct Books(BTreeMap<&'static str, u64>);

impl Books {
    pub(crate) fn get(&self, stat: Stat) -> u64 {
        self.0.get(stat.name()).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (name, n) in other.0 {
            *self.0.entry(name).or_insert(0) += n;
        }
    }

    /// Adds what was counted since the last time. What became of each span is
    /// known, at every moment.
    #[track_caller]
    pub(crate) fn balance(&mut self, tracer: &mut Tracer) {
        for (stat, n) in take_stats(tracer) {
            *self.0.entry(stat.name()).or_insert(0) += n;
        }
        let ends = [
            Stat::SpansAcknowledged,
            Stat::SpansRejected,
            Stat::SpansDroppedQueueFull,
            Stat::SpansDroppedRetryExhausted,
            Stat::SpansDroppedPermanent,
            Stat::SpansDroppedShutdown,
            Stat::SpansDroppedEncoding,
        ];
        let ended: u64 = ends.iter().map(|stat| self.get(*stat)).sum();
        let left = tracer.level(Level::SpansQueued) + tracer.level(Level::SpansInFlight);
        assert_eq!(self.get(Stat::SpansCreated), ended + left, "{:?}", self.0);
        assert_eq!(tracer.is_idle(), left == 0);
        assert_eq!(
            tracer.level(Level::BytesQueued) == 0,
            tracer.level(Level::SpansQueued) == 0
        );
    }
}

/// Counted since the last time.
pub(crate) fn counted(tracer: &mut Tracer, stat: Stat) -> u64 {
    count(&take_stats(tracer), stat)
}
