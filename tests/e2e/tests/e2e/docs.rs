//! What the documents show is what there is.

use harness::workspace_root;

fn read(path: &str) -> String {
    std::fs::read_to_string(workspace_root().join(path)).expect(path)
}

/// What the page of the native module shows stands in the files that are tested.
#[test]
fn the_native_page_shows_the_configurations_that_are_tested() {
    let page = read("docs/native.md");
    let files = read("envoy-configs/module-edge.yaml") + &read("envoy-configs/module-tracer.yaml");
    let blocks = page.split("```yaml\n").skip(1);
    let blocks = blocks.filter_map(|rest| rest.split("```").next());
    let shown = blocks
        .filter(|block| block.starts_with("          "))
        .count();
    assert_eq!(shown, 2);
    for block in page.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        if block.starts_with("          ") {
            assert!(files.contains(block), "{block}");
        }
    }
}

#[test]
fn the_readme_shows_the_configuration_that_is_tested() {
    let edge = read("envoy-configs/edge.yaml");
    assert!(read("README.md").contains(&format!("```yaml\n{edge}```")));
}
