//! Which finished streams can wait for their spans.

use crate::host::response_info::{End, ResponseInfo};
use crate::recording::response_view::may_be_followed;
use crate::recording::stream::StreamTracer;

/// What is known of a finished stream that needs no further question to its
/// host, so that its spans can be built later, together with those of others.
///
/// Such a stream is sampled, and its spans have only the status, the sizes, the
/// names of route and cluster, addresses, times and the protocol. It ended as
/// most do: with its only attempt, with a status from 100 to 399 that is no
/// redirect which a proxy may follow by itself, without response flags, and
/// without certificates of peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deferrable {
    /// The status of the response.
    pub status: u16,
    /// Bytes of its body.
    pub response_size: u64,
}

impl Deferrable {
    /// Returns `None` for a stream whose spans must be built while the host
    /// knows it.
    pub fn read(stream: &StreamTracer, response: &(impl ResponseInfo + ?Sized)) -> Option<Self> {
        let is_ordinary = stream.is_plain
            && stream.is_sampled()
            && response.response_flags().is_empty()
            && response.attempt_count() == 1
            && !response.has_tls_peer(End::Downstream)
            && !response.has_tls_peer(End::Upstream);
        if !is_ordinary {
            return None;
        }
        let status = response.status()?;
        let is_final = (100..400).contains(&status) && !may_be_followed(status);
        Some(Self {
            status,
            response_size: response.response_size().filter(|_| is_final)?,
        })
    }
}
