//! The parts of `:path` and `:authority`.

/// A request target, `/path?query`, cut in two. The fragment, which no client
/// should send, belongs to neither.
pub(crate) fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = split_ascii(target, b'#').map_or(target, |(t, _)| t);
    match split_ascii(target, b'?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// An authority, `user@host:port`, without its user.
pub(crate) fn without_user_info(authority: &str) -> &str {
    rsplit_ascii(authority, b'@').map_or(authority, |(_, host)| host)
}

/// `host:port`, `[v6]:port`, `host` or `[v6]` as host and port; the brackets
/// are no part of an address, and an empty port is none (RFC 3986, 3.2).
pub(crate) fn split_host_port(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, rest)) = split_ascii(rest, b']')
    {
        return (host, rest.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match rsplit_ascii(authority, b':') {
        Some((host, "")) if !has_ascii(host, b':') => (host, None),
        Some((host, port)) if !has_ascii(host, b':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
}

/// As `split_once`, at a character of ASCII. That searches for any pattern, and
/// costs more than all else of a short text.
pub(crate) fn split_ascii(text: &str, at: u8) -> Option<(&str, &str)> {
    parts(text, text.bytes().position(|byte| byte == at)?)
}

/// As `rsplit_once`, at a character of ASCII.
fn rsplit_ascii(text: &str, at: u8) -> Option<(&str, &str)> {
    parts(text, text.bytes().rposition(|byte| byte == at)?)
}

pub(crate) fn parts(text: &str, at: usize) -> Option<(&str, &str)> {
    Some((text.get(..at)?, text.get(at + 1..)?))
}

pub(crate) fn has_ascii(text: &str, wanted: u8) -> bool {
    text.bytes().any(|byte| byte == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cut_at_the_first_mark() {
        for (target, expected) in [
            ("/a", ("/a", None)),
            ("/a?", ("/a", Some(""))),
            ("/a?b=c?d", ("/a", Some("b=c?d"))),
            ("/a#x?y", ("/a", None)),
            ("*", ("*", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_target(target), expected, "{target}");
        }
    }

    #[test]
    fn hosts_and_ports_come_apart() {
        for (authority, expected) in [
            ("a.example", ("a.example", None)),
            ("a.example:8080", ("a.example", Some(8080))),
            ("[::1]:80", ("::1", Some(80))),
            ("[::1]", ("::1", None)),
            ("::1", ("::1", None)),
            ("a:b", ("a:b", None)),
            ("a:99999", ("a:99999", None)),
            ("", ("", None)),
        ] {
            assert_eq!(split_host_port(authority), expected, "{authority}");
        }
        assert_eq!(without_user_info("me:pw@host:1"), "host:1");
    }
}
