//! `propagation.carrier: filter_state`: a filter behind Sidespan must write the
//! headers.

use super::position::Position;
use crate::report::Report;
use crate::yaml::Node;

/// The headers of each format that can be injected. One of them in a later
/// filter is enough to see that the format is written.
const HEADERS: [(&str, &[&str]); 3] = [
    ("tracecontext", &["traceparent", "tracestate"]),
    ("b3", &["b3"]),
    (
        "b3multi",
        &["x-b3-traceid", "x-b3-spanid", "x-b3-sampled", "x-b3-flags"],
    ),
];

/// The filter state's key of a header, in a substitution command.
fn command(header: &str) -> String {
    format!("%FILTER_STATE(wasm.sidespan.{header}:")
}

/// Checks that each format of `inject` is written behind Sidespan: by a filter,
/// by a route's `request_headers_to_add` or by a filter of a cluster.
pub(super) fn check(position: &Position<'_>, tree: &Node, root: &Node, report: &mut Report) {
    let inject = tree.path(&["propagation", "inject"]);
    let inject = inject.map_or(vec!["tracecontext"], |inject| {
        inject
            .items()
            .iter()
            .filter_map(|item| item.text())
            .collect()
    });
    let routes = position.connection_manager.field("route_config");
    let clusters = root.path(&["static_resources", "clusters"]);
    let writers: Vec<&Node> = position
        .after
        .iter()
        .chain(routes)
        .map(|node| node.as_ref())
        .chain(clusters)
        .collect();
    for (format, headers) in HEADERS {
        let is_written = || {
            headers.iter().any(|header| {
                let command = command(header).to_ascii_lowercase();
                let test = |text: &str| {
                    let text = text.to_ascii_lowercase();
                    text.contains(&command) || text.contains(&command.replace(':', ")"))
                };
                writers.iter().any(|node| node.any_text(&test))
            })
        };
        if inject.contains(&format) && !is_written() {
            let header = headers.first().copied().unwrap_or_default();
            report.fault(
                tree.line_of("propagation.carrier"),
                format!(
                    "propagation.carrier: no filter after Sidespan writes the header {header:?} of the format {format}, add an envoy.filters.http.header_mutation whose request_mutations set it to \"{}PLAIN)%\"",
                    command(header)
                ),
            );
        }
    }
}
