//! What must hold between the keys of an object.

use crate::choices::Named as _;
use crate::reader::{At, FromText};
use crate::values::Authority;
use serde_json::Value;
use sidespan_core::export::batch::BatchConfig;
use sidespan_core::export::settings::default_authority;
use sidespan_core::span::custom_tags::TagType;
use std::time::Duration;

/// No two custom tags set the same attribute.
pub(crate) fn tags_differ(config: &At<'_>) {
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
pub(crate) fn authority_is_known(grpc: &At<'_>) {
    let text = |key| grpc.value.get(key).and_then(Value::as_str);
    if text("authority").is_none_or(str::is_empty)
        && let Some(host) = text("cluster").map(default_authority)
        && let Err(wrong) = Authority::from_text(host)
    {
        grpc.fault_of("authority", format!("{host:?} {wrong}"));
    }
}

pub(crate) const PROTOCOLS: [&str; 2] = ["otlp_grpc", "otlp_http"];

pub(crate) fn has_one_protocol(exporter: &At<'_>) {
    exporter.has_one("protocols", &PROTOCOLS);
}

pub(crate) fn has_one_source(header: &At<'_>) {
    header.has_one("sources", &["value", "environment"]);
}

pub(crate) fn intervals_fit(retry: &At<'_>) {
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
pub(crate) fn batch_fits(batch: &At<'_>) {
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

pub(crate) fn rule_does_something(rule: &At<'_>) {
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

pub(crate) fn matches_something(matches: &At<'_>) {
    let is_nothing = |value: &Value| value.as_array().is_some_and(Vec::is_empty);
    let keys = matches.value.as_object();
    if keys.is_some_and(|keys| keys.values().all(is_nothing)) {
        matches.fault("empty, expected one of path, method, host, headers, direction");
    }
}

pub(crate) fn header_has_a_condition(header: &At<'_>) {
    header.has_one("conditions", &["string_match", "present_match"]);
}

pub(crate) const PATTERNS: [&str; 5] = ["exact", "prefix", "suffix", "contains", "safe_regex"];

pub(crate) fn has_one_pattern(matcher: &At<'_>) {
    matcher.has_one("patterns", &PATTERNS);
}

/// A path leads somewhere.
pub(crate) fn has_names(holder: &At<'_>, key: &str) {
    if let Some(list) = holder.get(key)
        && list.value.as_array().is_some_and(Vec::is_empty)
    {
        list.fault("[] is empty, expected one name or more");
    }
}

/// A tag has exactly one source, and its texts are of its type.
pub(crate) fn tag_is_whole(tag: &At<'_>) {
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
