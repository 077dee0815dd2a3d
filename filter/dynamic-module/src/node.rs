//! What the process knows of itself. Envoy gives a module no access to its
//! node, so that is read where Envoy read it: from its command line and the
//! bootstrap that this names.

use serde_json::Value;
use sidespan_core::host::environment::Environment;
use std::sync::OnceLock;

/// The process.
pub(crate) struct Process {
    node: Value,
}

/// The process, read once.
pub(crate) fn process() -> &'static Process {
    static PROCESS: OnceLock<Process> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
        let arguments = String::from_utf8_lossy(&line);
        Process {
            node: node(&arguments.split('\0').collect::<Vec<_>>()),
        }
    })
}

/// Envoy's node by its arguments: those about the node win over the
/// bootstrap's, and `--config-yaml` is merged over `--config-path`
/// (<https://www.envoyproxy.io/docs/envoy/latest/operations/cli>).
fn node(arguments: &[&str]) -> Value {
    let argument = |names: &[&str]| {
        arguments.iter().enumerate().find_map(|(index, argument)| {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value)),
                _ => (*argument, arguments.get(index + 1).copied()),
            };
            names.contains(&name).then_some(value).flatten()
        })
    };
    let parse = |text: &str| {
        let mut bootstrap = serde_yaml_ng::from_str::<Value>(text).unwrap_or_default();
        bootstrap
            .get_mut("node")
            .map(Value::take)
            .unwrap_or_default()
    };
    let file = argument(&["-c", "--config-path"])
        .and_then(|path| std::fs::read_to_string(path).ok())
        .unwrap_or_default();
    let mut node = parse(&file);
    merge(
        &mut node,
        parse(argument(&["--config-yaml"]).unwrap_or_default()),
    );
    for (name, path) in [
        ("--service-node", &["id"][..]),
        ("--service-cluster", &["cluster"]),
        ("--service-zone", &["locality", "zone"]),
    ] {
        if let Some(value) = argument(&[name]) {
            let leaf = Value::String(value.to_owned());
            let wrap = |inner, key: &&str| {
                Value::Object([((*key).to_owned(), inner)].into_iter().collect())
            };
            merge(&mut node, path.iter().rev().fold(leaf, wrap));
        }
    }
    node
}

/// Merges as protobuf messages are merged: what `over` says counts.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                merge(under.entry(key).or_insert(Value::Null), value);
            }
        }
        (under, over) => *under = over,
    }
}

impl Environment for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn node(&self, path: &[&str]) -> Option<String> {
        let value = path
            .iter()
            .try_fold(&self.node, |node, key| node.get(key))?;
        value.as_str().map(str::to_owned)
    }
}
