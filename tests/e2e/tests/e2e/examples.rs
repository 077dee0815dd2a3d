//! Every example runs as its README says.

use harness::example::{self, Outcome};
use harness::workspace_root;

/// The names of all examples.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(workspace_root().join("examples")).expect("examples");
    let dirs = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = dirs
        .map(|entry| entry.file_name().into_string().expect("a name"))
        .collect();
    names.sort();
    names
}

/// Runs the examples that have programs of their own, or those that have none.
fn run_all(has_programs: bool) {
    let names = names().into_iter();
    let names: Vec<_> = names
        .filter(|name| example::has_programs(name) == has_programs)
        .collect();
    assert!(names.len() > 1, "{names:?}");
    for name in names {
        let outcome = example::run(&name);
        assert_eq!(outcome, Outcome::Ran, "{name}");
    }
}

#[test]
fn every_example_has_its_command_in_the_documents() {
    let dir = workspace_root().join("examples");
    let table = std::fs::read_to_string(dir.join("README.md")).expect("a table");
    for name in names() {
        let command = format!("make example NAME={name}");
        assert!(
            table.contains(&command),
            "{name} is not in examples/README.md"
        );
        let readme = std::fs::read_to_string(dir.join(&name).join("README.md")).expect("a README");
        assert!(
            readme.contains(&command),
            "{name}/README.md says how to run it"
        );
    }
}

#[test]
fn every_example_without_programs_runs() {
    run_all(false);
}

#[test]
#[ignore = "needs Node.js, Go and Python: make test-runtimes"]
fn every_example_with_programs_runs() {
    run_all(true);
}
