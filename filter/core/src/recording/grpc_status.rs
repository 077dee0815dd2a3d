//! gRPC status codes, and the trailer that carries them.

use crate::host::response_info::ResponseInfo;
use crate::span::semconv;
use crate::span::span::SpanKind;

/// A status code by its name
/// (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(&'static str);

/// The server's errors among them (RPC conventions, gRPC, Server).
const SERVER_ERRORS: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// A trailer, which a trailers-only response has among its headers.
pub(super) fn trailer<'a>(response: &'a impl ResponseInfo, name: &str) -> Option<&'a [u8]> {
    let trailer = response.response_trailer(name);
    trailer.or_else(|| response.response_header(name))
}

pub(super) fn status(response: &impl ResponseInfo) -> Option<Status> {
    Status::read(trailer(response, "grpc-status")?)
}

impl Status {
    /// A code, as a trailer has it.
    pub(super) fn read(code: &[u8]) -> Option<Self> {
        // Of the same size on every host.
        let code = std::str::from_utf8(code).ok()?.parse::<u64>().ok()?;
        let name = usize::try_from(code)
            .ok()
            .and_then(|code| semconv::GRPC_STATUS_NAMES.get(code));
        Some(Self(name.copied().unwrap_or("UNKNOWN")))
    }

    pub(super) fn name(self) -> &'static str {
        self.0
    }

    /// Whether it is an error on this side of the call.
    pub(super) fn is_error(self, kind: SpanKind) -> bool {
        match kind {
            SpanKind::Client => self.0 != "OK",
            SpanKind::Server => SERVER_ERRORS.contains(&self.0),
        }
    }

    /// Whether Envoy's own tracer takes it for an error.
    pub(super) fn is_envoys_error(self) -> bool {
        self.is_error(SpanKind::Server) || self.0 == "RESOURCE_EXHAUSTED"
    }

    /// The called says that it has no such method.
    pub(super) fn is_unknown_method(self) -> bool {
        self.0 == "UNIMPLEMENTED"
    }
}
