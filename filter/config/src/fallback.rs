//! The documents that one plugin was configured with, and which of them takes a
//! rejected one's place.
//!
//! A rejected document may be another plugin's, of another tenant, under the
//! same name. An accepted document takes its place only if it sends spans to
//! the same place under the same name, or if it is the plugin's own predecessor
//! for certain. In doubt, requests pass untraced.

use serde_json::{Map, Value};
use sidespan_core::config::Config;
use sidespan_core::export::settings::{ExportHeader, ExporterConfig, Protocol};
use sidespan_core::span::attributes::OwnedValue;

/// The documents that one plugin was configured with, accepted and rejected ones.
///
/// A document is configured, lives once a root with it is called, is superseded
/// by a newer document while its listeners drain, and ends with its last root.
/// Times are Unix nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentHistory {
    /// The most recent last.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    document: String,
    state: State,
    /// When a newer document took its place; 0 if none did.
    superseded_at: u64,
    /// Of a rejected document, the accepted one that took its place; empty if
    /// none did. `None` of an accepted document.
    replacement: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A host may only have tested it.
    Configured,
    Live,
    Ended,
}

impl Entry {
    fn is_accepted(&self) -> bool {
        self.replacement.is_none()
    }

    /// Whether roots may have it. Envoy ends those of a superseded document once
    /// their listeners have drained; roots that outlast `patience` belong to
    /// another listener.
    fn is_current(&self, now: u64, patience: u64) -> bool {
        self.state != State::Ended
            && (self.superseded_at == 0 || now.abs_diff(self.superseded_at) > patience)
    }
}

const SECOND: u64 = 1_000_000_000;

impl DocumentHistory {
    /// More documents of one plugin than a proxy has at once: those of the
    /// listeners that drain after each of several updates.
    const MAX: usize = 16;

    /// Adds an accepted document. Returns whether it is news: new, or current
    /// again.
    pub fn accept(&mut self, document: &[u8], now: u64) -> bool {
        self.add(document, None, now)
    }

    /// Adds a rejected document. Returns whether it is news, and the
    /// configuration that takes its place. `is_own` says that the plugin's
    /// identity is its own, so that every document here was written for it.
    pub fn reject(&mut self, document: &[u8], is_own: bool, now: u64) -> (bool, Option<Config>) {
        let replacement = self.replacement(document, is_own, now);
        let (text, config) = replacement.unzip();
        let is_news = self.add(document, Some(text.unwrap_or_default()), now);
        (is_news, config)
    }

    fn add(&mut self, document: &[u8], replacement: Option<String>, now: u64) -> bool {
        let document = canonical(document);
        let known = self.position(&document);
        let known = known.map(|index| self.entries.remove(index));
        let is_news = known
            .as_ref()
            .is_none_or(|known| known.superseded_at != 0 || known.state == State::Ended);
        if is_news {
            let is_rejected = replacement.is_some();
            for earlier in &mut self.entries {
                // One that does not live yet is configured together with this
                // one; a rejected one supersedes no accepted one.
                if earlier.state == State::Live
                    && earlier.superseded_at == 0
                    && !(is_rejected && earlier.is_accepted())
                {
                    earlier.superseded_at = now;
                }
            }
            self.forget();
        }
        let state = match known {
            Some(known) if known.state == State::Live => State::Live,
            _ => State::Configured,
        };
        self.entries.push(Entry {
            document,
            state,
            superseded_at: 0,
            replacement,
        });
        is_news
    }

    /// Forgets what has ended, but for a document that a rejected one's roots
    /// still have, and whatever is too much.
    fn forget(&mut self) {
        let is_used = |document: &str| {
            let mut entries = self.entries.iter();
            entries.any(|entry| {
                entry.state != State::Ended && entry.replacement.as_deref() == Some(document)
            })
        };
        let used: Vec<bool> = self
            .entries
            .iter()
            .map(|entry| entry.state != State::Ended || is_used(&entry.document))
            .collect();
        let mut used = used.into_iter();
        self.entries.retain(|_| used.next().unwrap_or_default());
        if self.entries.len() >= Self::MAX {
            self.entries.remove(0);
        }
    }

    /// A root with a document is called, and so lives.
    pub fn confirm(&mut self, document: &[u8]) {
        if let Some(entry) = self.entry(document)
            && entry.state == State::Configured
        {
            entry.state = State::Live;
        }
    }

    /// All documents live.
    pub fn confirm_all(&mut self) {
        for entry in &mut self.entries {
            if entry.state == State::Configured {
                entry.state = State::Live;
            }
        }
    }

    /// The last root with a document ends.
    pub fn end(&mut self, document: &[u8]) {
        if let Some(entry) = self.entry(document) {
            entry.state = State::Ended;
        }
    }

    fn position(&self, document: &str) -> Option<usize> {
        self.entries
            .iter()
            .position(|entry| entry.document == document)
    }

    fn entry(&mut self, document: &[u8]) -> Option<&mut Entry> {
        let index = self.position(&canonical(document))?;
        self.entries.get_mut(index)
    }

    /// Whether a rejected document is the newest that its roots were given.
    pub fn is_stale(&self, document: &[u8], now: u64) -> bool {
        let index = self.position(&canonical(document));
        let entry = index.and_then(|index| self.entries.get(index));
        entry.is_some_and(|entry| entry.is_stale(now))
    }

    /// How many rejected documents are the newest that their roots were given.
    pub fn stale_documents(&self, now: u64) -> usize {
        let stale = self.entries.iter().filter(|entry| entry.is_stale(now));
        stale.count()
    }

    /// The accepted document that takes a rejected one's place.
    fn replacement(&self, rejected: &[u8], is_own: bool, now: u64) -> Option<(String, Config)> {
        let read = |entry: &Entry| {
            let config = crate::parse::parse(entry.document.as_bytes()).ok()?;
            Some((entry.document.clone(), config))
        };
        let accepted = || self.entries.iter().filter(|entry| entry.is_accepted());
        if is_own && let Some(only) = self.only_in_force(now) {
            return read(only);
        }
        let wanted = destination(rejected)?;
        accepted()
            .rev()
            .filter_map(read)
            .find(|(_, config)| Destination::of(config) == wanted)
    }

    /// The accepted document that is in force, if there is no other; the last
    /// one, if none is any more.
    fn only_in_force(&self, now: u64) -> Option<&Entry> {
        /// Longer than Envoy needs to replace a listener without connections.
        const GRACE: u64 = 30 * SECOND;
        let replacing = |entry: &Entry| {
            let mut rejected = self.entries.iter().filter(|r| r.is_current(now, GRACE));
            rejected.any(|rejected| rejected.replacement.as_ref() == Some(&entry.document))
        };
        let accepted = || self.entries.iter().filter(|entry| entry.is_accepted());
        let mut in_force =
            accepted().filter(|entry| entry.is_current(now, GRACE) || replacing(entry));
        match (in_force.next(), in_force.next()) {
            (Some(only), None) => Some(only),
            (None, _) => accepted().next_back(),
            (Some(_), Some(_)) => None,
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; none of anything else.
    pub fn decode(bytes: &[u8]) -> Self {
        let mut history = Self::default();
        let mut rest = bytes;
        while let Some((entry, after)) = decode_entry(rest) {
            history.entries.push(entry);
            rest = after;
        }
        history
    }

    /// The documents as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in &self.entries {
            bytes.push(entry.state as u8);
            bytes.push(u8::from(entry.replacement.is_some()));
            bytes.extend_from_slice(&entry.superseded_at.to_le_bytes());
            let replacement = entry.replacement.as_deref().unwrap_or_default();
            for text in [&entry.document, replacement] {
                // Envoy takes far less than 4 GiB of configuration.
                let length = u32::try_from(text.len()).unwrap_or_default();
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes
    }
}

impl Entry {
    /// Longer than Envoy drains a listener by default (`--drain-time-s`).
    const DRAIN: u64 = 660 * SECOND;

    fn is_stale(&self, now: u64) -> bool {
        !self.is_accepted() && self.is_current(now, Self::DRAIN)
    }
}

fn decode_entry(bytes: &[u8]) -> Option<(Entry, &[u8])> {
    let ([state, is_rejected], rest) = bytes.split_first_chunk()?;
    let (superseded_at, rest) = rest.split_first_chunk()?;
    let (document, rest) = decode_text(rest)?;
    let (replacement, rest) = decode_text(rest)?;
    let states = [State::Configured, State::Live, State::Ended];
    let entry = Entry {
        document,
        state: *states.get(usize::from(*state))?,
        superseded_at: u64::from_le_bytes(*superseded_at),
        replacement: (*is_rejected == 1).then_some(replacement),
    };
    Some((entry, rest))
}

fn decode_text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (text, rest) = rest.split_at_checked(length)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
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
/// what names the destination, or may be: a key that is misspelt.
fn destination(rejected: &[u8]) -> Option<Destination> {
    const NAMED: [&str; 3] = ["service_name", "resource_attributes", "exporter"];
    let document: Value = serde_json::from_slice(rejected).ok()?;
    let mut named = select(&document, &NAMED)?;
    let mut protocols = Map::new();
    for (protocol, call) in select(document.get("exporter")?, &crate::checks::PROTOCOLS)? {
        let call = select(&call, &["cluster", "authority", "path", "headers"])?;
        protocols.insert(protocol, Value::Object(call));
    }
    named.insert("exporter".to_owned(), Value::Object(protocols));
    let named = Value::Object(named).to_string();
    let config = crate::parse::parse(named.as_bytes()).ok()?;
    Some(Destination::of(&config))
}

/// The entries of an object with these keys; `None` if another key is close to
/// one of them.
fn select(object: &Value, keys: &[&str]) -> Option<Map<String, Value>> {
    let mut selected = Map::new();
    for (key, value) in object.as_object()? {
        if keys.contains(&key.as_str()) {
            selected.insert(key.clone(), value.clone());
        } else if crate::reader::closest(key, keys).is_some() {
            return None;
        }
    }
    Some(selected)
}
