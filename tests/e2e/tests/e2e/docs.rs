//! What the documents show is what there is.

use harness::workspace_root;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_root().join(path)).expect(path)
}

/// What stands between two marks, each time.
fn quoted<'a>(text: &'a str, open: &str, close: &str, prefix: &str) -> BTreeSet<&'a str> {
    text.split(open)
        .skip(1)
        .filter_map(|rest| rest.split(close).next())
        .filter(|word| word.starts_with(prefix))
        .collect()
}

#[test]
fn every_attribute_of_our_own_is_documented_and_in_the_registry() {
    let semconv = read("filter/core/src/semconv.rs");
    let proxy = read("filter/core/src/stream/proxy.rs");
    let mut made = quoted(&semconv, "= \"", "\"", "sidespan.");
    made.extend(quoted(&proxy, ", \"", "\"", "sidespan."));
    assert!(made.len() > 10, "{made:?}");
    let registry = read("filter/registry/attributes.yaml");
    assert_eq!(quoted(&registry, "- id: ", "\n", "sidespan."), made);
    let docs = read("docs/spans.md");
    let section = docs
        .split("## What only a proxy knows")
        .nth(1)
        .expect("a section");
    let table = section.split("\n## ").next().unwrap_or_default();
    assert_eq!(quoted(table, "`", "`", "sidespan."), made);
}

#[test]
fn every_known_secret_is_documented() {
    let url = read("filter/core/src/url.rs");
    let lists = url.split("const REDACTED").next().expect("the lists");
    let secrets = quoted(lists, "    \"", "\",", "");
    assert!(secrets.len() > 20, "{secrets:?}");
    let docs = read("docs/spans.md");
    for secret in secrets {
        assert!(docs.contains(&format!("`{secret}`")), "{secret}");
    }
}

/// Every stat, and every word of what is logged of exports.
#[test]
fn everything_that_is_published_is_explained_to_operators() {
    let docs = read("docs/operations.md");
    let stats = read("filter/core/src/stats.rs");
    let mut names = quoted(&stats, "=> \"", "\"", "sidespan.");
    names.extend(quoted(&stats, "= \"", "\"", "sidespan."));
    assert!(names.len() >= 25, "{names:?}");
    for name in names {
        let (group, last) = name.rsplit_once('.').expect("a dot");
        let (group, last) = (format!("| `{group}."), format!("`.{last}`"));
        let is_told = docs.contains(name)
            || docs
                .lines()
                .any(|row| row.starts_with(&group) && row.contains(&last));
        assert!(is_told, "{name}");
    }
    let mut fragments = 0;
    for file in [
        "filter/proxy-wasm/src/shared.rs",
        "filter/dynamic-module/src/document.rs",
        "filter/dynamic-module/src/exporter.rs",
        "filter/dynamic-module/src/guard.rs",
        "filter/core/src/stats.rs",
        "filter/core/src/exporter.rs",
        "filter/core/src/exporter/answer.rs",
    ] {
        let source = read(file);
        let code = source
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for text in code.split('"').skip(1).step_by(2) {
            // What stands between the parts that differ.
            for fragment in text.split(['{', '}']).map(str::trim) {
                if fragment.contains(' ') && !fragment.contains(['(', '\n']) {
                    assert!(docs.contains(fragment), "{file}: {fragment:?}");
                    fragments += 1;
                }
            }
        }
    }
    assert!(fragments > 10, "{fragments}");
}

/// What the page of the native module shows stands in the files that are tested.
#[test]
fn the_native_page_shows_the_configurations_that_are_tested() {
    let page = read("docs/native.md");
    let files = read("envoy-configs/module-edge.yaml") + &read("envoy-configs/module-tracer.yaml");
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let shown = blocks
        .filter(|block| block.starts_with("          "))
        .count();
    assert_eq!(shown, 2);
    for block in page.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        if block.starts_with("          ") {
            assert!(files.contains(block), "{block}");
        }
    }
}

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let edge = read("envoy-configs/edge.yaml");
    assert!(edge.lines().count() <= 60);
    assert!(read("README.md").contains(&format!("```yaml\n{edge}```")));
}

/// Each stat that the example of troubles shows is in its table and in the operators', and the
/// tables name none that it does not show but those that the page says so of.
#[test]
fn every_trouble_is_explained_by_what_the_example_shows() {
    // What is looked at so that a number means something.
    const BOOKS: [&str; 3] = ["spans_created", "spans_acknowledged", "spans_in_flight"];
    const SHOWN_ELSEWHERE: [&str; 2] = ["rate_limited", "spans_dropped.*"];
    let scenario = read("examples/troubleshooting/scenario.json");
    let shown: BTreeSet<&str> = quoted(&scenario, "\"wasmcustom.sidespan.", "\"", "")
        .into_iter()
        .filter_map(|name| name.split(' ').next())
        .filter(|name| !BOOKS.contains(name))
        .collect();
    assert!(shown.len() >= 10, "{shown:?}");

    let readme = read("examples/troubleshooting/README.md");
    let rows = |text: &str| -> String {
        let rows = text.lines().filter(|line| line.starts_with('|'));
        rows.collect::<Vec<_>>().join("\n")
    };
    let page = read("docs/operations.md");
    let section = page.split("## Troubleshooting").nth(1).expect("a section");
    let section = rows(section.split("\n## ").next().unwrap_or_default());
    let readme = rows(&readme);
    let words = |table| quoted(table, "`", "`", "");
    let (told, explained) = (words(&readme), words(&section));
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
    let stats = read("filter/core/src/stats.rs");
    let known = quoted(&stats, "\"sidespan.", "\"", "");
    for table in [&told, &explained] {
        for stat in table.intersection(&known) {
            assert!(
                shown.contains(stat) || *stat == "sampled" || SHOWN_ELSEWHERE.contains(stat),
                "nothing shows {stat}"
            );
        }
    }
    // The lines that are waited for, by what stands between their marks.
    let lines = quoted(&scenario, "\"has\": \"", "\"\n", "");
    let lines = lines
        .into_iter()
        .chain(quoted(&scenario, "\"has\": \"", "\" }", ""));
    let mut count = 0;
    for line in lines.filter(|line| !line.contains('\n')) {
        let line = line.replace("\\\"", "\"");
        let is_told = told.iter().flat_map(|word| word.split('…')).map(str::trim);
        let is_told = is_told
            .filter(|part| part.len() > 4)
            .any(|part| line.contains(part.trim_end_matches(':')));
        assert!(is_told, "README: {line}");
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

/// The Collector runs what was published, and not something like it.
#[test]
fn the_collector_of_the_correlation_is_configured_as_published() {
    const SUM: &str = "599a6d678ad2e2aac428cb16d341ce6559079f012868b92c356e906a76dec5f8";
    let file = read("examples/correlation/collector.yaml");
    let start = file.find("processors:\n").expect("processors");
    let end = file.find("\n\n  batch:\n").expect("our own part");
    let mut sum = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum");
    let mut input = sum.stdin.take().expect("its input");
    input
        .write_all(&file.as_bytes()[start..end])
        .expect("written");
    input.write_all(b"\n").expect("written");
    drop(input);
    let output = sum.wait_with_output().expect("a sum").stdout;
    let output = String::from_utf8_lossy(&output);
    assert_eq!(output.split(' ').next(), Some(SUM));
}
