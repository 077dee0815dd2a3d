//! What Envoy 1.38 does not tell of a stream that has ended, from what it
//! tells while the stream lasts: why it answered itself. Later versions tell
//! all of it.

use sidespan_core::host::response_flags::ResponseFlags;

/// The details of a stream that ended without any response: its client went.
pub(crate) const CLIENT_LEFT: &str = "downstream_remote_disconnect";

/// The response flags that come with the details of a local reply, by their
/// beginning (`envoy/stream_info/stream_info.h`, `ResponseCodeDetailValues`).
const FLAGS: [(&str, u32); 20] = [
    ("no_healthy_upstream", 1),
    ("response_timeout", 2),
    ("upstream_response_timeout", 2),
    ("upstream_per_try_timeout", 2),
    ("upstream_per_try_idle_timeout", 2),
    (
        "upstream_reset_before_response_started{connection_termination",
        6,
    ),
    ("upstream_reset_before_response_started{overflow", 7),
    ("upstream_reset_before_response_started{protocol_error", 23),
    ("upstream_reset_before_response_started{remote_reset", 4),
    ("upstream_reset_before_response_started{local_reset", 3),
    // `connection_failure`, `remote_connection_failure`, `local_…`.
    ("upstream_reset_before_response_started{", 5),
    ("route_not_found", 8),
    ("cluster_not_found", 24),
    ("fault_filter_abort", 10),
    ("rate_limited", 11),
    ("ext_authz_denied", 12),
    (CLIENT_LEFT, 14),
    ("stream_idle_timeout", 16),
    ("max_duration_timeout", 22),
    ("upstream_max_stream_duration_reached", 19),
];

/// The flags that these details imply.
pub(crate) fn flags(details: &str) -> ResponseFlags {
    let mut known = FLAGS.iter();
    let bit = known.find(|(prefix, _)| details.starts_with(prefix));
    ResponseFlags(bit.map_or(0, |(_, bit)| 1 << bit))
}
