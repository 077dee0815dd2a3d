//! `custom_tags`: the table `tests/vectors/custom_tags.json`, and what holds
//! for many of them. What a row and its fields mean is told in
//! `tests/vectors/README.md`.

use crate::common;
use crate::common::spans::{Proxy, answered, get, send};
use crate::common::{Headers, Host, Info, Response};
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::request_info::Direction::{Inbound, Outbound, Unspecified};
use std::collections::BTreeSet;

const DIRECTIONS: [Direction; 3] = [Inbound, Outbound, Unspecified];

// ---------------------------------------------------------------- the table

fn rows() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../../tests/vectors/custom_tags.json")).unwrap()
}

/// A text that lives as long as the tests.
fn leak(text: &str) -> &'static str {
    Box::leak(text.to_owned().into_boxed_str())
}

fn lines(list: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let lines = list.as_array().into_iter().flatten();
    lines
        .map(|line| (leak(line[0].as_str().unwrap()), common::bytes(&line[1])))
        .collect()
}

fn entries(object: &Value) -> impl Iterator<Item = (&'static str, &Value)> {
    let entries = object.as_object().into_iter().flatten();
    entries.map(|(key, value)| (leak(key), value))
}

fn request_of(row: &Value) -> Headers {
    let mut headers = get("/cart?page=2");
    headers
        .0
        .extend(Headers::from_wire(lines(&row["request"])).0);
    headers
}

fn response_of(row: &Value) -> Response {
    let mut response = Response {
        route: Some("/cart"),
        cluster: Some("cart"),
        upstream: Some("10.1.2.3:9000"),
        metadata: row["metadata"].clone(),
        properties: entries(&row["properties"])
            .map(|(path, value)| (path, common::bytes(value)))
            .collect(),
        ..answered(200)
    };
    response.headers.extend(lines(&row["response"]));
    response
}

fn check(row: &Value) {
    let host = Host {
        variables: entries(&row["environment"])
            .map(|(name, value)| (name, leak(value.as_str().unwrap())))
            .collect(),
        ..Host::default()
    };
    let info = Info {
        source_address: Some("192.0.2.7:50123"),
        ..Info::default()
    };
    let (request, response) = (request_of(row), response_of(row));
    let wanted = row["expect"]["attributes"].as_object().unwrap();
    for direction in DIRECTIONS {
        let send = |tags: &Value| {
            let mut proxy = Proxy::on(&host, json!({"custom_tags": tags}));
            proxy.send(direction, &request, &info, &response)
        };
        let (without, with) = (send(&json!([])), send(&row["tags"]));
        assert_eq!(without.call.is_some(), with.call.is_some());
        // Both spans of a gateway have what all others have, and the tags.
        for (without, with) in without.spans().zip(with.spans()) {
            let mut attributes = without.attributes.clone();
            for (key, value) in wanted.iter().filter(|(_, value)| !value.is_null()) {
                attributes.insert(key.clone(), value.clone());
            }
            let what = format!("{direction:?} {:?}", with.kind);
            with.is(&Value::Object(attributes), &what);
            assert_eq!(
                json!(with.dropped),
                row["expect"]["dropped"],
                "{what}: dropped"
            );
        }
    }
}

/// Every row holds; one that is reported does not yet, and says so for as
/// long as that is true.
#[test]
fn table() {
    common::check_table(&rows(), check);
}

#[test]
fn table_is_well_formed() {
    let mut names = BTreeSet::new();
    for row in rows() {
        let name = row["name"].to_string();
        assert!(row["why"].as_str().unwrap().len() > 5, "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(row["expect"]["dropped"].is_u64(), "{name}");
    }
}

// ---------------------------------------------------------------- many tags

fn literals(count: usize) -> Vec<Value> {
    (0..count)
        .map(|i| json!({"tag": format!("tag.{i:04}"), "literal": {"value": "x"}}))
        .collect()
}

/// > max_custom_tags: 64
///
/// The first ones are kept and the others counted, on each span of its own.
#[test]
fn a_thousand_tags() {
    for direction in DIRECTIONS {
        let keys = json!({"custom_tags": literals(1000)});
        let sent = send(keys, direction, &get("/"), &answered(200));
        for span in sent.spans() {
            let keys = span.keys().into_iter();
            let tags: Vec<_> = keys.filter(|key| key.starts_with("tag.")).collect();
            assert_eq!(tags.len(), 64);
            assert_eq!((tags[0], tags[63]), ("tag.0000", "tag.0063"));
            assert_eq!(span.dropped, 936);
            // A limit for tags is none for what the conventions want.
            assert!(span.get("http.response.status_code").is_some());
        }
    }
}

/// A limit that is given, at its edges.
#[test]
fn as_many_tags_as_are_allowed() {
    for (limit, tags, kept) in [(1, 1, 1), (1, 2, 1), (3, 3, 3), (3, 7, 3), (100, 70, 70)] {
        let keys = json!({"custom_tags": literals(tags), "span": {"max_custom_tags": limit}});
        let sent = send(keys, Inbound, &get("/"), &answered(200));
        let found = sent.own().keys().into_iter();
        let found = found.filter(|key| key.starts_with("tag.")).count();
        assert_eq!(found, kept, "{limit}");
        assert_eq!(sent.own().dropped as usize, tags - kept, "{limit}");
    }
}

/// Only what has a value takes a place among those that are allowed.
#[test]
fn a_tag_without_a_value_takes_no_place() {
    let absent = (0..100)
        .map(|i| json!({"tag": format!("absent.{i}"), "request_header": {"name": "x-absent"}}));
    let mistyped = json!({"tag": "number", "request_header": {"name": "x-word"}, "type": "int"});
    let there = json!({"tag": "there", "response_header": {"name": "x-there"}});
    let tags: Vec<Value> = absent.chain([mistyped, there]).collect();
    let keys = json!({"custom_tags": tags, "span": {"max_custom_tags": 1}});
    let lines = common::spans::with(get("/"), &[("x-word", "word")]);
    let mut response = answered(200);
    response.headers.push(("x-there", b"yes".to_vec()));
    let sent = send(keys, Inbound, &lines, &response);
    assert_eq!(sent.own().str("there"), "yes");
    assert_eq!(sent.own().dropped, 1, "the word that is no number");
}

/// Tags of all kinds are counted together.
#[test]
fn the_limit_is_for_all_kinds_together() {
    let mut tags = literals(2);
    tags.extend([
        json!({"tag": "asked", "request_header": {"name": "x-a"}}),
        json!({"tag": "answered", "response_header": {"name": "x-b"}}),
    ]);
    let lines = common::spans::with(get("/"), &[("x-a", "1")]);
    let mut response = answered(200);
    response.headers.push(("x-b", b"2".to_vec()));
    for limit in 1..=4_u32 {
        let keys = json!({"custom_tags": tags, "span": {"max_custom_tags": limit}});
        let sent = send(keys, Inbound, &lines, &response);
        let names = ["tag.0000", "tag.0001", "asked", "answered"];
        let there = names.iter().filter(|name| sent.own().get(name).is_some());
        assert_eq!(there.count(), limit as usize);
        assert_eq!(sent.own().dropped, 4 - limit);
    }
}

/// The tags of one stream are not those of the next.
#[test]
fn tags_do_not_stay() {
    let mut proxy = Proxy::new(json!({"custom_tags": [
        {"tag": "user", "request_header": {"name": "x-user"}},
        {"tag": "always", "literal": {"value": "x"}},
    ]}));
    let info = Info::default();
    for user in [Some("ada"), None, Some("bob")] {
        let mut lines = get("/");
        lines.0.extend(user.map(|u| (b"x-user".to_vec(), u.into())));
        let sent = proxy.send(Inbound, &lines, &info, &answered(200));
        sent.own().has(&json!({"user": user, "always": "x"}), "");
    }
}

/// Tags are what the configuration says they are, in every vocabulary, and
/// take the place of Envoy's names too.
#[test]
fn tags_in_every_vocabulary() {
    let tags = json!([
        {"tag": "http.url", "literal": {"value": "mine"}},
        {"tag": "url.path", "literal": {"value": "mine"}},
        {"tag": "node_id", "literal": {"value": "mine"}},
    ]);
    for attributes in ["stable", "envoy", "both"] {
        for direction in DIRECTIONS {
            let keys = json!({"custom_tags": tags, "span": {"attributes": attributes}});
            let sent = send(keys, direction, &get("/"), &answered(200));
            for span in sent.spans() {
                for key in ["http.url", "url.path", "node_id"] {
                    assert_eq!(span.str(key), "mine", "{attributes}");
                }
            }
        }
    }
}

/// Even what was decided of a span may be told otherwise.
#[test]
fn tags_in_place_of_the_rule_and_the_reason() {
    let keys = json!({
        "rules": [{"name": "all", "match": {"path": {"prefix": "/"}}, "action": "sample", "ratio": 0}],
        "keep": {"errors": true},
        "custom_tags": [
            {"tag": "sidespan.rule", "literal": {"value": "mine"}},
            {"tag": "sidespan.keep_reason", "literal": {"value": "mine"}},
            {"tag": "error.type", "literal": {"value": "mine"}},
        ],
    });
    let sent = send(keys, Inbound, &get("/"), &answered(503));
    for key in ["sidespan.rule", "sidespan.keep_reason", "error.type"] {
        assert_eq!(sent.own().str(key), "mine");
    }
    assert!(sent.own().is_error, "the status is not an attribute");
}

/// What a peer sends into a tag is cut like everything else.
#[test]
fn long_tags_are_cut() {
    let long = "ä".repeat(30 << 10);
    let mut response = answered(200);
    response.headers.push(("x-b", long.clone().into_bytes()));
    response.metadata = json!({"request": {"a": {"b": [long]}}});
    response.properties.insert("a.b", long.clone().into_bytes());
    let encoded = "%C3%A4".repeat(10 << 10);
    let lines = common::spans::with(
        get("/"),
        &[("x-a", &long), ("baggage", &format!("a={encoded}"))],
    );
    let keys = json!({"span": {"max_attribute_length": 101}, "custom_tags": [
        {"tag": "1", "request_header": {"name": "x-a"}},
        {"tag": "2", "response_header": {"name": "x-b"}},
        {"tag": "3", "baggage": {"name": "a"}},
        {"tag": "4", "property": ["a", "b"]},
        {"tag": "5", "literal": {"value": long}},
        {"tag": "6", "metadata": {"metadata_key": {"key": "a", "path": [{"key": "b"}]}}},
        {"tag": "7", "request_header": {"name": "x-none", "default_value": long}},
    ]});
    let sent = send(keys, Inbound, &lines, &response);
    for tag in ["1", "2", "3", "4", "5", "7"] {
        assert_eq!(sent.own().str(tag), "ä".repeat(50), "{tag}");
    }
    let list = format!("[\"{}", "ä".repeat(49));
    assert_eq!(sent.own().str("6"), list);
    assert_eq!(sent.own().dropped, 7);
}
