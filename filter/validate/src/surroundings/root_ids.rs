//! One identity, one document: a rejected document may be replaced by the
//! accepted one of the same identity, which is a Wasm plugin's `root_id`, a
//! native filter's `filter_name` or a native tracer's `tracer_name`.

use crate::find::Document;
use crate::report::Report;
use crate::yaml::Node;
use std::collections::HashMap;
use std::rc::Rc;

/// Checks all documents of a file.
pub(crate) fn check(documents: &[Document], report: &mut Report) {
    let mut first = HashMap::new();
    for document in documents.iter().filter(|document| !document.is_route) {
        let Some(tree) = &document.tree else { continue };
        let Some((place, key, holder)) = identity(document) else {
            continue;
        };
        let name = holder.text_of(key).unwrap_or_default();
        let (json, line) = first
            .entry((key, name))
            .or_insert_with(|| (tree.to_json(), tree.line));
        if *json != tree.to_json() {
            report.fault(
                holder.line_of(key),
                format!(
                    "{place}: {name:?} has another document in line {line}, expected one document for each {key}"
                ),
            );
        }
    }
}

/// The key that gives a document's plugin an identity of its own, where it
/// stands, and the node that has it.
fn identity(document: &Document) -> Option<(&'static str, &'static str, &Rc<Node>)> {
    let named = |node: &Node, key: &str, shared: &[&str]| {
        let name = node.text_of(key);
        name.is_some_and(|name| !shared.contains(&name))
    };
    if let Some(plugin) = document.wasm_plugin() {
        return named(plugin, "root_id", &[""]).then_some(("config.root_id", "root_id", plugin));
    }
    ["filter_name", "tracer_name"].into_iter().find_map(|key| {
        let holder = document.holder(|node| named(node, key, &["", "sidespan"]))?;
        Some((key, key, holder))
    })
}
