//! JSON Schemas of what the document holds.

use serde_json::{Map, Value, json};

/// The schemas of objects by their names.
pub(crate) type Definitions = Map<String, Value>;

/// What has a schema.
pub(crate) trait Schema {
    /// The schema, or a reference to a definition.
    fn schema(definitions: &mut Definitions) -> Value;
}

/// An object of the document.
pub(crate) trait Object {
    /// Of its definition.
    const NAME: &'static str;
    /// Empty for none.
    const DOC: &'static str;
    /// In the order of declaration.
    const KEYS: &'static [Property];
}

/// A key of an object.
pub(crate) struct Property {
    name: &'static str,
    doc: &'static str,
    required: bool,
    schema: fn(&mut Definitions) -> Value,
}

impl Property {
    pub(crate) const fn of<T: Schema>(
        name: &'static str,
        doc: &'static str,
        required: bool,
    ) -> Self {
        Self {
            name,
            doc,
            required,
            schema: T::schema,
        }
    }
}

/// The schema of an object.
pub(crate) fn object<T: Object>(definitions: &mut Definitions) -> Map<String, Value> {
    let mut properties = Map::new();
    for key in T::KEYS {
        let mut schema = (key.schema)(definitions);
        if let Value::Object(schema) = &mut schema {
            schema.insert("description".to_owned(), key.doc.trim().into());
        }
        properties.insert(key.name.to_owned(), schema);
    }
    let required = T::KEYS.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("additionalProperties".to_owned(), false.into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if !T::DOC.is_empty() {
        schema.insert("description".to_owned(), T::DOC.trim().into());
    }
    schema
}

/// That exactly one of a few keys is there.
pub(crate) fn one_of(keys: &[&str]) -> Value {
    keys.iter()
        .map(|key| json!({ "required": [key] }))
        .collect()
}

/// A reference to a definition, which is made if it is not there.
pub(crate) fn reference(
    name: &str,
    definitions: &mut Definitions,
    make: impl FnOnce(&mut Definitions) -> Map<String, Value>,
) -> Value {
    if !definitions.contains_key(name) {
        let schema = make(definitions);
        definitions.insert(name.to_owned(), schema.into());
    }
    json!({ "$ref": format!("#/$defs/{name}") })
}

impl<T: Object> Schema for T {
    fn schema(definitions: &mut Definitions) -> Value {
        reference(T::NAME, definitions, object::<T>)
    }
}

impl<T: Schema> Schema for Option<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        T::schema(definitions)
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema(definitions: &mut Definitions) -> Value {
        json!({ "type": "array", "items": T::schema(definitions) })
    }
}

/// The schemas of values.
macro_rules! leaves {
    ($($name:ty => $schema:tt;)+) => {
        $(impl $crate::json_schema::Schema for $name {
            fn schema(_: &mut $crate::json_schema::Definitions) -> serde_json::Value {
                serde_json::json!($schema)
            }
        })+
    };
}

pub(crate) use leaves;

leaves! {
    bool => { "type": "boolean" };
    String => { "type": "string" };
}
