//! The table `tests/vectors/config.json`, and what holds for every document.

use serde_json::{Value, json};
use sidespan_config::{Fault, Faults};
use sidespan_core::config::Config;
use sidespan_core::context::trace_state::TraceState;
use sidespan_core::export::retry::RetryConfig;
use sidespan_core::export::settings::{
    ExportHeader, HeaderSource, Protocol, Secret, default_authority,
};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_core::propagation::format::Format;
use sidespan_core::propagation::settings::Incoming;
use sidespan_core::recording::settings::{SpanConfig, Vocabulary};
use sidespan_core::sampling::ratio::{Ratio, Threshold, rewrite};
use sidespan_core::sampling::rules::{Action, Rule};
use sidespan_core::sampling::sampler::{Root, Sampler};
use sidespan_core::span::attributes::OwnedValue;
use sidespan_core::span::custom_tags::{CustomTag, Source, TagType};
use sidespan_core::span::name::{Field, Part, SpanName};
use sidespan_core::span::redaction::QueryPolicy;
use sidespan_core::span::span::SpanKind;
use std::time::Duration;

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../tests/vectors/config.json")).unwrap()
}

fn text(row: &Value) -> Vec<u8> {
    match row.get("text") {
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(other) => {
            let hex = other["hex"].as_str().unwrap();
            let digits = hex
                .as_bytes()
                .chunks(2)
                .map(|pair| std::str::from_utf8(pair).unwrap());
            digits
                .map(|pair| u8::from_str_radix(pair, 16).unwrap())
                .collect()
        }
        None => row["document"].to_string().into_bytes(),
    }
}

/// A configuration as the table writes it.
fn as_json(config: &Config) -> Value {
    let names = |formats: &[Format]| formats.iter().map(|f| f.name()).collect::<Vec<_>>();
    json!({
        "service_name": config.service_name,
        "cluster": config.exporter.cluster,
        "authority": config.exporter.authority,
        "timeout_ms": millis(config.exporter.timeout),
        "protocol": protocol(&config.exporter.protocol),
        "headers": config.exporter.headers.iter().map(header).collect::<Vec<_>>(),
        "retry": retry(&config.exporter.retry),
        "max_queue_size": config.batch.max_queue_size,
        "max_queue_bytes": config.batch.max_queue_bytes,
        "max_export_batch_size": config.batch.max_export_batch_size,
        "schedule_delay_ms": millis(config.batch.schedule_delay),
        "max_concurrent_exports": config.batch.max_concurrent_exports,
        "extract": names(&config.propagator.extract),
        "inject": names(&config.propagator.inject),
        "incoming": incoming(config.incoming),
        "response_header": config.response_header,
        "sampler": sampler(&config.sampler),
        "keep": {
            "errors": config.keep.errors,
            "slower_than_ms": config.keep.slower_than.map(millis),
            "response_flags": config.keep.response_flags,
            "status_codes": config.keep.status_codes,
            "retried": config.keep.retried,
        },
        "rules": config.rules.iter().map(rule).collect::<Vec<_>>(),
        "route_metadata": config.route_metadata,
        "resource_attributes": config.resource_attributes.iter().map(attribute).collect::<Value>(),
        "custom_tags": config.custom_tags.iter().map(tag).collect::<Vec<_>>(),
        "span": span(&config.span),
        "url_query": url_query(&config.span.url_query),
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

fn protocol(protocol: &Protocol) -> Value {
    match protocol {
        Protocol::Grpc => json!("grpc"),
        Protocol::Http { path, gzip } => json!({"http": {"path": path, "gzip": gzip}}),
    }
}

fn header(header: &ExportHeader) -> Value {
    match &header.source {
        HeaderSource::Value(Secret(value)) => json!({"name": header.name, "value": value}),
        HeaderSource::Environment(variable) => {
            json!({"name": header.name, "environment": variable})
        }
    }
}

fn retry(retry: &RetryConfig) -> Value {
    json!({
        "initial_interval_ms": millis(retry.initial_interval),
        "max_interval_ms": millis(retry.max_interval),
        "max_elapsed_time_ms": millis(retry.max_elapsed_time),
    })
}

fn attribute((key, value): &(String, OwnedValue)) -> (String, Value) {
    let value = match value {
        OwnedValue::Str(text) => json!(text),
        OwnedValue::Int(int) => json!(int),
        OwnedValue::Double(double) => json!(double),
        OwnedValue::Bool(truth) => json!(truth),
    };
    (key.clone(), value)
}

fn tag(tag: &CustomTag) -> Value {
    let source = match &tag.source {
        Source::RequestHeader(name) => json!({"request_header": name}),
        Source::ResponseHeader(name) => json!({"response_header": name}),
        Source::Literal(value) => json!({"literal": value}),
        Source::Environment(name) => json!({"environment": name}),
        Source::Baggage(key) => json!({"baggage": key}),
        Source::Property(path) => json!({"property": path}),
        Source::Metadata {
            kind,
            namespace,
            path,
        } => {
            let kind = match kind {
                MetadataKind::Request => "request",
                MetadataKind::Route => "route",
                MetadataKind::Cluster => "cluster",
                MetadataKind::Host => "host",
            };
            json!({"metadata": {"kind": kind, "namespace": namespace, "path": path}})
        }
    };
    let tag_type = match tag.tag_type {
        TagType::String => "string",
        TagType::Int => "int",
        TagType::Double => "double",
        TagType::Bool => "bool",
    };
    json!({"tag": tag.name, "source": source, "type": tag_type, "default": tag.default})
}

fn span(span: &SpanConfig) -> Value {
    let part = |part: &Part| match part {
        Part::Text(text) => text.clone(),
        Part::Field(field) => match field {
            Field::Method => "{method}".to_owned(),
            Field::Host => "{host}".to_owned(),
            Field::Path => "{path}".to_owned(),
            Field::Route => "{route}".to_owned(),
            Field::Cluster => "{cluster}".to_owned(),
        },
    };
    json!({
        "kind": match span.kind {
            None => "auto",
            Some(SpanKind::Server) => "server",
            Some(SpanKind::Client) => "client",
        },
        "upstream_span": span.upstream_span.map_or(json!("auto"), Value::from),
        "name": match &span.name {
            SpanName::Auto => json!("auto"),
            SpanName::Template(parts) => parts.iter().map(part).collect(),
        },
        "attributes": match span.attributes {
            Vocabulary::Stable => "stable",
            Vocabulary::Envoy => "envoy",
            Vocabulary::Both => "both",
        },
        "max_attribute_length": span.limits.max_attribute_length,
        "max_custom_tags": span.limits.max_custom_tags,
    })
}

fn url_query(policy: &QueryPolicy) -> Value {
    match policy {
        QueryPolicy::Redact => json!("redact"),
        QueryPolicy::Drop => json!("drop"),
        QueryPolicy::Keep => json!("keep"),
        QueryPolicy::Allow(keys) => json!({"allow": keys}),
    }
}

fn incoming(policy: Incoming) -> &'static str {
    match policy {
        Incoming::Continue => "continue",
        Incoming::Restart => "restart",
        Incoming::Link => "link",
        Incoming::Resample => "resample",
        Incoming::Require => "require",
    }
}

/// The threshold of a ratio, as a trace state tells it.
fn th(ratio: Ratio) -> Option<String> {
    let state = rewrite(&TraceState::EMPTY, Threshold::Set(ratio))?;
    state.strip_prefix("ot=th:").map(str::to_owned)
}

fn sampler(sampler: &Sampler) -> Value {
    let (root, th) = match sampler.root {
        Root::AlwaysOn => ("always_on", None),
        Root::AlwaysOff => ("always_off", None),
        Root::TraceIdRatio(ratio) => ("traceidratio", th(ratio)),
    };
    json!({
        "parent_based": sampler.parent_based,
        "root": root,
        "th": th,
        "limited": sampler.limit.is_some(),
    })
}

fn rule(rule: &Rule) -> Value {
    let action = rule.action.map(|action| match action {
        Action::Disable => "disable".to_owned(),
        Action::Force => "force".to_owned(),
        Action::Sample(ratio) => match th(ratio) {
            Some(th) => format!("sample {th}"),
            None => "sample".to_owned(),
        },
    });
    let direction = rule.direction.map(|direction| match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
        Direction::Unspecified => "unspecified",
    });
    let headers: Vec<&str> = rule.headers.iter().map(|h| h.name.as_str()).collect();
    json!({
        "name": rule.name,
        "action": action,
        "incoming": rule.incoming.map(incoming),
        "direction": direction,
        "method": rule.methods,
        "path": rule.path.is_some(),
        "host": rule.host.is_some(),
        "headers": headers,
    })
}

/// Whether the configuration has every value that a row tells.
fn has(config: &Config, wanted: &Value) -> bool {
    let config = as_json(config);
    let mut wanted = wanted.as_object().unwrap().iter();
    wanted.all(|(key, value)| config.get(key) == Some(value))
}

/// What is wrong with the outcome of a row, if anything is.
fn judge(row: &Value) -> Result<(), String> {
    let parsed = sidespan_config::parse(&text(row));
    let expect = &row["expect"];
    match (parsed, expect.get("config"), expect.get("faults")) {
        (Ok(config), Some(wanted), None) if has(&config, wanted) => Ok(()),
        (Ok(config), ..) => Err(format!("gave {}", as_json(&config))),
        (Err(faults), None, Some(wanted)) => judge_faults(&faults, wanted.as_array().unwrap()),
        (Err(faults), ..) => Err(format!("refused: {faults}")),
    }
}

fn judge_faults(faults: &Faults, wanted: &[Value]) -> Result<(), String> {
    let is = |fault: &Fault, wanted: &Value| {
        fault.place == wanted["place"].as_str().unwrap()
            && fault.message.contains(wanted["message"].as_str().unwrap())
    };
    let mut left: Vec<&Fault> = faults.iter().collect();
    for one in wanted {
        match left.iter().position(|fault| is(fault, one)) {
            Some(at) => drop(left.swap_remove(at)),
            None => return Err(format!("does not tell of {one}: {faults}")),
        }
    }
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!("also tells of {left:?}")),
    }
}

#[test]
fn table() {
    let mut failed = Vec::new();
    for row in rows() {
        let outcome = match (judge(&row), row.get("reported")) {
            (Err(_), Some(_)) => Ok(()),
            (Ok(()), Some(_)) => Err("holds now: it is no longer to be marked".to_owned()),
            (outcome, None) => outcome,
        };
        if let Err(how) = outcome {
            failed.push(format!(
                "{}\n  because: {}\n  {how}",
                row["name"], row["why"]
            ));
        }
    }
    assert!(
        failed.is_empty(),
        "{} rows fail\n\n{}",
        failed.len(),
        failed.join("\n\n")
    );
}

/// An operator reads one line with every fault and its place.
#[test]
fn faults_are_one_line() {
    for row in rows() {
        let Err(faults) = sidespan_config::parse(&text(&row)) else {
            continue;
        };
        let line = faults.to_string();
        assert!(!line.contains('\n'), "{}: {line:?}", row["name"]);
        for fault in faults.iter() {
            assert!(!fault.message.is_empty());
            assert!(line.contains(&format!("{}: {}", fault.place, fault.message)));
        }
    }
    let error = sidespan_config::parse(br#"{"exporter": {"otlp_grpc": {}}, "x": 1}"#).unwrap_err();
    let parts: Vec<String> = error.to_string().split("; ").map(str::to_owned).collect();
    assert_eq!(parts.len(), 2, "{parts:?}");
}

/// > A document that does not parse is reported once, as one error line
/// > (the configuration, When the document is wrong)
#[test]
fn a_key_does_not_break_the_line() {
    let document = json!({"a\nb": 1, "exporter": {"otlp_grpc": {"cluster": "c"}}});
    let error = sidespan_config::parse(document.to_string().as_bytes()).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
}

/// What is wrong is told all at once: a fault does not hide what is wrong
/// beside it.
#[test]
fn no_fault_hides_another() {
    for (batch, extract, wanted) in [
        (
            json!({}),
            json!(["b3", "b3", "tracecontext", "tracecontext"]),
            vec!["propagation.extract[1]", "propagation.extract[3]"],
        ),
        (
            json!({}),
            json!(["b3", "b3", "x"]),
            vec!["propagation.extract[1]", "propagation.extract[2]"],
        ),
        (
            json!({"max_queue_size": 10, "max_export_batch_size": 11, "x": 1}),
            json!([]),
            vec!["exporter.batch.max_export_batch_size", "exporter.batch.x"],
        ),
    ] {
        let document = json!({
            "exporter": {"otlp_grpc": {"cluster": "c"}, "batch": batch},
            "propagation": {"extract": extract},
        });
        let faults = sidespan_config::parse(document.to_string().as_bytes()).unwrap_err();
        let mut places: Vec<&str> = faults.iter().map(|f| f.place.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, wanted, "{document}");
    }
}

/// A fault shows the value that it is about, but no document is repeated into
/// a log: lists and objects are only named.
#[test]
fn a_fault_does_not_repeat_a_long_value() {
    let long: Vec<u32> = (0..10_000).collect();
    let document = json!({"service_name": long, "exporter": {"otlp_grpc": {"cluster": "c"}}});
    let error = sidespan_config::parse(document.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 100, "{error}");
}

/// Both parts of a secret, should one be cut.
const SECRET: [&str; 2] = ["s3cr3t", "12345"];

fn shows_secret(text: &str) -> bool {
    SECRET.iter().any(|part| text.contains(part))
}

/// What is told of a document that is wrong, as it is shown and as it is
/// debugged.
fn told(document: &Value) -> String {
    match sidespan_config::parse(document.to_string().as_bytes()) {
        Ok(config) => panic!("{document} gave {config:?}"),
        Err(faults) => format!("{faults} {faults:?}"),
    }
}

/// Each protocol with something in place of its headers.
fn with_headers(headers: &Value) -> [Value; 2] {
    ["otlp_grpc", "otlp_http"].map(|protocol| {
        let keys = json!({"cluster": "c", "headers": headers});
        json!({"exporter": {protocol: keys}})
    })
}

/// A header may hold a token, and faults go to a log that others read.
#[test]
fn no_fault_shows_what_a_header_says() {
    let values = [
        json!("s3cr3t\n12345"),
        json!("s3cr3t-12345\n"),
        json!(" s3cr3t-12345"),
        json!("s3cr3t-12345\t"),
        json!("s3cr3t\u{0}12345"),
        json!("s3cr3t\u{7f}12345"),
        json!(12345),
        json!(-12345),
        json!(12345.75),
        json!(["s3cr3t-12345"]),
        json!({"s3cr3t-12345": "s3cr3t-12345"}),
        json!([[{"a": {"b": "s3cr3t-12345"}}]]),
    ];
    let texts = values.iter().filter(|value| value.is_string());
    let mut headers = vec![
        json!("x=s3cr3t-12345"),
        json!("s3cr3t-12345"),
        json!(12345),
        json!({"x": "s3cr3t-12345"}),
        json!({"s3cr3t-12345": 1}),
        json!({"name": "x", "value": "s3cr3t-12345"}),
        json!(["s3cr3t-12345"]),
        json!(["x: s3cr3t-12345", "y: s3cr3t-12345"]),
        json!([["x", "s3cr3t-12345"]]),
        json!([12345]),
        json!([{"x": "s3cr3t-12345"}]),
        json!([{"value": "s3cr3t-12345"}]),
        json!([{"name": "x: s3cr3t-12345", "value": "1"}]),
        json!([{"name": "x=s3cr3t-12345"}]),
        json!([{"name": "x", "values": "s3cr3t-12345"}]),
        json!([{"name": "x", "Value": {"inline": "s3cr3t-12345"}}]),
        json!([{"name": "x", "value": "s3cr3t-12345", "environment": "s3cr3t-12345"}]),
        json!([{"name": "content-type", "value": "s3cr3t-12345"}]),
        json!([{"name": "x y", "value": "s3cr3t-12345"}]),
    ];
    for value in &values {
        headers.push(json!([{"name": "x", "value": value}]));
        headers.push(json!([{"name": "y", "value": "1"}, {"name": "x", "value": value}]));
        headers.push(json!([{"name": value, "value": "1"}]));
    }
    for value in values.iter().filter(|value| !value.is_string()) {
        headers.push(json!([{"name": "x", "environment": value}]));
    }
    headers.extend(texts.cloned());
    for document in headers.iter().flat_map(with_headers) {
        let told = told(&document);
        assert!(!shows_secret(&told), "{document}: {told}");
        assert!(told.contains(".headers"), "{document}: {told}");
    }
}

/// Where a header's place was missed, its value is that of an unknown key.
#[test]
fn no_fault_shows_a_header_in_a_wrong_place() {
    let headers = [
        json!("x=s3cr3t-12345"),
        json!({"x": "s3cr3t-12345"}),
        json!([{"name": "x", "value": "s3cr3t-12345"}]),
        json!(12345),
    ];
    for headers in &headers {
        for document in [
            json!({"exporter": {"otlp_grpc": {"cluster": "c", "header": headers}}}),
            json!({"exporter": {"otlp_http": {"cluster": "c", "Headers": headers}}}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c", "metadata": headers}}}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c"}, "headers": headers}}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c"}, "batch": {"headers": headers}}}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c"}, "retry": {"headers": headers}}}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c"}}, "headers": headers}),
            json!({"exporter": {"otlp_grpc": {"cluster": "c", "value": headers}}}),
            json!({"exporter": {"headers": headers}}),
            json!({"exporter": [headers]}),
            json!({"exporter": {"otlp_grpc": [headers]}}),
        ] {
            let told = told(&document);
            assert!(!shows_secret(&told), "{document}: {told}");
        }
    }
}

/// `{ name: x, value: Basic a,b }` of YAML has the key `b`.
#[test]
fn no_fault_shows_a_part_of_a_value_that_became_a_key() {
    for header in [
        json!({"name": "x", "value": "Basic a", "s3cr3t-12345": null}),
        json!({"name": "x", "s3cr3t-12345": null}),
        json!({"s3cr3t-12345": null}),
    ] {
        for document in with_headers(&json!([header])) {
            let told = told(&document);
            assert!(!shows_secret(&told), "{document}: {told}");
        }
    }
}

/// What stands beside headers is shown as ever: only they are secret.
#[test]
fn a_secret_ends_with_its_headers() {
    let document = json!({"exporter": {"otlp_http": {
        "authority": "a b",
        "cluster": "c",
        "headers": [{"name": "x", "value": "s3cr3t\n12345"}],
        "path": "p",
        "timeout": "1h",
    }}});
    let told = told(&document);
    assert!(!shows_secret(&told), "{told}");
    for shown in ["\"a b\" is not", "\"p\" is not", "\"1h\" is not"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
}

/// A configuration that is right may be debugged, too.
#[test]
fn a_configuration_does_not_show_what_a_header_says() {
    for document in with_headers(&json!([{"name": "x-token", "value": "s3cr3t-12345"}])) {
        let config = sidespan_config::parse(document.to_string().as_bytes()).unwrap();
        let text = format!("{config:?} {config:#?}");
        assert!(text.contains("x-token"), "{text}");
        assert!(!shows_secret(&text), "{text}");
    }
}

/// Every key of a document is one that its unknown neighbours are told of, and
/// a document with any one of its keys misspelt is refused at that place.
#[test]
fn each_key_misspelt_is_a_fault_of_its_own() {
    let every_key = [
        "every_key",
        "export_http_every_key",
        "decision_keep_all",
        "decision_rule_of_every_key",
    ];
    let spans = ["span_every_key", "span_tag_metadata_route"];
    for name in every_key.iter().chain(&spans) {
        let row = rows().into_iter().find(|row| row["name"] == *name);
        let document = row.unwrap_or_else(|| panic!("no row {name}"))["document"].clone();
        let mut places = Vec::new();
        collect_places(&document, "", &mut places);
        assert!(places.len() > 5, "{name}");
        for pointer in places {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            let mut changed = document.clone();
            let object = changed.pointer_mut(parent).unwrap();
            let object = object.as_object_mut().unwrap();
            let value = object.remove(key).unwrap();
            object.insert(format!("{key}x"), value);
            let faults = sidespan_config::parse(changed.to_string().as_bytes()).unwrap_err();
            // Of what is secret not even a key is shown.
            let is_secret = parent.starts_with("/exporter/") && parent.contains("/headers/");
            let wanted = match is_secret {
                true => place_of(parent),
                false => place_of(&format!("{pointer}x")),
            };
            assert!(
                faults.iter().any(|f| f.place == wanted),
                "{wanted}: {faults}"
            );
        }
    }
}

/// `/a/0/b` as `a[0].b`.
fn place_of(pointer: &str) -> String {
    let mut place = String::new();
    for part in pointer.split('/').skip(1) {
        match part.parse::<usize>() {
            Ok(index) => place.push_str(&format!("[{index}]")),
            Err(_) if place.is_empty() => place.push_str(part),
            Err(_) => place.push_str(&format!(".{part}")),
        }
    }
    place
}

fn collect_places(value: &Value, at: &str, places: &mut Vec<String>) {
    for (index, element) in value.as_array().into_iter().flatten().enumerate() {
        collect_places(element, &format!("{at}/{index}"), places);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let here = format!("{at}/{key}");
        // The keys in there are attributes, of any name.
        if key != "resource_attributes" {
            collect_places(value, &here, places);
        }
        places.push(here);
    }
}

/// Reading a document is a function of its bytes alone.
#[test]
fn white_space_in_a_document_says_nothing() {
    for row in rows().iter().filter(|row| row.get("document").is_some()) {
        let compact = sidespan_config::parse(row["document"].to_string().as_bytes());
        let pretty = serde_json::to_vec_pretty(&row["document"]).unwrap();
        let text = |parsed: &Result<Config, _>| format!("{parsed:?}");
        assert_eq!(
            text(&sidespan_config::parse(&pretty)),
            text(&compact),
            "{}",
            row["name"]
        );
    }
}

/// `authority`: the host in `outbound|PORT|SUBSET|HOST`, else the cluster's
/// name.
#[test]
fn default_authorities() {
    for (cluster, expected) in [
        ("otel", "otel"),
        ("outbound|4317||otel.svc", "otel.svc"),
        ("outbound|4317|v1|otel.svc", "otel.svc"),
    ] {
        assert_eq!(default_authority(cluster), expected, "{cluster}");
    }
}

/// A key that is close to a known one is named beside those that are known;
/// of a secret nothing is.
#[test]
fn unknown_key_close_to_a_known_one_gets_a_suggestion() {
    for (key, message) in [
        (
            "sampling",
            "unknown key, did you mean \"sampler\"? expected one of service_name",
        ),
        (
            "exportr",
            "unknown key, did you mean \"exporter\"? expected one of service_name",
        ),
        (
            "custom_tag",
            "unknown key, did you mean \"custom_tags\"? expected",
        ),
        ("ruels", "unknown key, did you mean \"rules\"? expected"),
        ("tracing", "unknown key, expected one of service_name"),
        ("x", "unknown key, expected one of service_name"),
        ("", "unknown key, expected one of service_name"),
    ] {
        let document = json!({"exporter": {"otlp_grpc": {"cluster": "c"}}, key: {}});
        let faults = sidespan_config::parse(document.to_string().as_bytes()).unwrap_err();
        let fault = faults.iter().find(|fault| fault.place == key).unwrap();
        assert!(fault.message.starts_with(message), "{key}: {fault:?}");
    }
    for document in with_headers(&json!([{"nam": "x", "value": "1"}])) {
        let told = told(&document);
        assert!(!told.contains("did you mean"), "{told}");
    }
}
