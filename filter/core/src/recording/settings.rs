//! The settings of spans.

use crate::span::name::SpanName;
use crate::span::redaction::QueryPolicy;
use crate::span::span::{Limits, SpanKind};

/// What spans are like.
#[derive(Clone, Debug, Default)]
pub struct SpanConfig {
    /// `None`: by the listener's direction.
    pub kind: Option<SpanKind>,
    /// `None`: where the proxy is the server and its listener has no
    /// direction: at gateways and edges.
    pub upstream_span: Option<bool>,
    /// How they are named.
    pub name: SpanName,
    /// Whose names attributes have.
    pub attributes: Vocabulary,
    /// How much they may hold.
    pub limits: Limits,
    /// What is shown of a query.
    pub url_query: QueryPolicy,
}

/// Whose names attributes have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vocabulary {
    /// OpenTelemetry's conventions, and our own namespace.
    #[default]
    Stable,
    /// Those of the tracer that is built into Envoy.
    Envoy,
    /// Both.
    Both,
}

impl Vocabulary {
    pub(super) fn is_stable(self) -> bool {
        self != Self::Envoy
    }

    pub(super) fn is_envoy(self) -> bool {
        self != Self::Stable
    }
}
