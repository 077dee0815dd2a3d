//! The documents that one plugin was configured with, and which of them takes a
//! rejected one's place.
//!
//! A rejected document may be another plugin's, of another tenant, under the
//! same name. An accepted document takes its place only if it sends spans to
//! the same place under the same name, or if it is the plugin's own predecessor
//! for certain. In doubt, requests pass untraced.

use serde_json::{Map, Value};
use sidespan_core::attribute::OwnedValue;
use sidespan_core::config::Config;
use sidespan_core::exporter::{ExportHeader, ExporterConfig, Protocol};

/// The documents that one plugin was configured with, the most recent last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentHistory {
    /// Those that may be in force.
    accepted: Vec<String>,
    /// Those that were reported since an accepted one was new.
    rejected: Vec<String>,
}

impl DocumentHistory {
    /// Reads what [`encode`](Self::encode) wrote; none of anything else.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        let mut rest = bytes;
        // Each document is its list, its length in four bytes, and its text.
        while let Some(([list, length @ ..], after)) = rest.split_first_chunk::<5>()
            && let Ok(length) = usize::try_from(u32::from_le_bytes(*length))
            && let Some((document, after)) = after.split_at_checked(length)
        {
            let documents = match list {
                0 => &mut history.accepted,
                _ => &mut history.rejected,
            };
            documents.push(String::from_utf8_lossy(document).into_owned());
            rest = after;
        }
        history
    }

    /// The documents as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (list, documents) in [(0, &self.accepted), (1, &self.rejected)] {
            for document in documents {
                // Envoy takes far less than 4 GiB of configuration.
                let length = u32::try_from(document.len()).unwrap_or_default();
                bytes.push(list);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(document.as_bytes());
            }
        }
        bytes
    }

    /// Adds an accepted document, or makes it the most recent one. Returns
    /// whether it is new; rejected documents are then news again.
    pub fn accept(&mut self, document: &[u8]) -> bool {
        let is_new = add(&mut self.accepted, document);
        if is_new {
            self.rejected.clear();
        }
        is_new
    }

    /// Adds a rejected document. Returns whether it is new.
    pub fn reject(&mut self, document: &[u8]) -> bool {
        add(&mut self.rejected, document)
    }

    /// Removes a document that is no longer in force. The most recent one stays:
    /// it is the last good one until there is another.
    pub fn retire(&mut self, document: &[u8]) {
        let last = self.accepted.len().saturating_sub(1);
        let mut index = 0;
        self.accepted.retain(|known| {
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
        if is_own && let [only] = self.accepted.as_slice() {
            return read(only);
        }
        let wanted = destination(rejected)?;
        self.accepted
            .iter()
            .rev()
            .filter_map(read)
            .find(|config| Destination::of(config) == wanted)
    }
}

/// Makes a document the last one of a list. Returns whether it was not in it.
fn add(list: &mut Vec<String>, document: &[u8]) -> bool {
    /// More documents of one plugin than a proxy has in force at once: those of
    /// the listeners that drain after each of several updates.
    const MAX: usize = 8;
    let document = String::from_utf8_lossy(document);
    let known = list.iter().position(|known| *known == document);
    if let Some(index) = known {
        list.remove(index);
    } else if list.len() == MAX {
        list.remove(0);
    }
    list.push(document.into_owned());
    known.is_none()
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
