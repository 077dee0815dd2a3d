//! Texts of peers: decoded, and cut to a length.

use std::borrow::Cow;

/// A peer's bytes as text, of which `max_length` bytes will be told: what is
/// behind them is left out, but for a character that shows that there was more.
pub(crate) fn lossy(bytes: &[u8], max_length: usize) -> Cow<'_, str> {
    // A character has up to four bytes.
    let seen = bytes.get(..max_length.saturating_add(4)).unwrap_or(bytes);
    utf8_lossy(seen)
}

/// A peer's bytes as a text; what is no UTF-8 is replaced. Of ASCII, as nearly
/// all is, this reads words at a time, and `from_utf8_lossy` bytes.
pub(crate) fn utf8_lossy(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// A text of at most `max_length` bytes, cut at a character's boundary.
pub(crate) fn cut(text: &str, max_length: usize) -> &str {
    text.get(..text.floor_char_boundary(max_length))
        .unwrap_or_default()
}
