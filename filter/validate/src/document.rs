//! Checks of one document by itself.

use crate::find::Document;
use crate::report::Report;
use crate::yaml::Node;

/// Checks a document with the filter's own parser.
pub(crate) fn check(document: &Document, report: &mut Report) {
    report.documents += 1;
    let bytes = match (&document.text, &document.tree) {
        (Some(text), _) => text.clone().into_bytes(),
        (None, Some(tree)) => tree.to_json().to_string().into_bytes(),
        (None, None) => return,
    };
    let faults = match document.is_route {
        true => sidespan_config::parse_route(&bytes).err(),
        false => sidespan_config::parse(&bytes).err(),
    };
    for fault in faults.iter().flat_map(|faults| faults.iter()) {
        let tree = document.tree.as_ref();
        let line = tree.map_or(document.line, |tree| tree.line_of(&fault.place));
        report.fault(line, format!("{}: {}", fault.place, fault.message));
    }
    if let (Some(tree), false) = (&document.tree, document.is_route) {
        note_rewritten(tree, report);
    }
}

/// An unsampled context goes on unchanged only if it has the formats of
/// `inject`.
fn note_rewritten(tree: &Node, report: &mut Report) {
    let Some(propagation) = tree.get("propagation") else {
        return;
    };
    let is_unchanged = |key, default| propagation.get(key).is_none_or(|value| value.is(default));
    if !is_unchanged("outgoing", "inject") || !is_unchanged("unsampled", "unchanged") {
        return;
    }
    let is_b3 = |text: &str| matches!(text, "b3" | "b3multi");
    let extract = propagation.list("extract");
    let extracts_b3 = extract.iter().all(|item| item.text().is_some_and(is_b3));
    let inject = propagation.list("inject");
    let injects_b3 = inject.iter().any(|item| item.text().is_some_and(is_b3));
    if extract.is_empty() || !extracts_b3 || injects_b3 {
        return;
    }
    let multi = extract.iter().any(|item| item.is("b3multi"));
    let remedy = if multi { "b3multi" } else { "b3" };
    report.note(
        propagation.line_of("extract"),
        format!(
            "propagation.extract: inject has no B3 format, so the context of each unsampled request is rewritten, set propagation.inject: [{remedy}] to keep it unchanged"
        ),
    );
}
