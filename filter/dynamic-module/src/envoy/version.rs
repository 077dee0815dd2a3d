//! The version of Envoy, and what only later ones have.

use crate::envoy::abi::{Buffer, ConfigPtr, StreamPtr, TimingInfo};
use std::ffi::{CStr, c_void};
use std::sync::OnceLock;

/// The versions of Envoy that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Version {
    V1_38,
    V1_39,
    V1_40,
}

pub(crate) type ConfigCount =
    unsafe extern "C" fn(ConfigPtr, usize, *const Buffer, usize, u64) -> u32;

type TimingCallback = unsafe extern "C" fn(StreamPtr, *mut TimingInfo);

/// What only later versions have.
pub(super) struct Newer {
    pub(super) version: Version,
    /// `http_filter_config_increment_counter`, `…_set_gauge` and
    /// `…_record_histogram_value` (1.39), main thread.
    pub(crate) increment_counter: Option<ConfigCount>,
    pub(crate) set_gauge: Option<ConfigCount>,
    pub(crate) record_histogram_value: Option<ConfigCount>,
    /// `http_get_timing_info` (1.40).
    pub(crate) timing_info: Option<TimingCallback>,
}

pub(super) fn newer() -> &'static Newer {
    static NEWER: OnceLock<Newer> = OnceLock::new();
    NEWER.get_or_init(|| {
        let timing = find(c"envoy_dynamic_module_callback_http_get_timing_info");
        let level = find(c"envoy_dynamic_module_callback_get_log_level");
        let count = |name| {
            // SAFETY: all three have this signature wherever they are.
            find(name).map(|it| unsafe { std::mem::transmute::<*mut c_void, ConfigCount>(it) })
        };
        Newer {
            version: match (timing, level) {
                (Some(_), _) => Version::V1_40,
                (None, Some(_)) => Version::V1_39,
                (None, None) => Version::V1_38,
            },
            increment_counter: count(
                c"envoy_dynamic_module_callback_http_filter_config_increment_counter",
            ),
            set_gauge: count(c"envoy_dynamic_module_callback_http_filter_config_set_gauge"),
            record_histogram_value: count(
                c"envoy_dynamic_module_callback_http_filter_config_record_histogram_value",
            ),
            timing_info: timing.map(|it| {
                // SAFETY: where it is, it fills the second version of the struct.
                unsafe { std::mem::transmute::<*mut c_void, TimingCallback>(it) }
            }),
        }
    })
}

/// A symbol of the process.
fn find(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: looks a name up.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!found.is_null()).then_some(found)
}

/// Which Envoy this is.
pub(crate) fn version() -> Version {
    newer().version
}
