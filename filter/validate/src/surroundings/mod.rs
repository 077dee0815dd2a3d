//! What the file around a document says about it. A file that does not hold
//! what is needed to know gives no finding.

mod carrier;
mod clusters;
mod environment;
mod position;
mod root_ids;
mod routes;

pub(crate) use root_ids::check as check_root_ids;

use crate::find::Document;
use crate::report::Report;
use crate::yaml::Node;
use position::Position;

/// Checks the documents that were found below one root.
pub(crate) fn check(root: &Node, documents: &[Document], report: &mut Report) {
    let clusters = clusters::Clusters::read(root);
    for document in documents.iter().filter(|document| !document.is_route) {
        let Some(tree) = &document.tree else { continue };
        clusters.check(tree, report);
        environment::check(document, tree, report);
        if let Some(position) = Position::of(document) {
            match carrier(tree) {
                Carrier::Headers => routes::check(&position, tree, report),
                Carrier::FilterState => carrier::check(&position, tree, root, report),
            }
        }
    }
}

/// How the Wasm filter hands a context to the upstream request.
enum Carrier {
    Headers,
    FilterState,
}

fn carrier(tree: &Node) -> Carrier {
    match tree.path(&["propagation", "carrier"]).map(Node::text) {
        Some(Some("filter_state")) => Carrier::FilterState,
        _ => Carrier::Headers,
    }
}
