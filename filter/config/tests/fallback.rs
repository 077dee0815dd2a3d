//! Which accepted document takes a rejected one's place.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use serde_json::{Value, json};
use sidespan_config::fallback::DocumentHistory;

fn document(service_name: &str) -> Value {
    json!({
        "service_name": service_name,
        "resource_attributes": {"team": "shop"},
        "exporter": {"otlp_http": {
            "cluster": "collector",
            "headers": [{"name": "x-token", "value": "a"}],
        }},
    })
}

fn accepted(documents: &[Value]) -> DocumentHistory {
    let mut accepted = DocumentHistory::default();
    for document in documents {
        accepted.accept(document.to_string().as_bytes());
    }
    accepted
}

fn replacement(documents: &[Value], rejected: &Value, is_own: bool) -> Option<String> {
    let config = accepted(documents).replacement(rejected.to_string().as_bytes(), is_own);
    config.map(|config| config.service_name)
}

/// With a fault that says nothing of the destination.
fn faulty(mut document: Value) -> Value {
    document["sampler"] = json!({"rato": 1});
    document
}

#[test]
fn rejected_document_with_the_same_destination_is_replaced() {
    let good = document("tenant-a");
    for change in [
        json!({"unknown": 1}),
        json!({"exporter": {"otlp_http": {"timeout": 3, "compression": "zip"}}}),
        json!({"exporter": {"batch": {"max_queue_size": "none"}}}),
        json!({"rules": "all"}),
    ] {
        let mut rejected = good.clone();
        merge(&mut rejected, &change);
        let found = replacement(&[good.clone()], &rejected, false);
        assert_eq!(found.as_deref(), Some("tenant-a"), "{change}");
    }
}

#[test]
fn rejected_document_with_another_destination_is_not_replaced() {
    let good = document("tenant-a");
    for change in [
        json!({"service_name": "tenant-b"}),
        json!({"service_name": 7}),
        json!({"service_name": null}),
        json!({"resource_attributes": {"team": "other"}}),
        json!({"resource_attributes": []}),
        json!({"exporter": {"otlp_http": {"cluster": "other"}}}),
        json!({"exporter": {"otlp_http": {"authority": "other"}}}),
        json!({"exporter": {"otlp_http": {"path": "/other"}}}),
        json!({"exporter": {"otlp_http": {"headers": []}}}),
        json!({"exporter": {"otlp_http": {"headers": [{"name": "x-token", "value": "b"}]}}}),
        json!({"exporter": {"otlp_http": {"headers": [{"name": "x-token", "environment": "A"}]}}}),
        json!({"exporter": {"otlp_http": {"headers": "x-token: a"}}}),
        json!({"exporter": {"otlp_grpc": {"cluster": "collector"}}}),
        json!({"exporter": 1}),
    ] {
        let mut rejected = faulty(good.clone());
        merge(&mut rejected, &change);
        assert_eq!(
            replacement(&[good.clone()], &rejected, false),
            None,
            "{change}"
        );
    }
    let text = b"service_name: tenant-a";
    assert!(accepted(&[good]).replacement(text, false).is_none());
}

#[test]
fn most_recent_document_of_the_destination_is_taken() {
    let mut newer = document("tenant-a");
    newer["sampler"] = json!({"ratio": 0.5});
    let documents = [document("tenant-a"), newer, document("tenant-b")];
    let rejected = faulty(document("tenant-a")).to_string();
    let config = accepted(&documents).replacement(rejected.as_bytes(), false);
    let config = config.expect("a document with this destination");
    assert_eq!(config.service_name, "tenant-a");
    assert_ne!(config.sampler, Default::default());
}

#[test]
fn plugin_with_an_identity_has_its_only_document() {
    let rejected = json!({"service_name": "renamed"});
    let found = replacement(&[document("tenant-a")], &rejected, true);
    assert_eq!(found.as_deref(), Some("tenant-a"));
    assert_eq!(replacement(&[], &rejected, true), None);
}

#[test]
fn identity_with_two_documents_is_nobodys() {
    let both = [document("tenant-a"), document("tenant-b")];
    let rejected = json!({"service_name": "renamed"});
    assert_eq!(replacement(&both, &rejected, true), None);
    let found = replacement(&both, &faulty(document("tenant-a")), true);
    assert_eq!(found.as_deref(), Some("tenant-a"), "by its destination");
}

#[test]
fn retired_document_leaves_unless_it_is_the_last_one() {
    let [a, b] = [document("tenant-a"), document("tenant-b")];
    let mut known = accepted(&[a.clone(), b.clone()]);
    known.retire(b.to_string().as_bytes());
    assert_eq!(known, accepted(&[a.clone(), b.clone()]));
    known.retire(a.to_string().as_bytes());
    assert_eq!(known, accepted(&[b.clone()]));
    known.accept(a.to_string().as_bytes());
    known.accept(b.to_string().as_bytes());
    assert_eq!(known, accepted(&[a, b]), "accepted anew is most recent");
}

#[test]
fn documents_are_bounded_and_survive_encoding() {
    let many: Vec<Value> = (0..20).map(|n| document(&n.to_string())).collect();
    let known = accepted(&many);
    assert_eq!(known, accepted(&many[12..]));
    assert_eq!(DocumentHistory::decode(&known.encode()), known);
    assert_eq!(DocumentHistory::decode(b"?"), DocumentHistory::default());
}

/// A rejected document is reported once, by whichever worker is first, until a
/// new one is accepted.
#[test]
fn each_document_is_news_once() {
    let mut known = DocumentHistory::default();
    assert!(known.accept(b"{}"));
    assert!(!known.accept(b"{}"), "the next worker");
    for _ in 0..2 {
        for rejected in [&b"?"[..], b"!"] {
            assert!(known.reject(rejected));
        }
        for rejected in [&b"?"[..], b"!"] {
            assert!(!known.reject(rejected), "the next worker");
        }
        assert!(!known.accept(b"{}"), "it was in force all along");
        assert!(!known.reject(b"?"));
        let new = format!("{{\"n\": {}}}", known.encode().len());
        assert!(known.accept(new.as_bytes()));
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
