//! The lists of properties that the module has the host evaluate, as Envoy's
//! CEL does.

use crate::fake_host::serialize_bytes;
use std::collections::BTreeMap;

type Properties = BTreeMap<String, Vec<u8>>;

/// The values of a list, each as the name in a pair. `None` if one of them is
/// missing.
pub(crate) fn evaluate(list: &str, properties: &Properties) -> Option<Vec<u8>> {
    let list = list.strip_prefix('[')?.strip_suffix(']')?;
    let values = list.split(", ").map(|element| value(element, properties));
    let values: Vec<_> = values.collect::<Option<_>>()?;
    let pairs: Vec<(&[u8], &[u8])> = values.iter().map(|value| (&**value, &b""[..])).collect();
    Some(serialize_bytes(&pairs))
}

/// A property, `has(property)`, or `condition ? property : ''`.
fn value(element: &str, properties: &Properties) -> Option<Vec<u8>> {
    if let Some(path) = element.strip_prefix("has(") {
        let path = path.strip_suffix(')')?;
        return Some(vec![u8::from(properties.contains_key(path))]);
    }
    let Some((condition, branches)) = element.split_once(" ? ") else {
        return properties.get(element).cloned();
    };
    let path = branches.strip_suffix(" : ''")?;
    let mut sides = condition.split(" || ");
    match sides.any(|side| is_equal(side, properties)) {
        true => properties.get(path).cloned(),
        false => Some(Vec::new()),
    }
}

/// `property == number`.
fn is_equal(condition: &str, properties: &Properties) -> bool {
    let (path, number) = condition.split_once(" == ").unwrap();
    let number: u64 = number.parse().unwrap();
    properties.get(path).map(Vec::as_slice) == Some(&number.to_le_bytes())
}
