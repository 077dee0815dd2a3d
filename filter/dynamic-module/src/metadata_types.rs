//! The types of values in metadata.

use crate::envoy::abi::MetadataSource;
use crate::envoy::attributes::Kind;
use crate::envoy::http_filter::Stream;
use sidespan_core::host::response_info::MetadataKind;
use sidespan_runtime::process::per_worker::lock;
use std::sync::Mutex;

/// The types that values of metadata were found to have. To ask for another
/// one writes an error to Envoy's log, so each is found out once.
#[derive(Default)]
pub(crate) struct MetadataTypes(Mutex<Vec<(MetadataKind, String, String, Kind)>>);

impl MetadataTypes {
    pub(crate) fn read(
        &self,
        stream: &Stream,
        kind: MetadataKind,
        namespace: &str,
        key: &str,
    ) -> Option<serde_json::Value> {
        let source = match kind {
            MetadataKind::Request => MetadataSource::Dynamic,
            MetadataKind::Route => MetadataSource::Route,
            MetadataKind::Cluster => MetadataSource::Cluster,
            MetadataKind::Host => MetadataSource::Host,
        };
        let read = |as_type| match as_type {
            Kind::Text => stream
                .metadata_text(source, namespace, key)
                .map(serde_json::Value::from),
            Kind::Number => stream
                .metadata_number(source, namespace, key)
                .map(sidespan_core::protobuf::envoy_struct::number),
            Kind::Truth => stream
                .metadata_truth(source, namespace, key)
                .map(serde_json::Value::from),
        };
        let is_it = |known: &&(MetadataKind, String, String, Kind)| {
            known.0 == kind && known.1 == namespace && known.2 == key
        };
        let known = lock(&self.0).iter().find(is_it).map(|known| known.3);
        // Mostly it is of that type again; one that is not there has none.
        if let Some(value) = known.and_then(read) {
            return Some(value);
        }
        let (found, value) = [Kind::Text, Kind::Number, Kind::Truth]
            .into_iter()
            .filter(|as_type| Some(*as_type) != known)
            .find_map(|as_type| Some((as_type, read(as_type)?)))?;
        let mut all = lock(&self.0);
        all.retain(|known| !is_it(&known));
        all.push((kind, namespace.to_owned(), key.to_owned(), found));
        Some(value)
    }
}
