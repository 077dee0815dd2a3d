//! Request headers: access to them, the host's layout, sets of names, and the
//! headers that decisions and spans need.

pub mod header_map;
pub(crate) mod name_set;
pub mod request;
pub mod serialized_map;
pub(crate) mod url;
