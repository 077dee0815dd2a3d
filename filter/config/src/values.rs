//! The leaves of the document: every one parses its own text or number.

#[cfg(feature = "schema")]
use crate::json_schema::{Definitions, Schema, leaves};
use crate::reader::{At, FromText, Read};
use serde_json::Value;
#[cfg(feature = "schema")]
use serde_json::json;
use sidespan_core::export::settings::{ExportHeader, Secret, is_header_value};
use sidespan_core::propagation::format::Format;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::span::attributes::OwnedValue;
use sidespan_core::span::name::SpanName;
use std::num::NonZeroU32;
use std::time::Duration;

/// The name of an Envoy cluster.
#[derive(Default)]
pub(crate) struct ClusterName(pub(crate) String);

/// A value of `:authority`; empty for the default.
pub(crate) struct Authority(pub(crate) String);

/// A header that an export may have besides those that it has anyway, in lower
/// case.
#[derive(Default)]
pub(crate) struct ExportHeaderName(pub(crate) String);

/// What a header says; never shown.
#[derive(Default)]
pub(crate) struct HeaderValue(pub(crate) Secret);

/// Headers with secrets among them: no fault shows a value of theirs.
#[derive(Default)]
pub(crate) struct ExportHeaders(pub(crate) Vec<ExportHeader>);

/// The path of a URL.
pub(crate) struct UrlPath(pub(crate) String);

/// Yes or no; `None` for auto.
pub(crate) struct AutoOrBool(pub(crate) Option<bool>);

/// Attributes of a resource: text, truth or number each.
#[derive(Default)]
pub(crate) struct ResourceAttributes(pub(crate) Vec<(String, OwnedValue)>);

/// A number of bytes, `64KiB` or `4MiB`.
pub(crate) struct Size(pub(crate) usize);

/// A positive number of things.
pub(crate) struct Count(pub(crate) usize);

/// Formats, each once.
pub(crate) struct Formats(pub(crate) Vec<Format>);

/// A text that is not empty: as a pattern it would match everything, and
/// nothing has an empty name.
#[derive(Default)]
pub(crate) struct Text(pub(crate) String);

/// A name or method of HTTP (RFC 9110, 5.6.2).
#[derive(Default)]
pub(crate) struct Token(pub(crate) String);

/// A header's name in lower case; empty for none.
pub(crate) struct OptionalHeaderName(pub(crate) Option<String>);

/// The status of a response.
pub(crate) struct StatusCode(pub(crate) u16);

/// A number of things a second; 0 for any.
pub(crate) struct Rate(pub(crate) Option<NonZeroU32>);

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

#[cfg(feature = "schema")]
impl Schema for Formats {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": Format::schema(definitions), "uniqueItems": true })
    }
}

#[cfg(feature = "schema")]
impl Schema for ExportHeaders {
    fn schema(definitions: &mut Definitions) -> Value {
        Vec::<ExportHeader>::schema(definitions)
    }
}

#[cfg(feature = "schema")]
leaves! {
    ClusterName => { "type": "string", "minLength": 1 };
    Authority => { "type": "string" };
    Duration => { "type": "string", "pattern": "^[0-9]+(ms|s|m)$" };
    Size => { "type": "string", "pattern": "^[0-9]+(KiB|MiB)$" };
    Count => { "type": "integer", "minimum": 1, "maximum": 1_000_000 };
    Rate => { "type": "integer", "minimum": 0, "maximum": 1_000_000 };
    StatusCode => { "type": "integer", "minimum": 100, "maximum": 599 };
    Ratio => { "type": "number", "minimum": 0, "maximum": 1 };
    Text => { "type": "string", "minLength": 1 };
    Token => { "type": "string", "minLength": 1 };
    OptionalHeaderName => { "type": "string" };
    ExportHeaderName => { "type": "string", "minLength": 1 };
    HeaderValue => { "type": "string" };
    UrlPath => { "type": "string", "pattern": "^/" };
    AutoOrBool => { "enum": ["auto", true, false] };
    ResourceAttributes => {
        "type": "object",
        "additionalProperties": { "type": ["string", "boolean", "number"] }
    };
    SpanName => { "type": "string", "minLength": 1 };
}
