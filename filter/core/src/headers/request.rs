//! The request headers that rules and spans ask for.

use crate::headers::header_map::Extractor;
use crate::headers::url::{split_host_port, without_user_info};

/// The request headers that rules and spans ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct RequestHead<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) scheme: &'a [u8],
    pub(crate) authority: &'a [u8],
    pub(crate) path: &'a [u8],
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) content_type: &'a [u8],
    pub(crate) content_length: Option<&'a [u8]>,
}

impl<'a> RequestHead<'a> {
    /// The names of what [`read`](Self::read) looks for.
    pub const HEADERS: [&'static str; 7] = [
        ":method",
        ":scheme",
        ":authority",
        ":path",
        "user-agent",
        "content-type",
        "content-length",
    ];

    /// Finds them.
    pub fn read(request: &'a impl Extractor) -> Self {
        let mut head = Self::default();
        for (name, value) in request.headers() {
            head.add(name, value);
        }
        head
    }

    /// Takes a header, if it is one of them, and tells whether it was. Most are
    /// told apart by the length of their names.
    pub(crate) fn add(&mut self, name: &[u8], value: &'a [u8]) -> bool {
        match (name.len(), name) {
            (7, b":method") => self.method = value,
            (7, b":scheme") => self.scheme = value,
            (10, b":authority") => self.authority = value,
            (5, b":path") => self.path = value,
            (10, b"user-agent") => self.user_agent = Some(value),
            (12, b"content-type") => self.content_type = value,
            (14, b"content-length") => self.content_length = Some(value),
            _ => return false,
        }
        true
    }

    /// Whether the request is a gRPC call: `application/grpc`,
    /// `application/grpc+proto` (gRPC over HTTP2, Content-Type), and
    /// `application/grpc-web`, `application/grpc-web-text+proto`
    /// (gRPC-Web, Content-Type).
    pub(crate) fn is_grpc(&self) -> bool {
        let suffix = |prefix: &[u8]| self.content_type.strip_prefix(prefix);
        let suffix = suffix(b"application/grpc-web-text")
            .or_else(|| suffix(b"application/grpc-web"))
            .or_else(|| suffix(b"application/grpc"));
        suffix.is_some_and(|suffix| matches!(suffix.first(), None | Some(b'+' | b';')))
    }

    /// The path as rules see it.
    pub(crate) fn path_without_query(&self) -> &'a [u8] {
        let end = self.path.iter().position(|b| matches!(b, b'?' | b'#'));
        self.path
            .get(..end.unwrap_or(self.path.len()))
            .unwrap_or_default()
    }

    /// The host as rules see it: without user and port. One that is no UTF-8
    /// is none.
    pub(crate) fn host(&self) -> &'a [u8] {
        let authority = std::str::from_utf8(self.authority).unwrap_or_default();
        split_host_port(without_user_info(authority)).0.as_bytes()
    }
}
