//! Every example runs as its README says.

use harness::{example, workspace_root};

#[test]
fn every_example_runs() {
    let dir = workspace_root().join("examples");
    let table = std::fs::read_to_string(dir.join("README.md")).expect("a table");
    let mut count = 0;
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
        example::run(&name);
        count += 1;
    }
    assert!(count > 0);
}
