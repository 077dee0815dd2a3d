//! The least that any Wasm filter must have its host do that says what ours says:
//! it keeps a stream, reads all headers, writes one, and evaluates one expression.
//! It decides nothing and makes no span.
#![allow(dead_code, missing_docs, unsafe_code, unreachable_pub)]

#[path = "../../../../../filter/proxy-wasm/src/hostcalls.rs"]
mod hostcalls;
#[path = "../../../../../filter/proxy-wasm/src/property_query.rs"]
mod property_query;
#[path = "../../../../../filter/proxy-wasm/src/types.rs"]
mod types;

use property_query::Question;
use sidespan_core::headers::header_map::Extractor as _;
use sidespan_core::host::request_info::Direction;
use sidespan_core::protobuf::envoy_struct::to_json;
use std::cell::RefCell;
use std::hint::black_box;
use types::{Buffer, Map};

thread_local! {
    /// The expression, if spans are sampled.
    static QUESTION: RefCell<Option<Question>> = const { RefCell::new(None) };
    /// Streams that no request came for yet.
    static STREAMS: RefCell<Vec<(u32, u32)>> = RefCell::default();
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context_id: u32, parent_id: u32) {
    if parent_id != 0 {
        STREAMS.with_borrow_mut(|streams| streams.push((context_id, parent_id)));
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_root_id: u32, _size: u32) -> u32 {
    let document = to_json(hostcalls::buffer(Buffer::PluginConfiguration, usize::MAX));
    let config = sidespan_config::parse(&document).ok();
    let is_sampled = config.is_some_and(|config| !config.sampler.root.is_off());
    // As ours without a span of the call upstream.
    let question = is_sampled.then(|| Question::new(|direction| direction == Direction::Outbound));
    QUESTION.set(question);
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(_context_id: u32, _count: u32, _end: u32) -> u32 {
    const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let request = hostcalls::header_pairs(Map::RequestHeaders);
    if request.header(b":method").is_some() {
        hostcalls::replace_header(Map::RequestHeaders, "traceparent", CONTEXT);
    }
    0
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_context_id: u32, _size: usize, _end: u32) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(_context_id: u32, _count: u32, _end: u32) -> u32 {
    0
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context_id: u32) {
    let is_known = STREAMS.with_borrow_mut(|streams| {
        let index = streams.iter().rposition(|(id, _)| *id == context_id);
        index.map(|index| streams.swap_remove(index)).is_some()
    });
    if is_known {
        QUESTION.with_borrow(|question| {
            if let Some(question) = question {
                black_box(question.ask(false));
            }
        });
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_context_id: u32) -> u32 {
    1
}
