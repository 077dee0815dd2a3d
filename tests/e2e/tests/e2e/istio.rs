//! Istio's own code makes configuration of the manifests in `istio/`, and real
//! Envoys run it.
//!
//! Each case is a few manifests, the proxies that take part, and what must be
//! seen. It runs live, with the control plane of each release and the Envoy that
//! goes with it (`make test-istio`), and from what that control plane gave them
//! when it was recorded (`make test`).

mod checks;
mod world;

use self::world::{CATALOG, CHECKOUT, INGRESS, PAYMENTS, STOCK, Source, World};
use harness::istio::Workload;

/// The releases that are tested.
const RELEASES: [&str; 2] = ["1.30", "1.31"];

/// Manifests, proxies, and what must be seen.
struct Case {
    name: &'static str,
    /// From the workspace's root.
    manifests: &'static [&'static str],
    /// Those that others call come first.
    proxies: &'static [&'static Workload],
    /// Pieces of text of the manifests, and what stands for them.
    replace: &'static [(&'static str, &'static str)],
    /// The module that the registry has.
    module: Module,
    check: fn(&World),
}

#[derive(Clone, Copy, PartialEq)]
enum Module {
    /// `dist/sidespan.wasm`.
    Ours,
    /// The build that panics where a request asks for it.
    Trapping,
}

/// What most cases have.
const PLAIN: Case = Case {
    name: "",
    manifests: &[],
    proxies: &[],
    replace: &[],
    module: Module::Ours,
    check: |_| {},
};

const MESH: Case = Case {
    name: "mesh",
    manifests: &["istio/base"],
    proxies: &[&STOCK, &CHECKOUT],
    check: checks::mesh,
    ..PLAIN
};

/// The cases that are recorded.
const CASES: &[Case] = &[
    MESH,
    Case {
        name: "traffic_extension",
        manifests: &["istio/overlays/traffic-extension"],
        ..MESH
    },
    Case {
        name: "per_namespace",
        manifests: &["istio/overlays/per-namespace"],
        proxies: &[&PAYMENTS, &CATALOG, &STOCK],
        check: checks::per_namespace,
        ..PLAIN
    },
    Case {
        name: "per_workload",
        manifests: &["istio/overlays/per-workload"],
        check: checks::per_workload,
        ..MESH
    },
    Case {
        name: "gateway",
        manifests: &["istio/overlays/gateway"],
        proxies: &[&STOCK, &INGRESS],
        check: checks::gateway,
        ..PLAIN
    },
    Case {
        name: "fail_open",
        manifests: &["istio/overlays/fail-open"],
        proxies: &[&STOCK],
        module: Module::Trapping,
        check: checks::fail_open,
        ..PLAIN
    },
    Case {
        name: "hidden_collector",
        proxies: &[&CHECKOUT],
        replace: &[("$CHECKOUT_KNOWS", "\"./*\", \"istio-system/*\"")],
        check: checks::hidden_collector,
        ..MESH
    },
    Case {
        name: "west",
        manifests: &["istio/overlays/clusters/west"],
        proxies: &[&world::STOCK_WEST],
        check: checks::west,
        ..PLAIN
    },
];

/// What stands in the EnvoyFilter for where the module is.
const REMOTE: &str = "                remote:
                  http_uri:
                    uri: oci://registry.example.com/sidespan:0.1.0
                    cluster: _
                    timeout: 30s
";

/// Those that need the control plane.
const LIVE_CASES: &[Case] = &[
    Case {
        name: "sidecar_scope",
        manifests: &["istio/overlays/sidecar-scope"],
        // The test's own Sidecar knows what the manifest's has Sidecars know.
        replace: &[("$CHECKOUT_KNOWS", "$SCOPE")],
        ..MESH
    },
    Case {
        name: "keep_route",
        manifests: &["istio/overlays/keep-route"],
        ..MESH
    },
    Case {
        name: "gateway_api",
        manifests: &["istio/overlays/gateway-api"],
        proxies: &[&STOCK, &INGRESS],
        check: checks::gateway,
        ..PLAIN
    },
    Case {
        name: "pinned",
        manifests: &["tests/istio/sources/pinned"],
        // istiod hands secrets to proxies with a certificate only.
        replace: &[("  imagePullSecret: registry-credentials\n", "")],
        ..MESH
    },
    Case {
        name: "http",
        manifests: &["tests/istio/sources/http"],
        ..MESH
    },
    Case {
        name: "file",
        manifests: &["tests/istio/sources/file"],
        ..MESH
    },
    Case {
        name: "module_that_does_not_come",
        manifests: &["istio/overlays/fail-open"],
        proxies: &[&STOCK],
        // Takes connections and never answers.
        replace: &[("registry.example.com", "127.0.0.1:$SILENT")],
        check: checks::untraced,
        ..PLAIN
    },
    Case {
        name: "module_that_is_not_there",
        proxies: &[&STOCK],
        replace: &[("sidespan:0.1.0", "sidespan:none")],
        check: |world| checks::not_fetched(world, "MANIFEST_UNKNOWN"),
        ..MESH
    },
    Case {
        name: "module_of_no_registry",
        proxies: &[&STOCK],
        replace: &[("registry.example.com", "127.0.0.1:1")],
        check: |world| checks::not_fetched(world, "connect: connection refused"),
        ..MESH
    },
    Case {
        name: "module_without_its_secret",
        manifests: &["tests/istio/sources/pinned"],
        proxies: &[&STOCK],
        check: |world| checks::not_fetched(world, "missing image pulling secret"),
        ..PLAIN
    },
    Case {
        name: "module_with_another_sum",
        manifests: &["tests/istio/sources/http"],
        proxies: &[&STOCK],
        replace: &[("sha256: \"0000", "sha256: \"ffff")],
        check: |world| checks::not_fetched(world, "which does not match: ffff"),
        ..PLAIN
    },
    Case {
        name: "module_that_is_not_there_and_no_strategy",
        proxies: &[&STOCK],
        replace: &[
            ("sidespan:0.1.0", "sidespan:none"),
            ("  failStrategy: FAIL_OPEN\n", ""),
        ],
        check: checks::denied,
        ..MESH
    },
    Case {
        name: "wrong_document",
        proxies: &[&STOCK],
        replace: &[("attributes: both", "attributes: loud")],
        check: checks::wrong_document,
        ..MESH
    },
    Case {
        name: "file_that_is_not_there",
        manifests: &["tests/istio/sources/file"],
        proxies: &[&STOCK],
        replace: &[("/var/lib/sidespan/", "/var/lib/nowhere/")],
        check: checks::harmed,
        ..PLAIN
    },
    Case {
        name: "file_that_is_not_there_with_a_default",
        manifests: &[
            "istio/base/collector",
            "istio/base/telemetry",
            "istio/overlays/fail-open/envoy-filter.yaml",
        ],
        proxies: &[&STOCK],
        replace: &[(
            REMOTE,
            "                local: { filename: /var/lib/nowhere/sidespan.wasm }\n",
        )],
        check: checks::untraced,
        ..PLAIN
    },
    Case {
        name: "external_collector",
        manifests: &["istio/overlays/external-collector"],
        proxies: &[&STOCK],
        replace: &[
            // On loopback, with a certificate of the test.
            (
                "resolution: DNS",
                "resolution: STATIC\n  endpoints: [{ address: 127.0.0.1, ports: { grpc-otlp: $VENDOR } }]",
            ),
            ("caCertificates: system", "insecureSkipVerify: true"),
        ],
        check: checks::external_collector,
        ..PLAIN
    },
    Case {
        name: "both_tracers",
        manifests: &["istio/base/collector", "istio/base/wasm-plugin.yaml"],
        proxies: &[&STOCK],
        check: checks::both_tracers,
        ..PLAIN
    },
];

fn case(name: &str) -> &'static Case {
    let mut all = CASES.iter().chain(LIVE_CASES);
    all.find(|case| case.name == name)
        .unwrap_or_else(|| panic!("no case {name}"))
}

fn recorded(name: &str) {
    for release in RELEASES {
        (case(name).check)(&World::start(case(name), &Source::Recorded(release)));
    }
}

fn live(name: &str) {
    for release in RELEASES {
        let world = World::start(case(name), &Source::Live(release));
        (case(name).check)(&world);
        if CASES.iter().any(|case| case.name == name) {
            world.compare_recorded(case(name), release);
        }
    }
}

/// A test for each case, so that they run beside each other.
macro_rules! tests {
    (recorded: $($test:ident)*) => {
        $(#[test] fn $test() { super::recorded(stringify!($test)); })*
        tests! { all of $($test)* }
    };
    (live: $($test:ident)*) => {
        $(#[test] #[ignore = "needs Go: make test-istio"] fn $test() { super::live(stringify!($test)); })*
        tests! { all of $($test)* }
    };
    (all of $($test:ident)*) => {
        #[test]
        fn no_case_is_left_out() {
            let tested = [$(stringify!($test)),*];
            assert!(super::CASES.iter().all(|case| tested.contains(&case.name)));
        }
    };
}

mod recorded {
    tests! { recorded:
        mesh
        traffic_extension
        per_namespace
        per_workload
        gateway
        fail_open
        hidden_collector
        west
    }
}

mod live {
    tests! { live:
        mesh
        traffic_extension
        per_namespace
        per_workload
        gateway
        fail_open
        hidden_collector
        west
        sidecar_scope
        gateway_api
        pinned
        http
        file
        module_that_does_not_come
        module_that_is_not_there
        module_of_no_registry
        module_without_its_secret
        module_with_another_sum
        module_that_is_not_there_and_no_strategy
        wrong_document
        file_that_is_not_there
        file_that_is_not_there_with_a_default
        external_collector
        both_tracers
    }
}

mod without {
    //! The checks find out when the filter is not in the manifests.

    use super::{CASES, Case, RELEASES, Source, World, checks};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    #[ignore = "needs Go: make test-istio"]
    fn the_filter_no_check_passes() {
        for case in CASES {
            let bare = Case {
                manifests: &["istio/base/collector", "istio/base/telemetry"],
                ..*case
            };
            let world = World::start(&bare, &Source::Live(RELEASES[0]));
            world.hurry();
            for proxy in case.proxies {
                let port = format!("${}", proxy.name.to_uppercase());
                assert_eq!(world.get(&port, "shop.example.com", "/", &[]).status, 200);
            }
            let outcome = catch_unwind(AssertUnwindSafe(|| (case.check)(&world)));
            assert!(outcome.is_err(), "{} passes without the filter", case.name);
        }
    }

    #[test]
    #[ignore = "needs Go: make test-istio"]
    fn telemetry_istios_own_tracer_is_on() {
        let bare = Case {
            manifests: &["istio/base/collector"],
            ..*super::case("both_tracers")
        };
        let world = World::start(&bare, &Source::Live(RELEASES[0]));
        checks::only_istios_own(&world);
    }
}
