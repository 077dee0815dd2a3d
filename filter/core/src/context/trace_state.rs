//! The W3C `tracestate`: validated, bounded, in order, borrowed from the
//! request.

use std::borrow::Cow;

/// > There can be a maximum of 32 `list-member`s in a `list`.
const MAX_MEMBERS: usize = 32;
/// > A `key` […] contain\[s\] up to 256 characters
const MAX_KEY: usize = 256;
/// > The value is an opaque string containing up to 256 printable ASCII
pub(crate) const MAX_VALUE: usize = 256;

/// Why a `tracestate` is dropped. The trace goes on without it:
///
/// > failure to parse `tracestate` MUST NOT affect the parsing of
/// > `traceparent`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceStateError {
    /// More than 32 members.
    TooManyMembers,
    /// A member without `=`.
    NoEquals,
    /// A key that is empty, longer than 256 bytes or has a byte that keys may
    /// not have.
    Key,
    /// A value that is empty, longer than 256 bytes or has a byte that values
    /// may not have.
    Value,
}

/// The members of a valid `tracestate`, most recent first.
///
/// Bounded by the grammar itself: 32 members of at most 513 bytes make a
/// header of at most 16,447 bytes, so nothing that is valid is ever cut.
#[derive(Clone)]
pub struct TraceState<'a> {
    /// The members with commas between, as they are sent.
    text: Cow<'a, str>,
    verbatim: bool,
}

impl<'a> TraceState<'a> {
    /// A state without members.
    pub const EMPTY: TraceState<'static> = TraceState {
        text: Cow::Borrowed(""),
        verbatim: false,
    };

    /// Reads the lines of a `tracestate` header, in order, as one list.
    ///
    /// Empty members are dropped, so is white space around members, and of
    /// two members with one key the second: "Adding a key/value pair MUST NOT
    /// result in the same key being present multiple times", and the left one
    /// is the more recent.
    pub fn parse(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, TraceStateError> {
        let mut members = [""; MAX_MEMBERS];
        let mut len = 0;
        let mut line_count = 0;
        let mut received: &[u8] = &[];
        // Counted before duplicates are dropped: the limit is on the list as
        // it was sent.
        let mut member_count = 0;
        for line in lines {
            line_count += 1;
            received = line;
            for raw in line.split(|&b| b == b',') {
                let Some(member) = parse_member(raw)? else {
                    continue;
                };
                member_count += 1;
                if member_count > MAX_MEMBERS {
                    return Err(TraceStateError::TooManyMembers);
                }
                let known = members.get(..len).unwrap_or_default();
                if known.iter().any(|other| key(other) == key(member)) {
                    continue;
                }
                if let Some(slot) = members.get_mut(len) {
                    *slot = member;
                    len += 1;
                }
            }
        }
        let members = members.get(..len).unwrap_or_default();
        let sent = members.iter().map(|member| member.len()).sum::<usize>() + len.saturating_sub(1);
        // Nothing was left out, so it is what came.
        let verbatim = line_count == 1 && len > 0 && sent == received.len();
        let text = match std::str::from_utf8(received) {
            Ok(line) if verbatim => Cow::Borrowed(line),
            _ => Cow::Owned(members.join(",")),
        };
        Ok(Self { text, verbatim })
    }

    /// One that outlives the request.
    pub(crate) fn into_owned(self) -> TraceState<'static> {
        TraceState {
            text: Cow::Owned(self.text.into_owned()),
            verbatim: self.verbatim,
        }
    }

    /// The members as they are sent, `key=value`, most recent first.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.text.split(',').filter(|member| !member.is_empty())
    }

    /// The list as it is sent, without white space; empty for none.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The value of the member with this key.
    pub fn get(&self, wanted: &str) -> Option<&str> {
        // As most are: what searches one is code that costs, unused as it is.
        if self.is_empty() {
            return None;
        }
        self.members()
            .filter_map(|member| member.split_once('='))
            .find_map(|(key, value)| (key == wanted).then_some(value))
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it is the one line that came in, byte for byte, so that the
    /// header can be left as it is.
    pub fn is_verbatim(&self) -> bool {
        self.verbatim
    }

    /// Appends the list with this value for a member of our own, which an
    /// empty value removes.
    ///
    /// > Modified keys MUST be moved to the beginning (left) of the list.
    ///
    /// > If adding an entry would cause the `tracestate` list to contain more
    /// > than 32 `list-members` the right-most `list-member` should be removed
    /// > from the list.
    pub fn write_with(&self, own: &str, value: &str, out: &mut String) {
        let mut room = MAX_MEMBERS;
        if !value.is_empty() {
            out.push_str(own);
            out.push('=');
            out.push_str(value);
            room -= 1;
        }
        let others = self.members().filter(|member| key(member) != own);
        push_members(others.take(room), out);
    }
}

impl std::fmt::Debug for TraceState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.members()).finish()
    }
}

fn push_members<'a>(members: impl Iterator<Item = &'a str>, out: &mut String) {
    for member in members {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(member);
    }
}

fn key(member: &str) -> &str {
    member.split_once('=').map_or(member, |(key, _)| key)
}

/// One list member without the white space around it; `None` if nothing is
/// left.
fn parse_member(raw: &[u8]) -> Result<Option<&str>, TraceStateError> {
    let is_ows = |b: &u8| matches!(b, b' ' | b'\t');
    let start = raw.iter().position(|b| !is_ows(b)).unwrap_or(raw.len());
    let end = raw
        .iter()
        .rposition(|b| !is_ows(b))
        .map_or(start, |i| i + 1);
    let member = raw.get(start..end).unwrap_or_default();
    if member.is_empty() {
        return Ok(None);
    }
    let equals = member
        .iter()
        .position(|&b| b == b'=')
        .ok_or(TraceStateError::NoEquals)?;
    let (key, value) = member.split_at_checked(equals).unwrap_or_default();
    if !is_key(key) {
        return Err(TraceStateError::Key);
    }
    let value = value.get(1..).unwrap_or_default();
    if !is_value(value) {
        return Err(TraceStateError::Value);
    }
    // Both halves are ASCII by now.
    std::str::from_utf8(member)
        .map(Some)
        .map_err(|_| TraceStateError::Value)
}

/// `key = ( lcalpha / DIGIT ) 0*255 ( keychar )`, level 2, where a keychar
/// may be `@` anywhere after the first.
fn is_key(key: &[u8]) -> bool {
    let Some((first, rest)) = key.split_first() else {
        return false;
    };
    key.len() <= MAX_KEY
        && matches!(first, b'a'..=b'z' | b'0'..=b'9')
        && rest
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@'))
}

/// `value = 0*255(chr) nblk-chr`: printable ASCII but `,` and `=`; the last
/// one is no space because the space around a member was cut before.
fn is_value(value: &[u8]) -> bool {
    (1..=MAX_VALUE).contains(&value.len())
        && value
            .iter()
            .all(|b| matches!(b, 0x20..=0x7e) && !matches!(b, b',' | b'='))
}
