//! Matching requests, in Envoy's words: StringMatcher, HeaderMatcher, and all
//! path matchers of all rules in one pass.

use crate::headers::header_map::Extractor;
use regex_lite::{Regex, RegexBuilder};
use std::borrow::Cow;

/// A text that a value is compared with, all of it or a part
/// (`envoy.type.matcher.v3.StringMatcher`).
#[derive(Clone, Debug)]
pub struct StringMatcher {
    pattern: Pattern,
    pub(super) ignore_case: bool,
}

/// How a value is compared.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// The whole value.
    Exact(String),
    /// Its start.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// Any part of it.
    Contains(String),
    /// The whole value, by a regular expression in linear time.
    SafeRegex(SafeRegex),
}

/// A regular expression that matches whole values.
#[derive(Clone, Debug)]
pub struct SafeRegex {
    regex: Regex,
    /// The text that every value it matches starts with.
    literal_prefix: String,
}

impl SafeRegex {
    /// What a compiled expression may take: enough for any that a person
    /// writes, and no document can make a worker compile for long.
    const SIZE_LIMIT: usize = 256 << 10;

    /// Compiles an expression within a fixed budget. The error is text for
    /// people.
    pub fn new(expression: &str, ignore_case: bool) -> Result<Self, String> {
        // Checked alone first, so that no expression can close the group.
        let build = |text: &str| {
            RegexBuilder::new(text)
                .case_insensitive(ignore_case)
                .size_limit(Self::SIZE_LIMIT)
                .build()
        };
        let regex = build(expression)
            .and_then(|_| {
                // In an expression that ends with a comment the line must end.
                build(&format!("^(?:{expression})$"))
                    .or_else(|_| build(&format!("^(?:{expression}\n)$")))
            })
            .map_err(|error| error.to_string())?;
        Ok(Self {
            regex,
            literal_prefix: literal_prefix(expression),
        })
    }
}

/// The characters at the start of an expression that stand for themselves.
fn literal_prefix(expression: &str) -> String {
    let mut prefix = String::new();
    // An alternative can begin otherwise.
    if expression.contains('|') {
        return prefix;
    }
    let mut chars = expression.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => match chars.next() {
                // Ends of words.
                Some('<' | '>') => break,
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '[' | '(' | ')' | '*' | '+' | '?' | '{' | '}' | '^' | '$' => break,
            c => c,
        };
        // What follows can make it optional.
        if matches!(chars.peek(), Some('*' | '?' | '{')) {
            break;
        }
        prefix.push(literal);
    }
    prefix
}

impl StringMatcher {
    /// A matcher; `ignore_case` is about ASCII letters.
    pub fn new(pattern: Pattern, ignore_case: bool) -> Self {
        Self {
            pattern,
            ignore_case,
        }
    }

    /// Whether a value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        let equal = |a: &[u8], b: &str| {
            if self.ignore_case {
                a.eq_ignore_ascii_case(b.as_bytes())
            } else {
                a == b.as_bytes()
            }
        };
        match &self.pattern {
            Pattern::Exact(text) => equal(value, text),
            Pattern::Prefix(text) => value
                .get(..text.len())
                .is_some_and(|start| equal(start, text)),
            Pattern::Suffix(text) => value
                .len()
                .checked_sub(text.len())
                .and_then(|at| value.get(at..))
                .is_some_and(|end| equal(end, text)),
            Pattern::Contains(text) => value.windows(text.len()).any(|part| equal(part, text)),
            Pattern::SafeRegex(safe) => safe.regex.is_match(&String::from_utf8_lossy(value)),
        }
    }

    /// A text that is in every value that matches.
    pub(super) fn literal(&self) -> &str {
        match &self.pattern {
            Pattern::Exact(text)
            | Pattern::Prefix(text)
            | Pattern::Suffix(text)
            | Pattern::Contains(text) => text,
            Pattern::SafeRegex(safe) => &safe.literal_prefix,
        }
    }
}

/// What a header must be (`envoy.config.route.v3.HeaderMatcher`).
#[derive(Clone, Debug)]
pub struct HeaderMatcher {
    /// In lower case.
    pub name: String,
    /// What its value must be; `None`: it must be there.
    pub value: Option<StringMatcher>,
    /// The opposite must hold. A header that is not there has no value that
    /// could be another one: only `None` inverted holds for it.
    pub invert: bool,
}

impl HeaderMatcher {
    /// Whether a request has the header as it must be. Several lines are one
    /// value with commas, as in Envoy.
    pub fn matches(&self, request: &impl Extractor) -> bool {
        let mut lines = request
            .headers()
            .filter_map(|(name, value)| (name == self.name.as_bytes()).then_some(value));
        let first = lines.next();
        let Some(matcher) = &self.value else {
            return first.is_some() != self.invert;
        };
        let Some(first) = first else {
            return false;
        };
        let value = lines.fold(Cow::Borrowed(first), |mut all, line| {
            all.to_mut().push(b',');
            all.to_mut().extend_from_slice(line);
            all
        });
        matcher.matches(&value) != self.invert
    }
}
