//! Parsers as one would write them who reads the grammars off the page and has
//! no thought for what they cost. The fuzz targets use them as well.

use sidespan_core::propagation::format::SamplingState;

/// The grammar, read off the page: fields between dashes.
pub(crate) fn traceparent(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u8)> {
    let fields: Vec<&[u8]> = value.split(|&b| b == b'-').collect();
    let is_hex = |field: &[u8], len: usize| {
        field.len() == len && field.iter().all(|b| b"0123456789abcdef".contains(b))
    };
    let is_zero = |field: &[u8]| field.iter().all(|&b| b == b'0');
    if fields.len() < 4
        || !is_hex(fields[0], 2)
        || !is_hex(fields[1], 32)
        || !is_hex(fields[2], 16)
        || !is_hex(fields[3], 2)
    {
        return None;
    }
    if fields[0] == b"ff" || fields[0] == b"00" && fields.len() > 4 {
        return None;
    }
    if is_zero(fields[1]) || is_zero(fields[2]) {
        return None;
    }
    let flags = u8::from_str_radix(std::str::from_utf8(fields[3]).unwrap(), 16).unwrap();
    Some((fields[1].to_vec(), fields[2].to_vec(), flags & 3))
}

/// The grammar, read off the page: the members, or nothing.
pub(crate) fn tracestate(lines: &[Vec<u8>]) -> Option<Vec<String>> {
    // RFC 9110 5.3: several lines are one list.
    let combined = lines.join(&b","[..]);
    let mut members: Vec<(String, String)> = Vec::new();
    let mut count = 0;
    for raw in combined.split(|&b| b == b',') {
        let text = String::from_utf8(raw.to_vec()).ok()?;
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            continue;
        }
        count += 1;
        let (key, value) = text.split_once('=')?;
        let starts_well = key.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let is_keychar =
            |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-*/@".contains(c);
        if !starts_well || key.len() > 256 || !key.chars().all(is_keychar) {
            return None;
        }
        let is_chr = |c: char| (' '..='~').contains(&c) && c != ',' && c != '=';
        if value.is_empty() || value.len() > 256 || !value.chars().all(is_chr) {
            return None;
        }
        if !members.iter().any(|(k, _)| k == key) {
            members.push((key.to_owned(), value.to_owned()));
        }
    }
    let join = |(key, value): (String, String)| format!("{key}={value}");
    (count <= 32).then(|| members.into_iter().map(join).collect())
}

/// The single header, read off the page. Ids, then what is said of sampling.
pub(crate) fn b3(value: &[u8]) -> Option<(Option<(String, String)>, SamplingState)> {
    let text = std::str::from_utf8(value).ok()?;
    let is_hex = |field: &str, len: usize| {
        field.len() == len && field.chars().all(|c| "0123456789abcdef".contains(c))
    };
    let is_zero = |field: &str| field.chars().all(|c| c == '0');
    let state = |field: &str| match field {
        "0" | "false" => Some(SamplingState::Deny),
        "1" | "true" => Some(SamplingState::Accept),
        "d" => Some(SamplingState::Debug),
        // An empty field is an absent one.
        "" => Some(SamplingState::Deferred),
        _ => None,
    };
    let fields: Vec<&str> = text.split('-').collect();
    if let [alone] = fields[..] {
        return Some((None, state(alone)?));
    }
    if let ["", "", state_alone] | ["", "", state_alone, ""] = fields[..] {
        return Some((None, state(state_alone)?));
    }
    let trace = match fields[0] {
        id if is_hex(id, 16) => format!("{}{id}", "0".repeat(16)),
        id if is_hex(id, 32) => id.to_owned(),
        _ => return None,
    };
    if is_zero(&trace) || !is_hex(fields[1], 16) || is_zero(fields[1]) || fields.len() > 4 {
        return None;
    }
    let sampling = match fields.get(2) {
        None => SamplingState::Deferred,
        Some(field) => state(field)?,
    };
    let is_parent = |field: &&str| field.is_empty() || is_hex(field, 16);
    if !fields.get(3).is_none_or(is_parent) {
        return None;
    }
    Some((Some((trace, fields[1].to_owned())), sampling))
}
