//! The headers of a request as a host keeps them, and what one who receives
//! them makes of their context. The fuzz targets use it as well.

use sidespan_core::headers::header_map::{Extractor, Injector};
use sidespan_core::propagation::composite::Propagator;
use sidespan_core::propagation::format::Format;

/// The name of each header that a context can be in.
pub(crate) const CONTEXT_HEADERS: [&str; 8] = [
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];

/// The headers of a request as a host keeps them: what the filter does to
/// them is what goes upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// Lines as they come over the wire: an HTTP server puts names into lower
    /// case and cuts the white space around values.
    pub(crate) fn from_wire<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        lines: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let line = |(name, value): (N, V)| {
            let name = name.as_ref().to_ascii_lowercase();
            let value = value.as_ref();
            let is_ows = |b: &u8| matches!(b, b' ' | b'\t');
            let start = value.iter().take_while(|b| is_ows(b)).count();
            let value = &value[start..];
            let end = value.len() - value.iter().rev().take_while(|b| is_ows(b)).count();
            (name, value[..end].to_vec())
        };
        Self(lines.into_iter().map(line).collect())
    }

    /// Every line of one header.
    pub(crate) fn lines(&self, name: &str) -> Vec<&[u8]> {
        self.0
            .iter()
            .filter(|(n, _)| n == name.as_bytes())
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    /// All lines as proxy-wasm's hosts give them, in the layout of
    /// `sidespan_core::headers::serialized_map::Pairs`.
    pub(crate) fn in_one_buffer(&self) -> Vec<u8> {
        let number = |number: usize| u32::try_from(number).expect("a number").to_le_bytes();
        let mut buffer = number(self.0.len()).to_vec();
        for (name, value) in &self.0 {
            buffer.extend(number(name.len()));
            buffer.extend(number(value.len()));
        }
        for part in self.0.iter().flat_map(|(name, value)| [name, value]) {
            buffer.extend(part);
            buffer.push(0);
        }
        buffer
    }

    /// The one line of a header, `None` if there is none.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        match self.lines(name)[..] {
            [] => None,
            [line] => Some(std::str::from_utf8(line).expect("written headers are text")),
            ref lines => panic!("{name} stands there {} times", lines.len()),
        }
    }

    /// All lines that no context format knows.
    pub(crate) fn others(&self) -> Vec<&(Vec<u8>, Vec<u8>)> {
        self.0
            .iter()
            .filter(|(name, _)| !CONTEXT_HEADERS.iter().any(|c| c.as_bytes() == name))
            .collect()
    }
}

impl Extractor for Headers {
    fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(n, v)| (n.as_slice(), v.as_slice()))
    }
}

impl Injector for Headers {
    fn set(&mut self, name: &'static str, value: &str) {
        self.remove(name);
        self.0.push((name.into(), value.into()));
    }

    fn remove(&mut self, name: &'static str) {
        self.0.retain(|(n, _)| n != name.as_bytes());
    }
}

/// The lines of formats that are read or written, with all that are of no
/// format; and the lines of the other formats.
pub(crate) fn split(lines: Headers, propagator: &Propagator) -> (Headers, Headers) {
    let is_other = |(name, _): &(Vec<u8>, Vec<u8>)| {
        let format = match name.as_slice() {
            b"traceparent" | b"tracestate" => Format::TraceContext,
            b"b3" => Format::B3,
            name if name.starts_with(b"x-b3-") => Format::B3Multi,
            _ => return false,
        };
        !propagator.extract.contains(&format) && !propagator.inject.contains(&format)
    };
    let (others, lines) = lines.0.into_iter().partition(is_other);
    (Headers(lines), Headers(others))
}

// ------------------------------------------------------------ what went out

/// A context as the one who receives a request reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) sampled: bool,
}

/// The context of a request that goes upstream. Every format that it has is
/// valid, stands there once, and says the same as the others; what belongs to
/// no format is gone.
pub(crate) fn read_upstream(upstream: &Headers) -> Option<Seen> {
    for name in CONTEXT_HEADERS {
        let count = upstream.lines(name).len();
        assert!(count <= 1, "{name} goes upstream {count} times");
    }
    let formats = [
        read_traceparent(upstream),
        read_b3_single(upstream),
        read_b3_multi(upstream),
    ];
    let mut seen = formats.into_iter().flatten();
    let first = seen.next();
    for other in seen {
        assert_eq!(Some(&other), first.as_ref(), "two formats disagree");
    }
    if upstream.one("tracestate").is_some() {
        assert!(
            upstream.one("traceparent").is_some(),
            "a tracestate goes upstream alone"
        );
    }
    first
}

fn is_id(text: &str, len: usize) -> bool {
    text.len() == len
        && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
}

fn read_traceparent(upstream: &Headers) -> Option<Seen> {
    let value = upstream.one("traceparent")?;
    let fields: Vec<&str> = value.split('-').collect();
    let &[version, trace_id, span_id, flags] = fields.as_slice() else {
        panic!("{value:?} is no traceparent");
    };
    assert_eq!(version, "00", "{value:?}");
    assert!(is_id(trace_id, 32), "{value:?}");
    assert!(is_id(span_id, 16), "{value:?}");
    assert!(
        matches!(flags, "00" | "01" | "02" | "03"),
        "reserved bits are set: {value:?}"
    );
    Some(Seen {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        sampled: matches!(flags, "01" | "03"),
    })
}

/// The second bit of the flags; `None` where no `traceparent` went out.
pub(crate) fn random_flag(upstream: &Headers) -> Option<bool> {
    let value = upstream.one("traceparent")?;
    Some(value.ends_with('2') || value.ends_with('3'))
}

fn read_b3_single(upstream: &Headers) -> Option<Seen> {
    let value = upstream.one("b3")?;
    let fields: Vec<&str> = value.split('-').collect();
    let (trace_id, span_id, state) = match *fields.as_slice() {
        [trace_id, span_id, state] => (trace_id, span_id, state),
        [trace_id, span_id, state, parent] => {
            assert!(is_id(parent, 16), "{value:?}");
            (trace_id, span_id, state)
        }
        _ => panic!("{value:?} is no b3"),
    };
    assert!(is_id(trace_id, 32), "{value:?}");
    assert!(is_id(span_id, 16), "{value:?}");
    assert!(matches!(state, "0" | "1" | "d"), "{value:?}");
    Some(Seen {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        sampled: state != "0",
    })
}

fn read_b3_multi(upstream: &Headers) -> Option<Seen> {
    let [trace_id, span_id, parent, sampled, flags] = [
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
    ]
    .map(|name| upstream.one(name));
    if [trace_id, span_id, parent, sampled, flags] == [None; 5] {
        return None;
    }
    let trace_id = trace_id.expect("x-b3-* goes upstream without a trace id");
    let span_id = span_id.expect("x-b3-* goes upstream without a span id");
    assert!(is_id(trace_id, 32), "{trace_id:?}");
    assert!(is_id(span_id, 16), "{span_id:?}");
    assert!(parent.is_none_or(|p| is_id(p, 16)), "{parent:?}");
    let sampled = match (sampled, flags) {
        (Some("0"), None) => false,
        (Some("1"), None) | (None, Some("1")) => true,
        other => panic!("x-b3-sampled and x-b3-flags go upstream as {other:?}"),
    };
    Some(Seen {
        trace_id: trace_id.to_owned(),
        span_id: span_id.to_owned(),
        sampled,
    })
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
