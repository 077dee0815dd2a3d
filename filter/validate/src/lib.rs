//! Checks configurations of Sidespan offline, with the filter's own parser:
//! a document alone, in JSON or YAML, or wherever one stands inside an Istio
//! manifest or an Envoy configuration.

use marked_yaml::{LoadError, LoaderOptions, Node, parse_yaml_with_options};
use serde_json::{Map, Value};
use std::fmt;

/// Something that is wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Configurations of Sidespan.
    pub documents: usize,
    /// What is wrong with them, or with the file.
    pub faults: Vec<Fault>,
}

/// Checks a file of one or several YAML or JSON documents.
pub fn check(text: &str) -> Report {
    let mut report = Report::default();
    for (first_line, part) in parts(text) {
        check_part(part, first_line, &mut report);
    }
    report
}

/// The documents of a YAML stream, each with the lines that stand before it.
fn parts(text: &str) -> Vec<(usize, &str)> {
    let mut parts = Vec::new();
    let (mut start, mut offset, mut first_line) = (0, 0, 0);
    for (line, content) in text.split_inclusive('\n').enumerate() {
        if content.trim_end() == "---" {
            parts.push((first_line, text.get(start..offset).unwrap_or_default()));
            start = offset + content.len();
            first_line = line + 1;
        }
        offset += content.len();
    }
    parts.push((first_line, text.get(start..).unwrap_or_default()));
    let is_content = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    parts.retain(|(_, part)| part.lines().any(is_content));
    parts
}

fn check_part(text: &str, before: usize, report: &mut Report) {
    let options = LoaderOptions::default()
        .error_on_duplicate_keys(true)
        .prevent_coercion(true);
    let root = match parse_yaml_with_options(0, text, options) {
        Ok(root) => root,
        Err(LoadError::DuplicateKey(twice)) => {
            // Not which: what looks like a key may be a part of a secret.
            let line = twice.key.span().start().map_or(1, |start| start.line());
            report.faults.push(Fault {
                line: before + line,
                text: "a key stands here for the second time".to_owned(),
            });
            return;
        }
        Err(error) => {
            report.faults.push(Fault {
                line: before + 1,
                text: format!("neither YAML nor JSON: {error}"),
            });
            return;
        }
    };
    let mut found = Vec::new();
    find(&root, &mut found);
    if found.is_empty() && !is_manifest(&root) {
        found.push(Found::Tree(&root));
    }
    for document in found {
        report.documents += 1;
        let faults = match document {
            Found::Tree(node) => faults_of_tree(node, faults_of_document),
            Found::Text(node, text) => faults_of_text(node, text),
            Found::Route(node) => faults_of_tree(node, faults_of_route),
        };
        report.faults.extend(faults.into_iter().map(|fault| Fault {
            line: before + fault.line,
            ..fault
        }));
    }
}

/// A configuration of Sidespan in a file.
enum Found<'a> {
    Tree(&'a Node),
    /// JSON in a `StringValue`.
    Text(&'a Node, &'a str),
    /// What a route says of its own to the native module.
    Route(&'a Node),
}

type Faults = Option<sidespan_config::Faults>;

fn faults_of_document(document: &[u8]) -> Faults {
    sidespan_config::parse(document).err()
}

fn faults_of_route(document: &[u8]) -> Faults {
    sidespan_config::parse_route(document).err()
}

/// Envoy's and Kubernetes' own words at the top of a file.
fn is_manifest(root: &Node) -> bool {
    let own = [
        "apiVersion",
        "kind",
        "static_resources",
        "dynamic_resources",
        "resources",
        "admin",
        "node",
        "typed_config",
    ];
    own.iter().any(|key| child(root, key).is_some())
}

fn child<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.as_mapping()?.get_node(key)
}

/// Whether any text below a node names the filter.
fn names_sidespan(node: &Node) -> bool {
    match node {
        Node::Scalar(text) => text.as_str().contains("sidespan"),
        Node::Mapping(map) => map.iter().any(|(_, value)| names_sidespan(value)),
        Node::Sequence(list) => list.iter().any(names_sidespan),
    }
}

/// Finds what stands as the configuration of a plugin that is ours, and
/// whatever has an exporter.
fn find<'a>(node: &'a Node, found: &mut Vec<Found<'a>>) {
    if child(node, "exporter").is_some() {
        found.push(Found::Tree(node));
        return;
    }
    // Of a WasmPlugin, of Envoy's Wasm filter, and of its native ones.
    let keys = [
        "pluginConfig",
        "configuration",
        "filter_config",
        "tracer_config",
    ];
    if let Some(config) = keys.iter().find_map(|key| child(node, key))
        && names_sidespan(node)
    {
        if child(node, "per_route_config_name").is_some() {
            found.extend(child(config, "value").map(Found::Route));
            return;
        }
        match child(config, "value") {
            Some(Node::Scalar(text)) => found.push(Found::Text(config, text.as_str())),
            Some(value) => found.push(Found::Tree(value)),
            None => found.push(Found::Tree(config)),
        }
        return;
    }
    match node {
        Node::Scalar(_) => {}
        Node::Mapping(map) => map.iter().for_each(|(_, value)| find(value, found)),
        Node::Sequence(list) => list.iter().for_each(|value| find(value, found)),
    }
}

fn faults_of_tree(node: &Node, read: fn(&[u8]) -> Faults) -> Vec<Fault> {
    let Some(faults) = read(to_json(node).to_string().as_bytes()) else {
        return Vec::new();
    };
    let faults = faults.iter().map(|fault| Fault {
        line: line_of(node, &fault.place),
        text: format!("{}: {}", fault.place, fault.message),
    });
    faults.collect()
}

fn faults_of_text(node: &Node, text: &str) -> Vec<Fault> {
    let Some(faults) = faults_of_document(text.as_bytes()) else {
        return Vec::new();
    };
    let line = line_of(node, "value");
    let faults = faults.iter().map(|fault| Fault {
        line,
        text: format!("{}: {}", fault.place, fault.message),
    });
    faults.collect()
}

/// The line of a place such as `rules[2].match.path`, or of what there is of
/// it.
fn line_of(root: &Node, place: &str) -> usize {
    let mut node = root;
    let mut line = start_line(root);
    let steps = place
        .split(['.', '['])
        .map(|step| step.trim_end_matches(']'));
    for step in steps {
        let next = match node {
            Node::Mapping(map) => {
                let entry = map.iter().find(|(key, _)| key.as_str() == step);
                entry.map(|(key, value)| (key.span().start().map(|at| at.line()), value))
            }
            Node::Sequence(list) => step
                .parse()
                .ok()
                .and_then(|index| list.get_node(index))
                .map(|value| (Some(start_line(value)), value)),
            Node::Scalar(_) => None,
        };
        let Some((at, value)) = next else { break };
        line = at.unwrap_or(line);
        node = value;
    }
    line
}

fn start_line(node: &Node) -> usize {
    node.span().start().map_or(1, |at| at.line())
}

/// YAML's core schema, as far as JSON goes.
fn to_json(node: &Node) -> Value {
    match node {
        Node::Mapping(map) => Value::Object(
            map.iter()
                .map(|(key, value)| (key.as_str().to_owned(), to_json(value)))
                .collect::<Map<_, _>>(),
        ),
        Node::Sequence(list) => Value::Array(list.iter().map(to_json).collect()),
        Node::Scalar(text) if !text.may_coerce() => Value::String(text.as_str().to_owned()),
        Node::Scalar(text) => match text.as_str() {
            "" | "~" | "null" => Value::Null,
            plain => match serde_json::from_str(plain) {
                Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                _ => Value::String(plain.to_owned()),
            },
        },
    }
}
