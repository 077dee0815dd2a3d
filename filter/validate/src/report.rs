//! What a check finds in a file.

use std::collections::HashSet;
use std::fmt;

/// A finding: something that is wrong in a file, or worth a note.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Counted from 1.
    pub line: usize,
    /// The place in the document, and what is wrong there.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.text)
    }
}

/// The findings of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many configurations of Sidespan the file has.
    pub documents: usize,
    /// What is wrong with the configurations, or with the file.
    pub faults: Vec<Fault>,
    /// What is valid, but may not be intended.
    pub notes: Vec<Fault>,
}

impl Report {
    pub(crate) fn fault(&mut self, line: usize, text: String) {
        self.faults.push(Fault { line, text });
    }

    pub(crate) fn note(&mut self, line: usize, text: String) {
        self.notes.push(Fault { line, text });
    }

    /// Removes all but the first of identical findings: a node that several
    /// aliases refer to is checked for each of them.
    pub(crate) fn deduplicate(&mut self) {
        for findings in [&mut self.faults, &mut self.notes] {
            let mut seen = HashSet::new();
            findings.retain(|finding| seen.insert(finding.clone()));
        }
    }
}

/// Returns `, did you mean "NAME"?` for the known name that is closest to an
/// unknown one, or an empty string if none is close.
pub(crate) fn suggestion<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::osa_distance(unknown, name), name))
        .filter(|(distance, _)| distance * 2 < unknown.len())
        .min()
        .map(|(_, name)| format!(", did you mean {name:?}?"))
        .unwrap_or_default()
}
