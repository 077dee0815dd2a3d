//! The cluster of the exporter among those of the file.

use crate::report::{Report, suggestion};
use crate::yaml::Node;

/// The clusters that a file defines.
pub(super) struct Clusters<'a> {
    clusters: Vec<(&'a str, &'a Node)>,
    /// Whether Envoy has no others: all are static.
    is_complete: bool,
}

impl<'a> Clusters<'a> {
    pub(super) fn read(root: &'a Node) -> Self {
        let fixed = root.path(&["static_resources", "clusters"]);
        let fixed = fixed.map_or(&[][..], |list| list.items());
        let discovered = root.list("resources").iter().filter(|resource| {
            let kind = resource.text_of("@type");
            kind.is_some_and(|kind| kind.ends_with("envoy.config.cluster.v3.Cluster"))
        });
        let clusters = fixed.iter().chain(discovered);
        let clusters: Vec<_> = clusters
            .filter_map(|cluster| Some((cluster.text_of("name")?, cluster.as_ref())))
            .collect();
        let dynamic = root.field("dynamic_resources");
        let is_dynamic = dynamic.is_some_and(|dynamic| {
            let sources = ["cds_config", "cds_resources_locator", "ads_config"];
            sources.iter().any(|name| dynamic.field(name).is_some())
        });
        Self {
            is_complete: root.path(&["static_resources", "clusters"]).is_some() && !is_dynamic,
            clusters,
        }
    }

    /// Checks the cluster of a document's exporter.
    pub(super) fn check(&self, tree: &Node, report: &mut Report) {
        for protocol in ["otlp_grpc", "otlp_http"] {
            let Some(name) = tree.path(&["exporter", protocol, "cluster"]) else {
                continue;
            };
            let Some(name) = name.text().filter(|name| !name.is_empty()) else {
                continue;
            };
            let place = format!("exporter.{protocol}.cluster");
            let line = tree.line_of(&place);
            let cluster = self.clusters.iter().find(|(known, _)| *known == name);
            match cluster {
                None if self.is_complete => {
                    let near = suggestion(name, self.clusters.iter().map(|(name, _)| *name));
                    let text = format!("{place}: the configuration has no cluster {name:?}{near}");
                    report.fault(line, text);
                }
                Some((_, cluster)) if protocol == "otlp_grpc" && !has_http2(cluster) => {
                    report.fault(
                        line,
                        format!(
                            "{place}: cluster {name:?} has no HTTP/2, which OTLP over gRPC needs, set explicit_http_config.http2_protocol_options in the cluster's typed_extension_protocol_options.\"{OPTIONS}\""
                        ),
                    );
                }
                _ => {}
            }
        }
    }
}

const OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Whether requests to a cluster can be HTTP/2 or HTTP/3. Options without a
/// value count.
fn has_http2(cluster: &Node) -> bool {
    let has_options = |node: &Node| {
        let names = ["http2_protocol_options", "http3_protocol_options"];
        names.iter().any(|name| node.field_or_null(name).is_some())
    };
    if has_options(cluster) {
        return true;
    }
    let options = cluster.field("typed_extension_protocol_options");
    let Some(options) = options.and_then(|options| options.get(OPTIONS)) else {
        return false;
    };
    // In a TypedStruct.
    let options = options.field("value").unwrap_or(options);
    let chosen = ["explicit_http_config", "use_downstream_protocol_config"];
    options.field_or_null("auto_config").is_some()
        || chosen
            .iter()
            .filter_map(|name| options.field(name))
            .any(|config| has_options(config))
}
