//! Layouts of Envoy's ABI, and how the fake Envoy reads and fills them.

use crate::fake_envoy::{self, FakeEnvoy, Hostility};
use std::slice;

/// A pointer and a length.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Buffer {
    data: *const u8,
    length: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct HeaderLine {
    pub(crate) key: Buffer,
    pub(crate) value: Buffer,
}

impl HeaderLine {
    pub(crate) fn of((key, value): &(Vec<u8>, Vec<u8>)) -> Self {
        Self {
            key: Buffer::of(key),
            value: Buffer::of(value),
        }
    }
}

/// `envoy_dynamic_module_type_timing_info_v2`.
#[repr(C)]
pub(crate) struct TimingInfo {
    pub(crate) nanos: [i64; 19],
    pub(crate) is_known: [bool; 19],
    padding: [u8; 5],
}

impl Buffer {
    pub(crate) const NULL: Self = Self {
        data: std::ptr::null(),
        length: 0,
    };

    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            data: bytes.as_ptr(),
            length: bytes.len(),
        }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        if self.data.is_null() {
            return Vec::new();
        }
        // SAFETY: the module passes that many bytes, which outlive the call.
        unsafe { slice::from_raw_parts(self.data, self.length) }.to_vec()
    }

    pub(crate) fn text(self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }
}

/// The lines that the module passes.
pub(crate) fn lines(lines: *const HeaderLine, count: usize) -> Vec<(String, String)> {
    // SAFETY: the module passes that many lines, which outlive the call.
    let lines = unsafe { slice::from_raw_parts(lines, count) };
    lines
        .iter()
        .map(|line| (line.key.text(), line.value.text()))
        .collect()
}

pub(crate) fn write<T>(place: *mut T, value: T) {
    // SAFETY: the module passes a place for one value.
    unsafe { place.write(value) };
}

/// Records a call and answers it. A hostile Envoy refuses, or says yes to
/// everything and has nothing.
pub(crate) fn answer<T: Default>(
    call: String,
    place: *mut T,
    f: impl FnOnce(&mut FakeEnvoy) -> Option<T>,
) -> bool {
    fake_envoy::with(|envoy| {
        envoy.record(call);
        let value = match envoy.hostility {
            Hostility::None => f(envoy),
            Hostility::Refusing => None,
            Hostility::Empty => Some(T::default()),
        };
        match value {
            Some(value) => {
                write(place, value);
                true
            }
            None => false,
        }
    })
}

impl Default for Buffer {
    fn default() -> Self {
        Self::NULL
    }
}
