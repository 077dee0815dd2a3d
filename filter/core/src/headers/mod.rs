//! Request headers: the host's layout, sets of names, and the headers that
//! decisions and spans need.

pub(crate) mod name_set;
pub mod serialized_map;
