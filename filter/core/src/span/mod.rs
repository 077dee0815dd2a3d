//! Spans: attributes, names, custom tags, the resource, and the semantic
//! conventions.

pub mod attributes;
pub mod custom_tags;
pub mod name;
pub mod redaction;
pub mod resource;
pub mod semconv;
// The folder is named for the concept, and the file for the type.
#[allow(clippy::module_inception)]
pub mod span;
pub(crate) mod text;
