//! Exports that the host could not start.

use sidespan_core::export::callout::CalloutOutcome;

/// Why the host did not start an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchError {
    /// There is no such cluster.
    NoCluster,
    /// None of the cluster's endpoints takes the request.
    NoEndpoint,
}

impl From<DispatchError> for CalloutOutcome<'_> {
    fn from(error: DispatchError) -> Self {
        match error {
            DispatchError::NoCluster => Self::NoCluster,
            DispatchError::NoEndpoint => Self::NoEndpoint,
        }
    }
}

/// The bytes of a response body that an export reads. Collectors answer with
/// less, even where they name each span that they rejected.
pub const MAX_RESPONSE_BODY: usize = 1 << 20;
