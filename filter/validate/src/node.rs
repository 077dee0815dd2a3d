//! Looking into a tree: by key, by place, as JSON.

use crate::yaml::{Entry, Kind, Node};
use serde_json::{Map, Value};
use std::rc::Rc;

impl Node {
    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.kind, Kind::Scalar { is_plain: true, .. })
    }

    fn is_null(&self) -> bool {
        self.is_plain() && matches!(self.text(), Some("" | "~" | "null"))
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.text() == Some(text)
    }

    /// The entries of a mapping; none of other nodes.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a sequence; none of other nodes.
    pub(crate) fn items(&self) -> &[Rc<Self>] {
        match &self.kind {
            Kind::Sequence(items) => items,
            _ => &[],
        }
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Rc<Self>> {
        let mut entries = self.entries().iter();
        entries
            .find(|entry| entry.key == key)
            .map(|entry| &entry.value)
    }

    /// The value of a protobuf field by its name, which JSON may also spell in
    /// lowerCamelCase. A null is an absent field.
    pub(crate) fn field(&self, name: &str) -> Option<&Rc<Self>> {
        self.field_or_null(name).filter(|value| !value.is_null())
    }

    /// As [`Node::field`], with nulls.
    pub(crate) fn field_or_null(&self, name: &str) -> Option<&Rc<Self>> {
        let mut entries = self.entries().iter();
        entries
            .find(|entry| is_field(&entry.key, name))
            .map(|entry| &entry.value)
    }

    /// The value at the end of a path of protobuf fields.
    pub(crate) fn path(&self, names: &[&str]) -> Option<&Self> {
        let mut node = self;
        for name in names {
            node = node.field(name)?;
        }
        Some(node)
    }

    /// The items of a repeated field.
    pub(crate) fn list(&self, name: &str) -> &[Rc<Self>] {
        self.field(name).map_or(&[], |list| list.items())
    }

    /// The text of a field.
    pub(crate) fn text_of(&self, name: &str) -> Option<&str> {
        self.field(name)?.text()
    }

    /// Whether any text below this node has a part for which `test` holds.
    pub(crate) fn any_text(&self, test: &dyn Fn(&str) -> bool) -> bool {
        match &self.kind {
            Kind::Scalar { text, .. } => test(text),
            Kind::Sequence(items) => items.iter().any(|item| item.any_text(test)),
            Kind::Mapping(entries) => entries.iter().any(|entry| entry.value.any_text(test)),
        }
    }

    /// The line of a place such as `rules[2].match.path`, or of the part of it
    /// that exists.
    pub(crate) fn line_of(&self, place: &str) -> usize {
        let mut node = self;
        let mut line = self.line;
        let steps = place
            .split(['.', '['])
            .map(|step| step.trim_end_matches(']'));
        for step in steps {
            let next = match &node.kind {
                Kind::Mapping(entries) => entries
                    .iter()
                    .find(|entry| entry.key == step)
                    .map(|entry| (entry.line, &entry.value)),
                Kind::Sequence(items) => step
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|value| (value.line, value)),
                Kind::Scalar { .. } => None,
            };
            let Some((at, value)) = next else { break };
            line = at;
            node = value;
        }
        line
    }

    /// The value as JSON, by the YAML core schema as far as JSON has its types.
    pub(crate) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Mapping(entries) => Value::Object(
                entries
                    .iter()
                    .map(|entry| (entry.key.clone(), entry.value.to_json()))
                    .collect::<Map<_, _>>(),
            ),
            Kind::Sequence(items) => {
                Value::Array(items.iter().map(|item| item.to_json()).collect())
            }
            Kind::Scalar { text, is_plain } => match text.as_str() {
                quoted if !is_plain => Value::String(quoted.to_owned()),
                "" | "~" | "null" => Value::Null,
                plain => match serde_json::from_str(plain) {
                    Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
                    _ => Value::String(plain.to_owned()),
                },
            },
        }
    }
}

/// Whether a key spells a field's name, as it is or in lowerCamelCase.
fn is_field(key: &str, name: &str) -> bool {
    if key == name {
        return true;
    }
    let mut key = key.chars();
    let mut name = name.chars();
    while let Some(wanted) = name.next() {
        let wanted = match wanted {
            '_' => name.next().map(|letter| letter.to_ascii_uppercase()),
            other => Some(other),
        };
        if key.next() != wanted {
            return false;
        }
    }
    key.next().is_none()
}
