//! Rewriting of an Envoy configuration: as text, so that Envoy reads what the file's author wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use serde_yaml_ng::Value;

/// A configuration whose ports are replaced by free ones.
pub(crate) struct Prepared {
    pub(crate) text: String,
    /// Where each listener's real port is found, by the port in the file.
    pub(crate) listeners: BTreeMap<u16, Port>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Port {
    Known(u16),
    /// Chosen by Envoy for the listener of this name.
    OfListener(String),
}

/// Moves the admin interface and the listeners to free ports.
///
/// `wanted` lists the listeners to move, empty for all. `fixed` are the replacements asked for.
/// A text that is no YAML is only given the replacements: Envoy shall say what is wrong with it.
pub(crate) fn prepare(mut text: String, wanted: &[u16], fixed: &BTreeMap<u16, u16>) -> Prepared {
    let Ok(yaml) = serde_yaml_ng::from_str::<Value>(&text) else {
        return Prepared {
            text: map_ports(&text, fixed),
            listeners: BTreeMap::new(),
        };
    };
    let declared = declared_listeners(&yaml);
    for port in wanted {
        assert!(
            declared.contains_key(port),
            "no listener on port {port} in the configuration"
        );
    }
    let mut moves = fixed.clone();
    let mut listeners = BTreeMap::new();
    for (&port, name) in &declared {
        let real = if !wanted.is_empty() && !wanted.contains(&port) {
            Port::Known(*fixed.get(&port).unwrap_or(&port))
        } else if let Some(&actual) = fixed.get(&port) {
            Port::Known(actual)
        } else {
            match name {
                Some(name) if count_port(&text, port) == 1 => Port::OfListener(name.clone()),
                // Something else names the port too, or the listener cannot be looked up.
                _ => Port::Known(free_port()),
            }
        };
        moves.entry(port).or_insert(match real {
            Port::Known(actual) => actual,
            Port::OfListener(_) => 0,
        });
        listeners.insert(port, real);
    }
    match port_of(&yaml["admin"]) {
        Some(port) => {
            let free = if count_port(&text, port) == 1 {
                0
            } else {
                free_port()
            };
            moves.entry(port).or_insert(free);
        }
        None if yaml.get("admin").is_none() => text.push_str(
            "\nadmin:\n  address:\n    socket_address: { address: 127.0.0.1, port_value: 0 }\n",
        ),
        None => {}
    }
    Prepared {
        text: map_ports(&text, &moves),
        listeners,
    }
}

/// Replaces `from` by `to` where it is not the tail of a longer path.
pub(crate) fn replace_path(text: &str, from: &str, to: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let bare = before.strip_suffix("./").unwrap_or(before);
        let whole = bare
            .chars()
            .next_back()
            .is_none_or(|c| c.is_whitespace() || "\"':".contains(c));
        out.push_str(if whole { bare } else { before });
        out.push_str(if whole { to } else { from });
        rest = after;
    }
    out + rest
}

/// Puts the native module in the place of each Wasm filter of ours: what is between the type and the
/// document is another one, the document is the same. But where Envoy does not tell it, the document
/// says which side of the proxy its listener serves.
pub(crate) fn with_module(text: &str, is_told_direction: bool) -> String {
    const WASM: &str = "\"@type\": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
    const MODULE: [&str; 3] = [
        "\"@type\": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config: { name: sidespan }",
        "filter_config:",
    ];
    // Each place has a name of its own, as its last good document goes by it.
    let mut filters = 0;
    let mut out = String::with_capacity(text.len());
    let mut lines = text.split_inclusive('\n');
    let mut span = None;
    while let Some(line) = lines.next() {
        let indent = &line[..line.len() - line.trim_start().len()];
        match line.trim() {
            "traffic_direction: INBOUND" => span = Some("{ kind: server, upstream_span: false }"),
            "traffic_direction: OUTBOUND" => span = Some("{ kind: client }"),
            WASM => {
                filters += 1;
                let name = match filters {
                    1 => "filter_name: sidespan".to_owned(),
                    n => format!("filter_name: sidespan-{n}"),
                };
                out.push_str(&format!("{indent}{name}\n"));
                for line in MODULE {
                    out.push_str(&format!("{indent}{line}\n"));
                }
                lines
                    .by_ref()
                    .find(|line| line.trim() == "configuration:")
                    .expect("the filter has a configuration");
                continue;
            }
            key if key.starts_with("service_name:") && !is_told_direction => {
                if let Some(span) = span {
                    out.push_str(&format!("{indent}span: {span}\n"));
                }
            }
            _ => {}
        }
        out.push_str(line);
    }
    out
}

/// The ports of the listeners in a configuration's text.
pub(crate) fn listener_ports(text: &str) -> Vec<u16> {
    let yaml = serde_yaml_ng::from_str(text).unwrap_or(Value::Null);
    declared_listeners(&yaml).into_keys().collect()
}

fn declared_listeners(yaml: &Value) -> BTreeMap<u16, Option<String>> {
    let listeners = yaml["static_resources"]["listeners"].as_sequence();
    listeners
        .into_iter()
        .flatten()
        .filter_map(|listener| {
            let name = listener["name"].as_str().filter(|name| !name.is_empty());
            Some((port_of(listener)?, name.map(str::to_owned)))
        })
        .collect()
}

fn port_of(holder: &Value) -> Option<u16> {
    let port = holder["address"]["socket_address"]["port_value"].as_u64()?;
    u16::try_from(port).ok().filter(|&port| port != 0)
}

/// A port that is free now and that this gives to nobody else in this process, below those that the
/// kernel gives to others in the meantime, and above those that servers of the harness take.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let random = || RandomState::new().build_hasher().finish();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = (0..1000).map(|_| 20_000 + u16::try_from(random() % 12_000).unwrap_or(0));
    ports
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port))
        .expect("a free port")
}

fn map_ports(text: &str, moves: &BTreeMap<u16, u16>) -> String {
    rewrite_ports(text, |port| moves.get(&port).copied())
}

fn count_port(text: &str, wanted: u16) -> usize {
    let mut count = 0;
    rewrite_ports(text, |port| {
        count += usize::from(port == wanted);
        None
    });
    count
}

/// Gives each number after a `port_value` key to `replace`, and after a `destination_port`, by which
/// a filter chain says which port it is for.
fn rewrite_ports(text: &str, mut replace: impl FnMut(u16) -> Option<u16>) -> String {
    const KEYS: [&str; 2] = ["port_value", "destination_port"];
    let next = |text: &str| {
        let ends = KEYS.map(|key| text.find(key).map(|at| at + key.len()));
        ends.into_iter().flatten().min()
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(end) = next(rest) {
        let (before, after) = rest.split_at(end);
        out.push_str(before);
        rest = after;
        let value = after
            .trim_start_matches(['"', '\''])
            .trim_start_matches(' ');
        let Some(value) = value.strip_prefix(':') else {
            continue;
        };
        let value = value.trim_start_matches(' ');
        let end = value
            .find(|c: char| !c.is_ascii_alphanumeric())
            .unwrap_or(value.len());
        let (number, tail) = value.split_at(end);
        if let Some(actual) = number.parse().ok().and_then(&mut replace) {
            out.push_str(&after[..after.len() - value.len()]);
            out.push_str(&actual.to_string());
            rest = tail;
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
static_resources:
  listeners:
  - name: one
    address: { socket_address: { address: 127.0.0.1, port_value: 10000 } }
  - name: two
    address:
      socket_address:
        address: 127.0.0.1
        port_value: 1000
  - address: { socket_address: { address: 127.0.0.1, port_value: 10002 } }
  clusters:
  - endpoint: { socket_address: { address: 127.0.0.1, port_value: 1000 } }
  - endpoint: { socket_address: { address: 127.0.0.1, port_value: 8080}}
";

    #[test]
    fn whole_numbers_in_one_pass() {
        let moves = BTreeMap::from([(1000, 8080), (8080, 9)]);
        let got = map_ports(TEXT, &moves);
        assert!(got.contains("port_value: 10000 }"));
        assert!(got.contains("port_value: 10002 }"));
        assert_eq!(got.matches("port_value: 8080").count(), 2);
        assert!(got.contains("port_value: 9}}"));
    }

    #[test]
    fn quoted_keys() {
        let moves = BTreeMap::from([(1, 2)]);
        assert_eq!(
            map_ports(r#"{"port_value":1,"b":1}"#, &moves),
            r#"{"port_value":2,"b":1}"#
        );
        assert_eq!(map_ports("port_values: 1", &moves), "port_values: 1");
    }

    #[test]
    fn a_filter_chain_follows_its_listener() {
        let text = TEXT.replace(
            "port_value: 10000 } }",
            "port_value: 10000 } }\n    filter_chains: [{ filter_chain_match: { destination_port: 10000 } }]",
        );
        let got = prepare(text, &[], &BTreeMap::new());
        let Port::Known(one) = got.listeners[&10000] else {
            panic!("{:?}", got.listeners)
        };
        assert!(got.text.contains(&format!("destination_port: {one} ")));
        assert!(got.text.contains(&format!("port_value: {one} ")));
    }

    #[test]
    fn listeners_move_to_free_ports() {
        let got = prepare(TEXT.to_owned(), &[], &BTreeMap::from([(8080, 4444)]));
        assert_eq!(got.listeners[&10000], Port::OfListener("one".to_owned()));
        // Named by a cluster too, so that both must be the same.
        let Port::Known(two) = got.listeners[&1000] else {
            panic!("{:?}", got.listeners)
        };
        assert_eq!(got.text.matches(&format!("port_value: {two} ")).count(), 1);
        assert!(got.text.contains(&format!("port_value: {two}\n")));
        // Without a name Envoy cannot be asked.
        assert!(matches!(got.listeners[&10002], Port::Known(port) if port != 10002));
        assert!(got.text.contains("port_value: 4444}}"));
        assert!(got.text.contains("\nadmin:\n"));
    }

    #[test]
    fn only_the_wanted_listeners_move() {
        let got = prepare(TEXT.to_owned(), &[10000], &BTreeMap::new());
        assert_eq!(got.listeners[&1000], Port::Known(1000));
        assert_eq!(got.listeners[&10000], Port::OfListener("one".to_owned()));
    }

    #[test]
    #[should_panic(expected = "no listener on port 7")]
    fn an_unknown_listener() {
        prepare(TEXT.to_owned(), &[7], &BTreeMap::new());
    }

    #[test]
    fn the_admin_port_is_freed() {
        let text = "admin: { address: { socket_address: { port_value: 9901 } } }\n";
        let got = prepare(text.to_owned(), &[], &BTreeMap::new());
        assert_eq!(got.text, text.replace("9901", "0"));
    }

    #[test]
    fn the_module_takes_the_document_of_the_filter() {
        let text = std::fs::read_to_string(crate::workspace_root().join("envoy-configs/edge.yaml"));
        let filter = |text: &str| {
            let yaml: Value = serde_yaml_ng::from_str(text).expect("YAML");
            let chain = &yaml["static_resources"]["listeners"][0]["filter_chains"][0];
            chain["filters"][0]["typed_config"]["http_filters"][0]["typed_config"].clone()
        };
        let text = text.expect("the gateway");
        let (wasm, module) = (filter(&text), filter(&with_module(&text, true)));
        assert_eq!(module["filter_config"], wasm["config"]["configuration"]);
        assert_eq!(module["filter_name"], "sidespan");
    }

    #[test]
    fn only_whole_paths_are_replaced() {
        let text = "a: dist/m.wasm\nb: \"dist/m.wasm\"\nc: ./dist/m.wasm\nd: /x/dist/m.wasm\n";
        assert_eq!(
            replace_path(text, "dist/m.wasm", "/t/m.wasm"),
            "a: /t/m.wasm\nb: \"/t/m.wasm\"\nc: /t/m.wasm\nd: /x/dist/m.wasm\n"
        );
    }
}
