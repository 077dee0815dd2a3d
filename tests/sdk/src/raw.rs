//! The host's function for an HTTP call, past the crate.
#![allow(unsafe_code)]

use std::time::Duration;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_milliseconds: u32,
        token: *mut u32,
    ) -> u32;
}

/// The number of pairs, the lengths of each, then the texts with a zero byte behind each.
fn serialized(pairs: &[(&str, &str)]) -> Vec<u8> {
    let len = |len: usize| u32::try_from(len).unwrap_or_default().to_le_bytes();
    let mut map = len(pairs.len()).to_vec();
    for (name, value) in pairs {
        map.extend(len(name.len()));
        map.extend(len(value.len()));
    }
    for text in pairs.iter().flat_map(|(name, value)| [name, value]) {
        map.extend(text.as_bytes());
        map.push(0);
    }
    map
}

/// Starts an HTTP request of the current context and returns its status.
pub(crate) fn http_call(cluster: &str, headers: &[(&str, &str)], timeout: Duration) -> u32 {
    let (headers, trailers) = (serialized(headers), serialized(&[]));
    let mut token = 0;
    // SAFETY: the host copies all of it before it returns, and writes four bytes.
    unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            std::ptr::null(),
            0,
            trailers.as_ptr(),
            trailers.len(),
            u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
            &raw mut token,
        )
    }
}
