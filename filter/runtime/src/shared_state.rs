//! State that all workers of a proxy share.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// Keys and values that all workers of a proxy see, such as proxy-wasm's shared
/// data.
pub trait SharedState {
    /// Returns the value of a key and its version, `None` if nobody has set it.
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)>;

    /// Sets the value of a key that still has this version, whatever version it
    /// has if this one is 0. Returns whether it is set.
    fn compare_and_set(&self, key: &str, value: &[u8], version: u32) -> bool;

    /// Sets the value of a key. Returns whether this call changed it: of several
    /// workers that set the same value, one gets `true`.
    fn change(&self, key: &str, value: &[u8]) -> bool {
        let (known, version) = self.get(key).unwrap_or_default();
        known != value && self.compare_and_set(key, value, version)
    }
}

/// The shared state of a process, for one owner at a time.
#[derive(Debug, Default)]
pub struct ProcessState {
    values: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
}

impl SharedState for ProcessState {
    fn get(&self, key: &str) -> Option<(Vec<u8>, u32)> {
        self.values.borrow().get(key).cloned()
    }

    fn compare_and_set(&self, key: &str, value: &[u8], version: u32) -> bool {
        let mut values = self.values.borrow_mut();
        let (known, last) = values.entry(key.to_owned()).or_default();
        if version != 0 && version != *last {
            return false;
        }
        value.clone_into(known);
        *last = last.wrapping_add(1).max(1);
        true
    }
}
