//! Every row of the tables in `tests/vectors/` about headers, sent through a
//! real Envoy. The rows' meaning is in the README there.

use super::propagation::tolerant;
use super::stage::{EXPORTER, PATIENCE, Stage};
use harness::{Seen, client, workspace_root};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};

struct Row {
    table: &'static str,
    row: Value,
}

impl Row {
    fn name(&self) -> String {
        format!(
            "{}.json {}: {}",
            self.table, self.row["name"], self.row["why"]
        )
    }

    fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let lines = self.row["headers"].as_array().expect("headers");
        lines
            .iter()
            .map(|line| {
                let name = line[0].as_str().expect("a name").to_owned();
                let value = match &line[1] {
                    Value::String(text) => text.clone().into_bytes(),
                    other => from_hex(other["hex"].as_str().expect("hex")),
                };
                (name, value)
            })
            .collect()
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex
        .chars()
        .map(|c| c.to_digit(16).expect("a digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The rows that can be sent over a wire, by the configuration they ask for.
fn rows() -> BTreeMap<String, Vec<Row>> {
    let mut by_config: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for table in ["w3c", "tracestate", "b3", "propagation"] {
        let path = workspace_root().join(format!("tests/vectors/{table}.json"));
        let text = std::fs::read_to_string(&path).expect("the table");
        let rows: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        assert!(!rows.is_empty());
        for row in rows {
            if row["wire"] != Value::Bool(false) {
                let config = row.get("config").map_or("{}".to_owned(), Value::to_string);
                by_config
                    .entry(config)
                    .or_default()
                    .push(Row { table, row });
            }
        }
    }
    by_config
}

const CONTEXT_HEADERS: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// A span as it went upstream.
type Ids = (String, String);

/// Checks what went upstream. Gives the ids if the span must be exported.
fn check(row: &Row, seen: &Seen) -> Option<Ids> {
    let expect = &row.row["expect"];
    let what = row.name();
    let came = |name: &str| -> Vec<String> {
        let lines = row.headers().into_iter();
        lines
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| String::from_utf8_lossy(value.trim_ascii()).into_owned())
            .collect()
    };
    if expect["unchanged"] == true {
        for name in CONTEXT_HEADERS {
            assert_eq!(seen.header(name), came(name), "{what}: {name}");
        }
        return None;
    }
    let left: Vec<&str> = expect["left"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for name in &left {
        assert_eq!(seen.header(name), came(name), "{what}: {name}");
    }
    for name in [
        "traceparent",
        "tracestate",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-sampled",
    ] {
        assert!(
            seen.header(name).len() <= 1,
            "{what}: {name} {:?}",
            seen.header(name)
        );
    }
    let one = |name: &str| seen.header(name).pop();
    let fields = |value: String| -> Vec<String> { value.split('-').map(str::to_owned).collect() };
    let ids = if let Some(value) = one("traceparent") {
        let parts = fields(value);
        assert_eq!(parts[0], "00", "{what}");
        let flags = u8::from_str_radix(&parts[3], 16).expect("flags");
        let expected =
            u8::from(expect["sampled"] == true) | u8::from(expect["random"] == true) << 1;
        assert_eq!(flags, expected, "{what}: flags");
        Some((parts[1].clone(), parts[2].clone()))
    } else if let Some(value) = one("b3").filter(|_| !left.contains(&"b3")) {
        let parts = fields(value);
        Some((parts[0].clone(), parts[1].clone()))
    } else {
        let is_left = left.contains(&"x-b3-traceid");
        one("x-b3-traceid")
            .zip(one("x-b3-spanid"))
            .filter(|_| !is_left)
    };
    assert_eq!(
        one("tracestate").as_deref(),
        expect["tracestate"].as_str(),
        "{what}"
    );
    if let Some((trace, span)) = &ids {
        let came = expect["trace_id"].as_str();
        if expect["continued"] == true {
            assert_eq!(Some(trace.as_str()), came, "{what}");
        }
        for (header, pattern) in expect["set"].as_object().expect("set") {
            let parent = expect["parent_id"].as_str().unwrap_or("");
            let value = pattern.as_str().expect("a pattern");
            let value = value
                .replace("{trace}", trace)
                .replace("{span}", span)
                .replace("{parent}", parent);
            assert_eq!(seen.header(header), [value], "{what}: {header}");
        }
    }
    for name in expect["removed"].as_array().expect("removed") {
        let name = name.as_str().expect("a name");
        assert_eq!(seen.header(name), [""; 0], "{what}: {name}");
    }
    ids.filter(|_| expect["sampled"] == true)
}

fn run(stage: &Stage, rows: &[Row]) {
    let mut exported = HashSet::new();
    for row in rows {
        let owned = row.headers();
        let headers: Vec<_> = owned
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_slice()))
            .collect();
        let answer = client::request(stage.addr(), "GET", "/", &headers, b"").expect("an answer");
        assert_eq!(answer.status, 200, "{}", row.name());
        exported.extend(check(row, &stage.upstream.last()));
    }
    let sampled = rows
        .iter()
        .filter(|row| row.row["expect"]["sampled"] == true)
        .count();
    let malformed = rows
        .iter()
        .filter(|row| row.row["expect"]["malformed"] == true)
        .count();
    if sampled > 0 {
        stage.collector.wait_spans(sampled, PATIENCE);
    }
    stage.wait_stat("not_sampled", |n| n == (rows.len() - sampled) as u64);
    assert_eq!(stage.stat("malformed"), malformed as u64);
    let spans = stage.collector.spans();
    assert_eq!(
        spans.len(),
        sampled,
        "a span for each sampled row and for no other"
    );
    let got: HashSet<_> = spans
        .iter()
        .map(|s| (s.trace_id_hex(), s.span_id_hex()))
        .collect();
    assert!(
        exported.is_subset(&got),
        "what goes upstream is the span that is exported"
    );
}

/// Runs all rows with a change to each proxy and to what is configured of
/// `propagation`.
fn run_all(carrier: Carrier) {
    let mut count = 0;
    for (config, rows) in rows() {
        let mut config: Value = serde_json::from_str(&config).expect("JSON");
        if carrier == Carrier::FilterState {
            config["carrier"] = "filter_state".into();
        }
        let exporter = format!(
            "propagation: {config}\n                    exporter: {{ otlp_grpc: {{ cluster: otel-collector }}, batch: {{ schedule_delay: 50ms }} }}"
        );
        let stage = Stage::inbound_with(|inbound| {
            let inbound = tolerant(inbound).replace(EXPORTER, &exporter);
            match carrier {
                Carrier::Headers => inbound,
                Carrier::FilterState => {
                    inbound.replace(ROUTER, format!("{}{ROUTER}", write_context_filters()))
                }
            }
        });
        run(&stage, &rows);
        count += rows.len();
    }
    assert!(count > 300, "{count} rows");
}

#[derive(Clone, Copy, PartialEq)]
enum Carrier {
    Headers,
    FilterState,
}

pub const ROUTER: &str = "          - name: envoy.filters.http.router";

/// The filters behind Sidespan that write contexts which it hands to filter
/// state, as `envoy-configs/edge-filter-state.yaml` has them.
pub fn write_context_filters() -> String {
    let path = workspace_root().join("envoy-configs/edge-filter-state.yaml");
    let text = std::fs::read_to_string(path).expect("the configuration");
    let (_, rest) = text
        .split_once("          - name: write-context\n")
        .expect("the filters");
    let (filters, _) = rest.split_once(ROUTER).expect("the router");
    format!("          - name: write-context\n{filters}")
}

#[test]
fn every_row_holds_through_a_real_envoy() {
    run_all(Carrier::Headers);
}

/// The native module writes headers all the same: Envoy keeps the route for it.
#[test]
fn every_row_holds_by_way_of_filter_state() {
    run_all(Carrier::FilterState);
}
