//! The environment variables that a Wasm VM can read.

use crate::find::Document;
use crate::report::Report;
use crate::yaml::Node;

/// What a manifest lets the VM read.
struct Environment<'a> {
    names: Vec<&'a str>,
    /// Where a variable is added.
    key: &'static str,
}

/// Checks the variables that a document reads.
pub(super) fn check(document: &Document, tree: &Node, report: &mut Report) {
    let Some(environment) = environment_of(document) else {
        return;
    };
    for (place, name) in variables(tree) {
        if environment.names.contains(&name) {
            continue;
        }
        let key = environment.key;
        // A token may stand here by mistake.
        let name = match is_variable(name) {
            true => format!("the environment variable {name:?}"),
            false => "this environment variable".to_owned(),
        };
        let text = format!("{place}: the Wasm VM cannot read {name}, add it to {key}");
        report.fault(tree.line_of(&place), text);
    }
}

fn is_variable(name: &str) -> bool {
    name.bytes()
        .all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_'))
}

/// The variables without which a document's header or tag is missing.
fn variables(tree: &Node) -> Vec<(String, &str)> {
    let mut variables = Vec::new();
    for protocol in ["otlp_grpc", "otlp_http"] {
        let exporter = tree.path(&["exporter", protocol]);
        let headers = exporter.map_or(&[][..], |exporter| exporter.list("headers"));
        for (index, header) in headers.iter().enumerate() {
            if let Some(name) = header.text_of("environment") {
                let place = format!("exporter.{protocol}.headers[{index}].environment");
                variables.push((place, name));
            }
        }
    }
    for (index, tag) in tree.list("custom_tags").iter().enumerate() {
        let Some(environment) = tag.field("environment") else {
            continue;
        };
        if environment.get("default_value").is_some() {
            continue;
        }
        if let Some(name) = environment.text_of("name") {
            variables.push((format!("custom_tags[{index}].environment.name"), name));
        }
    }
    variables
}

/// `None` where the file does not have it: a native module, a document alone,
/// a patch.
fn environment_of(document: &Document) -> Option<Environment<'_>> {
    if let Some(plugin) = document.wasm_plugin() {
        let vm = plugin.field("vm_config")?;
        let variables = vm.field("environment_variables");
        let keys = variables.map_or(&[][..], |variables| variables.list("host_env_keys"));
        let values = variables.and_then(|variables| variables.field("key_values"));
        let values = values.map_or(&[][..], |values| values.entries());
        let mut names = texts(keys);
        names.extend(values.iter().map(|entry| entry.key.as_str()));
        return Some(Environment {
            names,
            key: "vm_config.environment_variables.host_env_keys",
        });
    }
    // Istio's; a manifest without a URL is a patch of one.
    if let Some(plugin) = document.holder(|node| node.get("pluginConfig").is_some()) {
        plugin.get("url")?;
        let vm = plugin.get("vmConfig");
        let variables = vm.map_or(&[][..], |vm| vm.list("env"));
        return Some(Environment {
            names: variables
                .iter()
                .filter_map(|variable| variable.text_of("name"))
                .collect(),
            key: "vmConfig.env with valueFrom: HOST",
        });
    }
    // Envoy Gateway's.
    let is_extension = |node: &Node| node.get("config").is_some() && node.get("code").is_some();
    let extension = document.holder(is_extension)?;
    let keys = extension.path(&["env", "host_keys"]);
    Some(Environment {
        names: texts(keys.map_or(&[][..], |keys| keys.items())),
        key: "env.hostKeys",
    })
}

fn texts(items: &[std::rc::Rc<Node>]) -> Vec<&str> {
    items.iter().filter_map(|item| item.text()).collect()
}
