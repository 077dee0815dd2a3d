//! The configuration documents that Envoy hands over, and what a wrong one
//! means.

use crate::environment;
use crate::exporter::{self, lock};
use crate::ffi::{self, LogLevel};
use sidespan_config::Faults;
use sidespan_core::config::{Config, RouteConfig};
use sidespan_core::document::to_json;
use sidespan_core::resource::Environment;
use std::sync::Mutex;

/// The documents that were taken and refused last.
static DOCUMENTS: Mutex<Vec<Documents>> = Mutex::new(Vec::new());

/// Of what has this name.
struct Documents {
    name: String,
    good: Option<Vec<u8>>,
    bad: Option<Vec<u8>>,
}

/// Calls `f` with those of this name.
fn with<T>(name: &str, f: impl FnOnce(&mut Documents) -> T) -> T {
    let mut all = lock(&DOCUMENTS);
    if let Some(known) = all.iter_mut().find(|known| known.name == name) {
        return f(known);
    }
    let mut new = Documents {
        name: name.to_owned(),
        good: None,
        bad: None,
    };
    let result = f(&mut new);
    all.push(new);
    result
}

/// Whether a wrong document is to be refused, which only who validates wants.
fn is_strict() -> bool {
    environment::process()
        .variable("SIDESPAN_STRICT")
        .as_deref()
        == Some("1")
}

/// A document's configuration, or the last good one of the same name;
/// `Some(None)` if there is none, `None` if that is to be refused.
pub(crate) fn read(name: &str, document: &[u8]) -> Option<Option<Config>> {
    with(name, |known| match sidespan_config::parse(document) {
        Ok(config) => {
            known.good = Some(document.to_vec());
            // From here on, a fault that was reported before is news again.
            known.bad = None;
            Some(Some(config))
        }
        Err(faults) => {
            let strict = is_strict();
            let earlier = known.good.as_deref().filter(|_| !strict);
            let earlier = earlier.and_then(|good| sidespan_config::parse(good).ok());
            let consequence = match (strict, &earlier) {
                (true, _) => "refused, SIDESPAN_STRICT is 1",
                (false, Some(_)) => "the last good configuration stays",
                (false, None) => "requests go through untraced",
            };
            known.reject(document, &faults, consequence);
            if strict { None } else { Some(earlier) }
        }
    })
}

/// What a route says of its own, nothing if that is wrong; `None` if that is
/// to be refused.
pub(crate) fn read_route(name: &str, document: &[u8]) -> Option<RouteConfig> {
    let faults = match sidespan_config::parse_route(&to_json(document.to_vec())) {
        Ok(route) => return Some(route),
        Err(faults) => faults,
    };
    let strict = is_strict();
    let consequence = match strict {
        true => "refused, SIDESPAN_STRICT is 1",
        false => "its route is as all others",
    };
    with(&format!("route/{name}"), |known| {
        known.reject(document, &faults, consequence);
    });
    (!strict).then(RouteConfig::default)
}

impl Documents {
    /// Reports a document that is wrong, once.
    fn reject(&mut self, document: &[u8], faults: &Faults, consequence: &str) {
        if self.bad.as_deref() == Some(document) {
            return;
        }
        self.bad = Some(document.to_vec());
        exporter::count_rejected();
        ffi::log(
            LogLevel::Error,
            &format!("sidespan: configuration rejected, {consequence}: {faults}"),
        );
    }
}
