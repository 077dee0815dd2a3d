//! What a route says of its own to the native module.

use crate::module::stage::{EXPORTER, PATIENCE, QUICK_EXPORTER, Stage};
use harness::{EnvoyBuilder, client, load};

/// The gateway with a route for `/own` that has this configuration, and with
/// keys of the filter's.
fn stage(own: &str, filter: &str) -> Stage {
    stage_with(own, filter, |edge| edge)
}

/// The same with another change.
fn stage_with(own: &str, filter: &str, more: impl FnOnce(EnvoyBuilder) -> EnvoyBuilder) -> Stage {
    let route = format!(
        r#"routes:
              - match: {{ prefix: /own }}
                route: {{ cluster: service }}
                typed_per_filter_config:
                  sidespan:
                    "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute
                    dynamic_module_config: {{ name: sidespan }}
                    per_route_config_name: own
                    filter_config:
                      "@type": type.googleapis.com/google.protobuf.Struct
                      value: {own}
              - {{ match: {{ prefix: / }}, route: {{ cluster: service }} }}"#
    );
    let change = |edge: EnvoyBuilder| {
        more(edge)
            .concurrency(2)
            .replace(
                "routes: [{ match: { prefix: / }, route: { cluster: service } }]",
                route,
            )
            .replace(
                EXPORTER,
                format!("{QUICK_EXPORTER}\n                    {filter}"),
            )
    };
    Stage::edge_with(change)
}

#[test]
fn a_route_has_a_ratio_rules_and_tags_of_its_own() {
    let own = r#"{ sampler: { ratio: 0 }, rules: [{ name: own, match: { headers: [{ name: x-debug, present_match: true }] }, action: force }], custom_tags: [{ tag: team, literal: { value: own } }] }"#;
    let filter = r#"custom_tags: [{ tag: team, literal: { value: all } }, { tag: tier, literal: { value: gold } }]
                    rules: [{ name: all, match: { path: { suffix: /forced } }, action: force }]"#;
    let stage = stage(own, filter);
    for path in ["/own/a", "/own/b", "/other"] {
        client::get(stage.addr(), path);
    }
    // The filter's rules come after the route's, and go on to hold.
    client::get(stage.addr(), "/own/forced");
    client::request(stage.addr(), "GET", "/own/d", &[("x-debug", b"1")], b"").unwrap();
    let spans = stage.collector.wait_spans(3, PATIENCE);
    let mut seen: Vec<_> = spans
        .iter()
        .map(|span| {
            let text = |key| span.str_attr(key).unwrap_or_default().to_owned();
            [
                text("url.path"),
                text("team"),
                text("tier"),
                text("sidespan.rule"),
            ]
        })
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ["/other", "all", "gold", ""],
            ["/own/d", "own", "gold", "own"],
            ["/own/forced", "own", "gold", "all"],
        ]
    );
    stage.wait_stat("not_sampled", |n| n == 2);
}

/// A virtual host may have one, too, and a route's own counts more.
#[test]
fn the_most_specific_configuration_counts() {
    let per_host = r#"domains: ["*"]
              typed_per_filter_config:
                sidespan:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilterPerRoute
                  dynamic_module_config: { name: sidespan }
                  per_route_config_name: host
                  filter_config:
                    "@type": type.googleapis.com/google.protobuf.Struct
                    value: { custom_tags: [{ tag: team, literal: { value: host } }] }"#;
    let own = "{ custom_tags: [{ tag: team, literal: { value: own } }] }";
    let stage = stage_with(own, "sampler: {}", |edge| {
        edge.replace(r#"domains: ["*"]"#, per_host)
    });
    for path in ["/own", "/other"] {
        client::get(stage.addr(), path);
    }
    let spans = stage.collector.wait_spans(2, PATIENCE);
    let mut seen: Vec<_> = spans
        .iter()
        .map(|span| (span.str_attr("url.path"), span.str_attr("team")))
        .collect();
    seen.sort_unstable();
    let expected = [(Some("/other"), Some("host")), (Some("/own"), Some("own"))];
    assert_eq!(seen, expected);
}

#[test]
fn a_route_s_ratio_is_met_under_load() {
    const REQUESTS: u64 = 10_000;
    let stage = stage("{ sampler: { ratio: 0.1 } }", "sampler: { ratio: 1 }");
    stage.upstream.record(false);
    stage.collector.keep_only_ids();
    let report = load::run(stage.addr(), "/own", 8, REQUESTS, &[]);
    assert_eq!((report.ok, report.failed), (REQUESTS, 0));
    // 99.9 % of all samples lie within.
    let n = REQUESTS as f64;
    let bound = 3.29 * (n * 0.1 * 0.9).sqrt();
    let sampled = stage.wait_stat("spans_created", |made| {
        (made as f64 - n * 0.1).abs() < bound
    });
    stage.wait_stat("spans_acknowledged", |n| n >= sampled);
}

/// Nothing but what a route may say, and what is wrong changes nothing.
#[test]
fn a_wrong_route_is_reported_and_is_as_all_others() {
    let stage = stage("{ sampler: { ratio: 2 }, service_name: x }", "sampler: {}");
    assert_eq!(client::get(stage.addr(), "/own").status, 200);
    stage.collector.wait_spans(1, PATIENCE);
    let line = stage.envoy.wait_log("configuration rejected", PATIENCE);
    for part in [
        "its route is as all others",
        "sampler.ratio: 2",
        "service_name: unknown key, expected one of sampler, rules, custom_tags",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    stage.wait_stat("config_rejected", |n| n == 1);
}
