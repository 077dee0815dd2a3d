//! One `root_id`, one document: Envoy configures the plugins of one root id
//! together, and each document replaces the one before it.

use crate::find::Document;
use crate::report::Report;
use std::collections::HashMap;

/// Checks all documents of a file.
pub(crate) fn check(documents: &[Document], report: &mut Report) {
    let mut first = HashMap::new();
    for document in documents {
        let (Some(plugin), Some(tree)) = (document.wasm_plugin(), &document.tree) else {
            continue;
        };
        let Some(root_id) = plugin.text_of("root_id").filter(|id| !id.is_empty()) else {
            continue;
        };
        let (json, line) = first
            .entry(root_id)
            .or_insert_with(|| (tree.to_json(), tree.line));
        if *json != tree.to_json() {
            report.fault(
                plugin.line_of("root_id"),
                format!(
                    "config.root_id: {root_id:?} has another document in line {line}, expected one document for each root_id"
                ),
            );
        }
    }
}
