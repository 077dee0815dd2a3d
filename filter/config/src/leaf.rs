//! The leaves of the document: every one parses its own text or number.

use super::read::{At, FromText, Read};
use serde_json::Value;
use sidespan_core::export::settings::{ExportHeader, Secret, is_header_value};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::format::Format;
use sidespan_core::propagation::settings::{Carrier, Incoming, UnsampledContext};
use sidespan_core::recording::settings::Vocabulary;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::sampling::rules::Action;
use sidespan_core::sampling::sampler::Root;
use sidespan_core::span::attributes::OwnedValue;
use sidespan_core::span::custom_tags::TagType;
use sidespan_core::span::name::SpanName;
use sidespan_core::span::span::SpanKind;
use std::num::NonZeroU32;
use std::time::Duration;

/// The name of an Envoy cluster.
#[derive(Default)]
pub(super) struct ClusterName(pub(super) String);

/// A value of `:authority`; empty for the default.
pub(super) struct Authority(pub(super) String);

/// A header that an export may have besides those that it has anyway, in lower
/// case.
#[derive(Default)]
pub(super) struct ExportHeaderName(pub(super) String);

/// What a header says; never shown.
#[derive(Default)]
pub(super) struct HeaderValue(pub(super) Secret);

/// Headers with secrets among them: no fault shows a value of theirs.
#[derive(Default)]
pub(super) struct ExportHeaders(pub(super) Vec<ExportHeader>);

/// The path of a URL.
pub(super) struct UrlPath(pub(super) String);

/// Whether a body is compressed.
#[derive(Clone, Copy)]
pub(super) struct Compression(pub(super) bool);

/// A span's kind; `None` for auto.
#[derive(Clone, Copy)]
pub(super) struct KindName(pub(super) Option<SpanKind>);

/// Yes or no; `None` for auto.
pub(super) struct AutoOrBool(pub(super) Option<bool>);

/// Attributes of a resource: text, truth or number each.
#[derive(Default)]
pub(super) struct ResourceAttributes(pub(super) Vec<(String, OwnedValue)>);

/// A number of bytes, `64KiB` or `4MiB`.
pub(super) struct Size(pub(super) usize);

/// A positive number of things.
pub(super) struct Count(pub(super) usize);

/// Formats, each once.
pub(super) struct Formats(pub(super) Vec<Format>);

/// A text that is not empty: as a pattern it would match everything, and
/// nothing has an empty name.
#[derive(Default)]
pub(super) struct Text(pub(super) String);

/// A name or method of HTTP (RFC 9110, 5.6.2).
#[derive(Default)]
pub(super) struct Token(pub(super) String);

/// A header's name in lower case; empty for none.
pub(super) struct OptionalHeaderName(pub(super) Option<String>);

/// The status of a response.
pub(super) struct StatusCode(pub(super) u16);

/// A number of things a second; 0 for any.
pub(super) struct Rate(pub(super) Option<NonZeroU32>);

/// A sampler by its name; whether a parent's decision counts, and what decides
/// otherwise, by whichever ratio.
#[derive(Clone, Copy)]
pub(super) struct SamplerType(pub(super) bool, pub(super) Root);

/// A value among a few, each with its name.
pub(super) trait Named: Copy + 'static {
    /// What a value is, as `a sampler`.
    const WHAT: &'static str;
    /// Their names.
    const NAMES: &'static [&'static str];
    /// In the order of the names.
    const VALUES: &'static [Self];

    /// The value with a name.
    fn by_name(name: &str) -> Option<Self> {
        let index = Self::NAMES.iter().position(|known| *known == name)?;
        Self::VALUES.get(index).copied()
    }
}

macro_rules! named {
    ($($type:ty: $what:literal { $($name:literal => $value:expr,)+ })+) => {
        $(impl Named for $type {
            const WHAT: &'static str = $what;
            const NAMES: &'static [&'static str] = &[$($name),+];
            const VALUES: &'static [Self] = &[$($value),+];
        }

        impl Read for $type {
            fn read(at: &At<'_>) -> Option<Self> {
                Self::VALUES.get(at.one_of(Self::WHAT, Self::NAMES)?).copied()
            }
        }

        #[cfg(feature = "schema")]
        impl crate::schema::Schema for $type {
            fn schema(_: &mut crate::schema::Definitions) -> Value {
                serde_json::json!({ "enum": Self::NAMES })
            }
        })+
    };
}

named! {
    SamplerType: "a sampler" {
        "always_on" => Self(false, Root::AlwaysOn),
        "always_off" => Self(false, Root::AlwaysOff),
        "traceidratio" => Self(false, Root::TraceIdRatio(Ratio::ONE)),
        "parentbased_always_on" => Self(true, Root::AlwaysOn),
        "parentbased_always_off" => Self(true, Root::AlwaysOff),
        "parentbased_traceidratio" => Self(true, Root::TraceIdRatio(Ratio::ONE)),
    }
    Action: "an action" {
        "disable" => Self::Disable,
        "force" => Self::Force,
        "sample" => Self::Sample(Ratio::ONE),
    }
    Format: "a format" {
        "tracecontext" => Self::TraceContext,
        "b3" => Self::B3,
        "b3multi" => Self::B3Multi,
    }
    Incoming: "a policy" {
        "continue" => Self::Continue,
        "restart" => Self::Restart,
        "link" => Self::Link,
        "resample" => Self::Resample,
        "require" => Self::Require,
    }
    UnsampledContext: "a treatment of unsampled contexts" {
        "unchanged" => Self::Unchanged,
        "rewrite" => Self::Rewrite,
    }
    Carrier: "a carrier" {
        "headers" => Self::Headers,
        "filter_state" => Self::FilterState,
    }
    Direction: "a direction" {
        "inbound" => Self::Inbound,
        "outbound" => Self::Outbound,
    }
    KindName: "a kind" {
        "auto" => Self(None),
        "server" => Self(Some(SpanKind::Server)),
        "client" => Self(Some(SpanKind::Client)),
    }
    Compression: "a compression" {
        "none" => Self(false),
        "gzip" => Self(true),
    }
    Vocabulary: "a set of attributes" {
        "stable" => Self::Stable,
        "envoy" => Self::Envoy,
        "both" => Self::Both,
    }
    MetadataKind: "a kind of metadata" {
        "request" => Self::Request,
        "route" => Self::Route,
        "cluster" => Self::Cluster,
        "host" => Self::Host,
    }
    TagType: "a type" {
        "string" => Self::String,
        "int" => Self::Int,
        "double" => Self::Double,
        "bool" => Self::Bool,
    }
}

impl FromText for Text {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("is empty, expected a text"),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl FromText for Token {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        // Envoy's names for HTTP/2's own, such as `:authority`.
        let token = text.strip_prefix(':').unwrap_or(text);
        if !token.is_empty() && token.bytes().all(is_tchar) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a name or method of HTTP")
        }
    }
}

impl FromText for OptionalHeaderName {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Ok(Self(None)),
            text if text.starts_with(':') => Err("is not a response header"),
            text => Token::from_text(text).map(|token| Self(Some(token.0.to_ascii_lowercase()))),
        }
    }
}

impl FromText for ClusterName {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        match text {
            "" => Err("is not the name of a cluster"),
            name => Ok(Self(name.to_owned())),
        }
    }
}

impl FromText for Authority {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        // RFC 3986, 3.2, without user info. Peers refuse other bytes in
        // `:authority`, and then no export arrives.
        let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=%:[]".contains(&b);
        if text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a host, expected such as collector.example:4317")
        }
    }
}

impl FromText for ExportHeaderName {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        /// Those that the protocol sets, and those of a connection.
        const TAKEN: [&str; 13] = [
            "connection",
            "content-encoding",
            "content-length",
            "content-type",
            "expect",
            "host",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "user-agent",
        ];
        let Token(name) = Token::from_text(text)?;
        let name = name.to_ascii_lowercase();
        let is_taken = name.starts_with(':') || name.starts_with("grpc-");
        if is_taken || TAKEN.contains(&name.as_str()) {
            Err("is a header of the protocol or the connection")
        } else {
            Ok(Self(name))
        }
    }
}

impl FromText for HeaderValue {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        match is_header_value(text) {
            true => Ok(Self(Secret(text.to_owned()))),
            false => Err("cannot be the value of a header"),
        }
    }
}

impl Read for ExportHeaders {
    fn read(at: &At<'_>) -> Option<Self> {
        Vec::read(&at.as_secret()).map(Self)
    }
}

impl Default for UrlPath {
    fn default() -> Self {
        Self("/v1/traces".to_owned())
    }
}

impl FromText for UrlPath {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        if text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a path, expected such as /v1/traces")
        }
    }
}

/// A number and its unit, `10s` as `(10, "s")`.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// `500ms`, `10s` or `5m`.
impl FromText for Duration {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        let millis = split_unit(text).and_then(|(n, unit)| match unit {
            "ms" => Some(n),
            "s" => n.checked_mul(1000),
            "m" => n.checked_mul(60_000),
            _ => None,
        });
        match millis {
            // Hosts count milliseconds in 32 bits.
            Some(millis @ 1..=0xffff_ffff) => Ok(Self::from_millis(millis)),
            _ => Err("is not a duration, expected such as 500ms, 10s or 5m"),
        }
    }
}

impl FromText for Size {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        let bytes = split_unit(text).and_then(|(n, unit)| match unit {
            "KiB" => n.checked_mul(1 << 10),
            "MiB" => n.checked_mul(1 << 20),
            _ => None,
        });
        match bytes {
            // More than a wasm module can address at all.
            Some(bytes @ 1..=0x7fff_ffff) => Ok(Self(bytes as usize)),
            _ => Err("is not a size, expected such as 64KiB or 4MiB"),
        }
    }
}

impl Read for SpanName {
    fn read(at: &At<'_>) -> Option<Self> {
        Self::parse(at.text()?)
            .map_err(|message| at.fault(message))
            .ok()
    }
}

impl Read for AutoOrBool {
    fn read(at: &At<'_>) -> Option<Self> {
        match at.value {
            Value::Bool(choice) => Some(Self(Some(*choice))),
            Value::String(text) if text == "auto" => Some(Self(None)),
            _ => at.wrong("is not auto, true or false"),
        }
    }
}

/// A million spans, calls or traces at once are no limit any more.
const MOST: u64 = 1_000_000;

impl Read for Count {
    fn read(at: &At<'_>) -> Option<Self> {
        at.integer(1, MOST).map(|n| Self(n as usize))
    }
}

impl Read for Rate {
    fn read(at: &At<'_>) -> Option<Self> {
        at.integer(0, MOST).map(|n| Self(NonZeroU32::new(n as u32)))
    }
}

impl Read for StatusCode {
    fn read(at: &At<'_>) -> Option<Self> {
        at.integer(100, 599).map(|n| Self(n as u16))
    }
}

impl Read for Ratio {
    fn read(at: &At<'_>) -> Option<Self> {
        let parsed: Value;
        let number = match at.value {
            // Of `ratio: 0.5` in a Struct, Envoy's YAML makes the text "0.5".
            // It is read as documents are: to read it as `f64` is new code.
            Value::String(text) => {
                parsed = serde_json::from_slice(text.as_bytes()).unwrap_or_default();
                &parsed
            }
            value => value,
        };
        let Some(share) = number.as_f64() else {
            return at.wrong("is not a number");
        };
        let ratio = Self::new(share);
        if ratio.is_none() {
            at.fault(format!("{number} is not a ratio, expected 0 to 1"));
        }
        ratio
    }
}

impl Read for Formats {
    fn read(at: &At<'_>) -> Option<Self> {
        let mut formats = Vec::new();
        for item in at.list()? {
            match Format::read(&item) {
                Some(format) if formats.contains(&format) => {
                    item.fault(format!("{:?} stands here twice", format.name()));
                }
                Some(format) => formats.push(format),
                None => {}
            }
        }
        Some(Self(formats))
    }
}

impl Read for ResourceAttributes {
    fn read(at: &At<'_>) -> Option<Self> {
        let Some(entries) = at.value.as_object() else {
            return at.wrong("is not an object");
        };
        let mut attributes = Vec::new();
        for key in entries.keys() {
            if key.is_empty() {
                at.fault("\"\" is not the name of an attribute");
            } else if let Some(value) = at.get(key).and_then(|at| attribute(&at)) {
                attributes.push((key.clone(), value));
            }
        }
        Some(Self(attributes))
    }
}

fn attribute(at: &At<'_>) -> Option<OwnedValue> {
    match at.value {
        Value::String(text) => Some(OwnedValue::Str(text.clone())),
        Value::Bool(truth) => Some(OwnedValue::Bool(*truth)),
        Value::Number(number) => match number.as_i64() {
            Some(n) => Some(OwnedValue::Int(n)),
            None => number.as_f64().map(OwnedValue::Double),
        },
        _ => at.wrong("is not a string, true, false or a number"),
    }
}
