//! Custom tags: attributes that the configuration asks for
//! (`envoy.type.tracing.v3.CustomTag`, and a few sources more).

use crate::context::baggage;
use crate::headers::header_map::Extractor;
use crate::headers::name_set::Names;
use crate::host::response_info::{MetadataKind, ResponseInfo};
use crate::span::attributes::{Attributes, OwnedValue, Value};
use crate::span::span::Limits;
use crate::span::text::utf8_lossy;

/// The type of a tag's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagType {
    /// Any text.
    #[default]
    String,
    /// A signed integer of 64 bits.
    Int,
    /// A number.
    Double,
    /// `true` or `false`.
    Bool,
}

impl TagType {
    /// A text as a value of this type.
    pub fn parse(self, text: &str) -> Option<Value<'_>> {
        match self {
            Self::String => Some(Value::Str(text)),
            Self::Int => text.trim_ascii().parse().ok().map(Value::Int),
            // By way of JSON's numbers: text to `f64` alone costs 9 KB of module.
            // No number is longer, and a peer may send 60 KiB of `[[]]`.
            Self::Double if text.len() > 64 => None,
            Self::Double => match serde_json::from_slice(text.as_bytes()).ok()? {
                serde_json::Value::Number(number) => number.as_f64().map(Value::Double),
                _ => None,
            },
            Self::Bool => match text.trim_ascii() {
                "true" => Some(Value::Bool(true)),
                "false" => Some(Value::Bool(false)),
                _ => None,
            },
        }
    }

    /// A property as a value of this type. Hosts give whole numbers and others
    /// as eight little-endian bytes, and truth as one.
    fn read(self, bytes: &[u8]) -> Option<OwnedValue> {
        let text = String::from_utf8_lossy(bytes);
        let parsed = || self.parse(&text).map(OwnedValue::from);
        let number = || bytes.try_into().ok().map(u64::from_le_bytes);
        match (self, bytes) {
            (Self::Bool, [0 | 1]) => Some(OwnedValue::Bool(bytes == [1])),
            // Eight digits are a text: as a number they would be past 10^18.
            (Self::Int, _) => parsed().or_else(|| Some(OwnedValue::Int(number()?.cast_signed()))),
            (Self::Double, _) => parsed().or_else(|| {
                let bits = number()?;
                let value = f64::from_bits(bits);
                // The bits of a whole number up to 2^52 are those of a double
                // that is next to nothing, and that nobody means.
                let is_whole = value == 0.0 || value.is_subnormal();
                Some(OwnedValue::Double(if is_whole {
                    bits as f64
                } else {
                    value
                }))
            }),
            // No text has a zero byte, and small numbers do.
            (Self::String, _) if bytes.contains(&0) => match bytes {
                [0] => Some(OwnedValue::Str("false".to_owned())),
                _ => Some(OwnedValue::Str(number()?.cast_signed().to_string())),
            },
            (Self::String, [1]) => Some(OwnedValue::Str("true".to_owned())),
            (Self::String | Self::Bool, _) => parsed(),
        }
    }
}

/// Where a tag's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The first line of a request header, by its name in lower case.
    RequestHeader(String),
    /// The first line of a response header, by its name in lower case.
    ResponseHeader(String),
    /// The value itself.
    Literal(String),
    /// A variable of the environment.
    Environment(String),
    /// A value in somebody's `filter_metadata`.
    Metadata {
        /// Whose.
        kind: MetadataKind,
        /// The filter's namespace.
        namespace: String,
        /// From there to the value.
        path: Vec<String>,
    },
    /// An entry of the request's baggage.
    Baggage(String),
    /// Any property that the host knows.
    Property(Vec<String>),
}

/// One tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomTag {
    /// The attribute.
    pub name: String,
    /// Where its value comes from.
    pub source: Source,
    /// Its type. A value that is not of it is left out, and counted as
    /// dropped.
    pub tag_type: TagType,
    /// What it is where its source has nothing; empty for no attribute.
    pub default: String,
}

/// The tags of one configuration.
#[derive(Debug)]
pub struct CustomTags {
    /// Those that are the same on every span.
    constant: Attributes,
    constants: usize,
    /// Those that a stream says.
    of_stream: Vec<CustomTag>,
    max_tags: usize,
    /// The names that spans may have of themselves.
    of_spans: Names,
    /// What an operator should know of the environment.
    warnings: Vec<String>,
}

/// The tags of one stream as they are found.
struct Tagging {
    attributes: Attributes,
    count: usize,
}

impl CustomTags {
    /// `is_of_spans` tells whether a span may have an attribute of itself,
    /// `variable` gives a variable of the environment.
    pub fn new(
        tags: Vec<CustomTag>,
        limits: Limits,
        is_of_spans: impl Fn(&str) -> bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let max_tags = limits.max_custom_tags;
        let mut tagging = Tagging {
            attributes: Attributes::new(limits.max_attribute_length, 0),
            count: 0,
        };
        let names = tags.iter().map(|tag| tag.name.as_str());
        let of_spans: Vec<_> = names.filter(|name| is_of_spans(name)).collect();
        let of_spans = Names::new(&of_spans);
        let mut of_stream = Vec::new();
        let mut warnings = Vec::new();
        for tag in tags {
            match &tag.source {
                Source::Literal(value) => tagging.add_text(&tag, Some(value), max_tags),
                Source::Environment(name) => {
                    let value = variable(name);
                    warnings.extend(environment_warning(&tag, name, value.as_deref()));
                    tagging.add_text(&tag, value.as_deref(), max_tags);
                }
                _ => of_stream.push(tag),
            }
        }
        Self {
            constant: tagging.attributes,
            constants: tagging.count,
            of_stream,
            max_tags,
            of_spans,
            warnings,
        }
    }

    /// What an operator should know of the environment.
    pub(crate) fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The request headers that they are made of.
    pub(crate) fn request_headers(&self) -> impl Iterator<Item = &str> {
        self.of_stream.iter().filter_map(|tag| match &tag.source {
            Source::RequestHeader(name) => Some(name.as_str()),
            Source::Baggage(_) => Some("baggage"),
            _ => None,
        })
    }

    /// Whether all are made of requests, and the host need not be asked.
    pub(crate) fn are_of_request(&self) -> bool {
        let mut sources = self.of_stream.iter().map(|tag| &tag.source);
        sources.all(|source| matches!(source, Source::RequestHeader(_) | Source::Baggage(_)))
    }

    /// The tags of a stream that has ended.
    pub(crate) fn of(&self, request: &impl Extractor, response: &impl ResponseInfo) -> Tags<'_> {
        let mut tagging = Tagging {
            attributes: self
                .constant
                .clone_with_room(self.of_stream.len() * EXPECTED),
            count: self.constants,
        };
        for tag in &self.of_stream {
            match &tag.source {
                Source::RequestHeader(name) => {
                    let value = request.header(name.as_bytes());
                    let value = value.map(utf8_lossy);
                    tagging.add_text(tag, value.as_deref(), self.max_tags);
                }
                Source::Baggage(key) => {
                    let mut lines = request.headers().filter(|(name, _)| *name == b"baggage");
                    let value = lines.find_map(|(_, header)| baggage::value(header, key));
                    tagging.add_text(tag, value.as_deref(), self.max_tags);
                }
                Source::ResponseHeader(name) => {
                    let value = response.response_header(name).map(utf8_lossy);
                    tagging.add_text(tag, value.as_deref(), self.max_tags);
                }
                Source::Metadata {
                    kind,
                    namespace,
                    path,
                } => {
                    let value = response.metadata(*kind, namespace, path).and_then(text);
                    tagging.add_text(tag, value.as_deref(), self.max_tags);
                }
                Source::Property(path) => match response.property(path) {
                    Some(bytes) if !bytes.is_empty() => {
                        let value = tag.tag_type.read(&bytes);
                        let value = value.as_ref().map(OwnedValue::as_value);
                        tagging.add(tag, value, self.max_tags);
                    }
                    _ => tagging.add_text(tag, None, self.max_tags),
                },
                _ => {}
            }
        }
        Tags {
            attributes: tagging.attributes,
            of_spans: &self.of_spans,
        }
    }
}

/// Why a tag has no value of the environment, unless it has a default for that.
fn environment_warning(tag: &CustomTag, variable: &str, value: Option<&str>) -> Option<String> {
    let consequence = format!("spans go without the tag {}", tag.name);
    match value.filter(|value| !value.is_empty()) {
        None if tag.default.is_empty() => Some(format!(
            "{variable} is not in the environment that the filter sees, {consequence}"
        )),
        Some(value) if tag.tag_type.parse(value).is_none() => Some(format!(
            "{variable} of the environment is not of the type of the tag, {consequence}"
        )),
        _ => None,
    }
}

/// All tags of one stream.
pub(crate) struct Tags<'a> {
    attributes: Attributes,
    of_spans: &'a Names,
}

impl Tags<'_> {
    /// Adds them to a span. They come before what has the same names.
    pub(crate) fn add_to(&self, attributes: &mut Attributes) {
        attributes.replace(&self.attributes, self.of_spans);
    }
}

/// What a tag that is not known yet may take: most are short.
const EXPECTED: usize = 48;

/// A value of metadata as text: objects and lists as JSON.
fn text(value: serde_json::Value) -> Option<String> {
    match value {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text),
        other => Some(other.to_string()),
    }
}

impl Tagging {
    /// Adds a tag. An empty value is none.
    fn add_text(&mut self, tag: &CustomTag, value: Option<&str>, max_tags: usize) {
        let text = value
            .filter(|text| !text.is_empty())
            .unwrap_or(&tag.default);
        if !text.is_empty() {
            self.add(tag, tag.tag_type.parse(text), max_tags);
        }
    }

    fn add(&mut self, tag: &CustomTag, value: Option<Value<'_>>, max_tags: usize) {
        match value {
            Some(value) if self.count < max_tags => {
                self.count += 1;
                self.attributes.set(&tag.name, value);
            }
            _ => self.attributes.drop_one(),
        }
    }
}

impl From<Value<'_>> for OwnedValue {
    fn from(value: Value<'_>) -> Self {
        match value {
            Value::Str(text) => Self::Str(text.to_owned()),
            Value::Int(i) => Self::Int(i),
            Value::Double(d) => Self::Double(d),
            Value::Bool(b) => Self::Bool(b),
        }
    }
}
