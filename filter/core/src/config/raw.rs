//! The document's shape. Every leaf parses its own text; what concerns two
//! keys at once is checked where the domain's type is made.

use super::Faults;
use crate::batch::BatchConfig;
use crate::exporter::{OtlpGrpc, default_authority};
use crate::propagation::{Format, Propagator};
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, Sequence, Value, ValueKind,
    ValuePointerRef,
};
use std::ops::ControlFlow;
use std::time::Duration;

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
pub(super) struct Config {
    #[deserr(default)]
    service_name: String,
    exporter: Exporter,
    #[deserr(default)]
    propagation: Propagation,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Exporter {
    otlp_grpc: Grpc,
    #[deserr(default)]
    batch: Batch,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Grpc {
    cluster: ClusterName,
    #[deserr(default)]
    authority: Given<Authority>,
    #[deserr(default)]
    timeout: Given<Span>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Batch {
    #[deserr(default)]
    max_queue_size: Given<Count>,
    #[deserr(default)]
    max_queue_bytes: Given<Size>,
    #[deserr(default)]
    max_export_batch_size: Given<Count>,
    #[deserr(default)]
    schedule_delay: Given<Span>,
    #[deserr(default)]
    max_concurrent_exports: Given<Count>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
struct Propagation {
    #[deserr(default)]
    extract: Given<Formats>,
    #[deserr(default)]
    inject: Given<Formats>,
}

/// A key that may be left out, but not left empty: null is no value.
#[derive(Debug)]
struct Given<T>(Option<T>);

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Deserr<Faults>> Deserr<Faults> for Given<T> {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        T::deserialize_from_value(value, location).map(|value| Self(Some(value)))
    }
}

impl From<Config> for super::Config {
    fn from(raw: Config) -> Self {
        let grpc = raw.exporter.otlp_grpc;
        let formats = |given: Given<Formats>, default| given.0.map_or(default, |formats| formats.0);
        let default = Propagator::default();
        Self {
            service_name: raw.service_name,
            exporter: OtlpGrpc {
                authority: match grpc.authority.0 {
                    Some(Authority(authority)) if !authority.is_empty() => authority,
                    _ => default_authority(&grpc.cluster.0).to_owned(),
                },
                timeout: grpc
                    .timeout
                    .0
                    .map_or(Duration::from_secs(10), |span| span.0),
                cluster: grpc.cluster.0,
            },
            batch: raw.exporter.batch.into(),
            propagator: Propagator {
                extract: formats(raw.propagation.extract, default.extract),
                inject: formats(raw.propagation.inject, default.inject),
            },
        }
    }
}

impl From<Batch> for BatchConfig {
    fn from(raw: Batch) -> Self {
        let default = Self::default();
        let count = |given: Given<Count>, default| given.0.map_or(default, |count| count.0);
        let max_queue_size = count(raw.max_queue_size, default.max_queue_size);
        Self {
            max_queue_size,
            max_queue_bytes: raw
                .max_queue_bytes
                .0
                .map_or(default.max_queue_bytes, |size| size.0),
            max_export_batch_size: count(
                raw.max_export_batch_size,
                default.max_export_batch_size.min(max_queue_size),
            ),
            schedule_delay: raw
                .schedule_delay
                .0
                .map_or(default.schedule_delay, |span| span.0),
            max_concurrent_exports: count(
                raw.max_concurrent_exports,
                default.max_concurrent_exports,
            ),
        }
    }
}

/// What is wrong between two keys, each of which may be right alone. Looks at
/// the document and not at what was made of it, so that no other fault hides
/// these.
pub(super) fn faults_across_keys(document: &serde_json::Value) -> Faults {
    let mut faults = Faults::default();
    let at = |pointer| document.pointer(pointer);

    // "maxExportBatchSize […] must be smaller or equal to maxQueueSize."
    // (OpenTelemetry specification, BatchSpanProcessor)
    let queue = at("/exporter/batch/max_queue_size").and_then(serde_json::Value::as_u64);
    let queue = queue.unwrap_or(BatchConfig::default().max_queue_size as u64);
    let batch = at("/exporter/batch/max_export_batch_size").and_then(serde_json::Value::as_u64);
    if let Some(batch) = batch.filter(|&batch| batch > queue) {
        faults.add(
            "exporter.batch.max_export_batch_size",
            format!("{batch} is more than max_queue_size, {queue}"),
        );
    }

    // Where the cluster's name is no authority, one must be given.
    let text = |pointer| at(pointer).and_then(serde_json::Value::as_str);
    if text("/exporter/otlp_grpc/authority").is_none_or(str::is_empty)
        && let Some(cluster) = text("/exporter/otlp_grpc/cluster")
        && let Err(message) = Authority::parse(default_authority(cluster))
    {
        faults.add("exporter.otlp_grpc.authority", message);
    }
    faults
}

/// The name of an Envoy cluster.
#[derive(Debug)]
struct ClusterName(String);

/// A value of `:authority`; empty for the default.
#[derive(Debug)]
struct Authority(String);

/// A span of time, `500ms`, `10s` or `5m`.
#[derive(Debug)]
struct Span(Duration);

/// A number of bytes, `64KiB` or `4MiB`.
#[derive(Debug)]
struct Size(usize);

/// A positive number of things.
#[derive(Debug)]
struct Count(usize);

/// A format by its name.
#[derive(Debug)]
struct FormatName(Format);

/// Formats, each once.
#[derive(Debug)]
struct Formats(Vec<Format>);

impl ClusterName {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("\"\" is not the name of a cluster".to_owned()),
            name => Ok(Self(name.to_owned())),
        }
    }
}

impl Authority {
    fn parse(text: &str) -> Result<Self, String> {
        // RFC 3986, 3.2, without user info. Peers refuse other bytes in
        // `:authority`, and then no export arrives.
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&b);
        if text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is not a host, expected such as collector.example:4317"
            ))
        }
    }
}

impl FormatName {
    fn parse(text: &str) -> Result<Self, String> {
        let known = Format::ALL.into_iter().find(|format| format.name() == text);
        known.map(Self).ok_or_else(|| {
            let names = Format::ALL.map(Format::name).join(", ");
            format!("{text:?} is not a format, expected one of {names}")
        })
    }
}

/// A number and its unit, `10s` as `(10, "s")`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

impl Span {
    fn parse(text: &str) -> Result<Self, String> {
        let millis = split_unit(text).and_then(|(n, unit)| match unit {
            "ms" => Some(n),
            "s" => n.checked_mul(1000),
            "m" => n.checked_mul(60_000),
            _ => None,
        });
        match millis {
            // Hosts count milliseconds in 32 bits.
            Some(millis @ 1..=0xffff_ffff) => Ok(Self(Duration::from_millis(millis))),
            _ => Err(format!(
                "{text:?} is not a duration, expected such as 500ms, 10s or 5m"
            )),
        }
    }
}

impl Size {
    fn parse(text: &str) -> Result<Self, String> {
        let bytes = split_unit(text).and_then(|(n, unit)| match unit {
            "KiB" => n.checked_mul(1 << 10),
            "MiB" => n.checked_mul(1 << 20),
            _ => None,
        });
        match bytes {
            // More than a wasm module can address at all.
            Some(bytes @ 1..=0x7fff_ffff) => Ok(Self(bytes as usize)),
            _ => Err(format!(
                "{text:?} is not a size, expected such as 64KiB or 4MiB"
            )),
        }
    }
}

macro_rules! from_text {
    ($($name:ident)+) => {
        $(impl Deserr<Faults> for $name {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                location: ValuePointerRef<'_>,
            ) -> Result<Self, Faults> {
                match value {
                    Value::String(text) => {
                        Self::parse(&text).map_err(|message| Faults::one(place(location), message))
                    }
                    other => Err(wrong_kind(other, &[ValueKind::String], location)),
                }
            }
        })+
    };
}

from_text!(ClusterName Authority Span Size FormatName);

impl Deserr<Faults> for Count {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        // A million spans or calls at once are no limit any more.
        const MAX: u64 = 1_000_000;
        let number = match value {
            Value::Integer(n) => n,
            other => return Err(wrong_kind(other, &[ValueKind::Integer], location)),
        };
        match number {
            1..=MAX => Ok(Self(number as usize)),
            _ => Err(Faults::one(
                place(location),
                format!("{number} is out of range, expected 1 to {MAX}"),
            )),
        }
    }
}

impl Deserr<Faults> for Formats {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let names = match value {
            Value::Sequence(names) => names,
            other => return Err(wrong_kind(other, &[ValueKind::Sequence], location)),
        };
        let mut formats = Vec::new();
        let mut faults = Faults::default();
        for (index, name) in names.into_iter().enumerate() {
            let here = location.push_index(index);
            match FormatName::deserialize_from_value(name.into_value(), here) {
                Ok(FormatName(format)) if formats.contains(&format) => {
                    faults.add(
                        place(here),
                        format!("{:?} stands here twice", format.name()),
                    );
                }
                Ok(FormatName(format)) => formats.push(format),
                Err(fault) => faults.0.extend(fault.0),
            }
        }
        if faults.0.is_empty() {
            Ok(Self(formats))
        } else {
            Err(faults)
        }
    }
}

/// `a.b[2].c`, on one line whatever the keys are; the document itself is
/// named as such.
fn place(location: ValuePointerRef<'_>) -> String {
    match location {
        ValuePointerRef::Origin => "configuration".to_owned(),
        ValuePointerRef::Index { index, prev } => format!("{}[{index}]", place(*prev)),
        ValuePointerRef::Key { key, prev } if prev.is_origin() => key.escape_debug().to_string(),
        ValuePointerRef::Key { key, prev } => format!("{}.{}", place(*prev), key.escape_debug()),
    }
}

fn wrong_kind<V: IntoValue>(
    actual: Value<V>,
    accepted: &[ValueKind],
    location: ValuePointerRef<'_>,
) -> Faults {
    let kind_name = |kind: &ValueKind| match kind {
        ValueKind::Null => "null",
        ValueKind::Boolean => "true or false",
        ValueKind::Integer => "a positive integer",
        ValueKind::NegativeInteger => "a negative integer",
        ValueKind::Float => "a number",
        ValueKind::String => "a string",
        ValueKind::Sequence => "a list",
        ValueKind::Map => "an object",
    };
    let accepted: Vec<_> = accepted.iter().map(kind_name).collect();
    let actual = match actual {
        // What a long list holds says nothing of what it should have been.
        Value::Sequence(_) | Value::Map(_) => kind_name(&actual.kind()).to_owned(),
        actual => serde_json::Value::from(actual).to_string(),
    };
    let expected = accepted.join(" or ");
    Faults::one(place(location), format!("{actual} is not {expected}"))
}

impl DeserializeError for Faults {
    fn error<V: IntoValue>(
        earlier: Option<Self>,
        error: ErrorKind<'_, V>,
        location: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let fault = match error {
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                wrong_kind(actual, accepted, location)
            }
            ErrorKind::MissingField { field } => {
                Self::one(place(location.push_key(field)), "required, but not there")
            }
            ErrorKind::UnknownKey { key, accepted } => Self::one(
                place(location.push_key(key)),
                format!("unknown key, expected one of {}", accepted.join(", ")),
            ),
            ErrorKind::UnknownValue { value, accepted } => Self::one(
                place(location),
                format!(
                    "{value:?} is unknown, expected one of {}",
                    accepted.join(", ")
                ),
            ),
            ErrorKind::BadSequenceLen {
                actual: _,
                expected,
            } => Self::one(place(location), format!("expected {expected} elements")),
            ErrorKind::Unexpected { msg } => Self::one(place(location), msg),
        };
        Self::merge(earlier, fault, location)
    }
}

impl MergeWithError<Faults> for Faults {
    fn merge(
        earlier: Option<Self>,
        other: Self,
        _: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let mut faults = earlier.unwrap_or_default();
        faults.0.extend(other.0);
        ControlFlow::Continue(faults)
    }
}
