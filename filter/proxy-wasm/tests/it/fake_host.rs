//! A host whose headers, properties, time and clusters a test holds. Each test
//! has its own, as it has its own thread.

use std::cell::RefCell;
use std::collections::BTreeMap;

pub(crate) const OK: u32 = 0;
pub(crate) const NOT_FOUND: u32 = 1;
pub(crate) const BAD_ARGUMENT: u32 = 2;
pub(crate) const CAS_MISMATCH: u32 = 8;
/// Levels of log lines.
pub(crate) const INFO: u32 = 2;
pub(crate) const WARN: u32 = 3;
pub(crate) const ERROR: u32 = 4;
pub(crate) const CRITICAL: u32 = 5;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const START: u64 = 1_700_000_000 * SECOND;

pub(crate) const REQUEST_HEADERS: u32 = 0;
pub(crate) const RESPONSE_HEADERS: u32 = 2;
pub(crate) const RESPONSE_TRAILERS: u32 = 3;
pub(crate) const CALL_HEADERS: u32 = 6;
pub(crate) const CALL_TRAILERS: u32 = 7;
pub(crate) const CALL_BODY: u32 = 4;
pub(crate) const PLUGIN_CONFIGURATION: u32 = 7;

pub(crate) fn map_name(map: u32) -> &'static str {
    match map {
        REQUEST_HEADERS => "request_headers",
        RESPONSE_HEADERS => "response_headers",
        RESPONSE_TRAILERS => "response_trailers",
        CALL_HEADERS => "call_response_headers",
        CALL_TRAILERS => "call_response_trailers",
        _ => panic!("map {map}"),
    }
}

pub(crate) fn buffer_name(buffer: u32) -> &'static str {
    match buffer {
        CALL_BODY => "call_response_body",
        PLUGIN_CONFIGURATION => "plugin_configuration",
        _ => panic!("buffer {buffer}"),
    }
}

pub(crate) type Lines = Vec<(String, String)>;

/// How the host answers everything that it is asked.
#[derive(Clone, Debug, Default)]
pub(crate) enum Hostility {
    #[default]
    None,
    /// With an error.
    Status(u32),
    /// Buffers have these bytes; an empty one is a null pointer.
    Buffer(Vec<u8>),
}

impl Hostility {
    pub(crate) fn status(&self) -> Option<u32> {
        match self {
            Self::Status(status) => Some(*status),
            Self::None | Self::Buffer(_) => None,
        }
    }

    pub(crate) fn buffer(&self) -> Option<Vec<u8>> {
        match self {
            Self::Buffer(bytes) => Some(bytes.clone()),
            Self::None | Self::Status(_) => None,
        }
    }
}

/// An HTTP call that the module made.
#[derive(Clone, Debug, Default)]
pub(crate) struct HttpCall {
    pub(crate) context_id: u32,
    pub(crate) token: u32,
    pub(crate) cluster: String,
    pub(crate) headers: Lines,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Lines,
    pub(crate) timeout: u32,
}

pub(crate) struct Metric {
    pub(crate) kind: u32,
    pub(crate) name: String,
    pub(crate) value: i64,
}

#[derive(Default)]
pub(crate) struct FakeHost {
    /// Every call, with the argument that tells it from others of its name.
    pub(crate) calls: Vec<String>,
    pub(crate) hostility: Hostility,
    pub(crate) now: u64,
    pub(crate) logs: Vec<(u32, String)>,
    /// The context whose calls the host takes these for.
    pub(crate) current: u32,
    pub(crate) deleted: Vec<u32>,
    pub(crate) maps: BTreeMap<u32, Lines>,
    pub(crate) buffers: BTreeMap<u32, Vec<u8>>,
    /// By paths with dots.
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
    /// What the module set, in this order.
    pub(crate) filter_state: Lines,
    pub(crate) shared: BTreeMap<String, (Vec<u8>, u32)>,
    pub(crate) metrics: Vec<Metric>,
    /// Clusters that take no call, with the host's status.
    pub(crate) refusals: BTreeMap<String, u32>,
    pub(crate) http_calls: Vec<HttpCall>,
    pub(crate) tick_periods: BTreeMap<u32, u32>,
    /// Contexts that called `proxy_done`.
    pub(crate) done: Vec<u32>,
    pub(crate) environment: Lines,
    pub(crate) has_expressions: bool,
    pub(crate) expressions: Vec<String>,
}

thread_local! {
    static HOST: RefCell<FakeHost> = RefCell::new(FakeHost {
        now: START,
        has_expressions: true,
        ..FakeHost::default()
    });
}

/// Calls `f` with the host of this thread.
pub(crate) fn with<T>(f: impl FnOnce(&mut FakeHost) -> T) -> T {
    HOST.with_borrow_mut(f)
}

/// The calls since this was last called.
pub(crate) fn take_calls() -> Vec<String> {
    with(|host| std::mem::take(&mut host.calls))
}

/// The log lines since this was last called.
pub(crate) fn take_logs() -> Vec<(u32, String)> {
    with(|host| std::mem::take(&mut host.logs))
}

/// The HTTP calls since this was last called.
pub(crate) fn take_http_calls() -> Vec<HttpCall> {
    with(|host| std::mem::take(&mut host.http_calls))
}

pub(crate) fn advance(nanos: u64) {
    with(|host| host.now += nanos);
}

pub(crate) fn set_property(path: &str, value: &[u8]) {
    with(|host| host.properties.insert(path.to_owned(), value.to_vec()));
}

pub(crate) fn set_number(path: &str, value: u64) {
    set_property(path, &value.to_le_bytes());
}

pub(crate) fn remove_property(path: &str) {
    with(|host| host.properties.remove(path));
}

fn lines(lines: &[(&str, &str)]) -> Lines {
    let lines = lines.iter();
    lines
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

pub(crate) fn set_map(map: u32, of: &[(&str, &str)]) {
    with(|host| host.maps.insert(map, lines(of)));
}

pub(crate) fn set_environment(of: &[(&str, &str)]) {
    with(|host| host.environment = lines(of));
}

/// The values of a header, one for each line.
pub(crate) fn header(map: u32, name: &str) -> Vec<String> {
    let is_it = |line: &(String, String)| line.0 == name;
    let all = with(|host| host.maps.get(&map).cloned().unwrap_or_default());
    all.into_iter()
        .filter(is_it)
        .map(|(_, value)| value)
        .collect()
}

/// The value of a metric, `None` if it was never defined.
pub(crate) fn metric(name: &str) -> Option<i64> {
    with(|host| {
        let mut metrics = host.metrics.iter();
        Some(metrics.find(|metric| metric.name == name)?.value)
    })
}

impl FakeHost {
    /// The id of a metric; the same one for the same name, as in Envoy.
    pub(crate) fn define_metric(&mut self, kind: u32, name: String) -> u32 {
        let known = self.metrics.iter().position(|metric| metric.name == name);
        let index = known.unwrap_or_else(|| {
            let value = 0;
            self.metrics.push(Metric { kind, name, value });
            self.metrics.len() - 1
        });
        u32::try_from(index).unwrap()
    }

    pub(crate) fn change_metric(
        &mut self,
        call: &str,
        id: u32,
        change: impl FnOnce(i64) -> i64,
    ) -> u32 {
        let metric = &mut self.metrics[id as usize];
        self.calls.push(format!("{call} {}", metric.name));
        match self.hostility.status() {
            Some(status) => status,
            None => {
                metric.value = change(metric.value);
                OK
            }
        }
    }

    pub(crate) fn start_http_call(&mut self, cluster: String, call: HttpCall) -> u32 {
        // No token is used twice, though a test takes the calls.
        let token = u32::try_from(self.calls.len()).unwrap();
        self.http_calls.push(HttpCall {
            context_id: self.current,
            token,
            cluster,
            ..call
        });
        token
    }

    /// `NAME=value` and a zero byte, of each variable.
    pub(crate) fn environment_block(&self) -> Vec<u8> {
        let variables = self.environment.iter();
        let block: String = variables.map(|(n, v)| format!("{n}={v}\0")).collect();
        block.into_bytes()
    }
}

/// Header lines in the layout of `proxy_get_header_map_pairs`.
pub(crate) fn serialize(lines: &[(String, String)]) -> Vec<u8> {
    let lines = lines.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes()));
    serialize_bytes(&lines.collect::<Vec<_>>())
}

pub(crate) fn serialize_bytes(lines: &[(&[u8], &[u8])]) -> Vec<u8> {
    let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let mut out = u32::try_from(lines.len()).unwrap().to_le_bytes().to_vec();
    for (name, value) in lines {
        out.extend([size(name), size(value)].concat());
    }
    for (name, value) in lines {
        out.extend([name, &b"\0"[..], value, b"\0"].concat());
    }
    out
}

pub(crate) fn deserialize(bytes: &[u8]) -> Lines {
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = 4 + 8 * number(0);
    let mut next = |size: usize| {
        let text = String::from_utf8(bytes[at..at + size].to_vec()).unwrap();
        at += size + 1;
        text
    };
    let pairs = 0..number(0);
    let lines = pairs.map(|i| (next(number(4 + 8 * i)), next(number(8 + 8 * i))));
    lines.collect()
}
