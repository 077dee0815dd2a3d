//! A stream that ended as most do: what its host knows of it is little enough to
//! be kept, so that spans of many can be made in one go.

use crate::host::request_info::Direction;
use crate::host::response_flags::ResponseFlags;
use crate::host::response_info::ResponseInfo;
use crate::recording::deferrable::Deferrable;
use crate::recording::recorder::Recorder;
use crate::recording::stream::StreamTracer;
use std::borrow::Cow;
use std::time::Duration;

/// What the spans of such a stream say of its end.
#[derive(Debug)]
pub struct Settled {
    direction: Direction,
    status: u16,
    response_size: u64,
    connection_wait: Option<Duration>,
    upstream_latency: Option<Duration>,
    /// One behind the other, and where each ends.
    texts: String,
    ends: [usize; Text::COUNT],
}

#[derive(Clone, Copy)]
enum Text {
    Protocol,
    Source,
    Route,
    Cluster,
    Upstream,
    SentPath,
    SentAuthority,
}

impl Text {
    const COUNT: usize = 7;
}

impl Settled {
    /// What an ordinary stream has.
    const EXPECTED_BYTES: usize = 96;

    /// Asks for it all; `None` of a stream that must be ended while the host
    /// knows it, since there may be more to be asked.
    pub fn read(
        recorder: &Recorder,
        stream: &StreamTracer,
        response: &dyn ResponseInfo,
    ) -> Option<Self> {
        let Deferrable {
            status,
            response_size,
        } = Deferrable::read(stream, response)?;
        let direction = stream.direction(response);
        let (mut path, mut authority) = (None, None);
        if recorder.makes_client_span(direction) {
            path = ordinary_text(response.sent_path())?;
            authority = ordinary_text(response.sent_authority())?;
        }
        let mut texts = String::with_capacity(Self::EXPECTED_BYTES);
        let mut add = |text: Option<Cow<'_, str>>| {
            texts.push_str(text.as_deref().unwrap_or_default());
            texts.len()
        };
        // In the order of `Text`.
        let ends = [
            add(response.protocol()),
            add(response.source_address()),
            add(response.route_name()),
            add(response.cluster_name()),
            add(response.upstream_address()),
            add(path),
            add(authority),
        ];
        Some(Self {
            direction,
            status,
            response_size,
            connection_wait: response.connection_wait(),
            upstream_latency: response.upstream_latency(),
            texts,
            ends,
        })
    }

    fn get(&self, text: Text) -> Option<&str> {
        let end = |index: usize| self.ends.get(index).copied();
        let index = text as usize;
        let start = index.checked_sub(1).and_then(end).unwrap_or(0);
        let text = self.texts.get(start..end(index)?)?;
        (!text.is_empty()).then_some(text)
    }

    fn text(&self, text: Text) -> Option<Cow<'_, str>> {
        self.get(text).map(Cow::Borrowed)
    }

    fn bytes(&self, text: Text) -> Option<Cow<'_, [u8]>> {
        self.get(text).map(|text| Cow::Borrowed(text.as_bytes()))
    }
}

/// A text, or none; `None` for one that is too long to be stored for long, or
/// not UTF-8.
fn ordinary_text(bytes: Option<Cow<'_, [u8]>>) -> Option<Option<Cow<'_, str>>> {
    /// Longer than the targets of nearly all requests.
    const MAX: usize = 1024;
    let Some(bytes) = bytes else {
        return Some(None);
    };
    if bytes.len() > MAX {
        return None;
    }
    let text = match bytes {
        Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
    };
    text.map(Some)
}

/// Of what is not there nothing is asked.
impl ResponseInfo for Settled {
    fn listener_direction(&self) -> Direction {
        self.direction
    }

    fn status(&self) -> Option<u16> {
        Some(self.status)
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        self.text(Text::Protocol)
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        self.text(Text::Source)
    }

    fn response_header(&self, _name: &str) -> Option<&[u8]> {
        None
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags::default()
    }

    fn response_size(&self) -> Option<u64> {
        Some(self.response_size)
    }

    fn attempt_count(&self) -> u64 {
        1
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        self.text(Text::Route)
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        self.text(Text::Cluster)
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        self.text(Text::Upstream)
    }

    fn sent_path(&self) -> Option<Cow<'_, [u8]>> {
        self.bytes(Text::SentPath)
    }

    fn sent_authority(&self) -> Option<Cow<'_, [u8]>> {
        self.bytes(Text::SentAuthority)
    }

    fn connection_wait(&self) -> Option<Duration> {
        self.connection_wait
    }

    fn upstream_latency(&self) -> Option<Duration> {
        self.upstream_latency
    }
}
