//! Where the configurations of Sidespan are in a file.

use crate::yaml::{self, Kind, Node};
use serde_json::Value;
use std::rc::Rc;
use std::sync::LazyLock;

/// A configuration of Sidespan in a file.
pub(crate) struct Document {
    /// The configuration; `None` for text that is not JSON.
    pub(crate) tree: Option<Rc<Node>>,
    /// The JSON of a `StringValue`.
    pub(crate) text: Option<String>,
    pub(crate) line: usize,
    /// Whether it is a route's configuration of the native module.
    pub(crate) is_route: bool,
    /// The nodes that hold it, the file's root first.
    pub(crate) holders: Vec<Rc<Node>>,
}

/// The keys at the top of the document.
static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let schema = sidespan_config::schema();
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.map_or(Vec::new(), |keys| keys.keys().cloned().collect())
});

/// The keys of a plugin's configuration: of a WasmPlugin, of Envoy's Wasm
/// filter, and of its native ones.
const PLUGIN_KEYS: [&str; 4] = [
    "pluginConfig",
    "configuration",
    "filter_config",
    "tracer_config",
];

/// Finds the configurations below the root of a file.
pub(crate) fn documents(root: &Rc<Node>) -> Vec<Document> {
    let mut found = Vec::new();
    if is_document(root) {
        found.push(Document::of_tree(root, &[]));
    } else {
        find(root, &mut Vec::new(), &mut found);
    }
    found
}

impl Document {
    fn of_tree(tree: &Rc<Node>, holders: &[Rc<Node>]) -> Self {
        Self {
            tree: Some(tree.clone()),
            text: None,
            line: tree.line,
            is_route: false,
            holders: holders.to_vec(),
        }
    }

    fn of_text(text: &str, line: usize, holders: &[Rc<Node>]) -> Self {
        Self {
            tree: yaml::read_embedded(text, line),
            text: Some(text.to_owned()),
            line,
            is_route: false,
            holders: holders.to_vec(),
        }
    }

    /// The message of Envoy's Wasm extension (`PluginConfig`) that holds the
    /// configuration.
    pub(crate) fn wasm_plugin(&self) -> Option<&Rc<Node>> {
        self.holder(|node| node.field("configuration").is_some())
    }

    /// The closest of the nodes around the configuration for which `test` holds.
    pub(crate) fn holder(&self, test: impl Fn(&Node) -> bool) -> Option<&Rc<Node>> {
        self.holders.iter().rev().find(|node| test(node))
    }
}

/// Whether a file consists of a configuration alone: at least half of its keys
/// are keys of the document, or close to one.
fn is_document(root: &Node) -> bool {
    let keys = root.entries();
    if keys.is_empty() {
        return false;
    }
    let is_known = |key: &str| {
        KEYS.iter()
            .any(|known| strsim::osa_distance(known, key) * 4 <= known.len())
    };
    let known = keys.iter().filter(|entry| is_known(&entry.key)).count();
    (known > 0 && known * 2 >= keys.len()) || has_exporter(root)
}

/// Whether a node is a configuration by what its exporter is, not by where it
/// stands: other projects have keys of that name, too.
fn has_exporter(node: &Node) -> bool {
    let protocols = ["otlp_grpc", "otlp_http"];
    let is_protocol = |key: &str| {
        protocols
            .iter()
            .any(|known| strsim::osa_distance(known, key) <= 1)
    };
    let exporter = node.get("exporter").map(|exporter| exporter.entries());
    exporter.is_some_and(|keys| keys.iter().any(|entry| is_protocol(&entry.key)))
}

fn find(node: &Rc<Node>, holders: &mut Vec<Rc<Node>>, found: &mut Vec<Document>) {
    if has_exporter(node) {
        found.push(Document::of_tree(node, holders));
        return;
    }
    holders.push(node.clone());
    if !find_plugin(node, holders, found) {
        match &node.kind {
            Kind::Scalar { .. } => {}
            Kind::Mapping(entries) => {
                for entry in entries {
                    find(&entry.value, holders, found);
                }
            }
            Kind::Sequence(items) => {
                for item in items {
                    find(item, holders, found);
                }
            }
        }
    }
    holders.pop();
}

/// Finds the configuration of a plugin that is Sidespan, by its name or image,
/// or by an exporter. Returns whether the node is such a plugin.
fn find_plugin(node: &Rc<Node>, holders: &[Rc<Node>], found: &mut Vec<Document>) -> bool {
    let Some(config) = PLUGIN_KEYS.iter().find_map(|key| node.field(key)) else {
        return false;
    };
    let is_ours = || node.any_text(&|text| text.contains("sidespan"));
    if config.get("exporter").is_none() && !is_ours() {
        return false;
    }
    let value = config.get("value");
    if node.field("per_route_config_name").is_some() {
        found.extend(value.map(|value| Document {
            is_route: true,
            ..Document::of_tree(value, holders)
        }));
        return true;
    }
    found.push(match value {
        Some(value) => match value.text() {
            Some(text) => Document::of_text(text, config.line_of("value"), holders),
            None => Document::of_tree(value, holders),
        },
        None => Document::of_tree(config, holders),
    });
    true
}
