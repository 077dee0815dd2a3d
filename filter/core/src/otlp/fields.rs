//! Field numbers of OTLP's messages (opentelemetry-proto, `trace/v1/trace.proto`,
//! `common/v1/common.proto`, `collector/trace/v1/trace_service.proto`).

/// `Span`.
pub(crate) mod span {
    pub(crate) const TRACE_ID: u32 = 1;
    pub(crate) const SPAN_ID: u32 = 2;
    pub(crate) const TRACE_STATE: u32 = 3;
    pub(crate) const PARENT_SPAN_ID: u32 = 4;
    pub(crate) const NAME: u32 = 5;
    pub(crate) const KIND: u32 = 6;
    pub(crate) const START_TIME_UNIX_NANO: u32 = 7;
    pub(crate) const END_TIME_UNIX_NANO: u32 = 8;
    pub(crate) const DROPPED_ATTRIBUTES_COUNT: u32 = 10;
    pub(crate) const LINKS: u32 = 13;
    pub(crate) const STATUS: u32 = 15;
    pub(crate) const FLAGS: u32 = 16;
}

/// `Span.Link`, whose ids have the numbers of a span's.
pub(crate) mod link {
    pub(crate) const TRACE_STATE: u32 = 3;
    pub(crate) const FLAGS: u32 = 6;
}

/// `Status`.
pub(crate) mod status {
    pub(crate) const CODE: u32 = 3;
}

/// `ResourceSpans`, `ScopeSpans`, and what they are in.
pub(crate) mod envelope {
    /// `ExportTraceServiceRequest.resource_spans`.
    pub(crate) const RESOURCE_SPANS: u32 = 1;
    /// `ResourceSpans.resource`.
    pub(crate) const RESOURCE: u32 = 1;
    /// `ResourceSpans.scope_spans`.
    pub(crate) const SCOPE_SPANS: u32 = 2;
    /// `ScopeSpans.scope`.
    pub(crate) const SCOPE: u32 = 1;
    /// `ScopeSpans.spans`.
    pub(crate) const SPANS: u32 = 2;
    /// `InstrumentationScope.name`.
    pub(crate) const SCOPE_NAME: u32 = 1;
    /// `InstrumentationScope.version`.
    pub(crate) const SCOPE_VERSION: u32 = 2;
}
