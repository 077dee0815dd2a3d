//! The document's objects, what they are made into, and what must hold between
//! their keys.

use super::leaf::{
    Authority, AutoOrBool, ClusterName, Compression, Count, ExportHeaderName, ExportHeaders,
    Formats, HeaderValue, KindName, Named as _, OptionalHeaderName, Rate, ResourceAttributes,
    SamplerType, Size, StatusCode, Text, Token, UrlPath,
};
use super::read::{At, FromText, Key, Read, object};
use serde_json::Value;
use sidespan_core::config;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings;
use sidespan_core::export::settings::{ExporterConfig, HeaderSource, Protocol, default_authority};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::settings::{Carrier, Incoming, UnsampledContext};
use sidespan_core::recording::settings::{SpanConfig, Vocabulary};
use sidespan_core::sampling::matcher::{Pattern, SafeRegex, StringMatcher};
use sidespan_core::sampling::rate_limit::RateLimit;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::sampling::rules::Action;
use sidespan_core::sampling::sampler::Root;
use sidespan_core::sampling::{matcher, rules as rule, sampler, tail_keep as keep};
use sidespan_core::span::custom_tags as custom_tag;
use sidespan_core::span::custom_tags::{Source, TagType};
use sidespan_core::span::name::SpanName;
use sidespan_core::span::redaction::QueryPolicy;
use sidespan_core::span::span::Limits;
use std::time::Duration;

object! {
    #[check(tags_differ)]
    struct Config => config::Config {
        /// The name of the service; empty for `OTEL_SERVICE_NAME`, else what Istio or the node says.
        service_name: Option<String>,
        /// Of the resource; they win over detected ones.
        resource_attributes: Option<ResourceAttributes>,
        /// Where spans go.
        exporter: Exporter,
        /// How contexts are read and written.
        propagation: Option<Propagation>,
        /// Whether there is a span where no rule decides.
        sampler: Option<sampler::Sampler>,
        /// The first with an action that matches decides; none: the sampler.
        rules: Option<Vec<rule::Rule>>,
        /// Spans kept by outcome though the decision at the head was no.
        keep: Option<keep::Keep>,
        /// Attributes that are asked for, as in Envoy and Istio, and some sources more.
        custom_tags: Option<Vec<custom_tag::CustomTag>>,
        /// What spans are like.
        span: Option<SpanConfig>,
        /// What is shown of a query; default redact: all but the values of known secrets.
        url_query: Option<QueryPolicy>,
        /// A route's `filter_metadata` may disable, force or sample: namespace `sidespan`, and `envoy.filters.http.router.disable_tracing`.
        route_metadata: Option<bool>,
    }

    /// What a route says of its own.
    #[check(tags_differ)]
    struct Route => config::RouteConfig {
        /// In place of the filter's.
        sampler: Option<sampler::Sampler>,
        /// They come before the filter's.
        rules: Option<Vec<rule::Rule>>,
        /// Beside the filter's, or in the place of those with the same name.
        custom_tags: Option<Vec<custom_tag::CustomTag>>,
    }

    #[check(has_one_protocol)]
    struct Exporter {
        /// OTLP over gRPC.
        otlp_grpc: Option<Grpc>,
        /// OTLP over HTTP, binary protobuf.
        otlp_http: Option<Http>,
        /// How spans wait.
        batch: Option<BatchConfig>,
        /// When an export that failed is tried again.
        retry: Option<RetryConfig>,
    }

    #[check(authority_is_known)]
    struct Grpc {
        /// An Envoy cluster with HTTP/2.
        cluster: ClusterName,
        /// The `:authority` of each call; default: the host in `outbound|PORT|SUBSET|HOST`, else the cluster's name.
        authority: Option<Authority>,
        /// How long a call may take; default 10s.
        timeout: Option<Duration>,
        /// Sent with each call.
        headers: Option<ExportHeaders>,
    }

    #[check(authority_is_known)]
    struct Http {
        /// An Envoy cluster.
        cluster: ClusterName,
        /// The `:authority` of each call; default: the host in `outbound|PORT|SUBSET|HOST`, else the cluster's name.
        authority: Option<Authority>,
        /// Default /v1/traces.
        path: Option<UrlPath>,
        /// How long a call may take; default 10s.
        timeout: Option<Duration>,
        /// Sent with each call.
        headers: Option<ExportHeaders>,
        /// Default none.
        compression: Option<Compression>,
    }

    /// A header of each export.
    #[check(has_one_source)]
    struct Header => settings::ExportHeader {
        /// Its name.
        name: ExportHeaderName,
        /// What it says.
        value: Option<HeaderValue>,
        /// The variable of the VM's environment that holds what it says.
        environment: Option<Text>,
    }

    #[check(intervals_fit)]
    struct Retry => RetryConfig {
        /// The wait after a first failure; default 1s.
        initial_interval: Option<Duration>,
        /// What the wait grows to; default 30s.
        max_interval: Option<Duration>,
        /// How long a batch is tried; default 300s.
        max_elapsed_time: Option<Duration>,
    }

    #[check(batch_fits)]
    struct Batch => BatchConfig {
        /// Spans that may wait; default 2048.
        max_queue_size: Option<Count>,
        /// Bytes that they may take; default 4MiB.
        max_queue_bytes: Option<Size>,
        /// Spans in one export; default 512.
        max_export_batch_size: Option<Count>,
        /// How long a span may wait for its batch to fill; default 1s.
        schedule_delay: Option<Duration>,
        /// Exports under way at once; default 2.
        max_concurrent_exports: Option<Count>,
    }

    struct Propagation {
        /// Tried in this order, the first valid one wins; default all: tracecontext, b3, b3multi.
        extract: Option<Formats>,
        /// Written always; default tracecontext.
        inject: Option<Formats>,
        /// How a context that came in is taken; default continue.
        incoming: Option<Incoming>,
        /// The context of a request that is not sampled: unchanged, the default, forwards one that came byte for byte; rewrite gives every hop an id of its own.
        unsampled: Option<UnsampledContext>,
        /// How a Wasm filter writes the context: headers, the default, into the request's headers, for which Envoy chooses the route anew; filter_state, into filter state `wasm.sidespan.NAME`, for a header_mutation filter behind it. The native module always writes headers, and keeps the route.
        carrier: Option<Carrier>,
        /// A response header for the trace id.
        response_header: Option<OptionalHeaderName>,
    }

    struct Sampler => sampler::Sampler {
        /// Default parentbased_traceidratio.
        kind as "type": Option<SamplerType>,
        /// The share that is sampled; default 1.0.
        ratio: Option<Ratio>,
        /// New traces a second and worker; 0, the default: no limit.
        max_traces_per_second: Option<Rate>,
    }

    #[check(rule_does_something)]
    struct Rule => rule::Rule {
        /// Told in the attribute `sidespan.rule` and in the log.
        name: Option<String>,
        /// All that are given must hold.
        matches as "match": Match,
        /// disable: no span, headers untouched. force: sampled, whatever the caller says. sample: decided at `ratio`.
        action: Option<Action>,
        /// With `action: sample`.
        ratio: Option<Ratio>,
        /// How a context that came in is taken, for what matches.
        incoming: Option<Incoming>,
    }

    #[check(matches_something)]
    struct Match {
        /// The path without its query.
        path: Option<StringMatcher>,
        /// One of these.
        method: Option<Vec<Token>>,
        /// The host without its port.
        host: Option<StringMatcher>,
        /// All of these.
        headers: Option<Vec<matcher::HeaderMatcher>>,
        /// The side of the proxy.
        direction: Option<Direction>,
    }

    #[check(header_has_a_condition)]
    struct HeaderMatcher => matcher::HeaderMatcher {
        /// The header's name.
        name: Token,
        /// What its value must be.
        string_match: Option<StringMatcher>,
        /// Whether it must be there.
        present_match: Option<bool>,
        /// The opposite must hold.
        invert_match: Option<bool>,
    }

    struct Keep => keep::Keep {
        /// Streams whose own span has the status ERROR: 5xx, gRPC errors, resets, and outbound 4xx.
        errors: Option<bool>,
        /// Streams that lasted longer.
        slower_than: Option<Duration>,
        /// Streams with any of Envoy's response flags.
        response_flags: Option<bool>,
        /// Responses with one of these.
        status_codes: Option<Vec<StatusCode>>,
        /// Requests that were sent more than once.
        retried: Option<bool>,
    }

    /// A tag, and exactly one source.
    #[check(tag_is_whole)]
    struct CustomTag => custom_tag::CustomTag {
        /// The attribute.
        tag: Text,
        /// The first line of a request header.
        request_header: Option<Named>,
        /// The first line of a response header.
        response_header: Option<Named>,
        /// The value itself.
        literal: Option<Literal>,
        /// A variable of the environment.
        environment: Option<Named>,
        /// A value in somebody's `filter_metadata`.
        metadata: Option<Metadata>,
        /// An entry of the request's baggage.
        baggage: Option<Named>,
        /// Any property that Envoy knows, part by part.
        property: Option<Vec<Text>>,
        /// The type of the value; default string.
        tag_type as "type": Option<TagType>,
    }

    struct Named {
        /// Its name.
        name: Token,
        /// The value where there is none; default: no attribute.
        default_value: Option<String>,
    }

    struct Literal {
        /// The value.
        value: Text,
    }

    struct Metadata {
        /// Whose; default request.
        kind: Option<MetadataKind>,
        /// Where the value is.
        metadata_key: MetadataKey,
        /// The value where there is none; default: no attribute.
        default_value: Option<String>,
    }

    struct MetadataKey {
        /// The filter's namespace.
        key: Text,
        /// From there to the value.
        path: Vec<PathSegment>,
    }

    struct PathSegment {
        /// A key.
        key: Text,
    }

    struct SpanKeys => SpanConfig {
        /// Default auto: by the listener's direction, outbound is a client.
        kind: Option<KindName>,
        /// A CLIENT child for the call upstream; default auto: where the listener has no direction, and at Istio's gateways.
        upstream_span: Option<AutoOrBool>,
        /// Default auto: "{method}" or "{method} {route}"; else a template of {method} {host} {path} {route} {cluster}.
        name: Option<SpanName>,
        /// Whose names attributes have; default stable.
        attributes: Option<Vocabulary>,
        /// The longest string in bytes; default 1024.
        max_attribute_length: Option<Count>,
        /// Custom tags on one span; default 64.
        max_custom_tags: Option<Count>,
    }

    /// Exactly one of the patterns.
    #[check(has_one_pattern)]
    struct StringMatch {
        /// The whole value.
        exact: Option<String>,
        /// Its start.
        prefix: Option<Text>,
        /// Its end.
        suffix: Option<Text>,
        /// Any part of it.
        contains: Option<Text>,
        /// The whole value, by a regular expression in linear time.
        safe_regex: Option<Text>,
        /// ASCII letters in any case.
        ignore_case: Option<bool>,
    }

    /// The keys of a query that are shown.
    struct Allow {
        /// These parameters, and no other.
        allow: Vec<Text>,
    }
}

impl From<Route> for config::RouteConfig {
    fn from(raw: Route) -> Self {
        Self {
            sampler: raw.sampler,
            rules: raw.rules.unwrap_or_default(),
            custom_tags: raw.custom_tags.unwrap_or_default(),
        }
    }
}

impl From<Config> for config::Config {
    fn from(raw: Config) -> Self {
        let propagation = raw.propagation.unwrap_or_default();
        let propagator = Propagator::default();
        Self {
            service_name: raw.service_name.unwrap_or_default(),
            resource_attributes: raw.resource_attributes.unwrap_or_default().0,
            exporter: exporter(
                raw.exporter.otlp_grpc,
                raw.exporter.otlp_http,
                raw.exporter.retry,
            ),
            batch: raw.exporter.batch.unwrap_or_default(),
            propagator: Propagator {
                extract: propagation.extract.map_or(propagator.extract, |f| f.0),
                inject: propagation.inject.map_or(propagator.inject, |f| f.0),
                unsampled: propagation.unsampled.unwrap_or_default(),
            },
            incoming: propagation.incoming.unwrap_or_default(),
            carrier: propagation.carrier.unwrap_or_default(),
            response_header: propagation.response_header.and_then(|name| name.0),
            sampler: raw.sampler.unwrap_or_default(),
            rules: raw.rules.unwrap_or_default(),
            keep: raw.keep.unwrap_or_default(),
            custom_tags: raw.custom_tags.unwrap_or_default(),
            span: SpanConfig {
                url_query: raw.url_query.unwrap_or_default(),
                ..raw.span.unwrap_or_default()
            },
            route_metadata: raw.route_metadata.unwrap_or_default(),
        }
    }
}

/// Of the two protocols one is there.
fn exporter(grpc: Option<Grpc>, http: Option<Http>, retry: Option<RetryConfig>) -> ExporterConfig {
    let (protocol, call) = match (grpc, http) {
        (_, Some(http)) => {
            let protocol = Protocol::Http {
                path: http.path.unwrap_or_default().0,
                gzip: http.compression.is_some_and(|compression| compression.0),
            };
            let call = Grpc {
                cluster: http.cluster,
                authority: http.authority,
                timeout: http.timeout,
                headers: http.headers,
            };
            (protocol, call)
        }
        (grpc, None) => (Protocol::Grpc, grpc.unwrap_or_default()),
    };
    let ClusterName(cluster) = call.cluster;
    ExporterConfig {
        authority: match call.authority {
            Some(Authority(authority)) if !authority.is_empty() => authority,
            _ => default_authority(&cluster).to_owned(),
        },
        timeout: call.timeout.unwrap_or(Duration::from_secs(10)),
        headers: call.headers.unwrap_or_default().0,
        protocol,
        retry: retry.unwrap_or_default(),
        cluster,
    }
}

impl From<Header> for settings::ExportHeader {
    fn from(raw: Header) -> Self {
        Self {
            name: raw.name.0,
            source: match raw.environment {
                Some(Text(variable)) => HeaderSource::Environment(variable),
                None => HeaderSource::Value(raw.value.unwrap_or_default().0),
            },
        }
    }
}

impl From<Retry> for RetryConfig {
    fn from(raw: Retry) -> Self {
        let default = Self::default();
        let initial_interval = raw.initial_interval.unwrap_or(default.initial_interval);
        Self {
            initial_interval,
            max_interval: raw
                .max_interval
                .unwrap_or(default.max_interval.max(initial_interval)),
            max_elapsed_time: raw.max_elapsed_time.unwrap_or(default.max_elapsed_time),
        }
    }
}

impl From<Batch> for BatchConfig {
    fn from(raw: Batch) -> Self {
        let default = Self::default();
        let max_queue_size = raw.max_queue_size.map_or(default.max_queue_size, |n| n.0);
        Self {
            max_queue_size,
            max_queue_bytes: raw.max_queue_bytes.map_or(default.max_queue_bytes, |n| n.0),
            max_export_batch_size: raw
                .max_export_batch_size
                .map_or(default.max_export_batch_size.min(max_queue_size), |n| n.0),
            schedule_delay: raw.schedule_delay.unwrap_or(default.schedule_delay),
            max_concurrent_exports: raw
                .max_concurrent_exports
                .map_or(default.max_concurrent_exports, |n| n.0),
        }
    }
}

impl From<Sampler> for sampler::Sampler {
    fn from(raw: Sampler) -> Self {
        let default = Self::default();
        let SamplerType(parent_based, root) = raw
            .kind
            .unwrap_or(SamplerType(default.parent_based, default.root));
        Self {
            parent_based,
            root: match (root, raw.ratio) {
                (Root::TraceIdRatio(_), Some(ratio)) => Root::TraceIdRatio(ratio),
                (root, _) => root,
            },
            limit: raw
                .max_traces_per_second
                .and_then(|rate| rate.0)
                .map(RateLimit::new),
        }
    }
}

impl From<Rule> for rule::Rule {
    fn from(raw: Rule) -> Self {
        Self {
            name: raw.name.unwrap_or_default(),
            path: raw.matches.path,
            methods: texts(raw.matches.method, |token| token.0),
            host: raw.matches.host,
            headers: raw.matches.headers.unwrap_or_default(),
            direction: raw.matches.direction,
            action: match (raw.action, raw.ratio) {
                (Some(Action::Sample(_)), Some(ratio)) => Some(Action::Sample(ratio)),
                (action, _) => action,
            },
            incoming: raw.incoming,
        }
    }
}

fn texts<T>(list: Option<Vec<T>>, text: impl FnMut(T) -> String) -> Vec<String> {
    list.unwrap_or_default().into_iter().map(text).collect()
}

impl From<HeaderMatcher> for matcher::HeaderMatcher {
    fn from(raw: HeaderMatcher) -> Self {
        Self {
            name: raw.name.0.to_ascii_lowercase(),
            value: raw.string_match,
            invert: raw.invert_match.unwrap_or_default() != (raw.present_match == Some(false)),
        }
    }
}

impl From<Keep> for keep::Keep {
    fn from(raw: Keep) -> Self {
        let codes = raw.status_codes.unwrap_or_default().into_iter();
        Self {
            errors: raw.errors.unwrap_or_default(),
            slower_than: raw.slower_than,
            response_flags: raw.response_flags.unwrap_or_default(),
            status_codes: codes.map(|code| code.0).collect(),
            retried: raw.retried.unwrap_or_default(),
        }
    }
}

impl From<CustomTag> for custom_tag::CustomTag {
    fn from(raw: CustomTag) -> Self {
        let lower = |name: Token| name.0.to_ascii_lowercase();
        let (source, default) = if let Some(header) = raw.request_header {
            let source = Source::RequestHeader(lower(header.name));
            (source, header.default_value)
        } else if let Some(header) = raw.response_header {
            let source = Source::ResponseHeader(lower(header.name));
            (source, header.default_value)
        } else if let Some(literal) = raw.literal {
            (Source::Literal(literal.value.0), None)
        } else if let Some(variable) = raw.environment {
            (Source::Environment(variable.name.0), variable.default_value)
        } else if let Some(metadata) = raw.metadata {
            let source = Source::Metadata {
                kind: metadata.kind.unwrap_or(MetadataKind::Request),
                namespace: metadata.metadata_key.key.0,
                path: texts(Some(metadata.metadata_key.path), |segment| segment.key.0),
            };
            (source, metadata.default_value)
        } else if let Some(entry) = raw.baggage {
            (Source::Baggage(entry.name.0), entry.default_value)
        } else {
            let path = texts(raw.property, |part| part.0);
            (Source::Property(path), None)
        };
        Self {
            name: raw.tag.0,
            source,
            tag_type: raw.tag_type.unwrap_or_default(),
            default: default.unwrap_or_default(),
        }
    }
}

impl From<SpanKeys> for SpanConfig {
    fn from(raw: SpanKeys) -> Self {
        let limits = Limits::default();
        Self {
            kind: raw.kind.and_then(|kind| kind.0),
            upstream_span: raw.upstream_span.and_then(|choice| choice.0),
            name: raw.name.unwrap_or_default(),
            attributes: raw.attributes.unwrap_or_default(),
            limits: Limits {
                max_attribute_length: raw
                    .max_attribute_length
                    .map_or(limits.max_attribute_length, |n| n.0),
                max_custom_tags: raw.max_custom_tags.map_or(limits.max_custom_tags, |n| n.0),
            },
            url_query: QueryPolicy::default(),
        }
    }
}

impl Read for StringMatcher {
    fn read(at: &At<'_>) -> Option<Self> {
        let raw = StringMatch::read(at)?;
        let ignore_case = raw.ignore_case.unwrap_or_default();
        let regex = raw.safe_regex.and_then(|Text(expression)| {
            SafeRegex::new(&expression, ignore_case)
                .map_err(|error| {
                    let message = format!("{expression:?} is not a regular expression: {error}");
                    at.fault_of("safe_regex", message);
                })
                .ok()
        });
        let pattern = raw
            .exact
            .map(Pattern::Exact)
            .or(raw.prefix.map(|text| Pattern::Prefix(text.0)))
            .or(raw.suffix.map(|text| Pattern::Suffix(text.0)))
            .or(raw.contains.map(|text| Pattern::Contains(text.0)))
            .or(regex.map(Pattern::SafeRegex))?;
        Some(Self::new(pattern, ignore_case))
    }
}

impl Read for QueryPolicy {
    fn read(at: &At<'_>) -> Option<Self> {
        let Value::String(text) = at.value else {
            let keys = Allow::read(at)?.allow.into_iter().map(|key| key.0);
            return Some(Self::Allow(keys.collect()));
        };
        match text.as_str() {
            "redact" => Some(Self::Redact),
            "drop" => Some(Self::Drop),
            "keep" => Some(Self::Keep),
            _ => at.wrong("is unknown, expected redact, drop, keep or an object with allow"),
        }
    }
}

/// No two custom tags set the same attribute.
fn tags_differ(config: &At<'_>) {
    let Some(tags) = config.get("custom_tags") else {
        return;
    };
    let mut names = Vec::new();
    for tag in tags.items() {
        if let Some(name) = tag.value.get("tag").and_then(Value::as_str) {
            if names.contains(&name) {
                tag.fault_of("tag", format!("{name:?} stands here twice"));
            }
            names.push(name);
        }
    }
}

/// Where the cluster's name is no authority, one must be given.
fn authority_is_known(grpc: &At<'_>) {
    let text = |key| grpc.value.get(key).and_then(Value::as_str);
    if text("authority").is_none_or(str::is_empty)
        && let Some(host) = text("cluster").map(default_authority)
        && let Err(wrong) = Authority::from_text(host)
    {
        grpc.fault_of("authority", format!("{host:?} {wrong}"));
    }
}

pub(super) const PROTOCOLS: [&str; 2] = ["otlp_grpc", "otlp_http"];

fn has_one_protocol(exporter: &At<'_>) {
    exporter.has_one("protocols", &PROTOCOLS);
}

fn has_one_source(header: &At<'_>) {
    header.has_one("sources", &["value", "environment"]);
}

fn intervals_fit(retry: &At<'_>) {
    let text = |key| retry.value.get(key).and_then(Value::as_str);
    let (initial, most) = (
        text("initial_interval").unwrap_or("1s"),
        text("max_interval"),
    );
    if let Some(most) = most
        && let Ok(least) = Duration::from_text(initial)
        && Duration::from_text(most).is_ok_and(|most| most < least)
    {
        retry.fault_of(
            "max_interval",
            format!("{most:?} is less than initial_interval, {initial:?}"),
        );
    }
}

/// "maxExportBatchSize […] must be smaller or equal to maxQueueSize."
/// (OpenTelemetry specification, BatchSpanProcessor)
fn batch_fits(batch: &At<'_>) {
    let number = |key| batch.value.get(key).and_then(Value::as_u64);
    let queue = number("max_queue_size");
    let queue = queue.unwrap_or(BatchConfig::default().max_queue_size as u64);
    if let Some(size) = number("max_export_batch_size").filter(|&size| size > queue) {
        batch.fault_of(
            "max_export_batch_size",
            format!("{size} is more than max_queue_size, {queue}"),
        );
    }
}

fn rule_does_something(rule: &At<'_>) {
    let has = |key| rule.value.get(key).is_some();
    let action = rule.value.get("action").map(Value::as_str);
    if action.is_none() && !has("incoming") {
        rule.fault("a rule without action and without incoming does nothing");
    }
    match action {
        Some(Some("sample")) if !has("ratio") => {
            rule.fault_of("ratio", "required with action: sample");
        }
        None | Some(Some("disable" | "force")) if has("ratio") => {
            rule.fault_of("ratio", "means something with action: sample only");
        }
        _ => {}
    }
}

fn matches_something(matches: &At<'_>) {
    let is_nothing = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let keys = matches.value.as_object();
    if keys.is_some_and(|keys| keys.values().all(is_nothing)) {
        matches.fault("empty, expected one of path, method, host, headers, direction");
    }
}

fn header_has_a_condition(header: &At<'_>) {
    header.has_one("conditions", &["string_match", "present_match"]);
}

pub(super) const PATTERNS: [&str; 5] = ["exact", "prefix", "suffix", "contains", "safe_regex"];

fn has_one_pattern(matcher: &At<'_>) {
    matcher.has_one("patterns", &PATTERNS);
}

/// A path leads somewhere.
fn has_names(holder: &At<'_>, key: &str) {
    if let Some(list) = holder.get(key)
        && list.value.as_array().is_some_and(Vec::is_empty)
    {
        list.fault("[] is empty, expected one name or more");
    }
}

/// A tag has exactly one source, and its texts are of its type.
fn tag_is_whole(tag: &At<'_>) {
    const SOURCES: [&str; 7] = [
        "request_header",
        "response_header",
        "literal",
        "environment",
        "metadata",
        "baggage",
        "property",
    ];
    tag.has_one("sources", &SOURCES);
    has_names(tag, "property");
    if let Some(metadata) = tag.get("metadata")
        && let Some(key) = metadata.get("metadata_key")
    {
        has_names(&key, "path");
    }
    let Some(type_name) = tag.value.get("type").and_then(Value::as_str) else {
        return;
    };
    let Some(tag_type) = TagType::by_name(type_name) else {
        return;
    };
    for source in SOURCES.iter().filter_map(|source| tag.get(source)) {
        for key in ["value", "default_value"] {
            if let Some(text) = source.value.get(key).and_then(Value::as_str)
                && !text.is_empty()
                && tag_type.parse(text).is_none()
            {
                source.fault_of(key, format!("{text:?} is not of the type {type_name}"));
            }
        }
    }
}
