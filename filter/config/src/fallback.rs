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

/// The documents that one plugin was configured with.
///
/// Times are Unix nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentHistory {
    /// Those that a root may have, the most recent last.
    accepted: Vec<Accepted>,
    /// Those that were reported since an accepted one was new.
    rejected: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Accepted {
    document: String,
    /// A root with it lives, and not only a test of the document.
    is_live: bool,
    /// When a new document took its place; 0 if none did.
    superseded_at: u64,
}

impl Accepted {
    /// A new document supersedes the one that lived before it: Envoy ends its
    /// roots once their listeners have drained. One whose roots outlast the
    /// grace period is in force beside the new one.
    fn is_in_force(&self, now: u64) -> bool {
        /// Longer than Envoy needs to replace a listener without connections.
        const GRACE: u64 = 30_000_000_000;
        self.superseded_at == 0 || now.abs_diff(self.superseded_at) > GRACE
    }
}

impl DocumentHistory {
    /// More documents of one plugin than a proxy has at once: those of the
    /// listeners that drain after each of several updates.
    const MAX: usize = 8;

    /// Adds an accepted document. Returns whether it is new, or in force again;
    /// rejected documents are then news again.
    pub fn accept(&mut self, document: &[u8], now: u64) -> bool {
        let document = canonical(document);
        let known = self.position(&document);
        let is_live = match known.and_then(|index| self.accepted.get(index)) {
            Some(known) if known.superseded_at == 0 => return false,
            Some(known) => known.is_live,
            None => false,
        };
        if let Some(index) = known {
            self.accepted.remove(index);
        } else if self.accepted.len() == Self::MAX {
            self.accepted.remove(0);
        }
        for earlier in &mut self.accepted {
            // One that does not live yet is configured together with this one.
            if earlier.is_live && earlier.superseded_at == 0 {
                earlier.superseded_at = now;
            }
        }
        self.accepted.push(Accepted {
            document,
            is_live,
            superseded_at: 0,
        });
        self.rejected.clear();
        true
    }

    /// A root with an accepted document lives.
    pub fn confirm(&mut self, document: &[u8]) {
        if let Some(index) = self.position(&canonical(document))
            && let Some(accepted) = self.accepted.get_mut(index)
        {
            accepted.is_live = true;
        }
    }

    /// Each root with an accepted document lives.
    pub fn confirm_all(&mut self) {
        for accepted in &mut self.accepted {
            accepted.is_live = true;
        }
    }

    /// Adds a rejected document. Returns whether it is new.
    pub fn reject(&mut self, document: &[u8]) -> bool {
        let document = canonical(document);
        if self.rejected.contains(&document) {
            return false;
        }
        if self.rejected.len() == Self::MAX {
            self.rejected.remove(0);
        }
        self.rejected.push(document);
        true
    }

    /// Removes a document that no root has any more. The most recent one stays:
    /// it is the last good one until there is another.
    pub fn retire(&mut self, document: &[u8]) {
        if let Some(index) = self.position(&canonical(document))
            && index + 1 < self.accepted.len()
        {
            self.accepted.remove(index);
        }
    }

    fn position(&self, document: &str) -> Option<usize> {
        let is_it = |known: &Accepted| known.document == document;
        self.accepted.iter().position(is_it)
    }

    /// The configuration that takes a rejected document's place. `is_own` says
    /// that the plugin's identity is its own, so that every document here was
    /// written for it.
    pub fn replacement(&self, rejected: &[u8], is_own: bool, now: u64) -> Option<Config> {
        let read = |accepted: &Accepted| crate::parse(accepted.document.as_bytes()).ok();
        let mut in_force = self.accepted.iter().filter(|known| known.is_in_force(now));
        if is_own && let (Some(only), None) = (in_force.next(), in_force.next()) {
            return read(only);
        }
        let wanted = destination(rejected)?;
        self.accepted
            .iter()
            .rev()
            .filter_map(read)
            .find(|config| Destination::of(config) == wanted)
    }

    /// Reads what [`encode`](Self::encode) wrote; none of anything else.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        let mut rest = bytes;
        while let Some(((kind, superseded_at, document), after)) = decode_entry(rest) {
            let document = String::from_utf8_lossy(document).into_owned();
            match kind {
                REJECTED => history.rejected.push(document),
                kind => history.accepted.push(Accepted {
                    document,
                    is_live: kind == LIVE,
                    superseded_at,
                }),
            }
            rest = after;
        }
        history
    }

    /// The documents as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut add = |kind: u8, superseded_at: u64, document: &str| {
            // Envoy takes far less than 4 GiB of configuration.
            let length = u32::try_from(document.len()).unwrap_or_default();
            bytes.push(kind);
            bytes.extend_from_slice(&superseded_at.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(document.as_bytes());
        };
        for accepted in &self.accepted {
            let kind = if accepted.is_live { LIVE } else { CONFIGURED };
            add(kind, accepted.superseded_at, &accepted.document);
        }
        for document in &self.rejected {
            add(REJECTED, 0, document);
        }
        bytes
    }
}

// The kinds of encoded entries.
const CONFIGURED: u8 = 0;
const LIVE: u8 = 1;
const REJECTED: u8 = 2;

/// An entry's kind, time and document, and what follows it.
type Decoded<'a> = ((u8, u64, &'a [u8]), &'a [u8]);

fn decode_entry(bytes: &[u8]) -> Option<Decoded<'_>> {
    let (kind, rest) = bytes.split_first()?;
    let (superseded_at, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (document, rest) = rest.split_at_checked(length)?;
    Some(((*kind, u64::from_le_bytes(*superseded_at), document), rest))
}

/// A document with its keys in order: Envoy writes those of a `Struct` in any.
fn canonical(document: &[u8]) -> String {
    match serde_json::from_slice::<Value>(document) {
        Ok(document) => document.to_string(),
        Err(_) => String::from_utf8_lossy(document).into_owned(),
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
