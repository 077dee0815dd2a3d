//! Parts of a request's URL that may be shown.

use crate::headers::url::{has_ascii, parts, split_ascii};
use crate::span::text::cut;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// Query keys whose values the conventions have replaced
/// (<https://opentelemetry.io/docs/specs/semconv/attributes-registry/url/>,
/// note on `url.query`).
const CONVENTIONS_SECRETS: [&str; 7] = [
    "AWSAccessKeyId",
    "Signature",
    "sig",
    "X-Goog-Signature",
    "X-Amz-Signature",
    "X-Amz-Credential",
    "X-Amz-Security-Token",
];

/// More that carry secrets: of OAuth 2.0 and OpenID Connect, and names that
/// people give to passwords, keys and tokens. OAuth's `code` is not among them:
/// it can be used once and with a secret only, and to most the word is another.
const MORE_SECRETS: [&str; 25] = [
    "access_key",
    "access_token",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "auth_token",
    "authorization",
    "client_assertion",
    "client_secret",
    "code_verifier",
    "credentials",
    "id_token",
    "id_token_hint",
    "jwt",
    "passwd",
    "password",
    "private_key",
    "pwd",
    "refresh_token",
    "secret",
    "session_token",
    "sessionid",
    "token",
    "X-Goog-Credential",
];

const REDACTED: &str = "REDACTED";

/// What a span shows of a query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryPolicy {
    /// All but the values of known secrets.
    #[default]
    Redact,
    /// Nothing.
    Drop,
    /// Everything.
    Keep,
    /// The parameters with these keys, as they are, and no other.
    Allow(Vec<String>),
}

impl QueryPolicy {
    /// What is shown; `None` if that is nothing. Stops once it is longer than
    /// `limit` bytes: the rest would be cut off, and a peer may send 60 KiB of
    /// `&`.
    pub(crate) fn apply<'a>(&self, query: &'a str, limit: usize) -> Option<Cow<'a, str>> {
        let shown = match self {
            Self::Drop => return None,
            Self::Keep => Cow::Borrowed(query),
            Self::Redact => redact(query, limit),
            Self::Allow(keys) => Cow::Owned(allow(query, keys, limit)),
        };
        (!shown.is_empty()).then_some(shown)
    }
}

/// Some servers take a semicolon for an ampersand, and a secret behind it is a
/// secret still.
const SEPARATORS: [char; 2] = ['&', ';'];

/// Each parameter of a query.
fn pairs(query: &str) -> impl Iterator<Item = &str> {
    let mut left = Some(query);
    std::iter::from_fn(move || {
        let all = left.take()?;
        let end = all
            .bytes()
            .position(|b| SEPARATORS.contains(&char::from(b)));
        let Some((pair, behind)) = end.and_then(|end| parts(all, end)) else {
            return Some(all);
        };
        left = Some(behind);
        Some(pair)
    })
}

/// The key of `key=value`, without its percent-encoding: `to%6ben` is `token`
/// to whom it is sent.
fn decoded_key(pair: &str) -> Cow<'_, str> {
    let key = split_ascii(pair, b'=').map_or(pair, |(key, _)| key);
    match has_ascii(key, b'%') {
        true => percent_decode_str(key).decode_utf8_lossy(),
        false => Cow::Borrowed(key),
    }
}

/// Compared without case: a secret in other letters is a secret still.
fn is_secret(pair: &str) -> bool {
    let key = decoded_key(pair);
    CONVENTIONS_SECRETS
        .iter()
        .chain(&MORE_SECRETS)
        .any(|secret| secret.eq_ignore_ascii_case(&key))
}

/// The query with the values of known secrets replaced, each up to the next
/// ampersand: to other servers a semicolon is a part of the value.
fn redact(query: &str, limit: usize) -> Cow<'_, str> {
    // A character has up to four bytes, so that one behind the limit shows that
    // there was more.
    let shown = cut(query, limit.saturating_add(4));
    let is_harmless = |pair: &str| !has_ascii(pair, b'=') || !is_secret(pair);
    if pairs(shown).all(is_harmless) {
        return Cow::Borrowed(shown);
    }
    let mut redacted = String::new();
    for part in query.split_inclusive('&') {
        for pair in part.split_inclusive(SEPARATORS) {
            match pair.split_once('=') {
                Some((key, _)) if is_secret(pair) => {
                    redacted.push_str(key);
                    redacted.push('=');
                    redacted.push_str(REDACTED);
                    if part.ends_with('&') {
                        redacted.push('&');
                    }
                    break;
                }
                _ => redacted.push_str(pair),
            }
        }
        if redacted.len() > limit {
            break;
        }
    }
    Cow::Owned(redacted)
}

/// The parameters with these keys.
fn allow(query: &str, keys: &[String], limit: usize) -> String {
    let mut allowed = String::new();
    for pair in pairs(query) {
        let key = decoded_key(pair);
        if keys.iter().any(|allowed| *allowed == key) {
            if !allowed.is_empty() {
                allowed.push('&');
            }
            allowed.push_str(pair);
        }
        if allowed.len() > limit {
            break;
        }
    }
    allowed
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("to%6ben=1&a", "to%6ben=REDACTED&a"),
            ("a=1;token=2;b", "a=1;token=REDACTED"),
            ("password=ab;cd&e=f", "password=REDACTED&e=f"),
            ("token=&&x", "token=REDACTED&&x"),
            (
                "access_token=a&id_token=b",
                "access_token=REDACTED&id_token=REDACTED",
            ),
            ("%ff=1&%=2&token%00=3", "%ff=1&%=2&token%00=3"),
        ] {
            assert_eq!(redact(query, 1000), expected, "{query}");
        }
        // Of one that is long no more is looked at than is shown, and it is
        // seen that there was more.
        for (query, limit) in [("a=b&".repeat(20_000), 100), ("é".repeat(20_000), 101)] {
            let length = redact(&query, limit).len();
            assert!((limit + 1..=limit + 4).contains(&length), "{length}");
        }
    }

    #[test]
    fn policies_show_as_much_as_they_say() {
        let query = "page=2&token=s3cret&sort=up;q";
        let allow =
            |keys: &[&str]| QueryPolicy::Allow(keys.iter().map(|&key| key.to_owned()).collect());
        for (policy, expected) in [
            (QueryPolicy::Keep, Some(query)),
            (QueryPolicy::Drop, None),
            (QueryPolicy::Redact, Some("page=2&token=REDACTED&sort=up;q")),
            (allow(&["sort", "page"]), Some("page=2&sort=up")),
            (allow(&["token"]), Some("token=s3cret")),
            (allow(&["q"]), Some("q")),
            (allow(&[]), None),
        ] {
            assert_eq!(policy.apply(query, 1000).as_deref(), expected, "{policy:?}");
            assert_eq!(policy.apply("", 1000), None, "{policy:?}");
        }
    }
}
