//! The objects of the document.

use crate::checks::{
    authority_is_known, batch_fits, has_one_pattern, has_one_protocol, has_one_source,
    header_has_a_condition, intervals_fit, matches_something, rule_does_something, tag_is_whole,
    tags_differ,
};
use crate::choices::{Compression, KindName, SamplerType};
use crate::object::object;
use crate::values::{
    Authority, AutoOrBool, ClusterName, Count, ExportHeaderName, ExportHeaders, Formats,
    HeaderValue, OptionalHeaderName, Rate, ResourceAttributes, Size, StatusCode, Text, Token,
    UrlPath,
};
use sidespan_core::config;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings;
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::settings::{Carrier, Incoming, UnsampledContext};
use sidespan_core::recording::settings::{SpanConfig, Vocabulary};
use sidespan_core::sampling::matcher::StringMatcher;
use sidespan_core::sampling::ratio::Ratio;
use sidespan_core::sampling::rules::Action;
use sidespan_core::sampling::{matcher, rules as rule, sampler, tail_keep as keep};
use sidespan_core::span::custom_tags as custom_tag;
use sidespan_core::span::custom_tags::TagType;
use sidespan_core::span::name::SpanName;
use sidespan_core::span::redaction::QueryPolicy;
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
