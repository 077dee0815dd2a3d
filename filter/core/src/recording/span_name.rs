//! The name of a span, by the configured template.

use crate::headers::request::RequestHead;
use crate::span::name::{Field, SpanName};
use crate::span::text::{cut, lossy};
use std::borrow::Cow;

/// What the template of a name can hold.
pub(super) struct NameFields<'a, R, C> {
    /// A known method, or `HTTP`.
    pub(super) method: &'a str,
    /// The headers that the others come from.
    pub(super) head: &'a RequestHead<'a>,
    /// Reads the name of the route; empty for none.
    pub(super) route: R,
    /// Reads the name of the cluster; empty for none.
    pub(super) cluster: C,
}

impl<'a, R: Fn() -> &'a str, C: Fn() -> &'a str> NameFields<'a, R, C> {
    /// Renders a name by a template, whose values have `limit` bytes at most.
    /// `None` if the name is that of the conventions.
    pub(super) fn render(&self, template: &SpanName, limit: usize) -> Option<String> {
        template.render(|field| match field {
            Field::Method => Cow::Borrowed(self.method),
            Field::Host => lossy(self.head.host(), limit),
            Field::Path => lossy(self.head.path_without_query(), limit),
            Field::Route => Cow::Borrowed((self.route)()),
            Field::Cluster => Cow::Borrowed((self.cluster)()),
        })
    }
}

/// Cuts a name to `limit` bytes: the limit of attributes holds for names, too.
pub(super) fn truncate(name: Cow<'static, str>, limit: usize) -> Cow<'static, str> {
    match cut(&name, limit) {
        short if short.len() < name.len() => Cow::Owned(short.to_owned()),
        _ => name,
    }
}
