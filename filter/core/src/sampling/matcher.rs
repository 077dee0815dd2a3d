//! Matching requests, in Envoy's words: StringMatcher, HeaderMatcher, and all
//! path matchers of all rules in one pass.

use crate::propagation::composite::Extractor;
use aho_corasick::automaton::Automaton as _;
use aho_corasick::nfa::contiguous::NFA;
use regex_lite::{Regex, RegexBuilder};
use std::borrow::Cow;

/// A text that a value is compared with, all of it or a part
/// (`envoy.type.matcher.v3.StringMatcher`).
#[derive(Clone, Debug)]
pub struct StringMatcher {
    pattern: Pattern,
    ignore_case: bool,
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
    fn literal(&self) -> &str {
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

/// A set of rules by their index.
#[derive(Clone, Debug, Default)]
pub struct RuleSet(Vec<u64>);

impl RuleSet {
    fn with_capacity(rules: usize) -> Self {
        Self(vec![0; rules.div_ceil(64)])
    }

    fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    /// The rules, first to last.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = rest.checked_ilog2().map(|_| rest.trailing_zeros())?;
                rest &= rest - 1;
                Some(i * 64 + bit as usize)
            })
        })
    }
}

/// The path matchers of all rules. Their literals are looked for at once, so
/// that a path costs the same with one rule and with two hundred.
#[derive(Debug)]
pub struct PathMatchers {
    matchers: Vec<Option<StringMatcher>>,
    exact_case: Literals,
    any_case: Literals,
    /// Rules without a path, and those whose matcher has no literal.
    always: RuleSet,
    found: RuleSet,
}

/// Literals of matchers, and the rules that they belong to.
#[derive(Debug, Default)]
struct Literals {
    automaton: Option<NFA>,
    rules: Vec<usize>,
}

impl Literals {
    fn new(literals: &[(usize, &str)], ignore_case: bool) -> Self {
        if literals.is_empty() {
            return Self::default();
        }
        let automaton = NFA::builder()
            .ascii_case_insensitive(ignore_case)
            .prefilter(false)
            .build(literals.iter().map(|(_, literal)| literal));
        Self {
            automaton: automaton.ok(),
            rules: literals.iter().map(|(rule, _)| *rule).collect(),
        }
    }
}

impl PathMatchers {
    /// One matcher a rule; `None` for a rule that takes any path.
    pub fn new(matchers: Vec<Option<StringMatcher>>) -> Self {
        let mut always = RuleSet::with_capacity(matchers.len());
        let (mut exact, mut any) = (Vec::new(), Vec::new());
        for (rule, matcher) in matchers.iter().enumerate() {
            match matcher {
                Some(matcher) if !matcher.literal().is_empty() => {
                    let literals = if matcher.ignore_case {
                        &mut any
                    } else {
                        &mut exact
                    };
                    literals.push((rule, matcher.literal()));
                }
                _ => always.insert(rule),
            }
        }
        let mut exact_case = Literals::new(&exact, false);
        let mut any_case = Literals::new(&any, true);
        // What has no automaton, too large for one, is tried each time.
        for literals in [&mut exact_case, &mut any_case] {
            if literals.automaton.is_none() {
                for rule in literals.rules.drain(..) {
                    always.insert(rule);
                }
            }
        }
        Self {
            found: always.clone(),
            exact_case,
            any_case,
            always,
            matchers,
        }
    }

    /// The rules whose path is this one, first to last.
    pub fn matching(&mut self, path: &[u8]) -> impl Iterator<Item = usize> {
        self.found.0.clone_from(&self.always.0);
        for literals in [&self.exact_case, &self.any_case] {
            let Some(automaton) = &literals.automaton else {
                continue;
            };
            let literals_found = automaton.try_find_overlapping_iter(path.into());
            for literal in literals_found.into_iter().flatten() {
                if let Some(&rule) = literals.rules.get(literal.pattern().as_usize()) {
                    self.found.insert(rule);
                }
            }
        }
        self.found.iter().filter(|&rule| {
            let matcher = self.matchers.get(rule).and_then(Option::as_ref);
            matcher.is_none_or(|matcher| matcher.matches(path))
        })
    }
}
