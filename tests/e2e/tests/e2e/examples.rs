//! Every example runs as its README says.

use std::io::Write;

use harness::example::{self, Outcome};
use harness::workspace_root;

#[test]
fn every_example_runs() {
    let dir = workspace_root().join("examples");
    let table = std::fs::read_to_string(dir.join("README.md")).expect("a table");
    let (mut ran, mut skipped) = (0, 0);
    for entry in std::fs::read_dir(&dir).expect("examples").flatten() {
        let name = entry.file_name().into_string().expect("a name");
        if !entry.path().is_dir() {
            continue;
        }
        let command = format!("make example NAME={name}");
        assert!(
            table.contains(&command),
            "{name} is not in examples/README.md"
        );
        let readme = std::fs::read_to_string(entry.path().join("README.md")).expect("a README");
        assert!(
            readme.contains(&command),
            "{name}/README.md says how to run it"
        );
        match example::run(&name) {
            Outcome::Ran => ran += 1,
            Outcome::Skipped(why) => {
                skipped += 1;
                tell(&format!("skipped: example {name}: {why}"));
            }
        }
    }
    if skipped > 0 {
        tell(&format!("{skipped} of {} examples skipped", ran + skipped));
    }
    assert!(ran > 0);
    // Where all runtimes are meant to be there, a skipped example is a fault.
    if std::env::var_os("NO_SKIP").is_some() {
        assert_eq!(skipped, 0, "examples skipped");
    }
}

/// Writes to standard error past the capture of a test that passes.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
