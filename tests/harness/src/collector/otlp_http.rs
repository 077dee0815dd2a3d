//! OTLP/HTTP with protobuf.

use std::io::Read;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, Collected};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, Response};
use prost::Message;
use tokio::sync::Notify;
use tonic::Code;
use tonic::body::Body;

use super::{Call, Refusal, Shared, response, rpc};
use crate::otlp::collector::trace::v1::ExportTraceServiceRequest;

const PROTOBUF: &str = "application/x-protobuf";

pub(super) async fn answer(
    shared: &Shared,
    kill: &Notify,
    head: Call,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes);
    let call = Call {
        message_len: body.as_ref().map_or(0, Bytes::len),
        ..head
    };
    let message = if parts.method == Method::POST && is_protobuf(&parts.headers) {
        body.map_err(|error| error.to_string())
            .and_then(|body| decode(&body, &call.content_encoding))
    } else {
        Err(format!("no POST of {PROTOBUF}"))
    };
    let spans = match message {
        Ok(message) => message.resource_spans,
        Err(text) => {
            shared.unreadable(call);
            return response(400, "text/plain", text);
        }
    };
    match shared.export(call, spans, kill).await {
        Ok(answer) => response(200, PROTOBUF, answer.encode_to_vec()),
        Err(Refusal::Status(code, message)) => {
            let body = rpc::encode_status(code, &message, None);
            response(rpc::http_status(code), PROTOBUF, body)
        }
        Err(Refusal::RetryAfter(code, delay)) => retry_after(code, delay),
        Err(Refusal::Plain(plain)) => plain.response(),
    }
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let kind = value.split(|&byte| byte == b';').next();
    kind.unwrap_or_default().trim_ascii() == PROTOBUF.as_bytes()
}

/// The message of a body, or why there is none.
fn decode(body: &[u8], content_encoding: &str) -> Result<ExportTraceServiceRequest, String> {
    let mut unpacked = Vec::new();
    let message = match content_encoding {
        "" | "identity" => body,
        "gzip" => {
            MultiGzDecoder::new(body)
                .read_to_end(&mut unpacked)
                .map_err(|error| format!("gzip: {error}"))?;
            &unpacked
        }
        other => return Err(format!("unknown content-encoding {other}")),
    };
    ExportTraceServiceRequest::decode(message).map_err(|error| error.to_string())
}

fn retry_after(code: Code, delay: Duration) -> Response<Body> {
    let status = match code {
        Code::ResourceExhausted => 429,
        _ => 503,
    };
    let body = rpc::encode_status(code, "retry later", Some(delay));
    let mut response = response(status, PROTOBUF, body);
    let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}
