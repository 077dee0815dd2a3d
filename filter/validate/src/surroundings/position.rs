//! Where the Wasm filter stands in the file around its document.

use crate::find::Document;
use crate::yaml::Node;
use std::rc::Rc;

/// The place of the Wasm filter among the HTTP filters of a connection manager.
pub(super) struct Position<'a> {
    pub(super) connection_manager: &'a Node,
    pub(super) filter: &'a Rc<Node>,
    pub(super) before: &'a [Rc<Node>],
    pub(super) after: &'a [Rc<Node>],
}

impl<'a> Position<'a> {
    pub(super) fn of(document: &'a Document) -> Option<Self> {
        document.wasm_plugin()?;
        let manager = document.holder(|node| node.field("http_filters").is_some())?;
        let filters = manager.list("http_filters");
        let index = filters.iter().position(|filter| {
            let mut holders = document.holders.iter();
            holders.any(|holder| Rc::ptr_eq(holder, filter))
        })?;
        let (before, rest) = filters.split_at_checked(index)?;
        let (filter, after) = rest.split_first()?;
        Some(Self {
            connection_manager: manager,
            filter,
            before,
            after,
        })
    }
}
