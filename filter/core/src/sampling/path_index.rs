//! The path matchers of all rules, in one pass over a path.

use crate::sampling::matcher::StringMatcher;
use aho_corasick::automaton::Automaton as _;
use aho_corasick::nfa::contiguous::NFA;

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
