//! A real Envoy in front of the upstream.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Envoy, EnvoyBuilder, Upstream, client, load};

const SOON: Duration = Duration::from_secs(10);

const CONFIG: &str = r#"
static_resources:
  listeners:
  - name: first
    address:
      socket_address: { address: 127.0.0.1, port_value: 10000 }
    filter_chains: &chains
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress
          codec_type: AUTO
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { prefix: "/second" }
                route: { cluster: second, prefix_rewrite: "/rewritten" }
              - match: { prefix: "/" }
                route: { cluster: upstream }
  - name: second
    address:
      socket_address:
        address: 127.0.0.1
        port_value: 10001
    filter_chains: *chains
  - address: { socket_address: { address: 127.0.0.1, port_value: 10002 } }
    filter_chains: *chains
  clusters:
  - name: upstream
    load_assignment:
      cluster_name: upstream
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: 127.0.0.1, port_value: 8080 } }
  - name: second
    load_assignment:
      cluster_name: second
      endpoints:
      - lb_endpoints:
        - endpoint:
            address: { socket_address: { address: 127.0.0.1, port_value: 10001 } }
"#;

fn envoy(upstream: &Upstream) -> EnvoyBuilder {
    Envoy::from_yaml(CONFIG).port(8080, upstream.port())
}

fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// Whether a process that is not this one's child exists and is no zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn requests_pass_through_every_listener() {
    let upstream = Upstream::start();
    let envoy = envoy(&upstream).concurrency(2).start();
    for fixed in [10000, 10001, 10002] {
        assert_ne!(envoy.port(fixed), fixed);
        assert_eq!(client::get(envoy.addr(fixed), "/x").json()["path"], "/x");
    }
    // From the first listener to the second, whose port a cluster names.
    assert_eq!(
        client::get(envoy.addr(10000), "/second").json()["path"],
        "/rewritten"
    );
    let reply = client::h2_request(envoy.addr(10000), "GET", "/h2", &[], b"").unwrap();
    assert_eq!(reply.json()["path"], "/h2");

    let stat = "http.ingress.downstream_rq_2xx";
    assert!(envoy.wait_stat(stat, |value| value >= 6, SOON) >= 6);
    assert_eq!(envoy.stat("http.ingress.downstream_rq"), None);
    assert_eq!(envoy.stat("http.ingressXdownstream_rq_2xx"), None);
    let stats = envoy.stats(r"^http\.ingress\.downstream_rq_[25]xx$");
    let names: Vec<_> = stats.keys().map(String::as_str).collect();
    assert_eq!(names, [stat, "http.ingress.downstream_rq_5xx"]);
    assert_eq!(envoy.stat("server.concurrency"), Some(2));
    // Histograms come with the others and are left out.
    let stats = envoy.stats(r"^http\.ingress\.downstream_(rq_time|cx_total|cx_active)$");
    assert!(stats["http.ingress.downstream_cx_total"] >= 5, "{stats:?}");
    assert!(stats.contains_key("http.ingress.downstream_cx_active"));
    assert!(!stats.contains_key("http.ingress.downstream_rq_time"));
}

#[test]
fn the_process_is_observed_and_ended() {
    let upstream = Upstream::start();
    let mut envoy = envoy(&upstream)
        .log_level("debug")
        .env("HARNESS_TEST", "yes")
        .start();
    assert!(envoy.is_running());
    assert!(envoy.log().contains("starting main dispatch loop"));
    client::get(envoy.addr(10000), "/needle");
    assert!(envoy.wait_log("'/needle'", SOON).contains(":path"));
    assert!(envoy.rss_bytes() > 1 << 20);
    let environment = std::fs::read(format!("/proc/{}/environ", envoy.pid())).unwrap();
    assert!(
        environment
            .split(|&byte| byte == 0)
            .any(|line| line == b"HARNESS_TEST=yes")
    );

    let before = envoy.cpu_time();
    assert!(before > Duration::from_millis(1));
    assert_eq!(load::run(envoy.addr(10000), "/", 2, 200, &[]).ok, 200);
    assert!(envoy.cpu_time() > before);

    assert!(envoy.admin("/server_info").contains("\"LIVE\""));
    assert_eq!(envoy.admin_post("/reset_counters"), "OK\n");
    assert_eq!(envoy.admin_post("/drain_listeners?graceful"), "OK\n");
    assert!(envoy.terminate().success());
    assert!(!envoy.is_running());
    assert!(envoy.log().contains("caught ENVOY_SIGTERM"));
}

#[test]
fn drop_leaves_no_process() {
    let upstream = Upstream::start();
    let envoy = envoy(&upstream).start();
    let pid = envoy.pid();
    assert!(process_exists(pid));
    drop(envoy);
    assert!(!process_exists(pid));
}

#[test]
fn a_panic_leaves_no_process() {
    let upstream = Upstream::start();
    let mut pid = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let envoy = envoy(&upstream).start();
        pid = envoy.pid();
        panic!("on purpose");
    }));
    assert!(outcome.is_err() && pid != 0);
    assert!(!process_exists(pid));
}

/// Runs only as a child of the next test, which kills it.
#[test]
#[ignore = "waits to be killed"]
fn parent_to_be_killed() {
    let upstream = Upstream::start();
    let envoy = envoy(&upstream).start();
    println!("\nEnvoy's id: {}", envoy.pid());
    // The end of a child that nobody kills.
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_parent_leaves_no_process() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "envoy::parent_to_be_killed",
            "--ignored",
            "--nocapture",
        ])
        // What it cannot remove shall lie there.
        .env("TMPDIR", env!("CARGO_TARGET_TMPDIR"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let pid = lines.find_map(|line| line.strip_prefix("Envoy's id: ")?.parse().ok());
    let alive = pid.is_some_and(is_alive);
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(alive);
    let pid = pid.unwrap();
    harness::eventually(SOON, "Envoy's end", || (!is_alive(pid)).then_some(()));
}

#[test]
fn an_envoy_outlives_the_thread_that_started_it() {
    let upstream = Upstream::start();
    let builder = envoy(&upstream);
    let envoy = std::thread::spawn(|| builder.start()).join().unwrap();
    assert_eq!(client::get(envoy.addr(10000), "/").status, 200);
    assert!(envoy.is_running());
}

#[test]
fn a_broken_configuration() {
    let error = Envoy::from_yaml("static_resources: { listeners: [ { nonsense: 1 } ] }")
        .try_start()
        .err()
        .expect("an error");
    assert!(!error.status.expect("an exit status").success());
    assert!(error.log.contains("nonsense"), "{}", error.log);
    assert!(error.to_string().contains("nonsense"));
    let error = Envoy::from_yaml("{{ no yaml")
        .try_start()
        .err()
        .expect("an error");
    assert!(error.status.is_some(), "{error}");
}

#[test]
#[should_panic(expected = "nonsense")]
fn start_panics_with_the_log() {
    Envoy::from_yaml("nonsense: 1").start();
}

#[test]
#[should_panic(expected = "no \"absent\" to replace")]
fn a_replacement_of_nothing() {
    Envoy::from_yaml("a: 1").replace("absent", 1).start();
}

#[test]
fn ports_and_texts_are_as_told() {
    let upstream = Upstream::start();
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let envoy = envoy(&upstream)
        .port(10000, free)
        .replace(
            "prefix_rewrite: \"/rewritten\"",
            "prefix_rewrite: \"/other\"",
        )
        .arg("--log-format")
        .arg("FMT %v")
        .start();
    assert_eq!(envoy.port(10000), free);
    assert_eq!(
        client::get(envoy.addr(10000), "/second").json()["path"],
        "/other"
    );
    assert!(envoy.log().starts_with("FMT "));
}

#[test]
fn a_file_and_a_module() {
    let config = Path::new(env!("CARGO_TARGET_TMPDIR")).join("module.yaml");
    let text = "\
static_resources: {}
node: { id: a, cluster: b, metadata: { module: dist/sidespan.wasm } }
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } }
";
    std::fs::write(&config, text).unwrap();
    let envoy = Envoy::from_file(&config).wasm("/elsewhere/m.wasm").start();
    assert!(
        envoy
            .admin("/server_info")
            .contains("\"/elsewhere/m.wasm\"")
    );
    assert_ne!(envoy.admin_addr().port(), 9901);
    assert_eq!(
        envoy.stats("^server.live$"),
        BTreeMap::from([("server.live".to_owned(), 1)])
    );
}

#[test]
fn a_wrapper_is_ended_with_its_envoy() {
    let binary = harness::envoy::find_binary();
    let upstream = Upstream::start();
    // The shell does not pass SIGTERM on: the process group must go too.
    let script = "trap '' TERM; \"$0\" \"$@\" & echo pid $!; wait";
    let command = ["sh", "-c", script].map(OsString::from);
    let envoy = envoy(&upstream)
        .prefix_command(command.into_iter().chain([binary.into()]))
        .start();
    let line = envoy.wait_log("pid ", SOON);
    let pid: u32 = line.trim_start_matches("pid ").parse().unwrap();
    assert!(process_exists(pid));
    drop(envoy);
    harness::eventually(SOON, "the wrapped process's end", || {
        (!is_alive(pid)).then_some(())
    });
}
