//! Parts of a request's URL that may be shown.

use std::borrow::Cow;

/// Query keys whose values the conventions have replaced
/// (<https://opentelemetry.io/docs/specs/semconv/attributes-registry/url/>,
/// note on `url.query`). Compared without case: a secret in other letters is
/// a secret still.
const SECRET_KEYS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];
const REDACTED: &str = "REDACTED";

/// A request target, `/path?query`, cut in two. The fragment, which no client
/// should send, belongs to neither.
pub(crate) fn split_target(target: &str) -> (&str, Option<&str>) {
    let target = target.split_once('#').map_or(target, |(t, _)| t);
    match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    }
}

/// The query with the values of known secrets replaced.
pub(crate) fn redact_query(query: &str) -> Cow<'_, str> {
    let is_secret = |pair: &str| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        SECRET_KEYS.iter().any(|s| s.eq_ignore_ascii_case(key))
    };
    if !query.split('&').any(is_secret) {
        return Cow::Borrowed(query);
    }
    let mut redacted = String::with_capacity(query.len());
    for (i, pair) in query.split('&').enumerate() {
        if i > 0 {
            redacted.push('&');
        }
        match pair.split_once('=') {
            Some((key, _)) if is_secret(pair) => {
                redacted.push_str(key);
                redacted.push('=');
                redacted.push_str(REDACTED);
            }
            _ => redacted.push_str(pair),
        }
    }
    Cow::Owned(redacted)
}

/// An authority, `user@host:port`, without its user.
pub(crate) fn without_user_info(authority: &str) -> &str {
    authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host)
}

/// `host:port`, `[v6]:port`, `host` or `[v6]` as host and port; the brackets
/// are no part of an address, and an empty port is none (RFC 3986, 3.2).
pub(crate) fn split_host_port(authority: &str) -> (&str, Option<u16>) {
    if let Some(rest) = authority.strip_prefix('[')
        && let Some((host, rest)) = rest.split_once(']')
    {
        return (host, rest.strip_prefix(':').and_then(|p| p.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, "")) if !host.contains(':') => (host, None),
        Some((host, port)) if !host.contains(':') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority, None),
    }
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
    fn values_of_secrets_are_replaced_and_nothing_else() {
        for (query, expected) in [
            ("", ""),
            ("a=b&c", "a=b&c"),
            ("sig=abc", "sig=REDACTED"),
            ("SIG=abc", "SIG=REDACTED"),
            ("a=b&Signature=x=y&c=d", "a=b&Signature=REDACTED&c=d"),
            ("signature", "signature"),
            ("design=1", "design=1"),
        ] {
            assert_eq!(redact_query(query), expected, "{query}");
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
