//! What the documents show is what there is.

use harness::workspace_root;

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let read = |path: &str| std::fs::read_to_string(workspace_root().join(path)).expect(path);
    let edge = read("envoy-configs/edge.yaml");
    assert!(edge.lines().count() <= 60);
    assert!(read("README.md").contains(&format!("```yaml\n{edge}```")));
}
