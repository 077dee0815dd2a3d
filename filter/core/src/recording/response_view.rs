//! How a stream ended. What several parts of a span are made of is asked of the
//! host once at most.

use crate::host::response_flags::ResponseFlags;
use crate::host::response_info::ResponseInfo;
use crate::recording::grpc_status;
use crate::recording::grpc_status::Status;
use crate::sampling::tail_keep::Ending;
use std::borrow::Cow;
use std::cell::OnceCell;
use std::time::Duration;

type Text<'a> = OnceCell<Option<Cow<'a, str>>>;

pub(super) struct Outcome<'a, R> {
    pub(super) response: &'a R,
    /// Of the response, if there was one.
    pub(super) status: Option<u16>,
    pub(super) grpc_status: Option<Status>,
    pub(super) flags: ResponseFlags,
    /// How often the request was sent upstream.
    pub(super) attempts: u64,
    details: Text<'a>,
    route: Text<'a>,
    cluster: Text<'a>,
    upstream_address: Text<'a>,
}

impl<'a, R: ResponseInfo> Outcome<'a, R> {
    pub(super) fn read(response: &'a R, is_grpc: bool) -> Self {
        Self {
            response,
            status: response.status(),
            grpc_status: is_grpc.then(|| grpc_status::status(response)).flatten(),
            flags: response.response_flags(),
            attempts: response.attempt_count(),
            details: Text::new(),
            route: Text::new(),
            cluster: Text::new(),
            upstream_address: Text::new(),
        }
    }

    /// Whether the status came from the upstream, and not from the proxy in its
    /// place. A redirect that the proxy follows by itself is the upstream's
    /// answer.
    pub(super) fn is_from_upstream(&self) -> bool {
        // What ends a response that has begun cannot change its status. That it
        // had begun says the header that the router adds to what comes from
        // upstream, if it may, or the end itself; and no proxy switches
        // protocols in an upstream's place.
        let has_begun = |details: &str| {
            self.status == Some(101)
                || details.starts_with("upstream_reset_after_response_started")
                || details.starts_with("downstream_")
                || self
                    .response
                    .response_header("x-envoy-upstream-service-time")
                    .is_some()
        };
        self.details().is_none_or(|details| {
            self.is_internal_redirect() || (!self.flags.is_empty() && has_begun(details))
        })
    }

    /// Whether the response is a redirect that the proxy follows by itself. The
    /// host then has the headers of the request that follows.
    pub(super) fn is_internal_redirect(&self) -> bool {
        self.details() == Some("internal_redirect")
    }

    /// The status that the upstream sent.
    pub(super) fn upstream_status(&self) -> Option<u16> {
        self.status.filter(|_| self.is_from_upstream())
    }

    /// Envoy's code details, where they are not `via_upstream`. What varies
    /// from stream to stream stands in braces or brackets behind the rest.
    pub(super) fn details(&self) -> Option<&str> {
        const VIA_UPSTREAM: &str = "via_upstream";
        let is_ordinary = self.attempts > 0
            && self.flags.is_empty()
            && self.status.is_some_and(|s| s < 400 && !may_be_followed(s));
        if is_ordinary {
            return None;
        }
        let details = text(&self.details, || self.response.response_code_details());
        details.filter(|details| *details != VIA_UPSTREAM)
    }

    /// The name of the route.
    pub(super) fn route(&self) -> Option<&str> {
        text(&self.route, || self.response.route_name())
    }

    pub(super) fn cluster(&self) -> Option<&str> {
        text(&self.cluster, || self.response.cluster_name())
    }

    pub(super) fn upstream_address(&self) -> Option<&str> {
        text(&self.upstream_address, || self.response.upstream_address())
    }

    /// Returns what decides whether the span is kept. `is_error` is the status of
    /// a span of the stream.
    pub(super) fn ending(&self, is_error: bool, nanos: u64) -> Ending {
        Ending {
            is_error,
            status: self.status,
            duration: Duration::from_nanos(nanos),
            flags: self.flags,
            attempts: self.attempts,
        }
    }
}

/// Whether a proxy may follow a response with this status by itself
/// (`envoy.config.route.v3.InternalRedirectPolicy.redirect_response_codes`).
pub fn may_be_followed(status: u16) -> bool {
    matches!(status, 301..=303 | 307 | 308)
}

/// A text that is not empty.
fn text<'c, 'a>(
    cell: &'c Text<'a>,
    read: impl FnOnce() -> Option<Cow<'a, str>>,
) -> Option<&'c str> {
    cell.get_or_init(read)
        .as_deref()
        .filter(|text| !text.is_empty())
}
