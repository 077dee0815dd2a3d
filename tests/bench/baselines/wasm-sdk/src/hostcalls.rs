//! The calls that `property_query.rs` makes, by the crate's functions.

use proxy_wasm::hostcalls::{call_foreign_function, get_property};

pub(crate) struct Expression(Vec<u8>);

impl Expression {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let token = call_foreign_function("expr_create", Some(text.as_bytes()));
        token.ok().flatten().map(Self)
    }

    pub(crate) fn evaluate(&self) -> Option<Vec<u8>> {
        let value = call_foreign_function("expr_evaluate", Some(&self.0)).ok()?;
        Some(value.unwrap_or_default())
    }
}

pub(crate) fn property(path: &str) -> Option<Vec<u8>> {
    get_property(path.split('\0').collect()).ok().flatten()
}
