//! Entries of the `baggage` header, read and never written: it goes on as it
//! came (W3C Baggage, 3.3).

use percent_encoding::percent_decode;
use std::borrow::Cow;

/// The value of an entry, percent-decoded. Of several with this key the first
/// one counts; what is no UTF-8 is replaced.
pub fn value<'a>(header: &'a [u8], key: &str) -> Option<Cow<'a, str>> {
    // "A platform MUST propagate all list-members […] if […] the resulting
    // baggage-string contains at most 8192 bytes": nobody relies on more, and
    // each tag looks anew.
    let header = header.get(..8192).unwrap_or(header);
    // list-member = key OWS "=" OWS value *( OWS ";" OWS property )
    header.split(|&b| b == b',').find_map(|member| {
        let member = member.split(|&b| b == b';').next()?;
        let equals = member.iter().position(|&b| b == b'=')?;
        let (name, value) = member.split_at_checked(equals)?;
        let value = value.get(1..)?.trim_ascii();
        (name.trim_ascii() == key.as_bytes()).then(|| percent_decode(value).decode_utf8_lossy())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_and_decoded() {
        let header = b"a=1, plan = gold%20plus ;secret;ttl=3,b,=,empty=,a=2,bad=%zz,no=\xff";
        for (key, expected) in [
            ("a", Some("1")),
            ("plan", Some("gold plus")),
            ("empty", Some("")),
            ("b", None),
            ("secret", None),
            ("bad", Some("%zz")),
            ("no", Some("\u{fffd}")),
            ("A", None),
        ] {
            assert_eq!(value(header, key).as_deref(), expected, "{key}");
        }
    }
}
