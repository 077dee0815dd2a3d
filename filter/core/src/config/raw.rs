//! The document's shape. Every leaf parses its own text; what concerns two
//! keys at once is checked where the domain's type is made.

use super::Faults;
use crate::batch::BatchConfig;
use crate::exporter::{OtlpGrpc, default_authority};
use crate::keep;
use crate::matcher::{self, Pattern, SafeRegex, StringMatcher};
use crate::propagation::{Format, Incoming, Propagator};
use crate::request::Direction;
use crate::rule::{self, Action};
use crate::sampler::{self, RateLimit, Ratio, Root};
use deserr::{
    DeserializeError, Deserr, ErrorKind, IntoValue, MergeWithError, Sequence, Value, ValueKind,
    ValuePointerRef,
};
use std::num::NonZeroU32;
use std::ops::{ControlFlow, RangeInclusive};
use std::time::Duration;

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
pub(super) struct Config {
    /// The name of the service; empty for `OTEL_SERVICE_NAME`, else the node's cluster.
    #[deserr(default)]
    service_name: Given<String>,
    /// Where spans go.
    exporter: Exporter,
    /// How contexts are read and written.
    #[deserr(default)]
    propagation: Given<Propagation>,
    /// Whether there is a span where no rule decides.
    #[deserr(default)]
    sampler: Given<Sampler>,
    /// The first with an action that matches decides; none: the sampler.
    #[deserr(default)]
    rules: Given<Vec<Rule>>,
    /// Spans kept by outcome though the decision at the head was no.
    #[deserr(default)]
    keep: Given<Keep>,
    /// A route's `filter_metadata` may disable, force or sample: namespace `sidespan`, and `envoy.filters.http.router.disable_tracing`.
    #[deserr(default)]
    route_metadata: Given<bool>,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Exporter {
    /// OTLP over gRPC.
    otlp_grpc: Grpc,
    /// How spans wait.
    #[deserr(default)]
    batch: Given<Batch>,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Grpc {
    /// An Envoy cluster with HTTP/2.
    cluster: ClusterName,
    /// The `:authority` of each call; default: the host in `outbound|PORT|SUBSET|HOST`, else the cluster's name.
    #[deserr(default)]
    authority: Given<Authority>,
    /// How long a call may take; default 10s.
    #[deserr(default)]
    timeout: Given<Span>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Batch {
    /// Spans that may wait; default 2048.
    #[deserr(default)]
    max_queue_size: Given<Count>,
    /// Bytes that they may take; default 4MiB.
    #[deserr(default)]
    max_queue_bytes: Given<Size>,
    /// Spans in one export; default 512.
    #[deserr(default)]
    max_export_batch_size: Given<Count>,
    /// How long a span may wait for its batch to fill; default 1s.
    #[deserr(default)]
    schedule_delay: Given<Span>,
    /// Exports under way at once; default 2.
    #[deserr(default)]
    max_concurrent_exports: Given<Count>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Propagation {
    /// Tried in this order, the first valid one wins; default all: tracecontext, b3, b3multi.
    #[deserr(default)]
    extract: Given<Formats>,
    /// Written always; default tracecontext.
    #[deserr(default)]
    inject: Given<Formats>,
    /// How a context that came in is taken; default continue.
    #[deserr(default)]
    incoming: Given<Incoming>,
    /// A response header for the trace id.
    #[deserr(default)]
    response_header: Given<OptionalHeaderName>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Sampler {
    /// Default parentbased_traceidratio.
    #[deserr(default, rename = "type")]
    #[cfg_attr(feature = "schema", schemars(rename = "type"))]
    kind: Given<SamplerType>,
    /// The share that is sampled; default 1.0.
    #[deserr(default)]
    ratio: Given<Ratio>,
    /// New traces a second and worker; 0, the default: no limit.
    #[deserr(default)]
    max_traces_per_second: Given<Rate>,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Rule {
    /// Told in the attribute `sidespan.rule` and in the log.
    #[deserr(default)]
    name: Given<String>,
    /// All that are given must hold.
    #[deserr(rename = "match")]
    #[cfg_attr(feature = "schema", schemars(rename = "match"))]
    matches: Match,
    /// disable: no span, headers untouched. force: sampled, whatever the caller says. sample: decided at `ratio`.
    #[deserr(default)]
    action: Given<ActionName>,
    /// With `action: sample`.
    #[deserr(default)]
    ratio: Given<Ratio>,
    /// How a context that came in is taken, for what matches.
    #[deserr(default)]
    incoming: Given<Incoming>,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Match {
    /// The path without its query.
    #[deserr(default)]
    path: Given<StringMatcher>,
    /// One of these.
    #[deserr(default)]
    method: Given<Vec<Token>>,
    /// The host without its port.
    #[deserr(default)]
    host: Given<StringMatcher>,
    /// All of these.
    #[deserr(default)]
    headers: Given<Vec<HeaderMatcher>>,
    /// The side of the proxy.
    #[deserr(default)]
    direction: Given<Direction>,
}

#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct HeaderMatcher {
    /// The header's name.
    name: Token,
    /// What its value must be.
    #[deserr(default)]
    string_match: Given<StringMatcher>,
    /// Whether it must be there.
    #[deserr(default)]
    present_match: Given<bool>,
    /// The opposite must hold.
    #[deserr(default)]
    invert_match: Given<bool>,
}

#[derive(Debug, Default, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
struct Keep {
    /// 5xx, gRPC errors, resets.
    #[deserr(default)]
    errors: Given<bool>,
    /// Streams that lasted longer.
    #[deserr(default)]
    slower_than: Given<Span>,
    /// Streams with any of Envoy's response flags.
    #[deserr(default)]
    response_flags: Given<bool>,
    /// Responses with one of these.
    #[deserr(default)]
    status_codes: Given<Vec<StatusCode>>,
    /// Requests that were sent more than once.
    #[deserr(default)]
    retried: Given<bool>,
}

/// Exactly one of the patterns.
#[derive(Debug, Deserr)]
#[deserr(error = Faults, deny_unknown_fields)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(deny_unknown_fields)
)]
pub(super) struct StringMatch {
    /// The whole value.
    #[deserr(default)]
    exact: Given<String>,
    /// Its start.
    #[deserr(default)]
    prefix: Given<Text>,
    /// Its end.
    #[deserr(default)]
    suffix: Given<Text>,
    /// Any part of it.
    #[deserr(default)]
    contains: Given<Text>,
    /// The whole value, by a regular expression in linear time.
    #[deserr(default)]
    safe_regex: Given<Text>,
    /// ASCII letters in any case.
    #[deserr(default)]
    ignore_case: Given<bool>,
}

/// A key that may be left out, but not left empty: null is no value.
#[derive(Debug)]
pub(super) struct Given<T>(Option<T>);

impl<T: Default> Given<T> {
    fn or_default(self) -> T {
        self.0.unwrap_or_default()
    }
}

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
        let propagation = raw.propagation.or_default();
        let default = Propagator::default();
        Self {
            service_name: raw.service_name.or_default(),
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
            batch: raw.exporter.batch.or_default().into(),
            incoming: propagation.incoming.0.unwrap_or_default(),
            response_header: propagation.response_header.0.and_then(|name| name.0),
            sampler: raw.sampler.or_default().into(),
            rules: raw.rules.or_default().into_iter().map(Rule::into).collect(),
            keep: raw.keep.or_default().into(),
            route_metadata: raw.route_metadata.or_default(),
            propagator: Propagator {
                extract: formats(propagation.extract, default.extract),
                inject: formats(propagation.inject, default.inject),
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

impl From<Sampler> for sampler::Sampler {
    fn from(raw: Sampler) -> Self {
        let ratio = raw.ratio.0.unwrap_or(Ratio::ONE);
        let limit = raw.max_traces_per_second.0.and_then(|rate| rate.0);
        let kind = raw.kind.0.unwrap_or(SamplerType::ParentBasedTraceIdRatio);
        Self {
            parent_based: matches!(
                kind,
                SamplerType::ParentBasedAlwaysOn
                    | SamplerType::ParentBasedAlwaysOff
                    | SamplerType::ParentBasedTraceIdRatio
            ),
            root: match kind {
                SamplerType::AlwaysOn | SamplerType::ParentBasedAlwaysOn => Root::AlwaysOn,
                SamplerType::AlwaysOff | SamplerType::ParentBasedAlwaysOff => Root::AlwaysOff,
                SamplerType::TraceIdRatio | SamplerType::ParentBasedTraceIdRatio => {
                    Root::TraceIdRatio(ratio)
                }
            },
            limit: limit.map(RateLimit::new),
        }
    }
}

impl From<Rule> for rule::Rule {
    fn from(raw: Rule) -> Self {
        // "action: sample" without a ratio is a fault across keys.
        let ratio = raw.ratio.0.unwrap_or(Ratio::ONE);
        Self {
            name: raw.name.or_default(),
            path: raw.matches.path.0,
            methods: raw
                .matches
                .method
                .or_default()
                .into_iter()
                .map(|token| token.0)
                .collect(),
            host: raw.matches.host.0,
            headers: raw
                .matches
                .headers
                .or_default()
                .into_iter()
                .map(HeaderMatcher::into)
                .collect(),
            direction: raw.matches.direction.0,
            action: raw.action.0.map(|action| match action {
                ActionName::Disable => Action::Disable,
                ActionName::Force => Action::Force,
                ActionName::Sample => Action::Sample(ratio),
            }),
            incoming: raw.incoming.0,
        }
    }
}

impl From<HeaderMatcher> for matcher::HeaderMatcher {
    fn from(raw: HeaderMatcher) -> Self {
        Self {
            name: raw.name.0.to_ascii_lowercase(),
            value: raw.string_match.0,
            invert: raw.invert_match.or_default() != (raw.present_match.0 == Some(false)),
        }
    }
}

impl From<Keep> for keep::Keep {
    fn from(raw: Keep) -> Self {
        Self {
            errors: raw.errors.or_default(),
            slower_than: raw.slower_than.0.map(|span| span.0),
            response_flags: raw.response_flags.or_default(),
            status_codes: raw
                .status_codes
                .or_default()
                .into_iter()
                .map(|code| code.0)
                .collect(),
            retried: raw.retried.or_default(),
        }
    }
}

/// A matcher has exactly one pattern.
fn faults_of_patterns(
    matcher_place: &str,
    matcher: Option<&serde_json::Value>,
    faults: &mut Faults,
) {
    let Some(keys) = matcher.and_then(serde_json::Value::as_object) else {
        return;
    };
    let count = PATTERNS
        .iter()
        .filter(|key| keys.contains_key(**key))
        .count();
    if count != 1 {
        let patterns = PATTERNS.join(", ");
        faults.add(
            matcher_place,
            format!("{count} patterns, expected exactly one of {patterns}"),
        );
    }
}

const PATTERNS: [&str; 5] = ["exact", "prefix", "suffix", "contains", "safe_regex"];

impl Deserr<Faults> for StringMatcher {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let raw = StringMatch::deserialize_from_value(value, location)?;
        let ignore_case = raw.ignore_case.or_default();
        let text = |given: Given<Text>| given.0.map(|text| text.0);
        let regex = text(raw.safe_regex)
            .map(|expression| {
                SafeRegex::new(&expression, ignore_case).map_err(|error| {
                    let message = format!("{expression:?} is not a regular expression: {error}");
                    Faults::one(place(location.push_key("safe_regex")), message)
                })
            })
            .transpose()?;
        [
            raw.exact.0.map(Pattern::Exact),
            text(raw.prefix).map(Pattern::Prefix),
            text(raw.suffix).map(Pattern::Suffix),
            text(raw.contains).map(Pattern::Contains),
            regex.map(Pattern::SafeRegex),
        ]
        .into_iter()
        .flatten()
        .next()
        .map(|pattern| Self::new(pattern, ignore_case))
        // That there is exactly one is a matter of several keys.
        .ok_or_else(Faults::default)
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

    let rules = at("/rules").and_then(serde_json::Value::as_array);
    for (index, rule) in rules.into_iter().flatten().enumerate() {
        faults_of_rule(&format!("rules[{index}]"), rule, &mut faults);
    }
    faults
}

/// What is wrong between the keys of a rule.
fn faults_of_rule(rule_place: &str, rule: &serde_json::Value, faults: &mut Faults) {
    let has = |key| rule.get(key).is_some();
    let is_sample = rule.get("action").and_then(serde_json::Value::as_str) == Some("sample");
    if rule.is_object() && !has("action") && !has("incoming") {
        faults.add(
            rule_place,
            "a rule without action and without incoming does nothing",
        );
    }
    if is_sample && !has("ratio") {
        faults.add(
            format!("{rule_place}.ratio"),
            "required with action: sample",
        );
    }
    let is_other = matches!(
        rule.get("action").map(serde_json::Value::as_str),
        None | Some(Some("disable" | "force"))
    );
    if has("ratio") && is_other {
        faults.add(
            format!("{rule_place}.ratio"),
            "means something with action: sample only",
        );
    }
    let matches = rule.get("match").and_then(serde_json::Value::as_object);
    let is_nothing = |value: &serde_json::Value| value.as_array().is_some_and(Vec::is_empty);
    if matches.is_some_and(|keys| keys.values().all(is_nothing)) {
        faults.add(
            format!("{rule_place}.match"),
            "empty, expected one of path, method, host, headers, direction",
        );
    }
    for key in ["path", "host"] {
        let matcher = rule.pointer(&format!("/match/{key}"));
        faults_of_patterns(&format!("{rule_place}.match.{key}"), matcher, faults);
    }
    let headers = rule
        .pointer("/match/headers")
        .and_then(serde_json::Value::as_array);
    for (index, header) in headers.into_iter().flatten().enumerate() {
        faults_of_patterns(
            &format!("{rule_place}.match.headers[{index}].string_match"),
            header.get("string_match"),
            faults,
        );
        let count = ["string_match", "present_match"]
            .iter()
            .filter(|key| header.get(key).is_some())
            .count();
        if header.is_object() && count != 1 {
            faults.add(
                format!("{rule_place}.match.headers[{index}]"),
                format!("{count} conditions, expected exactly one of string_match, present_match"),
            );
        }
    }
}

/// The name of an Envoy cluster.
#[derive(Debug)]
pub(super) struct ClusterName(String);

/// A value of `:authority`; empty for the default.
#[derive(Debug)]
pub(super) struct Authority(String);

/// A span of time, `500ms`, `10s` or `5m`.
#[derive(Debug)]
pub(super) struct Span(Duration);

/// A number of bytes, `64KiB` or `4MiB`.
#[derive(Debug)]
pub(super) struct Size(usize);

/// A positive number of things.
#[derive(Debug)]
pub(super) struct Count(usize);

/// A format by its name.
#[derive(Debug)]
struct FormatName(Format);

/// Formats, each once.
#[derive(Debug)]
pub(super) struct Formats(Vec<Format>);

/// A text that is not empty, as every value has an empty part.
#[derive(Debug)]
pub(super) struct Text(String);

/// A name or method of HTTP (RFC 9110, 5.6.2).
#[derive(Debug)]
pub(super) struct Token(String);

/// A header's name in lower case; empty for none.
#[derive(Debug)]
pub(super) struct OptionalHeaderName(Option<String>);

/// The status of a response.
#[derive(Debug)]
pub(super) struct StatusCode(u16);

/// A number of things a second; 0 for any.
#[derive(Debug)]
pub(super) struct Rate(Option<NonZeroU32>);

impl Text {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("\"\" matches everything, expected a text".to_owned()),
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl Token {
    fn parse(text: &str) -> Result<Self, String> {
        let is_tchar = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        // Envoy's names for HTTP/2's own, such as `:authority`.
        let token = text.strip_prefix(':').unwrap_or(text);
        if !token.is_empty() && token.bytes().all(is_tchar) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("{text:?} is not a name or method of HTTP"))
        }
    }
}

impl OptionalHeaderName {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self(None)),
            text if text.starts_with(':') => Err(format!("{text:?} is not a response header")),
            text => Token::parse(text).map(|token| Self(Some(token.0.to_ascii_lowercase()))),
        }
    }
}

/// A value among a few, by its name.
macro_rules! named {
    ($($name:ident: $what:literal { $($text:literal => $value:expr,)+ })+) => {
        $(impl $name {
            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($text => Ok($value),)+
                    _ => Err(format!(
                        "{text:?} is not {}, expected one of {}",
                        $what,
                        [$($text),+].join(", "),
                    )),
                }
            }
        })+
    };
}

#[derive(Debug)]
pub(super) enum SamplerType {
    AlwaysOn,
    AlwaysOff,
    TraceIdRatio,
    ParentBasedAlwaysOn,
    ParentBasedAlwaysOff,
    ParentBasedTraceIdRatio,
}

#[derive(Debug)]
pub(super) enum ActionName {
    Disable,
    Force,
    Sample,
}

named! {
    SamplerType: "a sampler" {
        "always_on" => SamplerType::AlwaysOn,
        "always_off" => SamplerType::AlwaysOff,
        "traceidratio" => SamplerType::TraceIdRatio,
        "parentbased_always_on" => SamplerType::ParentBasedAlwaysOn,
        "parentbased_always_off" => SamplerType::ParentBasedAlwaysOff,
        "parentbased_traceidratio" => SamplerType::ParentBasedTraceIdRatio,
    }
    ActionName: "an action" {
        "disable" => ActionName::Disable,
        "force" => ActionName::Force,
        "sample" => ActionName::Sample,
    }
    Incoming: "a policy" {
        "continue" => Incoming::Continue,
        "restart" => Incoming::Restart,
        "link" => Incoming::Link,
        "resample" => Incoming::Resample,
        "require" => Incoming::Require,
    }
    Direction: "a direction" {
        "inbound" => Direction::Inbound,
        "outbound" => Direction::Outbound,
    }
}

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

from_text!(ClusterName Authority Span Size FormatName Text Token OptionalHeaderName SamplerType ActionName Incoming Direction);

/// An integer in a range.
fn integer<V: IntoValue>(
    value: Value<V>,
    range: RangeInclusive<u64>,
    location: ValuePointerRef<'_>,
) -> Result<u64, Faults> {
    let number = match value {
        Value::Integer(number) => number,
        other => return Err(wrong_kind(other, &[ValueKind::Integer], location)),
    };
    if range.contains(&number) {
        return Ok(number);
    }
    let (least, most) = range.into_inner();
    let message = format!("{number} is out of range, expected {least} to {most}");
    Err(Faults::one(place(location), message))
}

/// A million spans, calls or traces at once are no limit any more.
const MOST: u64 = 1_000_000;

macro_rules! from_integer {
    ($($name:ident: $range:expr => $make:expr;)+) => {
        $(impl Deserr<Faults> for $name {
            fn deserialize_from_value<V: IntoValue>(
                value: Value<V>,
                location: ValuePointerRef<'_>,
            ) -> Result<Self, Faults> {
                integer(value, $range, location).map($make)
            }
        })+
    };
}

from_integer! {
    Count: 1..=MOST => |n| Self(n as usize);
    Rate: 0..=MOST => |n| Self(NonZeroU32::new(n as u32));
    StatusCode: 100..=599 => |n| Self(n as u16);
}

impl Deserr<Faults> for Ratio {
    fn deserialize_from_value<V: IntoValue>(
        value: Value<V>,
        location: ValuePointerRef<'_>,
    ) -> Result<Self, Faults> {
        let number = match value {
            Value::Integer(n) => n as f64,
            Value::NegativeInteger(n) => n as f64,
            Value::Float(f) => f,
            // Of `ratio: 0.5` in a Struct, Envoy's YAML makes the text "0.5".
            Value::String(text) => serde_json::from_str(&text)
                .map_err(|_| Faults::one(place(location), format!("{text:?} is not a number")))?,
            other => return Err(wrong_kind(other, &[ValueKind::Float], location)),
        };
        Ratio::new(number).ok_or_else(|| {
            let message = format!("{number} is not a ratio, expected 0 to 1");
            Faults::one(place(location), message)
        })
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
