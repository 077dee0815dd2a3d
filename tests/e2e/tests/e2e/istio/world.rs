//! The proxies of a case, the application behind all of them, and the collector.

use super::{Case, Module};
use harness::client::{self, Response};
use harness::istio::{ControlPlane, Input, Workload, record};
use harness::{Envoy, MockCollector, Upstream, eventually, free_port, workspace_root};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

/// Where a case's configuration comes from, by Istio's release.
pub enum Source {
    /// From Istio's control plane.
    Live(&'static str),
    /// From files that were made of what it gave.
    Recorded(&'static str),
}

macro_rules! workload {
    ($name:literal in $namespace:literal $(, $field:ident: $value:expr)*) => {
        Workload {
            name: $name,
            namespace: $namespace,
            labels: &[
                ("app", $name),
                ("service.istio.io/canonical-name", $name),
                ("service.istio.io/canonical-revision", "v1"),
            ],
            $($field: $value,)*
            ..PLAIN
        }
    };
}

const PLAIN: Workload = Workload {
    name: "",
    namespace: "",
    is_gateway: false,
    labels: &[],
    // Istio's own name where there is one cluster.
    cluster: "Kubernetes",
};
pub const CHECKOUT: Workload = workload!("checkout" in "shop");
pub const STOCK: Workload = workload!("stock" in "shop");
pub const STOCK_WEST: Workload = workload!("stock" in "shop", cluster: "west");
pub const PAYMENTS: Workload = workload!("payments" in "payments");
pub const CATALOG: Workload = workload!("catalog" in "catalog");
pub const INGRESS: Workload = Workload {
    name: "ingress",
    namespace: "istio-ingress",
    is_gateway: true,
    labels: &[
        ("istio", "ingress"),
        ("gateway.networking.k8s.io/gateway-name", "ingress"),
    ],
    ..PLAIN
};

/// What has a port in `tests/istio/world.yaml`, and its number in what is
/// recorded. Of two that begin alike the longer one comes first.
const PORTS: [(&str, u16); 11] = [
    ("$APP", 8080),
    ("$COLLECTOR", 4317),
    ("$CHECKOUT_CALLS", 15612),
    ("$CHECKOUT", 15611),
    ("$STOCK_CALLS", 15622),
    ("$STOCK", 15621),
    ("$PAYMENTS_CALLS", 15632),
    ("$PAYMENTS", 15631),
    ("$CATALOG_CALLS", 15642),
    ("$CATALOG", 15641),
    ("$INGRESS", 15651),
];

/// What gets a port only where a case names it.
const VENDOR: &str = "$VENDOR";
const SILENT: &str = "$SILENT";

/// The token in the environment of all proxies.
pub const TOKEN: &str = "token-of-the-environment";

/// A module, and its image.
fn files(module: Module) -> (&'static str, &'static str) {
    match module {
        Module::Ours => ("dist/sidespan.wasm", "dist/image"),
        Module::Trapping => (
            "build/sidespan-fault-injection.wasm",
            "build/istio/image-trap",
        ),
    }
}

/// What people put into the manifests of `istio/sources` themselves.
fn sources() -> [(String, String); 3] {
    let read = |path: &str| {
        let path = workspace_root().join(path);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let index: serde_json::Value =
        serde_json::from_str(&read("dist/image/index.json")).expect("JSON");
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest");
    let sum = read("dist/sidespan.wasm.sha256");
    let sum = sum.split(' ').next().unwrap_or_default();
    let module = workspace_root().join("dist/sidespan.wasm");
    let none = "0".repeat(64);
    [
        (format!("sha256:{none}"), digest.to_owned()),
        (none, sum.to_owned()),
        (
            "/var/lib/sidespan/sidespan.wasm".to_owned(),
            module.display().to_string(),
        ),
    ]
}

/// The hosts of the manifest's Sidecar.
fn scope() -> String {
    let path = workspace_root().join("istio/overlays/sidecar-scope/sidecar.yaml");
    let text = std::fs::read_to_string(path).expect("a manifest");
    let (_, hosts) = text.split_once("  - hosts:\n").expect("hosts");
    let hosts = hosts.lines().filter_map(|line| line.strip_prefix("    - "));
    hosts
        .map(|host| format!("{host:?}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Takes TLS with a certificate of its own and hands what is in it on to a port.
fn tls_before(port: u16) -> Envoy {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["otlp.example.com".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let config = serde_json::json!({
        "static_resources": {
            "listeners": [{
                "name": "vendor",
                "address": { "socket_address": { "address": "127.0.0.1", "port_value": 10443 } },
                "filter_chains": [{
                    "transport_socket": {
                        "name": "tls",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                            "common_tls_context": {
                                "alpn_protocols": ["h2"],
                                "tls_certificates": [{
                                    "certificate_chain": { "inline_string": certificate.pem() },
                                    "private_key": { "inline_string": key.serialize_pem() },
                                }],
                            },
                        },
                    },
                    "filters": [{
                        "name": "envoy.filters.network.tcp_proxy",
                        "typed_config": {
                            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
                            "stat_prefix": "vendor",
                            "cluster": "collector",
                        },
                    }],
                }],
            }],
            "clusters": [{
                "name": "collector",
                "load_assignment": {
                    "cluster_name": "collector",
                    "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": {
                        "socket_address": { "address": "127.0.0.1", "port_value": 4317 },
                    } } }] }],
                },
            }],
        },
        "admin": { "address": { "socket_address": { "address": "127.0.0.1", "port_value": 9901 } } },
    });
    Envoy::from_yaml(config.to_string())
        .port(4317, port)
        .start()
}

pub struct World {
    pub app: Upstream,
    pub collector: MockCollector,
    /// Takes connections and never answers.
    silent: TcpListener,
    /// Takes TLS in front of the collector.
    vendor: Option<Envoy>,
    control_plane: Option<ControlPlane>,
    envoys: Vec<(&'static Workload, Envoy)>,
    /// Real ports by their names.
    ports: BTreeMap<&'static str, u16>,
    patience: Cell<Duration>,
}

impl World {
    pub fn start(case: &Case, source: &Source) -> Self {
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut world = Self {
            app: Upstream::start(),
            collector: MockCollector::start(),
            silent,
            vendor: None,
            control_plane: None,
            envoys: Vec::new(),
            ports: BTreeMap::new(),
            patience: Cell::new(crate::wasm::stage::PATIENCE),
        };
        world.ports.insert("$APP", world.app.port());
        world.ports.insert("$COLLECTOR", world.collector.port());
        match source {
            Source::Live(release) => world.start_live(case, release),
            Source::Recorded(release) => world.start_recorded(case, release),
        }
        world
    }

    fn start_live(&mut self, case: &Case, release: &str) {
        for (name, _) in PORTS {
            self.ports.entry(name).or_insert_with(free_port);
        }
        if case.replace.iter().any(|(_, to)| to.contains(VENDOR)) {
            let vendor = tls_before(self.collector.port());
            self.ports.insert(VENDOR, vendor.port(10443));
            self.vendor = Some(vendor);
        }
        let silent = self.silent.local_addr().expect("an address");
        self.ports.insert(SILENT, silent.port());

        let mut replace: Vec<_> = case
            .replace
            .iter()
            .map(|(from, to)| ((*from).to_owned(), self.with_ports(to)))
            .collect();
        for (_, to) in &mut replace {
            *to = to.replace("$SCOPE", &scope());
        }
        replace.push(("$CHECKOUT_KNOWS".to_owned(), "\"*/*\"".to_owned()));
        replace.extend(PORTS.map(|(name, _)| (name.to_owned(), self.ports[name].to_string())));
        replace.extend(sources());
        let mut manifests = case.manifests.to_vec();
        manifests.push("tests/istio/world.yaml");
        let control_plane = ControlPlane::start(
            release,
            &Input {
                mesh: "tests/istio/mesh.yaml",
                image: files(case.module).1,
                replace: &replace,
                manifests: &manifests,
            },
        );
        for workload in case.proxies {
            let envoy = control_plane.proxy(workload).env("OTLP_TOKEN", TOKEN);
            self.envoys.push((workload, envoy.start()));
        }
        self.control_plane = Some(control_plane);
    }

    fn with_ports(&self, text: &str) -> String {
        let ports = self.ports.iter();
        ports.fold(text.to_owned(), |text, (name, port)| {
            text.replace(name, &port.to_string())
        })
    }

    fn start_recorded(&mut self, case: &Case, release: &str) {
        for workload in case.proxies {
            let file = format!("{}/{}.yaml", folder(case, release), workload.name);
            let mut envoy = Envoy::from_file(&file);
            for (name, number) in PORTS {
                if let Some(&port) = self.ports.get(name) {
                    envoy = envoy.port(number, port);
                }
            }
            let envoy = envoy.start();
            for (name, number) in PORTS {
                if is_of(name, workload) {
                    self.ports.insert(name, envoy.port(number));
                }
            }
            self.envoys.push((workload, envoy));
        }
    }

    /// Where a port of a name listens.
    pub fn addr(&self, name: &str) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[name]))
    }

    /// The proxy of a workload.
    pub fn envoy(&self, name: &str) -> &Envoy {
        let found = self.envoys.iter().find(|(its, _)| its.name == name);
        &found.unwrap_or_else(|| panic!("no proxy of {name}")).1
    }

    /// Asks at a port, as somebody who wants `host`.
    pub fn get(&self, port: &str, host: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut all: Vec<(&str, &[u8])> = vec![("host", host.as_bytes())];
        all.extend(
            headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes())),
        );
        client::request(self.addr(port), "GET", path, &all, b"").expect("an answer")
    }

    /// Waits for a line of Istio's agent.
    pub fn wait_agent(&self, needle: &str) -> String {
        let control_plane = self.control_plane.as_ref().expect("a live case");
        eventually(self.patience(), needle, || {
            let log = control_plane.log();
            let mut lines = log.lines();
            lines.find(|line| line.contains(needle)).map(str::to_owned)
        })
    }

    /// How long to wait for what must come.
    pub fn patience(&self) -> Duration {
        self.patience.get()
    }

    /// Has all that wait give up soon.
    pub fn hurry(&self) {
        self.patience.set(Duration::from_secs(3));
    }

    /// What Istio gave is what is recorded; with `RECORD=1` it is recorded.
    pub fn compare_recorded(&self, case: &Case, release: &str) {
        let folder = folder(case, release);
        let ports: Vec<_> = PORTS
            .iter()
            .map(|(name, number)| (self.ports[name].to_string(), number.to_string()))
            .collect();
        let (wasm, _) = files(case.module);
        for (workload, envoy) in &self.envoys {
            let dump = envoy.admin("/config_dump");
            // A path may have the digits of a port in it.
            let mut replace: Vec<_> = fetched(&dump)
                .map(|path| (path.to_owned(), wasm.to_owned()))
                .collect();
            replace.extend(ports.clone());
            for (file, text) in record(envoy, workload.name, &folder, &replace) {
                let path = workspace_root().join(&folder).join(&file);
                if std::env::var_os("RECORD").is_some() {
                    std::fs::create_dir_all(workspace_root().join(&folder)).expect("a folder");
                    std::fs::write(&path, text).expect("written");
                    continue;
                }
                let kept = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(
                    kept == text,
                    "{folder}/{file} is not what Istio makes of the manifests now: make test-istio RECORD=1"
                );
            }
        }
    }
}

/// The paths of the modules that the agent has fetched.
fn fetched(dump: &str) -> impl Iterator<Item = &str> {
    dump.split("\"filename\": \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.ends_with(".wasm"))
}

fn folder(case: &Case, release: &str) -> String {
    let name = case.name.replace('_', "-");
    format!("tests/istio/recorded/{release}/{name}")
}

/// Whether it is a port that a workload's proxy listens on.
fn is_of(port: &str, workload: &Workload) -> bool {
    let name = workload.name.to_uppercase();
    let rest = port
        .strip_prefix('$')
        .and_then(|port| port.strip_prefix(&*name));
    matches!(rest, Some("" | "_CALLS"))
}
