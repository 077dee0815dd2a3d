//! A new configuration while requests flow.

use crate::stage::PATIENCE;
use harness::{Envoy, MockCollector, Upstream, client, eventually, load, workspace_root};
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

/// An Envoy whose listener comes from a file that can be replaced.
struct Reloading {
    envoy: Envoy,
    upstream: Upstream,
    collector: MockCollector,
    dir: PathBuf,
    listener: String,
    port: u16,
    version: u32,
}

const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";

impl Reloading {
    fn start(name: &str, exporter: &str) -> Self {
        let text =
            std::fs::read_to_string(workspace_root().join("envoy-configs/edge.yaml")).unwrap();
        let (_, rest) = text.split_once("  listeners:\n").unwrap();
        let (listener, clusters) = rest.split_once("  clusters:\n").unwrap();
        let dir =
            std::env::temp_dir().join(format!("sidespan-reload-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        // The listener is not Envoy's to choose: it must keep its port.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|socket| socket.local_addr())
            .unwrap()
            .port();
        let (upstream, collector) = (Upstream::start(), MockCollector::start());
        let listener = listener
            .replace(
                "service_name: edge\n",
                "service_name: edge\n                    span: { upstream_span: false }\n",
            )
            .replace("port_value: 10000", &format!("port_value: {port}"))
            .replace(
                "dist/sidespan.wasm",
                &workspace_root()
                    .join("dist/sidespan.wasm")
                    .to_string_lossy(),
            );
        let bootstrap = format!(
            "node: {{ id: node, cluster: test }}\ndynamic_resources:\n  lds_config:\n    path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}\nstatic_resources:\n  clusters:\n{clusters}",
            dir.join("lds.yaml").display(),
            dir.display(),
        );
        let mut reloading = Self {
            envoy: {
                write(&dir, &listener, exporter, 0);
                Envoy::from_yaml(bootstrap)
                    .concurrency(2)
                    .port(8080, upstream.port())
                    .port(4317, collector.port())
                    .start()
            },
            upstream,
            collector,
            dir,
            listener,
            port,
            version: 0,
        };
        reloading.wait_loaded();
        reloading
    }

    fn addr(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Replaces the configuration of the filter and waits until Envoy took it.
    fn reload(&mut self, exporter: &str) {
        self.version += 1;
        write(&self.dir, &self.listener, exporter, self.version);
        self.wait_loaded();
    }

    fn wait_loaded(&mut self) {
        let version = u64::from(self.version) + 1;
        self.envoy.wait_stat(
            "listener_manager.lds.update_success",
            |n| n >= version,
            PATIENCE,
        );
        self.envoy.wait_stat(
            "listener_manager.total_listeners_warming",
            |n| n == 0,
            PATIENCE,
        );
        eventually(PATIENCE, "the listener accepts", || {
            std::net::TcpStream::connect(self.addr()).ok()
        });
    }
}

impl Drop for Reloading {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Envoy looks at a file when another is moved in its place.
fn write(dir: &std::path::Path, listener: &str, exporter: &str, version: u32) {
    let mut resource = listener.replace(EXPORTER, exporter);
    resource = resource.replacen(
        "  - name: edge",
        "- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n    name: edge",
        1,
    );
    let text = format!(
        "version_info: \"{version}\"\nresources:\n{}",
        resource.replace("\n    ", "\n  ")
    );
    std::fs::write(dir.join("new.yaml"), text).unwrap();
    std::fs::rename(dir.join("new.yaml"), dir.join("lds.yaml")).unwrap();
}

fn quick(name: &str) -> String {
    format!(
        "exporter: {{ otlp_grpc: {{ cluster: otel-collector, authority: {name} }}, batch: {{ schedule_delay: 50ms }} }}"
    )
}

#[test]
fn the_last_good_configuration_stays_when_a_new_one_is_wrong() {
    let mut proxy = Reloading::start("last-good", &quick("first"));
    assert_eq!(client::get(proxy.addr(), "/1").status, 200);
    proxy.collector.wait_spans(1, PATIENCE);

    proxy.reload("exporter: { otlp_grpc: { cluster: otel-collector, authority: second }, batch: { max_queue_size: none } }");
    assert_eq!(client::get(proxy.addr(), "/2").status, 200);
    let calls = proxy.collector.wait_calls(2, PATIENCE);
    assert_eq!(calls[1].authority, "first", "spans go on as before");
    let line = proxy.envoy.wait_log("configuration rejected", PATIENCE);
    assert!(line.contains("the last good configuration stays"), "{line}");
    assert!(
        line.contains("exporter.batch.max_queue_size: \"none\" is not a positive integer"),
        "{line}"
    );
    assert_eq!(
        proxy.envoy.stat("wasmcustom.sidespan.config_rejected"),
        Some(1)
    );

    proxy.reload(&quick("third"));
    assert_eq!(client::get(proxy.addr(), "/3").status, 200);
    eventually(PATIENCE, "an export by the third configuration", || {
        proxy
            .collector
            .calls()
            .iter()
            .find(|call| call.authority == "third")
            .cloned()
    });
    proxy.reload(
        "exporter: { otlp_grpc: { cluster: otel-collector }, batch: { schedule_delay: soon } }",
    );
    proxy.envoy.wait_log("\"soon\" is not a duration", PATIENCE);
    proxy
        .envoy
        .wait_stat("wasmcustom.sidespan.config_rejected", |n| n == 2, PATIENCE);
}

#[test]
fn no_span_is_lost_when_the_configuration_changes_under_load() {
    const REQUESTS: u64 = 20_000;
    let mut proxy = Reloading::start("load", &quick("v0"));
    proxy.upstream.record(false);
    proxy.collector.keep_only_ids();
    let addr = proxy.addr();
    let load = std::thread::spawn(move || load::run(addr, "/bytes/10", 16, REQUESTS, &[]));
    let mut reloads = 0;
    while !load.is_finished() {
        reloads += 1;
        proxy.reload(&quick(&format!("v{reloads}")));
    }
    let report = load.join().unwrap();
    assert!(reloads >= 3, "only {reloads} reloads while the load ran");
    assert_eq!(
        (report.ok, report.failed),
        (REQUESTS, 0),
        "{:?}",
        report.statuses
    );
    proxy.collector.wait_count(REQUESTS as usize, PATIENCE);
    assert_eq!(proxy.collector.ids().len(), REQUESTS as usize);
}
