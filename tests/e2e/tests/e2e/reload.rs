//! A new configuration while requests flow.

use super::stage::{ARTEFACT, Asking, PATIENCE, Told, is_told, stat_name};
use harness::{
    Artefact, Behaviour, Envoy, MockCollector, Upstream, client, eventually, load, workspace_root,
};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An Envoy whose listener comes from a file that can be replaced.
pub struct Reloading {
    _asking: Option<Asking>,
    pub envoy: Envoy,
    pub upstream: Upstream,
    pub collector: MockCollector,
    dir: PathBuf,
    listener: String,
    port: u16,
    version: u32,
}

const EXPORTER: &str = "exporter: { otlp_grpc: { cluster: otel-collector } }";

impl Reloading {
    pub fn start(name: &str, exporter: &str) -> Self {
        Self::start_with("dist/sidespan.wasm", 2, name, exporter, |listener| listener)
    }

    /// Starts it with another module and so many workers, and changes to its
    /// listener.
    pub fn start_with(
        module: &str,
        workers: u32,
        name: &str,
        exporter: &str,
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let text =
            std::fs::read_to_string(workspace_root().join("envoy-configs/edge.yaml")).unwrap();
        let (_, rest) = text.split_once("  listeners:\n").unwrap();
        let (listener, clusters) = rest.split_once("  clusters:\n").unwrap();
        let dir = std::env::temp_dir().join(format!(
            "sidespan-reload-{ARTEFACT:?}-{name}-{}",
            std::process::id()
        ));
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
                &workspace_root().join(module).to_string_lossy(),
            );
        let listener = with_identity(ARTEFACT.rewrite(&change(listener)));
        let bootstrap = format!(
            "node: {{ id: node, cluster: test }}\ndynamic_resources:\n  lds_config:\n    path_config_source: {{ path: {}, watched_directory: {{ path: {} }} }}\nstatic_resources:\n  clusters:\n{clusters}",
            dir.join("lds.yaml").display(),
            dir.display(),
        );
        let mut reloading = Self {
            _asking: Asking::start((Ipv4Addr::LOCALHOST, port).into()),
            envoy: {
                write(&dir, &listener, exporter, 0);
                Envoy::from_yaml(bootstrap)
                    .concurrency(workers)
                    // Old listeners really end while the test lasts.
                    .arg("--drain-time-s")
                    .arg("1")
                    .arg("--drain-strategy")
                    .arg("immediate")
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

    pub fn addr(&self) -> std::net::SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Replaces the configuration of the filter and waits until Envoy took it.
    pub fn reload(&mut self, exporter: &str) {
        self.version += 1;
        write(&self.dir, &self.listener, exporter, self.version);
        self.wait_loaded();
    }

    /// Hands over a listener with a module that cannot be loaded.
    fn refuse(&mut self, missing: &str) {
        self.version += 1;
        let listener = self.listener.replace(module(), missing);
        write(&self.dir, &listener, &quick("other"), self.version);
        let rejected = "listener_manager.lds.update_rejected";
        self.envoy.wait_stat(rejected, |n| n > 0, PATIENCE);
    }

    /// Takes the listener away.
    fn remove(&mut self) {
        self.version += 1;
        publish(&self.dir, "", self.version);
        self.envoy
            .wait_stat("listener_manager.listener_removed", |n| n >= 1, PATIENCE);
    }

    /// Waits until the configuration before is asked to end.
    fn wait_drained(&self) {
        let draining = "listener_manager.total_listeners_draining";
        self.envoy.wait_stat(draining, |n| n == 0, PATIENCE);
    }

    fn stat(&self, name: &str) -> u64 {
        let stat = self.envoy.stat(&stat_name(name));
        stat.unwrap_or_default()
    }

    fn wait_stat(&self, name: &str, pred: impl Fn(u64) -> bool) {
        let full = stat_name(name);
        self.envoy.wait_stat(&full, pred, 3 * PATIENCE);
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

/// Gives the filter an identity of its own, so that its last good document takes
/// a rejected one's place whatever that says.
fn with_identity(listener: String) -> String {
    match ARTEFACT {
        Artefact::Wasm => listener.replace(
            "                fail_open: true\n",
            "                fail_open: true\n                root_id: edge\n",
        ),
        Artefact::Module => listener.replace("filter_name: sidespan\n", "filter_name: edge\n"),
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
    publish(dir, &resource.replace("\n    ", "\n  "), version);
}

fn publish(dir: &std::path::Path, resources: &str, version: u32) {
    let resources = match resources {
        "" => " []",
        some => &format!("\n{some}"),
    };
    let text = format!("version_info: \"{version}\"\nresources:{resources}");
    std::fs::write(dir.join("new.yaml"), text).unwrap();
    std::fs::rename(dir.join("new.yaml"), dir.join("lds.yaml")).unwrap();
}

pub fn quick(name: &str) -> String {
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
    assert_eq!(proxy.envoy.stat(&stat_name("config_rejected")), Some(1));

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
        .wait_stat(&stat_name("config_rejected"), |n| n == 2, PATIENCE);
}

#[test]
fn no_span_is_lost_when_the_configuration_changes_under_load() {
    reload_under_load(20);
}

/// As many reloads, valid and invalid in turn.
pub fn reload_under_load(reloads: u64) {
    let mut proxy = Reloading::start("load", &quick("v0"));
    proxy.upstream.record(false);
    proxy.collector.keep_only_ids();
    let addr = proxy.addr();
    let stop = AtomicBool::new(false);
    let reports = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let mut reports = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                reports.push(load::run(addr, "/bytes/10", 16, 1000, &[]));
            }
            reports
        });
        for n in 0..reloads {
            let valid = quick(&format!("v{n}"));
            let invalid = format!("exporter: {{ otlp_grpc: {{ cluster: {n} }} }}");
            proxy.reload(if n % 2 == 0 { &invalid } else { &valid });
            // Only then the document is known to be in force. Of two that are not,
            // none takes a rejected one's place.
            let created = proxy.stat("spans_created");
            proxy.wait_stat("spans_created", |n| n > created);
        }
        stop.store(true, Ordering::Relaxed);
        load.join().unwrap()
    });
    let requests = 1000 * reports.len() as u64;
    let failed: Vec<_> = reports.iter().filter(|report| report.failed > 0).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    proxy.collector.wait_count(requests as usize, PATIENCE);
    proxy.wait_stat("spans_acknowledged", |n| n == requests);
    assert_eq!(proxy.collector.ids().len() as u64, requests, "each once");
    assert_eq!(proxy.stat("spans_created"), requests);
    // More if a worker was still at one when another was at the next.
    assert!(proxy.stat("config_rejected") >= reloads.div_ceil(2));
}

/// The collector is away when the configuration changes: the old one keeps
/// what it has, and delivers it when the collector is back.
#[test]
fn a_configuration_that_goes_takes_its_spans_to_a_collector_that_comes_back() {
    let retrying = |name: &str| {
        quick(name).replace(
            " }}",
            " }, retry: { initial_interval: 100ms, max_interval: 500ms } }",
        )
    };
    let mut proxy = Reloading::start("away", &retrying("first"));
    let addr = proxy.collector.addr();
    proxy.collector.stop();
    for name in ["second", "first", "second", "first", "third"] {
        assert_eq!(client::get(proxy.addr(), "/").status, 200);
        proxy.reload(&retrying(name));
        proxy.wait_drained();
    }
    proxy.wait_stat("spans_queued", |n| n > 0);
    proxy.collector = MockCollector::start_on(addr);
    proxy.collector.wait_count(5, PATIENCE);
    proxy.wait_stat("spans_acknowledged", |n| n == 5);
    proxy.wait_stat("spans_queued", |n| n == 0);
    assert_eq!(proxy.collector.distinct_span_count(), 5);
    assert_eq!(proxy.stat("spans_dropped.shutdown"), 0);
}

/// How often the threads of a process have woken up since they started.
fn wakeups(pid: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process");
    let status =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let switches = status.filter_map(|status| {
        let (_, rest) = status.split_once("\nvoluntary_ctxt_switches:")?;
        rest.lines().next()?.trim().parse::<u64>().ok()
    });
    switches.sum()
}

/// The host goes on ticking for a context that is gone unless it is told not
/// to.
#[test]
fn a_configuration_that_went_leaves_no_timer_behind() {
    // Two workers of one such configuration wake up 2000 times a second.
    const TICKING: &str = "1ms";
    // An Envoy whose filters tick each second wakes up some 50 times.
    const AT_REST: u64 = 200;
    const SECOND: Duration = Duration::from_secs(1);
    let ticking = |delay: &str, name: &str| quick(name).replace("50ms", delay);
    let mut proxy = Reloading::start("timers", &ticking("1s", "first"));
    for name in ["second", "third"] {
        proxy.reload(&ticking(TICKING, name));
        proxy.wait_drained();
    }
    proxy.reload(&ticking("1s", "last"));
    // Those that go are asked to after their listener has drained.
    let count = || wakeups(proxy.envoy.pid());
    let mut looks = VecDeque::from([(Instant::now(), count())]);
    eventually(PATIENCE, "a second with few wakeups", || {
        let now = (Instant::now(), count());
        looks.push_back(now);
        // The newest look that is a second old.
        while looks.get(1).is_some_and(|look| now.0 - look.0 >= SECOND) {
            looks.pop_front();
        }
        let (since, before) = looks[0];
        (now.0 - since >= SECOND && now.1 - before < AT_REST).then_some(())
    });
}

/// The new configuration counts what the old one could not deliver in its
/// last thirty seconds.
#[test]
fn what_a_configuration_that_went_cannot_deliver_is_counted() {
    const REQUESTS: u64 = 5;
    let mut proxy = Reloading::start("undelivered", &quick("first"));
    proxy.collector.stop();
    for _ in 0..REQUESTS {
        assert_eq!(client::get(proxy.addr(), "/").status, 200);
    }
    proxy.reload(&quick("second"));
    proxy.wait_stat("spans_dropped.shutdown", |n| n == REQUESTS);
    assert_eq!(proxy.stat("spans_created"), REQUESTS);
    proxy
        .envoy
        .wait_log("spans are lost, their configuration went", PATIENCE);
}

/// What a collector holds when the configuration is replaced is sent again by
/// way of the new one, and arrives.
#[test]
fn what_was_under_way_when_the_configuration_went_arrives() {
    const REQUESTS: usize = 5;
    let mut proxy = Reloading::start("under-way", &quick("same"));
    proxy.collector.set_behaviour(Behaviour::Hang);
    for _ in 0..REQUESTS {
        assert_eq!(client::get(proxy.addr(), "/").status, 200);
    }
    eventually(PATIENCE, "a call", || {
        (!proxy.collector.calls().is_empty()).then_some(())
    });
    // Another document, and the same resource and collector.
    let indent = "\n                    ";
    proxy.reload(&format!(
        "{}{indent}sampler: {{ ratio: 0.999 }}",
        quick("same")
    ));
    proxy.collector.set_behaviour(Behaviour::Accept);
    proxy.wait_stat("spans_acknowledged", |n| n == REQUESTS as u64);
    assert_eq!(proxy.collector.distinct_span_count(), REQUESTS);
}

/// Ten reloads under load, of which the tenth is in force when the proxy is
/// told to end, requests and exports still under way.
#[test]
fn a_proxy_that_is_told_to_end_under_load_ends_well() {
    let mut proxy = Reloading::start("ended", &quick("v0"));
    proxy.upstream.record(false);
    proxy.collector.keep_only_ids();
    let addr = proxy.addr();
    let stop = AtomicBool::new(false);
    let status = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                load::run(addr, "/bytes/10", 16, 1000, &[]);
            }
        });
        for n in 1..=10 {
            proxy.reload(&quick(&format!("v{n}")));
        }
        proxy.collector.wait_count(1000, PATIENCE);
        let status = proxy.envoy.terminate();
        stop.store(true, Ordering::Relaxed);
        status
    });
    assert_eq!(status.code(), Some(0), "{status}");
    let log = proxy.envoy.log();
    for fault in ["Segmentation fault", "Abort", "assert failure"] {
        assert!(!log.contains(fault), "{log}");
    }
}

/// No other configuration follows. While the listener drains, spans go as
/// ever; what is left at its end goes with it, and so do the stats of the
/// filter, but the log has the number.
#[test]
fn a_listener_that_is_removed_says_what_is_lost_with_it() {
    const REQUESTS: u64 = 7;
    for (delay, delivered) in [("50ms", REQUESTS), ("5m", 0)] {
        let exporter = quick("only").replace("50ms", delay);
        let mut proxy = Reloading::start(&format!("removed-{delay}"), &exporter);
        for _ in 0..REQUESTS {
            assert_eq!(client::get(proxy.addr(), "/").status, 200);
        }
        proxy.remove();
        proxy.collector.wait_count(delivered as usize, PATIENCE);
        // Each of two workers tells its own.
        eventually(PATIENCE, "that all others are told", || {
            let log = proxy.envoy.log();
            let lost = log.lines().filter_map(|line| {
                let (before, _) = line.split_once(" spans are lost, their configuration went")?;
                before.rsplit(' ').next()?.parse::<u64>().ok()
            });
            (lost.sum::<u64>() == REQUESTS - delivered).then_some(())
        });
    }
}

#[test]
fn a_proxy_that_drains_its_listeners_sends_what_it_has() {
    let mut proxy = Reloading::start("drained", &quick("only"));
    assert_eq!(client::get(proxy.addr(), "/").status, 200);
    proxy.envoy.admin_post("/drain_listeners?graceful");
    proxy.collector.wait_count(1, PATIENCE);
    if is_told(Told::Stats) {
        proxy.wait_stat("spans_acknowledged", |n| n == 1);
    }
    proxy.envoy.terminate();
}

/// How a configuration names the artefact.
fn module() -> &'static str {
    match ARTEFACT {
        Artefact::Wasm => "dist/sidespan.wasm",
        Artefact::Module => "dynamic_module_config: { name: sidespan }",
    }
}

/// No policy helps a module that cannot be loaded: the listener stays as it
/// was, and a static one does not come up.
#[test]
fn a_module_that_cannot_be_loaded_changes_nothing() {
    let all: &[&str] = match ARTEFACT {
        Artefact::Wasm => &["README.md", "no-such-file.wasm"],
        Artefact::Module => &["dynamic_module_config: { name: no-such-module }"],
    };
    for missing in all {
        let text = std::fs::read_to_string(workspace_root().join("envoy-configs/edge.yaml"));
        let text = ARTEFACT.rewrite(&text.unwrap());
        assert!(text.contains(module()));
        let static_listener = Envoy::from_yaml(text.replace(module(), missing));
        assert!(static_listener.try_start().is_err(), "{missing}");

        let mut proxy = Reloading::start(&format!("load-{}", missing.len()), &quick("first"));
        proxy.refuse(missing);
        assert_eq!(client::get(proxy.addr(), "/").status, 200);
        assert_eq!(proxy.upstream.last().header("traceparent").len(), 1);
    }
}
