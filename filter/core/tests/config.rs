//! The table `tests/vectors/config.json`, and what holds for every document.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    missing_docs
)]

mod common;

use serde_json::{Value, json};
use sidespan_core::config::{Config, Fault, Faults};
use sidespan_core::exporter::default_authority;
use sidespan_core::propagation::{Format, Incoming};
use sidespan_core::request::Direction;
use sidespan_core::rule::{Action, Rule};
use sidespan_core::sampler::{Ratio, Root, Sampler, Threshold, rewrite};
use sidespan_core::trace_state::TraceState;

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../tests/vectors/config.json")).unwrap()
}

fn text(row: &Value) -> Vec<u8> {
    match row.get("text") {
        Some(text) => common::bytes(text),
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
        "timeout_ms": u64::try_from(config.exporter.timeout.as_millis()).unwrap(),
        "max_queue_size": config.batch.max_queue_size,
        "max_queue_bytes": config.batch.max_queue_bytes,
        "max_export_batch_size": config.batch.max_export_batch_size,
        "schedule_delay_ms": u64::try_from(config.batch.schedule_delay.as_millis()).unwrap(),
        "max_concurrent_exports": config.batch.max_concurrent_exports,
        "extract": names(&config.propagator.extract),
        "inject": names(&config.propagator.inject),
        "incoming": incoming(config.incoming),
        "response_header": config.response_header,
        "sampler": sampler(&config.sampler),
        "keep": {
            "errors": config.keep.errors,
            "slower_than_ms": config.keep.slower_than.map(|bound| bound.as_millis() as u64),
            "response_flags": config.keep.response_flags,
            "status_codes": config.keep.status_codes,
            "retried": config.keep.retried,
        },
        "rules": config.rules.iter().map(rule).collect::<Vec<_>>(),
        "route_metadata": config.route_metadata,
    })
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
    let parsed = Config::parse(&text(row));
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
        let Err(faults) = Config::parse(&text(&row)) else {
            continue;
        };
        let line = faults.to_string();
        assert!(!line.contains('\n'), "{}: {line:?}", row["name"]);
        for fault in faults.iter() {
            assert!(!fault.message.is_empty());
            assert!(line.contains(&format!("{}: {}", fault.place, fault.message)));
        }
    }
    let error = Config::parse(br#"{"exporter": {"otlp_grpc": {}}, "x": 1}"#).unwrap_err();
    let parts: Vec<String> = error.to_string().split("; ").map(str::to_owned).collect();
    assert_eq!(parts.len(), 2, "{parts:?}");
}

/// > A document that does not parse is reported once, as one error line
/// > (the configuration, When the document is wrong)
#[test]
fn a_key_does_not_break_the_line() {
    let document = json!({"a\nb": 1, "exporter": {"otlp_grpc": {"cluster": "c"}}});
    let error = Config::parse(document.to_string().as_bytes()).unwrap_err();
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
        let faults = Config::parse(document.to_string().as_bytes()).unwrap_err();
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
    let error = Config::parse(document.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 100, "{error}");
}

/// Every key of a document is one that its unknown neighbours are told of, and
/// a document with any one of its keys misspelt is refused at that place.
#[test]
fn each_key_misspelt_is_a_fault_of_its_own() {
    let row = rows().into_iter().find(|row| row["name"] == "every_key");
    let document = row.unwrap()["document"].clone();
    let mut places = Vec::new();
    collect_places(&document, "", &mut places);
    assert!(places.len() > 10);
    for pointer in places {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut changed = document.clone();
        let object = changed.pointer_mut(parent).unwrap();
        let object = object.as_object_mut().unwrap();
        let value = object.remove(key).unwrap();
        object.insert(format!("{key}x"), value);
        let faults = Config::parse(changed.to_string().as_bytes()).unwrap_err();
        let wanted = format!("{pointer}x").replacen('/', "", 1).replace('/', ".");
        assert!(
            faults.iter().any(|f| f.place == wanted),
            "{wanted}: {faults}"
        );
    }
}

fn collect_places(value: &Value, at: &str, places: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let here = format!("{at}/{key}");
        collect_places(value, &here, places);
        places.push(here);
    }
}

/// Reading a document is a function of its bytes alone.
#[test]
fn white_space_in_a_document_says_nothing() {
    for row in rows().iter().filter(|row| row.get("document").is_some()) {
        let compact = Config::parse(row["document"].to_string().as_bytes());
        let pretty = serde_json::to_vec_pretty(&row["document"]).unwrap();
        let text = |parsed: &Result<Config, _>| format!("{parsed:?}");
        assert_eq!(
            text(&Config::parse(&pretty)),
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
