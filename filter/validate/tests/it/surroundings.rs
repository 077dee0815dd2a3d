//! What the file around a document says about it.

use sidespan_validate::check;

/// An Envoy bootstrap with the Wasm filter.
struct Bootstrap {
    /// Below `http_filters`, before and after Sidespan.
    before: String,
    after: String,
    routes: String,
    vm: String,
    document: String,
    clusters: String,
    top: String,
}

const DOCUMENT: &str = "{ exporter: { otlp_grpc: { cluster: otel-collector } } }";
const HTTP2: &str = r#"{ name: otel-collector, typed_extension_protocol_options: { envoy.extensions.upstreams.http.v3.HttpProtocolOptions: { explicit_http_config: { http2_protocol_options: {} } } } }"#;
const ANY_ROUTE: &str = "{ virtual_hosts: [{ domains: ['*'], routes: [{ match: { prefix: / }, route: { cluster: app } }] }] }";
/// The line of the Sidespan filter, where no filter is before it.
const FILTER: usize = 7;
/// The line of its document.
const LINE: usize = 15;

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            before: String::new(),
            after: String::new(),
            routes: ANY_ROUTE.to_owned(),
            vm: "{}".to_owned(),
            document: DOCUMENT.to_owned(),
            clusters: HTTP2.to_owned(),
            top: String::new(),
        }
    }
}

impl Bootstrap {
    fn text(&self) -> String {
        let Self {
            before,
            after,
            routes,
            vm,
            document,
            clusters,
            top,
        } = self;
        format!(
            r#"static_resources:
  listeners:
  - filter_chains:
    - filters:
      - typed_config:
          http_filters:{before}
          - name: sidespan
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
              config:
                root_id: edge
                vm_config: {vm}
                configuration:
                  "@type": type.googleapis.com/google.protobuf.Struct
                  value: {document}{after}
          route_config: {routes}
  clusters:
  - {clusters}
{top}"#
        )
    }

    fn findings(&self) -> Vec<String> {
        let report = check(&self.text());
        assert_eq!(report.documents, 1, "{}", self.text());
        let faults = report.faults.iter().map(ToString::to_string);
        // The key of another change; the filter's parser says whether it is known.
        faults
            .filter(|fault| !fault.contains("carrier: unknown key"))
            .collect()
    }
}

fn filter(name: &str, config: &str) -> String {
    format!(
        "\n          - {{ name: {name}, typed_config: {{ '@type': type.googleapis.com/envoy.extensions.filters.http.{name}.v3.X, {config} }} }}"
    )
}

#[test]
fn exporter_cluster_that_the_bootstrap_does_not_have_is_a_finding() {
    let document =
        |cluster: &str| format!("{{ exporter: {{ otlp_http: {{ cluster: {cluster} }} }} }}");
    let missing = "exporter.otlp_http.cluster: the configuration has no cluster";
    for (why, cluster, top, expected) in [
        ("its name", "otel-collector", "", None),
        (
            "a misspelt name",
            "otel-colector",
            "",
            Some(format!(
                "{LINE}: {missing} \"otel-colector\", did you mean \"otel-collector\"?"
            )),
        ),
        (
            "another name",
            "zipkin",
            "",
            Some(format!("{LINE}: {missing} \"zipkin\"")),
        ),
        (
            "listeners by LDS alone",
            "zipkin",
            "dynamic_resources: { lds_config: {} }",
            Some(format!("{LINE}: {missing} \"zipkin\"")),
        ),
        (
            "clusters by CDS",
            "zipkin",
            "dynamic_resources: { cds_config: { ads: {} } }",
            None,
        ),
        (
            "ADS",
            "zipkin",
            "dynamic_resources: { ads_config: { api_type: GRPC } }",
            None,
        ),
    ] {
        let bootstrap = Bootstrap {
            document: document(cluster),
            top: top.to_owned(),
            ..Bootstrap::default()
        };
        assert_eq!(bootstrap.findings(), Vec::from_iter(expected), "{why}");
    }
    let lds = "resources:\n- name: sidespan\n  configuration: { exporter: { otlp_http: { cluster: x } } }\n";
    assert_eq!(check(lds).faults, [], "the clusters are elsewhere");
    let native = "static_resources:\n  clusters: []\n  listeners:\n  - dynamic_module_config: { name: sidespan }\n    filter_config: { exporter: { otlp_http: { cluster: x } } }\n";
    assert_eq!(check(native).faults.len(), 1, "the native module's");
    let text = "static_resources:\n  clusters: []\n  listeners:\n  - name: sidespan\n    configuration:\n      value: '{\"exporter\": {\"otlp_http\": {\"cluster\": \"x\"}}}'\n";
    assert_eq!(check(text).faults[0].line, 6, "a document in a string");
}

#[test]
fn otlp_grpc_cluster_without_http2_is_a_finding() {
    let options = |options: &str| {
        format!(
            "{{ name: otel-collector, typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ {options} }} }} }}"
        )
    };
    let finding = format!(
        "{LINE}: exporter.otlp_grpc.cluster: cluster \"otel-collector\" has no HTTP/2, which OTLP over gRPC needs, set explicit_http_config.http2_protocol_options in the cluster's typed_extension_protocol_options.\"envoy.extensions.upstreams.http.v3.HttpProtocolOptions\""
    );
    for (cluster, has_http2) in [
        ("{ name: otel-collector }".to_owned(), false),
        (
            "{ name: otel-collector, http2_protocol_options: {} }".to_owned(),
            true,
        ),
        (
            "{ name: otel-collector, http2_protocol_options: }".to_owned(),
            true,
        ),
        (
            options("explicit_http_config: { http_protocol_options: {} }"),
            false,
        ),
        (
            options("explicit_http_config: { http2_protocol_options: }"),
            true,
        ),
        (
            options("explicitHttpConfig: { http2ProtocolOptions: {} }"),
            true,
        ),
        (
            options("explicit_http_config: { http3_protocol_options: {} }"),
            true,
        ),
        (options("auto_config: {}"), true),
        (options("use_downstream_protocol_config: {}"), false),
        (
            options("use_downstream_protocol_config: { http2_protocol_options: {} }"),
            true,
        ),
    ] {
        let bootstrap = Bootstrap {
            clusters: cluster.clone(),
            ..Bootstrap::default()
        };
        let expected = if has_http2 {
            vec![]
        } else {
            vec![finding.clone()]
        };
        assert_eq!(bootstrap.findings(), expected, "{cluster}");
        let http = Bootstrap {
            document: DOCUMENT.replace("otlp_grpc", "otlp_http"),
            ..bootstrap
        };
        assert_eq!(http.findings(), [""; 0], "otlp_http: {cluster}");
    }
}

const READS: &str = "{ exporter: { otlp_grpc: { cluster: otel-collector, headers: [{ name: x-a, environment: TOKEN }] } }, custom_tags: [{ tag: pod, environment: { name: POD_NAME } }, { tag: zone, environment: { name: ZONE, default_value: none } }] }";

fn unreadable(line: usize, place: &str, name: &str, key: &str) -> String {
    format!(
        "{line}: {place}: the Wasm VM cannot read the environment variable \"{name}\", add it to {key}"
    )
}

#[test]
fn variable_that_the_wasm_vm_cannot_read_is_a_finding() {
    let key = "vm_config.environment_variables.host_env_keys";
    let token = unreadable(
        LINE,
        "exporter.otlp_grpc.headers[0].environment",
        "TOKEN",
        key,
    );
    let pod = unreadable(LINE, "custom_tags[0].environment.name", "POD_NAME", key);
    for (vm, expected) in [
        ("{}", vec![token.clone(), pod.clone()]),
        (
            "{ environment_variables: { host_env_keys: [TOKEN] } }",
            vec![pod],
        ),
        (
            "{ environment_variables: { key_values: { POD_NAME: a } } }",
            vec![token],
        ),
        (
            "{ environment_variables: { host_env_keys: [TOKEN], key_values: { POD_NAME: a } } }",
            vec![],
        ),
        (
            "{ environmentVariables: { hostEnvKeys: [TOKEN, POD_NAME] } }",
            vec![],
        ),
    ] {
        let bootstrap = Bootstrap {
            vm: vm.to_owned(),
            document: READS.to_owned(),
            ..Bootstrap::default()
        };
        assert_eq!(bootstrap.findings(), expected, "{vm}");
    }
    let secret = Bootstrap {
        document: READS.replace("TOKEN", "s3cr3t"),
        ..Bootstrap::default()
    };
    assert!(!secret.findings().concat().contains("s3cr3t"));
}

#[test]
fn variable_of_a_manifest_that_cannot_be_read_is_a_finding() {
    let plugin = |vm: &str| {
        format!(
            "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n  url: oci://example/sidespan:1\n  pluginConfig: {READS}\n  {vm}\n"
        )
    };
    let gateway = |env: &str| {
        format!(
            "kind: EnvoyExtensionPolicy\nspec:\n  wasm:\n  - name: sidespan\n    code: {{ type: Image }}\n    config: {READS}\n    {env}\n"
        )
    };
    let native = format!(
        "typed_config:\n  dynamic_module_config: {{ name: sidespan }}\n  filter_config: {READS}\n"
    );
    let (header, tag) = (
        "exporter.otlp_grpc.headers[0].environment",
        "custom_tags[0].environment.name",
    );
    let istio = "vmConfig.env with valueFrom: HOST";
    for (why, text, expected) in [
        (
            "a WasmPlugin without vmConfig",
            plugin(""),
            vec![
                unreadable(5, header, "TOKEN", istio),
                unreadable(5, tag, "POD_NAME", istio),
            ],
        ),
        (
            "a WasmPlugin with one of them",
            plugin("vmConfig: { env: [{ name: TOKEN, valueFrom: HOST }] }"),
            vec![unreadable(5, tag, "POD_NAME", istio)],
        ),
        (
            "a WasmPlugin with both",
            plugin("vmConfig: { env: [{ name: TOKEN, value: a }, { name: POD_NAME }] }"),
            vec![],
        ),
        (
            "a patch of a WasmPlugin",
            plugin("").replace("  url: oci://example/sidespan:1\n", ""),
            vec![],
        ),
        (
            "Envoy Gateway's",
            gateway("env: { hostKeys: [TOKEN] }"),
            vec![unreadable(6, tag, "POD_NAME", "env.hostKeys")],
        ),
        ("a native module", native, vec![]),
        ("a document alone", READS.to_owned(), vec![]),
    ] {
        let report = check(&text);
        assert_eq!(report.documents, 1, "{why}");
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected, "{why}");
    }
}

fn routes(condition: &str) -> String {
    format!(
        "{{ virtual_hosts: [{{ domains: ['*'], routes: [{{ match: {{ prefix: /, {condition} }}, route: {{ cluster: canary }} }}, {{ match: {{ prefix: / }}, route: {{ cluster: app }} }}] }}] }}"
    )
}

/// The routes of `routes` match on the header `x-canary`.
fn on_header() -> String {
    routes("headers: [{ name: X-Canary, present_match: true }]")
}

fn on_path() -> String {
    ANY_ROUTE.replace("prefix: /", "prefix: /public")
}

fn mutation(key: &str) -> String {
    filter(
        "header_mutation",
        &format!(
            "mutations: {{ request_mutations: [{{ append: {{ header: {{ key: {key}, value: '1' }} }} }}] }}"
        ),
    )
}

fn lua(rest: &str) -> String {
    filter("lua", rest)
}

#[test]
fn filter_that_changes_what_routes_match_on_is_a_finding() {
    let header = "the header \"X-Canary\", which a route to the cluster \"canary\" matches on";
    let changes = format!("changes {header}");
    let can_change = format!("can change {header}");
    let path = "changes the path, which routes match on".to_owned();
    let keeps = "clear_route_cache: false, default_source_code: { inline_string: ";
    for (writer, routes, expected) in [
        (mutation("x-canary"), on_header(), &*changes),
        (
            filter(
                "header_mutation",
                "mutations: { request_mutations: [{ remove: x-canary }] }",
            ),
            on_header(),
            &changes,
        ),
        (mutation("':path'"), on_path(), &path),
        (
            mutation("':authority'"),
            ANY_ROUTE.replace("'*'", "a.example"),
            "changes the authority, which selects the virtual host",
        ),
        (
            lua(&format!("{keeps} 'h:add(k, v)' }}")),
            on_header(),
            &can_change,
        ),
        (
            lua(&format!("{keeps} 'h:replace(\":path\", v)' }}")),
            on_path(),
            &path,
        ),
        (
            filter("ext_authz", "grpc_service: {}"),
            on_header(),
            &can_change,
        ),
        (
            filter(
                "ext_authz",
                "http_service: { authorization_response: { allowed_upstream_headers: { patterns: [{ exact: x-canary }] } } }",
            ),
            on_header(),
            &changes,
        ),
        (
            filter("ext_proc", "grpc_service: {}"),
            on_header(),
            &can_change,
        ),
        (
            filter(
                "jwt_authn",
                "providers: { a: { claim_to_headers: [{ header_name: x-canary, claim_name: sub }] } }",
            ),
            on_header(),
            &changes,
        ),
        (
            filter("dynamic_modules", "dynamic_module_config: { name: other }"),
            on_header(),
            &can_change,
        ),
        (
            filter("grpc_json_transcoder", "match_incoming_request_route: true"),
            on_path(),
            &path,
        ),
        (
            filter(
                "header_to_metadata",
                "request_rules: [{ header: x-canary, remove: true }]",
            ),
            on_header(),
            &changes,
        ),
    ] {
        let name = writer.split("name: ").nth(1).unwrap();
        let name = name.split(',').next().unwrap();
        let text = |line: usize| {
            format!(
                "{line}: propagation.carrier: the filter \"{name}\" {expected}, and Sidespan's header writes make Envoy select the route again, so a request can go to another cluster than without Sidespan, set propagation.carrier: filter_state"
            )
        };
        let before = Bootstrap {
            before: writer.clone(),
            routes: routes.clone(),
            ..Bootstrap::default()
        };
        assert_eq!(before.findings(), [text(FILTER + 1)], "before: {writer}");
        let after = Bootstrap {
            after: writer.clone(),
            routes,
            document: DOCUMENT.replace("exporter", "propagation: { carrier: headers }, exporter"),
            ..Bootstrap::default()
        };
        assert_eq!(after.findings(), [text(FILTER)], "after: {writer}");
    }
}

#[test]
fn filter_that_leaves_the_route_selection_is_no_finding() {
    let keeps = "clear_route_cache: false, default_source_code: { inline_string: ";
    for (why, writer, routes) in [
        ("another header", mutation("x-other"), on_header()),
        (
            "no route on a header",
            mutation("x-canary"),
            ANY_ROUTE.to_owned(),
        ),
        (
            "one route for all paths",
            mutation("':path'"),
            ANY_ROUTE.to_owned(),
        ),
        (
            "responses",
            mutation("x-canary").replace("request_mutations", "response_mutations"),
            on_header(),
        ),
        (
            "a disabled filter",
            mutation("x-canary").replace("typed_config", "disabled: true, typed_config"),
            on_header(),
        ),
        ("routes by RDS", mutation("x-canary"), String::new()),
        (
            "Lua that selects the route itself",
            lua("default_source_code: { inline_string: 'h:add(k, v)' }"),
            on_header(),
        ),
        (
            "Lua that only reads",
            lua(&format!("{keeps} 'h:get(k)' }}")),
            on_header(),
        ),
        (
            "an authorizer that selects the route itself",
            filter("ext_authz", "clear_route_cache: true, grpc_service: {}"),
            on_header(),
        ),
        (
            "an authorizer whose headers go nowhere",
            filter("ext_authz", "http_service: { server_uri: {} }"),
            on_header(),
        ),
        (
            "a processor that sees no request headers",
            filter("ext_proc", "processing_mode: { request_header_mode: SKIP }"),
            on_header(),
        ),
        (
            "another Wasm filter",
            filter("wasm", "config: {}"),
            on_header(),
        ),
        ("Go", filter("golang", "plugin_name: a"), on_header()),
        (
            "Sidespan's own module",
            filter(
                "dynamic_modules",
                "dynamic_module_config: { name: sidespan }",
            ),
            on_header(),
        ),
        ("the router", filter("router", ""), on_header()),
    ] {
        let bootstrap = Bootstrap {
            before: writer,
            routes,
            ..Bootstrap::default()
        };
        assert_eq!(bootstrap.findings(), [""; 0], "{why}");
    }
    let carried = Bootstrap {
        before: mutation("x-canary"),
        after: mutation("traceparent")
            .replace("'1'", "'%FILTER_STATE(wasm.sidespan.traceparent:PLAIN)%'"),
        routes: on_header(),
        document: DOCUMENT.replace(
            "exporter",
            "propagation: { carrier: filter_state }, exporter",
        ),
        ..Bootstrap::default()
    };
    assert_eq!(
        carried.findings(),
        [""; 0],
        "the context is in filter state"
    );
}

#[test]
fn filter_state_that_no_later_filter_writes_is_a_finding() {
    let writes = |name: &str| {
        mutation(name).replace(
            "'1'",
            &format!("'%FILTER_STATE(wasm.sidespan.{name}:PLAIN)%'"),
        )
    };
    let finding = |header: &str, format: &str| {
        format!(
            "{LINE}: propagation.carrier: no filter after Sidespan writes the header \"{header}\" of the format {format}, add an envoy.filters.http.header_mutation whose request_mutations set it to \"%FILTER_STATE(wasm.sidespan.{header}:PLAIN)%\""
        )
    };
    let traceparent = finding("traceparent", "tracecontext");
    for (inject, after, routes, expected) in [
        ("", String::new(), "{}", vec![traceparent.clone()]),
        ("", mutation("traceparent"), "{}", vec![traceparent.clone()]),
        ("", writes("traceparent"), "{}", vec![]),
        ("", writes("b3"), "{}", vec![traceparent]),
        (
            "",
            String::new(),
            "{ request_headers_to_add: [{ header: { key: traceparent, value: '%FILTER_STATE(wasm.sidespan.traceparent:PLAIN)%' } }] }",
            vec![],
        ),
        (
            ", inject: [tracecontext, b3, b3multi]",
            writes("traceparent"),
            "{}",
            vec![finding("b3", "b3"), finding("x-b3-traceid", "b3multi")],
        ),
        (
            ", inject: [tracecontext, b3, b3multi]",
            [writes("traceparent"), writes("b3"), writes("x-b3-traceid")].concat(),
            "{}",
            vec![],
        ),
    ] {
        let propagation = format!("propagation: {{ carrier: filter_state{inject} }}, exporter");
        let bootstrap = Bootstrap {
            after,
            routes: routes.to_owned(),
            document: DOCUMENT.replace("exporter", &propagation),
            ..Bootstrap::default()
        };
        assert_eq!(bootstrap.findings(), expected, "{}", bootstrap.text());
    }
    let before = Bootstrap {
        before: writes("traceparent"),
        document: DOCUMENT.replace(
            "exporter",
            "propagation: { carrier: filter_state }, exporter",
        ),
        ..Bootstrap::default()
    };
    assert_eq!(before.findings().len(), 1, "a filter before Sidespan");
}

#[test]
fn root_id_with_two_documents_is_a_finding() {
    let filter = |id: &str, name: &str| {
        format!(
            "- name: sidespan\n  root_id: '{id}'\n  configuration:\n    value:\n      service_name: {name}\n      exporter: {{ otlp_grpc: {{ cluster: c }} }}\n"
        )
    };
    let finding = "8: config.root_id: \"edge\" has another document in line 5, expected one document for each root_id";
    for (first, second, expected) in [
        (filter("edge", "a"), filter("edge", "b"), vec![finding]),
        (filter("edge", "a"), filter("edge", "a"), vec![]),
        (filter("edge", "a"), filter("other", "b"), vec![]),
        (filter("", "a"), filter("", "b"), vec![]),
    ] {
        let report = check(&format!("{first}{second}"));
        assert_eq!(report.documents, 2);
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected);
    }
    let stream = format!("{}---\n{}", filter("edge", "a"), filter("edge", "b"));
    assert_eq!(
        check(&stream).faults.len(),
        1,
        "in two documents of a stream"
    );
}

#[test]
fn filter_name_with_two_documents_is_a_finding() {
    let filter = |id: &str, name: &str| {
        format!(
            "- dynamic_module_config: {{ name: sidespan }}\n  filter_name: '{id}'\n  filter_config:\n    value:\n      service_name: {name}\n      exporter: {{ otlp_grpc: {{ cluster: c }} }}\n"
        )
    };
    let finding = "8: filter_name: \"edge\" has another document in line 5, expected one document for each filter_name";
    for (first, second, expected) in [
        (filter("edge", "a"), filter("edge", "b"), vec![finding]),
        (filter("edge", "a"), filter("edge", "a"), vec![]),
        (filter("edge", "a"), filter("other", "b"), vec![]),
        (filter("sidespan", "a"), filter("sidespan", "b"), vec![]),
        (filter("", "a"), filter("", "b"), vec![]),
    ] {
        let report = check(&format!("{first}{second}"));
        let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
        assert_eq!(faults, expected);
    }
}

#[test]
fn b3_that_is_extracted_and_not_injected_is_noted() {
    for (propagation, remedy) in [
        ("extract: [b3multi]", Some("b3multi")),
        ("extract: [b3]", Some("b3")),
        (
            "extract: [b3, b3multi], inject: [tracecontext]",
            Some("b3multi"),
        ),
        ("extract: [b3multi], inject: [b3]", None),
        ("extract: [b3multi, tracecontext]", None),
        ("extract: []", None),
        ("inject: [tracecontext]", None),
        ("extract: [b3multi], unsampled: rewrite", None),
        ("extract: [b3multi], outgoing: strip", None),
    ] {
        let text = format!(
            "exporter: {{ otlp_grpc: {{ cluster: c }} }}\npropagation: {{ {propagation} }}\n"
        );
        let notes = check(&text).notes;
        let notes: Vec<String> = notes.iter().map(ToString::to_string).collect();
        let expected = remedy.map(|remedy| format!("2: propagation.extract: inject has no B3 format, so the context of each unsampled request is rewritten, set propagation.inject: [{remedy}] to keep it unchanged"));
        assert_eq!(notes, Vec::from_iter(expected), "{propagation}");
    }
}
