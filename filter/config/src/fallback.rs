//! Which accepted document stands in for a rejected one.
//!
//! A rejected document may be another plugin's, of another tenant, under the
//! same name. An accepted document takes its place only if it sends spans to
//! the same place under the same name, or if it is the plugin's own predecessor
//! for certain. In doubt, requests pass untraced.

use serde_json::{Map, Value};
use sidespan_core::attribute::OwnedValue;
use sidespan_core::config::Config;
use sidespan_core::exporter::{ExportHeader, ExporterConfig, Protocol};

/// The documents that one plugin accepted and that may be in force, the most
/// recent last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedDocuments(Vec<String>);

impl AcceptedDocuments {
    /// More documents of one plugin than a proxy has in force at once: those of
    /// the listeners that drain after each of several updates.
    const MAX: usize = 8;

    /// Reads what [`encode`](Self::encode) wrote; none of anything else.
    pub fn decode(bytes: &[u8]) -> Self {
        Self(serde_json::from_slice(bytes).unwrap_or_default())
    }

    /// The documents as bytes.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// Adds a document, or makes it the most recent one.
    pub fn accept(&mut self, document: &[u8]) {
        let Ok(document) = std::str::from_utf8(document) else {
            return;
        };
        self.0.retain(|known| known != document);
        if self.0.len() == Self::MAX {
            self.0.remove(0);
        }
        self.0.push(document.to_owned());
    }

    /// Removes a document that is no longer in force. The most recent one stays:
    /// it is the last good one until there is another.
    pub fn retire(&mut self, document: &[u8]) {
        let last = self.0.len().saturating_sub(1);
        let mut index = 0;
        self.0.retain(|known| {
            let stays = index == last || known.as_bytes() != document;
            index += 1;
            stays
        });
    }

    /// The configuration that takes a rejected document's place. `is_own` says
    /// that the plugin's identity is its own, so that every document here was
    /// written for it.
    pub fn replacement(&self, rejected: &[u8], is_own: bool) -> Option<Config> {
        let read = |document: &String| crate::parse(document.as_bytes()).ok();
        if is_own && let [only] = self.0.as_slice() {
            return read(only);
        }
        let wanted = destination(rejected)?;
        self.0
            .iter()
            .rev()
            .filter_map(read)
            .find(|config| Destination::of(config) == wanted)
    }
}

/// Where spans are sent, and under which name.
#[derive(Debug, PartialEq)]
struct Destination {
    service_name: String,
    resource_attributes: Vec<(String, OwnedValue)>,
    /// The path, for OTLP/HTTP.
    path: Option<String>,
    cluster: String,
    authority: String,
    headers: Vec<ExportHeader>,
}

impl Destination {
    fn of(config: &Config) -> Self {
        let ExporterConfig {
            cluster,
            authority,
            headers,
            protocol,
            ..
        } = &config.exporter;
        Self {
            service_name: config.service_name.clone(),
            resource_attributes: config.resource_attributes.clone(),
            path: match protocol {
                Protocol::Grpc => None,
                Protocol::Http { path, .. } => Some(path.clone()),
            },
            cluster: cluster.clone(),
            authority: authority.clone(),
            headers: headers.clone(),
        }
    }
}

/// The destination of a document that has faults; `None` if the faults are in
/// what names the destination.
fn destination(rejected: &[u8]) -> Option<Destination> {
    let document: Value = serde_json::from_slice(rejected).ok()?;
    let keep = |object: &Value, keys: &[&str]| {
        let entries = keys.iter().filter_map(|key| {
            let value = object.get(*key)?;
            Some(((*key).to_owned(), value.clone()))
        });
        Value::Object(entries.collect::<Map<_, _>>())
    };
    let mut named = keep(&document, &["service_name", "resource_attributes"]);
    let protocols = crate::raw::PROTOCOLS.iter().filter_map(|protocol| {
        let call = document.get("exporter")?.get(*protocol)?;
        let call = keep(call, &["cluster", "authority", "path", "headers"]);
        Some(((*protocol).to_owned(), call))
    });
    let exporter = Value::Object(protocols.collect::<Map<_, _>>());
    named
        .as_object_mut()?
        .insert("exporter".to_owned(), exporter);
    let config = crate::parse(named.to_string().as_bytes()).ok()?;
    Some(Destination::of(&config))
}
