//! How a context is handed on: as request headers, or as filter state.

use crate::hostcalls;
use crate::types::Map;
use sidespan_core::headers::header_map::Injector;

/// Writes to the headers of the current stream's request.
pub(crate) struct RequestHeaders;

impl Injector for RequestHeaders {
    fn set(&mut self, name: &'static str, value: &str) {
        hostcalls::replace_header(Map::RequestHeaders, name, value);
    }

    fn remove(&mut self, name: &'static str) {
        hostcalls::remove_header(Map::RequestHeaders, name);
    }
}

/// Writes headers by way of the current stream's filter state, for a
/// `header_mutation` filter behind this one: a header that this filter wrote
/// itself would make Envoy choose the route anew.
///
/// The state `wasm.sidespan.NAME` holds what the header NAME is set to. Envoy's
/// filter cannot remove a header on a condition, so two others do that, each
/// skipped unless `wasm.sidespan.remove` names its headers: `tracestate`, or
/// `x-b3` for those of B3 that are not always sent. The latter are set again if
/// they have a state.
#[derive(Default)]
pub(crate) struct FilterState {
    removes_trace_state: bool,
    removes_b3: bool,
}

impl FilterState {
    fn set_state(name: &str, value: &str) {
        hostcalls::set_filter_state(&format!("sidespan.{name}"), value);
    }

    /// Says what is to be removed.
    pub(crate) fn finish(self) {
        let removed = match (self.removes_trace_state, self.removes_b3) {
            (false, false) => return,
            (true, false) => "tracestate",
            (false, true) => "x-b3",
            (true, true) => "tracestate x-b3",
        };
        Self::set_state("remove", removed);
    }
}

impl Injector for FilterState {
    fn set(&mut self, name: &'static str, value: &str) {
        Self::set_state(name, value);
    }

    fn remove(&mut self, name: &'static str) {
        match name {
            "tracestate" => self.removes_trace_state = true,
            _ => self.removes_b3 = true,
        }
    }
}
