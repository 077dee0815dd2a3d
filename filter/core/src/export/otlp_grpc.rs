//! OTLP/gRPC: a unary call as an HTTP/2 request, written and read by hand,
//! because only so the details of a status can be seen by a filter.

use crate::export::batch::{Batch, Body};
use crate::export::callout::Lines;
use crate::export::response::{Answer, FailureKind, Retry, line, number};
use crate::otlp::encode::Envelope;
use crate::protobuf::wire::{field, fields, number_field};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use percent_encoding::percent_decode;
use std::time::Duration;

/// `TraceService/Export` (opentelemetry-proto,
/// `collector/trace/v1/trace_service.proto`).
const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// The codes that OTLP calls retryable, without RESOURCE_EXHAUSTED: CANCELLED,
/// DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
/// (OTLP specification, "Failures").
const RETRYABLE: [u32; 6] = [1, 4, 10, 11, UNAVAILABLE, 15];

/// The headers of each call (gRPC over HTTP2, "Requests").
pub(super) fn headers(timeout: Duration) -> std::vec::IntoIter<(&'static str, String)> {
    // "TimeoutValue → {positive integer as ASCII string of at most 8 digits}"
    let millis = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let millis = millis.min(99_999_999);
    vec![
        (":path", PATH.to_owned()),
        ("content-type", "application/grpc".to_owned()),
        ("te", "trailers".to_owned()),
        ("grpc-timeout", format!("{millis}m")),
    ]
    .into_iter()
}

/// The message with its prefix: not compressed, and its length.
pub(super) fn body(envelope: &Envelope, batch: &mut Batch) -> Body {
    let len = u32::try_from(envelope.len(batch.len())).unwrap_or(u32::MAX);
    let mut head = vec![0];
    head.extend_from_slice(&len.to_be_bytes());
    envelope.put_head(batch.len(), &mut head);
    batch.body(&head)
}

pub(super) fn answer(headers: &Lines<'_>, body: &[u8], trailers: &Lines<'_>) -> Answer {
    // What ends with its headers has its trailers there.
    let trailer = |name| line(trailers, name).or_else(|| line(headers, name));
    let http_status = line(headers, b":status").and_then(number::<u16>);
    let Some(status) = trailer(b"grpc-status") else {
        return match http_status {
            Some(200) => {
                Answer::failed(FailureKind::Grpc(UNKNOWN), "no grpc-status came", Retry::No)
            }
            status => not_grpc(status.unwrap_or_default(), body),
        };
    };
    let code = number(status).unwrap_or(UNKNOWN);
    if code == OK {
        return Answer::taken(message(body));
    }
    let asked = trailer(b"grpc-status-details-bin").and_then(retry_delay);
    let retry = match code {
        // "The client SHOULD interpret RESOURCE_EXHAUSTED code as retryable
        // only if the server signals that the recovery from resource
        // exhaustion is possible" (OTLP specification, "Failures")
        RESOURCE_EXHAUSTED if asked.is_none() => Retry::No,
        RESOURCE_EXHAUSTED => Retry::After(asked),
        code if RETRYABLE.contains(&code) => Retry::After(asked),
        _ => Retry::No,
    };
    // "Status-Message → "grpc-message" Percent-Encoded" (gRPC over HTTP2)
    let words = percent_decode(trailer(b"grpc-message").unwrap_or_default()).decode_utf8_lossy();
    Answer::failed(FailureKind::Grpc(code), &words, retry)
}

/// Somebody answered who does not speak gRPC (gRPC, "HTTP to gRPC Status Code
/// Mapping").
fn not_grpc(http_status: u16, body: &[u8]) -> Answer {
    let code = match http_status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    };
    let retry = match code {
        UNAVAILABLE => Retry::YES,
        _ => Retry::No,
    };
    let words = format!(
        "HTTP status {http_status} {}",
        String::from_utf8_lossy(body)
    );
    Answer::failed(FailureKind::Grpc(code), &words, retry)
}

/// The first message of a body, if it is whole and not compressed: nobody was
/// told that we could read one that is.
fn message(body: &[u8]) -> &[u8] {
    let Some((&[0, a, b, c, d], rest)) = body.split_first_chunk() else {
        return &[];
    };
    let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    rest.get(..len).unwrap_or_default()
}

/// "Implementations MUST accept padded and un-padded values" (gRPC over HTTP2,
/// binary headers)
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How long a status asks to wait; `None` if it does not say that trying
/// again would help.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    /// `google.rpc.Status.details`, each a `google.protobuf.Any`.
    const DETAILS: u32 = 3;
    const TYPE_URL: u32 = 1;
    const VALUE: u32 = 2;
    /// `google.rpc.RetryInfo.retry_delay`, a `google.protobuf.Duration`.
    const RETRY_DELAY: u32 = 1;
    const SECONDS: u32 = 1;
    const NANOS: u32 = 2;
    let status = BASE64.decode(details).ok()?;
    let mut details = fields(&status, DETAILS);
    let any = details.find(|any| {
        field(any, TYPE_URL).is_some_and(|url| url.ends_with(b"/google.rpc.RetryInfo"))
    })?;
    let info = field(any, VALUE).unwrap_or_default();
    let delay = field(info, RETRY_DELAY).unwrap_or_default();
    // Negative ones are no wait.
    let number = |name| u64::try_from(number_field(delay, name).unwrap_or(0)).unwrap_or(0);
    let nanos = Duration::from_nanos(number(NANOS));
    Some(Duration::from_secs(number(SECONDS)).saturating_add(nanos))
}
