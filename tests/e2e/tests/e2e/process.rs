//! One exporter for the whole process, whichever listeners feed it.

use crate::module::stage::{Asking, EXPORTER, PATIENCE, envoy, stat_name};
use harness::{MockCollector, Upstream, client, load};
use std::collections::HashSet;

/// Two listeners have a filter each, and their spans go in one export; a
/// filter of another service has its own.
#[test]
fn the_filters_of_all_listeners_share_an_exporter() {
    for (inbound, exports) in [("service", 1), ("other", 2)] {
        let (app, mesh, collector) = (Upstream::start(), Upstream::start(), MockCollector::start());
        let exporter = "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: 500ms } }";
        let first = "service_name: service\n                    exporter";
        let text =
            std::fs::read_to_string(harness::workspace_root().join("envoy-configs/sidecar.yaml"))
                .expect("the sidecar");
        // Of the first listener only.
        let renamed = text.replacen(
            first,
            &format!("service_name: {inbound}\n                    exporter"),
            1,
        );
        assert!(text.contains(first));
        let sidecar = harness::Envoy::from_yaml(renamed)
            .artefact(crate::module::stage::ARTEFACT)
            .replace(EXPORTER, exporter)
            .port(8080, app.port())
            .port(8081, mesh.port())
            .port(4317, collector.port())
            .start();
        client::get(sidecar.addr(15006), "/in");
        client::get(sidecar.addr(15001), "/out");
        let spans = collector.wait_spans(2, PATIENCE);
        assert_eq!(spans.len(), 2);
        assert_eq!(collector.calls().len(), exports, "{inbound}");
        let services: HashSet<_> = spans.iter().map(|span| span.service_name()).collect();
        assert_eq!(services.len(), exports);
    }
}

/// Many workers fill one queue, in whole batches, and nothing is lost on the
/// way.
#[test]
fn four_workers_feed_one_exporter_in_whole_batches() {
    const REQUESTS: u64 = 20_000;
    let (upstream, collector) = (Upstream::start(), MockCollector::start());
    upstream.record(false);
    collector.keep_only_ids();
    let gateway = crate::module::stage::one_span(envoy("envoy-configs/edge.yaml"))
        .concurrency(4)
        .port(8080, upstream.port())
        .port(4317, collector.port())
        .start();
    let report = load::run(gateway.addr(10000), "/", 32, REQUESTS, &[]);
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    let _asking = Asking::start(gateway.addr(10000));
    let acknowledged = stat_name("spans_acknowledged");
    gateway.wait_stat(&acknowledged, |n| n == REQUESTS, PATIENCE);
    assert_eq!(
        gateway.stat(&stat_name("spans_dropped.queue_full")),
        Some(0)
    );
    assert_eq!(collector.distinct_span_count() as u64, REQUESTS);
    // 512 each, but for what a tick takes.
    let calls = collector.calls();
    let full = calls.iter().filter(|call| call.span_count == 512).count();
    assert!(full * 2 > calls.len(), "{full} of {} are full", calls.len());
}
