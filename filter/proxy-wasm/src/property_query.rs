//! The properties of a finished stream that one expression reads.

use crate::hostcalls::{self, Expression};
use sidespan_core::headers::serialized_map::Pairs;
use sidespan_core::host::request_info::Direction;
use std::cell::Cell;
use std::ops::Range;

/// A property that is among what is asked for at once.
#[derive(Clone, Copy)]
pub(crate) enum Asked {
    Status,
    Flags,
    Attempts,
    Direction,
    ResponseSize,
    Route,
    Cluster,
    UpstreamAddress,
    ConnectionWait,
    UpstreamLatency,
    Protocol,
    SourceAddress,
    /// Whether there is a certificate at the other end.
    HasDownstreamPeer,
    HasUpstreamTls,
    SentPath,
    SentAuthority,
}

/// Each in the order of [`Asked`]. Without an upstream there are not all of
/// them, and then there is no answer at all. The last two are asked for only
/// where a CLIENT span is made.
const ASKED: [&str; 16] = [
    "response.code",
    "response.flags",
    "upstream.request_attempt_count",
    "xds.listener_direction",
    "response.size",
    "xds.route_name",
    "xds.cluster_name",
    "upstream.address",
    "upstream.cx_pool_ready_duration",
    "response.backend_latency",
    "request.protocol",
    "source.address",
    "connection.mtls",
    "has(upstream.tls_version)",
    "request.path",
    "request.host",
];

/// How many of them are asked for whatever spans are made.
const ALWAYS: usize = 14;

/// So many of them decide whether a span is kept that was not sampled, and as
/// a rule it is not.
pub(crate) const DECISIVE: usize = 4;

/// The questions of one root.
pub(crate) struct Question {
    /// For all, and for those that decide. `None` where the host knows no
    /// expressions.
    whole: Option<Expression>,
    decisive: Option<Expression>,
    /// Streams that are not asked about, since those before them had no
    /// answer; and how many those will be that are not asked about next.
    skip: Cell<u32>,
    next_skip: Cell<u32>,
}

impl Question {
    /// Where hardly any stream has an upstream, every thousandth question is
    /// for nothing, and where one has again it is known that soon.
    const MAX_SKIP: u32 = 1000;

    /// `makes_client_span` says so for a stream of a direction, which the answer
    /// itself tells.
    pub(crate) fn new(makes_client_span: impl Fn(Direction) -> bool) -> Self {
        let of = |asked: &[&str]| Expression::new(&format!("[{}]", asked.join(", ")));
        let (always, sent) = ASKED.split_at(ALWAYS);
        let numbers: Vec<_> = DIRECTIONS
            .iter()
            .filter(|(_, direction)| makes_client_span(*direction))
            .map(|(number, _)| format!("xds.listener_direction == {number}"))
            .collect();
        let is_made = numbers.join(" || ");
        let mut asked: Vec<_> = always.iter().map(|name| (*name).to_owned()).collect();
        match numbers.len() {
            0 => {}
            3 => asked.extend(sent.iter().map(|name| (*name).to_owned())),
            _ => asked.extend(sent.iter().map(|name| format!("{is_made} ? {name} : ''"))),
        }
        let asked: Vec<_> = asked.iter().map(String::as_str).collect();
        Self {
            whole: of(&asked),
            decisive: ASKED.get(..DECISIVE).and_then(of),
            skip: Cell::new(0),
            next_skip: Cell::new(0),
        }
    }

    pub(crate) fn ask(&self, only_what_decides: bool) -> Option<PropertyValues> {
        let expression = match only_what_decides {
            true => self.decisive.as_ref()?,
            false => self.whole.as_ref()?,
        };
        if let Some(left) = self.skip.get().checked_sub(1) {
            self.skip.set(left);
            return None;
        }
        let answer = expression.evaluate().and_then(PropertyValues::read);
        let skip = match answer {
            Some(_) => 0,
            None => (self.next_skip.get() * 2 + 1).min(Self::MAX_SKIP),
        };
        self.skip.set(self.next_skip.replace(skip));
        answer
    }
}

/// The values, in the order of [`ASKED`].
pub(crate) struct PropertyValues {
    bytes: Vec<u8>,
    places: [Range<usize>; ASKED.len()],
}

impl PropertyValues {
    /// `None` of an empty list, which is none of ours.
    fn read(bytes: Vec<u8>) -> Option<Self> {
        let mut places = [const { 0..0 }; ASKED.len()];
        let pairs = Pairs(bytes);
        let mut count = 0;
        for (place, (value, _)) in places.iter_mut().zip(pairs.places()) {
            *place = value;
            count += 1;
        }
        (count > 0).then_some(Self {
            bytes: pairs.0,
            places,
        })
    }

    /// Whether it is short enough to be stored until other streams have ended:
    /// nearly all are, and a peer can make one longer.
    pub(crate) fn is_short(&self) -> bool {
        const MAX_STORED: usize = 2048;
        self.bytes.len() <= MAX_STORED
    }

    pub(crate) fn get(&self, asked: Asked) -> &[u8] {
        let place = self.places.get(asked as usize).cloned();
        self.bytes
            .get(place.unwrap_or_default())
            .unwrap_or_default()
    }
}

pub(crate) fn number_of(bytes: &[u8]) -> Option<u64> {
    bytes.try_into().ok().map(u64::from_le_bytes)
}

/// `envoy.config.core.v3.TrafficDirection`.
const DIRECTIONS: [(u8, Direction); 3] = [
    (0, Direction::Unspecified),
    (1, Direction::Inbound),
    (2, Direction::Outbound),
];

pub(crate) fn direction_of(bytes: &[u8]) -> Direction {
    let found = DIRECTIONS.iter().find(|(n, _)| bytes.first() == Some(n));
    found.map_or(Direction::Unspecified, |(_, direction)| *direction)
}

/// That of the current stream's listener: a root can serve several.
pub(crate) fn direction() -> Direction {
    direction_of(&hostcalls::property("xds\0listener_direction").unwrap_or_default())
}
