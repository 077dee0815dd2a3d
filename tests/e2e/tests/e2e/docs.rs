//! What the documents show is what there is.

use harness::workspace_root;
use std::collections::BTreeSet;

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

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let edge = read("envoy-configs/edge.yaml");
    assert!(edge.lines().count() <= 60);
    assert!(read("README.md").contains(&format!("```yaml\n{edge}```")));
}
