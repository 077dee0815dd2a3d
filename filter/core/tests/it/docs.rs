//! The pages under `docs/` name the stats, log lines, attributes and secrets
//! that the core has.

use crate::common::Host;
use crate::common::exports::{NOW, SECOND};
use crate::registry::OWN;
use crate::secrets::SECRETS;
use serde_json::{Value, json};
use sidespan_core::export::event::{Notice, Pause};
use sidespan_core::export::response::{Failure, FailureKind};
use sidespan_core::stats::{
    CONFIG_REJECTED, CONFIG_STALE, EXPORT_TIME, Level, Stat, VERSION_NUMBER,
};
use sidespan_core::tracer::Tracer;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The native module counts the panics that it catches.
const INTERNAL_ERRORS: &str = "sidespan.internal_errors";

/// A file of the repository.
fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).expect(path)
}

/// The text of a page between a heading and the next one of the same level.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let level = heading.split(' ').next().unwrap();
    let (_, rest) = page.split_once(&format!("\n{heading}\n")).expect(heading);
    rest.split(&format!("\n{level} ")).next().unwrap()
}

/// The code spans of a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of the tables of a text.
fn rows(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with('|'))
}

/// The first cell of each row of the tables of a text.
fn first_cells(text: &str) -> impl Iterator<Item = &str> {
    rows(text).filter_map(|row| row.split(" | ").next())
}

/// Whether a text is what a page shows of it, with `…` in place of the parts
/// that differ.
fn is_shown_as(text: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = parts.next().and_then(|start| text.strip_prefix(start)) else {
        return false;
    };
    let Some(end) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.ends_with(end)
}

#[test]
fn texts_are_compared_with_what_a_page_shows() {
    for (text, shown, is_shown) in [
        ("a b", "a b", true),
        ("a b c", "a b", false),
        ("a 1 b 2 c", "a … b … c", true),
        ("a 1 c 2 c", "a … b … c", false),
        ("a 1 b", "a … b …", false),
        ("a 1", "a …", true),
        ("1 b", "… b", true),
    ] {
        assert_eq!(is_shown_as(text, shown), is_shown, "{text} {shown}");
    }
}

/// Every stat that is published, by its name.
fn stats() -> BTreeSet<String> {
    let counters = Stat::ALL.iter().map(|stat| stat.name());
    let levels = Level::ALL.iter().map(|level| level.name());
    let others = [
        EXPORT_TIME,
        CONFIG_REJECTED,
        CONFIG_STALE,
        VERSION_NUMBER,
        INTERNAL_ERRORS,
    ];
    let names = counters.chain(levels).chain(others);
    names.map(str::to_owned).collect()
}

#[test]
fn operations_page_lists_exactly_the_published_stats() {
    let page = read("docs/operations.md");
    let mut listed = BTreeSet::new();
    for cell in first_cells(section(&page, "## The books")) {
        let mut group = "";
        for name in code(cell) {
            // `.partial` after `sidespan.exports.accepted`.
            let name = match name.strip_prefix('.') {
                Some(last) => format!("{group}.{last}"),
                None => {
                    group = name.rsplit_once('.').expect("a dot").0;
                    name.to_owned()
                }
            };
            assert!(listed.insert(name.clone()), "{name} is listed twice");
        }
    }
    assert_eq!(listed, stats());
}

/// What the page shows of each log line.
fn shown_lines(page: &str) -> Vec<&str> {
    let lines = first_cells(section(page, "## The lines")).flat_map(code);
    lines
        .filter_map(|line| line.strip_prefix("sidespan: "))
        .collect()
}

#[track_caller]
fn assert_is_shown(shown: &[&str], line: &str) {
    let count = shown.iter().filter(|shown| is_shown_as(line, shown));
    assert_eq!(count.count(), 1, "rows of docs/operations.md for {line:?}");
}

#[test]
fn operations_page_has_every_line_about_exports() {
    let page = read("docs/operations.md");
    let shown = shown_lines(&page);
    let failure = || Failure {
        kind: FailureKind::Grpc(14),
        message: "no".to_owned(),
    };
    for notice in [
        Notice::Failing(failure()),
        Notice::Recovered,
        Notice::Refused {
            spans: 7,
            failure: failure(),
        },
        Notice::Rejected {
            spans: 7,
            message: "no".to_owned(),
        },
    ] {
        match notice {
            // A new variant belongs in the list above.
            Notice::Failing(_)
            | Notice::Recovered
            | Notice::Refused { .. }
            | Notice::Rejected { .. } => {}
        }
        assert_is_shown(&shown, &notice.line("collector"));
    }
    let lost = Stat::ALL.iter().filter_map(|stat| stat.lost_line(7));
    let lost: Vec<_> = lost.collect();
    assert!(lost.len() >= 4, "{lost:?}");
    for line in &lost {
        assert_is_shown(&shown, line);
    }
}

#[test]
fn operations_page_has_the_line_of_a_pause() {
    let page = read("docs/operations.md");
    let pause = |asked| Pause {
        until_unix_nanos: NOW + SECOND,
        asked: Duration::from_secs(asked),
        most: Duration::from_secs(10),
    };
    let whole = pause(5).line("collector");
    assert_is_shown(&shown_lines(&page), &whole);
    // The row has the end of a line whose delay is bounded in another cell.
    let bounded = pause(15).line("collector");
    let is_row = |row: &&str| row.contains("pause until");
    let row = rows(section(&page, "## The lines")).find(is_row);
    let row = row.expect("a row");
    let end = |shown| {
        let (start, _) = bounded.split_once(", of which").expect("a bound");
        is_shown_as(&bounded, &format!("{start}{shown}"))
    };
    assert!(code(row).any(end), "{bounded:?}");
}

#[test]
fn operations_page_has_every_reason_of_a_failed_export() {
    let page = read("docs/operations.md");
    let reasons: Vec<_> = first_cells(section(&page, "### Why an export fails"))
        .flat_map(code)
        .collect();
    for kind in [
        FailureKind::Grpc(12),
        FailureKind::Grpc(16),
        FailureKind::Http(401),
        FailureKind::Http(404),
        FailureKind::Reset,
        FailureKind::NoCluster,
        FailureKind::NoEndpoint,
    ] {
        match kind {
            // A new variant belongs in the list above.
            FailureKind::Grpc(_)
            | FailureKind::Http(_)
            | FailureKind::Reset
            | FailureKind::NoCluster
            | FailureKind::NoEndpoint => {}
        }
        let reason = Failure {
            kind,
            message: String::new(),
        };
        assert!(reasons.contains(&&*reason.to_string()), "{reason}");
    }
    for (code, words) in [
        (14, "upstream request timeout"),
        (
            14,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        ),
        (8, "later"),
    ] {
        let reason = Failure {
            kind: FailureKind::Grpc(code),
            message: words.to_owned(),
        };
        let reason = reason.to_string();
        let is_shown = reasons.iter().any(|shown| is_shown_as(&reason, shown));
        assert!(is_shown, "{reason}");
    }
}

/// A host whose environment has everything wrong that a warning is about.
#[test]
fn operations_page_has_every_warning_of_the_environment() {
    let page = read("docs/operations.md");
    let shown = shown_lines(&page);
    let header = |name, variable| json!({"name": name, "environment": variable});
    let tag = |name, variable, kind| json!({"tag": name, "type": kind, "environment": {"name": variable}});
    let document = json!({
        "exporter": {"otlp_grpc": {
            "cluster": "collector",
            "headers": [header("x-none", "NONE"), header("x-broken", "BROKEN")],
        }},
        "custom_tags": [tag("none", "NONE", "string"), tag("word", "WORD", "int")],
    });
    let config = sidespan_config::parse(document.to_string().as_bytes()).unwrap();
    let host = Host {
        variables: [
            ("BROKEN", "a\nb"),
            ("WORD", "many"),
            ("OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS", ""),
            ("OTEL_RESOURCE_ATTRIBUTES", "no pair"),
        ]
        .into(),
        node: Value::Null,
    };
    let warnings = Tracer::new(config, &host, [7; 32]).warnings();
    assert_eq!(warnings.len(), 7, "{warnings:#?}");
    for warning in warnings {
        assert_is_shown(&shown, &warning);
    }
}

#[test]
fn spans_page_and_registry_list_exactly_our_attributes() {
    let own: BTreeSet<_> = OWN.iter().map(|(key, _)| *key).collect();
    let registry = read("filter/registry/attributes.yaml");
    let ids = registry.split("- id: ").skip(2);
    let ids: BTreeSet<_> = ids.filter_map(|rest| rest.lines().next()).collect();
    assert_eq!(ids, own);
    let page = read("docs/spans.md");
    let table = first_cells(section(&page, "## What only a proxy knows"));
    let listed: BTreeSet<_> = table.flat_map(code).collect();
    assert_eq!(listed, own);
}

#[test]
fn spans_page_lists_exactly_the_known_secrets() {
    let page = read("docs/spans.md");
    let (_, list) = page.split_once("Known secrets are ").expect("the list");
    let (list, _) = list.split_once("; in any case").expect("its end");
    let listed: BTreeSet<_> = code(list).collect();
    assert_eq!(listed, SECRETS.into());
}

/// Each stat that the example of troubles shows is in its table and in the
/// operators', and the tables name none that it does not show but those that
/// the page says so of.
#[test]
fn every_trouble_is_explained_by_what_the_example_shows() {
    // What is looked at so that a number means something.
    const BOOKS: [&str; 3] = ["spans_created", "spans_acknowledged", "spans_in_flight"];
    const SHOWN_ELSEWHERE: [&str; 2] = ["rate_limited", "spans_dropped.*"];
    let scenario = read("examples/troubleshooting/scenario.json");
    let scenario: Value = serde_json::from_str(&scenario).unwrap();
    let (mut names, mut lines) = (BTreeSet::new(), Vec::new());
    collect(&scenario, &mut names, &mut lines);
    let shown: BTreeSet<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("wasmcustom.sidespan."))
        .filter_map(|name| name.split(' ').next())
        .filter(|name| !BOOKS.contains(name))
        .collect();
    assert!(shown.len() >= 10, "{shown:?}");

    let table = |text: &str| rows(text).collect::<Vec<_>>().join("\n");
    let readme = table(&read("examples/troubleshooting/README.md"));
    let page = read("docs/operations.md");
    let page = table(section(&page, "## Troubleshooting"));
    let (told, explained): (BTreeSet<_>, BTreeSet<_>) =
        (code(&readme).collect(), code(&page).collect());
    for stat in &shown {
        assert!(told.contains(stat), "README: {stat}");
        let group = stat.split_once('.').map(|(group, _)| format!("{group}.*"));
        let is_explained =
            explained.contains(stat) || group.is_some_and(|group| explained.contains(&*group));
        // What waits is the collector's trouble, which the page tells of by what fails.
        assert!(
            is_explained || *stat == "spans_queued",
            "operations: {stat}"
        );
    }
    let known = stats();
    let known = known
        .iter()
        .filter_map(|name| name.strip_prefix("sidespan."));
    let known: BTreeSet<&str> = known.collect();
    for table in [&told, &explained] {
        for stat in table.intersection(&known) {
            assert!(
                shown.contains(stat) || *stat == "sampled" || SHOWN_ELSEWHERE.contains(stat),
                "nothing shows {stat}"
            );
        }
    }
    // The lines that are waited for, by what stands between their marks.
    assert!(lines.len() >= 8, "{lines:?}");
    for line in lines {
        let mut parts = told.iter().flat_map(|word| word.split('…')).map(str::trim);
        let is_told = parts.any(|part| part.len() > 4 && line.contains(part.trim_end_matches(':')));
        assert!(is_told, "README: {line}");
    }
}

/// The keys of each `are` and the texts of each `has` of a scenario.
fn collect(value: &Value, names: &mut BTreeSet<String>, lines: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::Object(stats) if key == "are" => names.extend(stats.keys().cloned()),
                    Value::String(line) if key == "has" => lines.push(line.clone()),
                    _ => collect(value, names, lines),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| collect(value, names, lines)),
        _ => {}
    }
}
