//! Checks configurations of Sidespan offline, with the filter's own parser: a
//! document alone, in JSON or YAML, or inside an Istio manifest or an Envoy
//! configuration, and what the file around the document says about it.

mod document;
mod find;
mod node;
mod report;
mod surroundings;
mod yaml;

pub use report::{Fault, Report};

/// Checks a file of one or several YAML or JSON documents.
pub fn check(text: &str) -> Report {
    let stream = yaml::read(text);
    let mut report = Report {
        faults: stream.faults,
        ..Report::default()
    };
    let mut documents = Vec::new();
    for root in &stream.roots {
        let found = find::documents(root);
        for document in &found {
            document::check(document, &mut report);
        }
        surroundings::check(root, &found, &mut report);
        documents.extend(found);
    }
    surroundings::check_root_ids(&documents, &mut report);
    report.deduplicate();
    report
}
