//! The W3C `tracestate`: validated, bounded, in order, borrowed from the
//! request.

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
#[derive(Clone, Copy)]
pub struct TraceState<'a> {
    members: [&'a str; MAX_MEMBERS],
    len: usize,
    verbatim: bool,
}

impl<'a> TraceState<'a> {
    /// A state without members.
    pub const EMPTY: TraceState<'static> = TraceState {
        members: [""; MAX_MEMBERS],
        len: 0,
        verbatim: false,
    };

    /// Reads the lines of a `tracestate` header, in order, as one list.
    ///
    /// Empty members are dropped, so is white space around members, and of
    /// two members with one key the second: "Adding a key/value pair MUST NOT
    /// result in the same key being present multiple times", and the left one
    /// is the more recent.
    pub fn parse(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, TraceStateError> {
        let mut state = Self::EMPTY;
        let mut line_count = 0;
        let mut received = 0;
        // Counted before duplicates are dropped: the limit is on the list as
        // it was sent.
        let mut member_count = 0;
        for line in lines {
            line_count += 1;
            received += line.len();
            for raw in line.split(|&b| b == b',') {
                let Some(member) = parse_member(raw)? else {
                    continue;
                };
                member_count += 1;
                if member_count > MAX_MEMBERS {
                    return Err(TraceStateError::TooManyMembers);
                }
                if state.get(key(member)).is_some() {
                    continue;
                }
                if let Some(slot) = state.members.get_mut(state.len) {
                    *slot = member;
                    state.len += 1;
                }
            }
        }
        state.verbatim = line_count == 1 && state.len > 0 && state.encoded_len() == received;
        Ok(state)
    }

    /// The members as they are sent, `key=value`, most recent first.
    pub fn members(&self) -> impl Iterator<Item = &'a str> + use<'a, '_> {
        self.members.iter().take(self.len).copied()
    }

    /// The value of the member with this key.
    pub fn get(&self, wanted: &str) -> Option<&'a str> {
        self.members()
            .filter_map(|member| member.split_once('='))
            .find_map(|(key, value)| (key == wanted).then_some(value))
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`write`](Self::write) would give the one line that came in,
    /// byte for byte, so that the header can be left as it is.
    pub fn is_verbatim(&self) -> bool {
        self.verbatim
    }

    fn encoded_len(&self) -> usize {
        let commas = self.len.saturating_sub(1);
        self.members().map(str::len).sum::<usize>() + commas
    }

    /// Appends the header's value, without white space.
    pub fn write(&self, out: &mut String) {
        out.reserve(self.encoded_len());
        push_members(self.members(), out);
    }

    /// As [`write`](Self::write), with this value for a member of our own,
    /// which an empty value removes.
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

impl std::fmt::Display for TraceState<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, member) in self.members().enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            f.write_str(member)?;
        }
        Ok(())
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
