//! Which accepted document takes a rejected one's place.

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

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1_790_000_000 * SECOND;

/// Documents that are in force together.
fn accepted(documents: &[Value]) -> DocumentHistory {
    let mut accepted = DocumentHistory::default();
    for document in documents {
        accepted.accept(&bytes(document), NOW);
    }
    accepted.confirm_all();
    accepted
}

fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

fn replaced(mut known: DocumentHistory, rejected: &[u8], is_own: bool, now: u64) -> Option<String> {
    let (_, config) = known.reject(rejected, is_own, now);
    config.map(|config| config.service_name)
}

fn replacement(documents: &[Value], rejected: &Value, is_own: bool) -> Option<String> {
    replaced(accepted(documents), &bytes(rejected), is_own, NOW)
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
        let found = replacement(std::slice::from_ref(&good), &rejected, false);
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
        // A key that may be misspelt.
        json!({"servce_name": "tenant-b"}),
        json!({"resource_attribute": {"tenant": "b"}}),
        json!({"exporter": {"otlp_http": {"header": []}}}),
        json!({"exporter": {"oltp_http": {"cluster": "other"}}}),
    ] {
        let mut rejected = faulty(good.clone());
        merge(&mut rejected, &change);
        assert_eq!(
            replacement(std::slice::from_ref(&good), &rejected, false),
            None,
            "{change}"
        );
    }
    let text = b"service_name: tenant-a";
    assert_eq!(replaced(accepted(&[good]), text, false, NOW), None);
}

#[test]
fn most_recent_document_of_the_destination_is_taken() {
    let mut newer = document("tenant-a");
    newer["sampler"] = json!({"ratio": 0.5});
    let documents = [document("tenant-a"), newer, document("tenant-b")];
    let rejected = bytes(&faulty(document("tenant-a")));
    let (_, config) = accepted(&documents).reject(&rejected, false, NOW);
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

/// A reload: the document before is superseded and has a while to go.
#[test]
fn document_that_supersedes_another_is_the_only_one_in_force() {
    let [a, b] = [document("tenant-a"), document("tenant-b")];
    let rejected = bytes(&json!({"service_name": "renamed"}));
    let mut known = accepted(std::slice::from_ref(&a));
    assert!(known.accept(&bytes(&b), NOW));
    assert!(!known.accept(&bytes(&b), NOW), "the next worker");
    known.confirm_all();
    let name = |known: &DocumentHistory, now| replaced(known.clone(), &rejected, true, now);
    assert_eq!(name(&known, NOW + SECOND).as_deref(), Some("tenant-b"));
    // Its listener has drained; or it never does, as it is another listener's.
    let mut drained = known.clone();
    drained.end(&bytes(&a));
    assert_eq!(
        name(&drained, NOW + 600 * SECOND).as_deref(),
        Some("tenant-b")
    );
    assert_eq!(name(&known, NOW + 600 * SECOND), None);
    // Back to the first one, while it still drains.
    assert!(known.accept(&bytes(&a), NOW + SECOND));
    assert_eq!(name(&known, NOW + 2 * SECOND).as_deref(), Some("tenant-a"));
}

/// good, bad, another good, another bad, each drained before the next.
#[test]
fn newest_accepted_document_is_in_force_after_each_reload() {
    let [a, b] = [document("tenant-a"), document("tenant-b")];
    let [x, y] = ["x", "y"].map(|name| bytes(&json!({"service_name": name})));
    let mut known = accepted(std::slice::from_ref(&a));
    let name = |(_, config): (bool, Option<sidespan_core::config::Config>)| {
        config.map(|config| config.service_name)
    };
    assert_eq!(
        name(known.reject(&x, true, NOW)).as_deref(),
        Some("tenant-a")
    );
    known.confirm_all();
    known.end(&bytes(&a));
    assert_eq!(
        name(known.reject(&x, true, NOW)).as_deref(),
        Some("tenant-a")
    );
    assert!(known.accept(&bytes(&b), NOW));
    known.confirm_all();
    known.end(&x);
    assert_eq!(
        name(known.reject(&y, true, NOW)).as_deref(),
        Some("tenant-b")
    );
    known.end(&bytes(&b));
    known.end(&y);
    let last = name(known.reject(&x, true, NOW));
    assert_eq!(
        last.as_deref(),
        Some("tenant-b"),
        "none is in force any more"
    );
}

/// Two listeners of one identity: what a rejected document's roots run is in
/// force, though its own roots are gone.
#[test]
fn document_that_stands_in_for_another_is_in_force() {
    let [a, b] = [document("tenant-a"), document("tenant-b")];
    let mut known = accepted(&[a.clone(), b]);
    let (_, config) = known.reject(&bytes(&faulty(a.clone())), true, NOW);
    assert_eq!(
        config.unwrap().service_name,
        "tenant-a",
        "by its destination"
    );
    known.confirm_all();
    known.end(&bytes(&a));
    let rejected = bytes(&json!({"service_name": "renamed"}));
    assert_eq!(replaced(known, &rejected, true, NOW), None);
}

#[test]
fn documents_are_bounded_and_survive_encoding() {
    let many: Vec<Value> = (0..40).map(|n| document(&n.to_string())).collect();
    let mut known = accepted(&many);
    known.reject(b"?", false, NOW);
    assert!(known.encode().len() < 20 * bytes(&many[0]).len() + 1000);
    known.accept(b"{}", NOW);
    known.end(b"{}");
    known.reject(b"!", false, NOW);
    assert_eq!(DocumentHistory::decode(&known.encode()), known);
    assert_eq!(DocumentHistory::decode(b"?"), DocumentHistory::default());
}

/// A rejected document is reported once, by whichever worker is first, until a
/// newer one takes the place of its roots.
#[test]
fn each_document_is_news_once() {
    let mut known = DocumentHistory::default();
    let reject = |known: &mut DocumentHistory, text: &[u8]| known.reject(text, false, NOW).0;
    // Two listeners, one of them wrong, in any order; and the next worker.
    assert!(reject(&mut known, b"?"));
    assert!(known.accept(b"{}", NOW));
    assert!(!reject(&mut known, b"?"));
    assert!(!known.accept(b"{}", NOW));
    known.confirm_all();
    // The wrong one is replaced, and comes again.
    assert!(known.accept(br#"{"n": 1}"#, NOW));
    known.confirm_all();
    assert!(reject(&mut known, b"?"));
    assert!(!reject(&mut known, b"?"));
    known.end(b"?");
    assert!(reject(&mut known, b"?"));
}

/// The gauge: a rejected document is stale until a newer one takes its place or
/// its roots end, and again if its roots stay though they should have drained.
#[test]
fn rejected_document_is_stale_until_it_is_superseded() {
    let mut known = accepted(&[document("tenant-a")]);
    let stale =
        |known: &DocumentHistory, now| (known.is_stale(b"?", now), known.stale_documents(now));
    assert_eq!(stale(&known, NOW), (false, 0));
    known.reject(b"?", false, NOW);
    known.confirm_all();
    assert_eq!(stale(&known, NOW), (true, 1));
    known.accept(&bytes(&document("tenant-b")), NOW);
    assert_eq!(stale(&known, NOW + SECOND), (false, 0));
    assert_eq!(stale(&known, NOW + 1000 * SECOND), (true, 1));
    known.reject(b"!", false, NOW + SECOND);
    known.confirm_all();
    assert_eq!(known.stale_documents(NOW + SECOND), 1, "the newer one");
    known.end(b"!");
    known.end(b"?");
    assert_eq!(known.stale_documents(NOW + 1000 * SECOND), 0);
}

/// Envoy writes the keys of a `Struct` in any order.
#[test]
fn order_of_keys_does_not_matter() {
    let mut known = DocumentHistory::default();
    assert!(known.accept(br#"{"a": 1, "b": {"c": 2, "d": 3}}"#, NOW));
    assert!(!known.accept(br#"{"b":{"d":3,"c":2},"a":1}"#, NOW));
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
