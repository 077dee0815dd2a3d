//! How a document is read: values with their places, and what objects are.
//!
//! Reading goes on after a fault, so that all of them are told at once. Where
//! one is, a default stands in the meantime: what was read is handed out only
//! if there was none.
//!
//! Most of a filter's code that reads is one copy of something for each type
//! or key, so what is generic only calls what is not.

use crate::error::{Fault, Faults};
use serde_json::Value;
use std::cell::Cell;
use std::fmt;

/// Reads a whole document.
pub(crate) fn document<T: Read>(value: &Value) -> Result<T, Faults> {
    let faults = Cell::default();
    let read = T::read(&At {
        value,
        place: Place::Document,
        faults: &faults,
        is_secret: false,
    });
    let faults = faults.into_inner();
    match read {
        Some(read) if faults.0.is_empty() => Ok(read),
        _ => Err(faults),
    }
}

/// What a value of the document is read as.
pub(crate) trait Read: Sized {
    /// `None` only if a fault was told.
    fn read(at: &At<'_>) -> Option<Self>;
}

/// What is written as a text.
pub(crate) trait FromText: Sized {
    /// Fails with what is wrong with the text, to be put behind it.
    fn from_text(text: &str) -> Result<Self, &'static str>;
}

/// What a key of an object is read as: `Option` for one that may be left out.
pub(crate) trait Key: Sized {
    /// Whether it must be there.
    #[cfg(feature = "schema")]
    const REQUIRED: bool;

    /// Reads the value of a key.
    fn read_key(object: &At<'_>, key: &'static str) -> Self;
}

/// A value of the document, and where it stands.
pub(crate) struct At<'a> {
    pub(crate) value: &'a Value,
    place: Place<'a>,
    faults: &'a Cell<Faults>,
    /// Faults must not show it, nor what is in it.
    is_secret: bool,
}

/// A place in the document.
#[derive(Clone, Copy)]
enum Place<'a> {
    Document,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

/// `a.b[2].c`, on one line whatever the keys are; the document itself is
/// named as such.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("configuration"),
            Self::Key(Self::Document, key) => write!(f, "{}", key.escape_debug()),
            Self::Key(parent, key) => write!(f, "{parent}.{}", key.escape_debug()),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

impl At<'_> {
    /// Tells a fault.
    pub(crate) fn fault(&self, message: impl Into<String>) {
        self.add_fault(&self.place, message.into());
    }

    /// Tells a fault of a key, which need not be there.
    pub(crate) fn fault_of(&self, key: &str, message: impl Into<String>) {
        self.add_fault(&Place::Key(&self.place, key), message.into());
    }

    fn add_fault(&self, place: &Place<'_>, message: String) {
        let mut faults = self.faults.take();
        let place = place.to_string();
        faults.0.push(Fault { place, message });
        self.faults.set(faults);
    }

    /// Tells what is wrong with the value, to be put behind it.
    pub(crate) fn wrong<T>(&self, wrong: &str) -> Option<T> {
        self.add_wrong(wrong);
        None
    }

    fn add_wrong(&self, wrong: &str) {
        let value = match self.value {
            _ if self.is_secret => "what stands here".to_owned(),
            // What a long list holds says nothing of what it should have been.
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            Value::String(text) => format!("{text:?}"),
            other => other.to_string(),
        };
        self.fault(format!("{value} {wrong}"));
    }

    /// The same value, shown by no fault.
    pub(crate) fn as_secret(&self) -> At<'_> {
        At {
            value: self.value,
            place: self.place,
            faults: self.faults,
            is_secret: true,
        }
    }

    /// A text.
    pub(crate) fn text(&self) -> Option<&str> {
        self.value
            .as_str()
            .or_else(|| self.wrong("is not a string"))
    }

    /// The index of a text among names.
    pub(crate) fn one_of(&self, what: &str, names: &[&str]) -> Option<usize> {
        let text = self.text()?;
        let index = names.iter().position(|name| *name == text);
        index.or_else(|| {
            let names = names.join(", ");
            self.wrong(&format!("is not {what}, expected one of {names}"))
        })
    }

    /// An integer in a range.
    pub(crate) fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let number = self.value.as_u64();
        let number = number.or_else(|| self.wrong("is not a positive integer"))?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.fault(format!(
            "{number} is out of range, expected {least} to {most}"
        ));
        None
    }

    /// The value of a key; `None` without one, and of what is no object.
    pub(crate) fn get<'a>(&'a self, key: &'a str) -> Option<At<'a>> {
        Some(At {
            value: self.value.get(key)?,
            place: Place::Key(&self.place, key),
            faults: self.faults,
            is_secret: self.is_secret,
        })
    }

    /// Each of a list; nothing of what is none.
    pub(crate) fn items(&self) -> impl Iterator<Item = At<'_>> {
        let items = self.value.as_array().map(Vec::as_slice);
        let items = items.unwrap_or_default().iter().enumerate();
        items.map(|(index, value)| At {
            value,
            place: Place::Item(&self.place, index),
            faults: self.faults,
            is_secret: self.is_secret,
        })
    }

    /// Each of what must be a list.
    pub(crate) fn list(&self) -> Option<impl Iterator<Item = At<'_>>> {
        if !self.value.is_array() {
            return self.wrong("is not a list");
        }
        Some(self.items())
    }

    /// Checks that this is an object, and has no other keys.
    pub(crate) fn has_only(&self, keys: &[&str]) -> Option<()> {
        let Some(object) = self.value.as_object() else {
            return self.wrong("is not an object");
        };
        for key in object.keys().filter(|key| !keys.contains(&key.as_str())) {
            let known = keys.join(", ");
            // A secret with a comma in it may have become a key.
            if self.is_secret {
                self.fault(format!("an unknown key, expected one of {known}"));
                continue;
            }
            let meant = match closest(key, keys) {
                Some(near) => format!(" did you mean {near:?}?"),
                None => String::new(),
            };
            self.fault_of(key, format!("unknown key,{meant} expected one of {known}"));
        }
        Some(())
    }

    /// Checks that of a few keys exactly one is there.
    pub(crate) fn has_one(&self, what: &str, keys: &[&str]) {
        let count = keys.iter().filter(|key| self.get(key).is_some()).count();
        if count != 1 {
            let keys = keys.join(", ");
            self.fault(format!("{count} {what}, expected exactly one of {keys}"));
        }
    }
}

/// The name that an unknown one differs from in less than half of its letters.
pub(crate) fn closest<'a>(unknown: &str, names: &[&'a str]) -> Option<&'a str> {
    let distance = |name: &&&str| strsim::osa_distance(unknown, name);
    let nearest = names.iter().min_by_key(distance)?;
    (distance(&nearest) * 2 < unknown.len()).then_some(nearest)
}

impl<T: Read> Key for Option<T> {
    #[cfg(feature = "schema")]
    const REQUIRED: bool = false;

    fn read_key(object: &At<'_>, key: &'static str) -> Self {
        object.get(key).and_then(|at| T::read(&at))
    }
}

impl<T: Read + Default> Key for T {
    #[cfg(feature = "schema")]
    const REQUIRED: bool = true;

    fn read_key(object: &At<'_>, key: &'static str) -> Self {
        let Some(at) = object.get(key) else {
            object.fault_of(key, "required, but not there");
            return Self::default();
        };
        T::read(&at).unwrap_or_default()
    }
}

impl<T: FromText> Read for T {
    fn read(at: &At<'_>) -> Option<Self> {
        match T::from_text(at.text()?) {
            Ok(read) => Some(read),
            Err(wrong) => at.wrong(wrong),
        }
    }
}

impl FromText for String {
    fn from_text(text: &str) -> Result<Self, &'static str> {
        Ok(text.to_owned())
    }
}

impl Read for bool {
    fn read(at: &At<'_>) -> Option<Self> {
        at.value
            .as_bool()
            .or_else(|| at.wrong("is not true or false"))
    }
}

impl<T: Read> Read for Vec<T> {
    fn read(at: &At<'_>) -> Option<Self> {
        let mut list = Self::new();
        for item in at.list()? {
            if let Some(read) = T::read(&item) {
                list.push(read);
            }
        }
        Some(list)
    }
}
