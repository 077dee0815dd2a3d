//! The baseline of `../wasm`, on the proxy-wasm crate: it keeps a stream, reads all
//! headers, writes one, and evaluates the same expression. The difference between
//! the two is the cost of the crate.
#![allow(dead_code, missing_docs, unreachable_pub)]

mod hostcalls;
#[path = "../../../../../filter/proxy-wasm/src/property_query.rs"]
mod property_query;

use property_query::Question;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};
use sidespan_core::host::request_info::Direction;
use sidespan_core::protobuf::envoy_struct::to_json;
use std::hint::black_box;
use std::rc::Rc;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(Root::default()));
}}

#[derive(Default)]
struct Root {
    /// The expression, if spans are sampled.
    question: Option<Rc<Question>>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let document = to_json(self.get_plugin_configuration().unwrap_or_default());
        let config = sidespan_config::parse(&document).ok();
        let is_sampled = config.is_some_and(|config| !config.sampler.root.is_off());
        // As ours without a span of the call upstream.
        let question = || Question::new(|direction| direction == Direction::Outbound);
        self.question = is_sampled.then(|| Rc::new(question()));
        true
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream {
            question: self.question.clone(),
        }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

struct Stream {
    question: Option<Rc<Question>>,
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end: bool) -> Action {
        const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        // As bytes: as text, a value that is not UTF-8 would panic.
        let request = self.get_http_request_headers_bytes();
        if request.iter().any(|(name, _)| name == ":method") {
            self.set_http_request_header("traceparent", Some(CONTEXT));
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if let Some(question) = &self.question {
            black_box(question.ask(false));
        }
    }
}
