//! OTLP/HTTP with binary protobuf, plain or compressed.

use crate::export::batch::{Batch, Body};
use crate::export::callout::Lines;
use crate::export::response::{Answer, FailureKind, Retry, STATUS_MESSAGE, line, number};
use crate::otlp::encode::Envelope;
use crate::protobuf::wire::field;
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use miniz_oxide::deflate::compress_to_vec;
use std::time::{Duration, UNIX_EPOCH};

const PROTOBUF: &str = "application/x-protobuf";

/// The headers of each call (OTLP specification, "OTLP/HTTP Request").
pub(super) fn headers(path: &str, gzip: bool) -> std::vec::IntoIter<(&'static str, String)> {
    let mut headers = vec![
        (":path", path.to_owned()),
        ("content-type", PROTOBUF.to_owned()),
    ];
    if gzip {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    headers.into_iter()
}

pub(super) fn body(envelope: &Envelope, batch: &mut Batch, gzip: bool) -> Body {
    let mut head = Vec::new();
    envelope.put_head(batch.len(), &mut head);
    let body = batch.body(&head);
    if gzip { compress(&body).into() } else { body }
}

/// A gzip member (RFC 1952) without name and time. `flate2` does the same and adds
/// 21 KB to the Wasm module.
fn compress(data: &[u8]) -> Vec<u8> {
    const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    /// The fastest: the worker that compresses serves requests, too.
    const LEVEL: u8 = 1;
    const CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);
    let mut out = HEADER.to_vec();
    out.append(&mut compress_to_vec(data, LEVEL));
    out.extend_from_slice(&CRC.checksum(data).to_le_bytes());
    // "the size of the original input data modulo 2^32"
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

/// `now` is Unix time in nanoseconds.
pub(super) fn answer(headers: &Lines<'_>, body: &[u8], now: u64) -> Answer {
    let status = line(headers, b":status").and_then(number).unwrap_or(0);
    if (200..300).contains(&status) {
        return Answer::taken(body);
    }
    let retry = match status {
        // (OTLP specification, "Retryable Response Codes")
        429 | 502..=504 => Retry::After(line(headers, b"retry-after").and_then(|v| delay(v, now))),
        _ => Retry::No,
    };
    let content_type = line(headers, b"content-type").unwrap_or_default();
    let media_type = content_type
        .split(|&b| b == b';')
        .next()
        .unwrap_or_default();
    let is_protobuf = media_type
        .trim_ascii()
        .eq_ignore_ascii_case(PROTOBUF.as_bytes());
    // "The response body for all HTTP 4xx and HTTP 5xx responses MUST be a
    // Protobuf-encoded Status message"; many are text all the same.
    let words = match is_protobuf {
        true => field(body, STATUS_MESSAGE).unwrap_or_default(),
        false => body,
    };
    let words = String::from_utf8_lossy(words);
    Answer::failed(FailureKind::Http(status), &words, retry)
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3).
fn delay(value: &[u8], now: u64) -> Option<Duration> {
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // More than any number is longer than any pause.
        return Some(Duration::from_secs(number(value).unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    let date = date.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_nanos(now)))
}
