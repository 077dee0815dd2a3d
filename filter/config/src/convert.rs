//! What the objects of the document are made into.

#[cfg(feature = "schema")]
use crate::checks::PATTERNS;
use crate::choices::SamplerType;
use crate::document::{
    Allow, Batch, Config, CustomTag, Grpc, Header, HeaderMatcher, Http, Keep, Retry, Route, Rule,
    Sampler, SpanKeys, StringMatch,
};
#[cfg(feature = "schema")]
use crate::json_schema::{Definitions, Schema, object, one_of, reference};
use crate::reader::{At, Read};
use crate::values::{Authority, ClusterName, Text, Token};
use serde_json::Value;
#[cfg(feature = "schema")]
use serde_json::json;
use sidespan_core::config;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings;
use sidespan_core::export::settings::{ExporterConfig, HeaderSource, Protocol, default_authority};
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::recording::settings::SpanConfig;
use sidespan_core::sampling::matcher::{Pattern, SafeRegex, StringMatcher};
use sidespan_core::sampling::rate_limit::RateLimit;
use sidespan_core::sampling::rules::Action;
use sidespan_core::sampling::sampler::Root;
use sidespan_core::sampling::{matcher, rules as rule, sampler, tail_keep as keep};
use sidespan_core::span::custom_tags as custom_tag;
use sidespan_core::span::custom_tags::Source;
use sidespan_core::span::redaction::QueryPolicy;
use sidespan_core::span::span::Limits;
use std::time::Duration;

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

#[cfg(feature = "schema")]
impl Schema for StringMatcher {
    fn schema(definitions: &mut Definitions) -> Value {
        reference("StringMatcher", definitions, |definitions| {
            let mut schema = object::<StringMatch>(definitions);
            schema.insert("oneOf".to_owned(), one_of(&PATTERNS));
            schema
        })
    }
}

#[cfg(feature = "schema")]
impl Schema for QueryPolicy {
    fn schema(definitions: &mut Definitions) -> Value {
        let allow = object::<Allow>(definitions);
        json!({ "anyOf": [{ "enum": ["redact", "drop", "keep"] }, allow] })
    }
}
