//! gRPC: the `rpc` attributes
//! (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>).

use crate::headers::request::RequestHead;
use crate::host::response_info::ResponseInfo;
use crate::recording::grpc_status::Status;
use crate::recording::response_view::Outcome;
use crate::span::attributes::Attributes;
use crate::span::semconv;
use crate::span::span::SpanKind;
use crate::span::text::lossy;
use std::borrow::Cow;

/// A call, by the path of its request.
#[derive(Debug)]
pub(super) struct Call {
    /// `package.Service/Method`; empty if the path has none.
    method: String,
}

/// `error.type`, if the status is an error on this side of the call.
pub(super) fn error(
    kind: SpanKind,
    outcome: &Outcome<'_, impl ResponseInfo>,
) -> Option<&'static str> {
    let status = outcome.grpc_status?;
    status.is_error(kind).then_some(status.name())
}

impl Call {
    /// Of the method `max_length` bytes will be told.
    pub(super) fn new(head: &RequestHead<'_>, max_length: usize) -> Self {
        let target = head.path_without_query();
        let method = target.strip_prefix(b"/").unwrap_or(target);
        Self {
            method: lossy(method, max_length).into_owned(),
        }
    }

    /// Whether nobody has said that there is such a method: the called says
    /// that there is none, does not speak gRPC, or was never asked.
    fn is_unknown(outcome: &Outcome<'_, impl ResponseInfo>) -> bool {
        let content_type = || outcome.response.response_header("content-type");
        let speaks_grpc = || content_type().is_some_and(|t| t.starts_with(b"application/grpc"));
        outcome.attempts == 0
            || outcome.grpc_status.is_some_and(Status::is_unknown_method)
            || (outcome.status.is_some() && outcome.grpc_status.is_none() && !speaks_grpc())
    }

    /// "The span name SHOULD be `{rpc.method}` if it is available, otherwise
    /// `{rpc.system.name}`."
    pub(super) fn span_name(&self, outcome: &Outcome<'_, impl ResponseInfo>) -> Cow<'static, str> {
        if self.method.is_empty() || Self::is_unknown(outcome) {
            Cow::Borrowed("grpc")
        } else {
            Cow::Owned(self.method.clone())
        }
    }

    pub(super) fn record(
        &self,
        outcome: &Outcome<'_, impl ResponseInfo>,
        attributes: &mut Attributes,
    ) {
        attributes.set_str(semconv::RPC_SYSTEM_NAME, "grpc");
        match &*self.method {
            "" => {}
            // "When the method is not recognized […], the attribute MUST be
            // set to `_OTHER`."
            method if Self::is_unknown(outcome) => {
                attributes.set_str(semconv::RPC_METHOD, semconv::OTHER);
                attributes.set_str(semconv::RPC_METHOD_ORIGINAL, method);
            }
            method => attributes.set_str(semconv::RPC_METHOD, method),
        }
        if let Some(status) = outcome.grpc_status {
            attributes.set_str(semconv::RPC_STATUS_CODE, status.name());
        }
    }
}
