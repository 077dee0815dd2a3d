//! OTLP/gRPC or OTLP/HTTP, by configuration.

use crate::export::batch::{Batch, Body};
use crate::export::callout::CalloutOutcome;
use crate::export::response::FailureKind;
use crate::export::response::{Answer, Retry};
use crate::export::settings::{ExporterConfig, HeaderSource, Protocol, Secret, is_header_value};
use crate::export::{otlp_grpc, otlp_http};
use crate::host::environment::Environment;
use crate::otlp::encode::Envelope;

/// All headers of each call, and what is wrong with those of the environment.
pub(super) fn headers(
    config: &ExporterConfig,
    environment: &impl Environment,
) -> (Vec<(String, Secret)>, Vec<String>) {
    let mut warnings = Vec::new();
    let own = match &config.protocol {
        Protocol::Grpc => otlp_grpc::headers(config.timeout),
        Protocol::Http { path, gzip } => otlp_http::headers(path, *gzip),
    };
    let mut headers = vec![
        (":method".to_owned(), Secret("POST".to_owned())),
        (":authority".to_owned(), Secret(config.authority.clone())),
        ("user-agent".to_owned(), Secret(USER_AGENT.to_owned())),
    ];
    headers.extend(own.map(|(name, value)| (name.to_owned(), Secret(value))));
    for header in &config.headers {
        let name = &header.name;
        match &header.source {
            HeaderSource::Value(value) => headers.push((name.clone(), value.clone())),
            HeaderSource::Environment(variable) => match environment.variable(variable) {
                // A secret that was mounted from a file often ends its line.
                Some(value) if is_header_value(value.trim_ascii()) => {
                    headers.push((name.clone(), Secret(value.trim_ascii().to_owned())));
                }
                Some(_) => warnings.push(format!(
                    "{variable} of the environment cannot be the header {name}, exports go without it"
                )),
                None => warnings.push(format!(
                    "{variable} is not in the environment that the filter sees, exports go without the header {name}"
                )),
            },
        }
    }
    (headers, warnings)
}

/// "Exporters SHOULD emit a User-Agent header to at a minimum identify the
/// exporter, the language of its implementation, and the version"
/// (OpenTelemetry Protocol Exporter, User Agent).
const USER_AGENT: &str = concat!("Sidespan-OTLP-Exporter-Rust/", env!("CARGO_PKG_VERSION"));

/// Returns the body of an export of this batch.
pub(super) fn body(protocol: &Protocol, envelope: &Envelope, batch: &mut Batch) -> Body {
    match protocol {
        Protocol::Grpc => otlp_grpc::body(envelope, batch),
        Protocol::Http { gzip, .. } => otlp_http::body(envelope, batch, *gzip),
    }
}

/// `now` is Unix time in nanoseconds.
pub(super) fn answer(protocol: &Protocol, outcome: CalloutOutcome<'_>, now: u64) -> Answer {
    let kind = match outcome {
        CalloutOutcome::Answered {
            headers,
            body,
            trailers,
        } => match protocol {
            Protocol::Grpc => return otlp_grpc::answer(headers, body, trailers),
            Protocol::Http { .. } => return otlp_http::answer(headers, body, now),
        },
        CalloutOutcome::Reset => FailureKind::Reset,
        CalloutOutcome::NoCluster => FailureKind::NoCluster,
        CalloutOutcome::NoEndpoint => FailureKind::NoEndpoint,
    };
    // A cluster may come by discovery, an endpoint may become healthy.
    Answer::failed(kind, "", Retry::YES)
}
