//! Istio without a cluster: its control plane makes configuration for real Envoys from manifests,
//! and what it made can be kept as files that an Envoy runs by itself.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::config::free_port;
use crate::program::Program;
use crate::temp::TempDir;
use crate::{Envoy, EnvoyBuilder, workspace_root};

/// A workload with a proxy, as Kubernetes and Istio's injection would have it.
#[derive(Debug)]
pub struct Workload {
    /// Of the deployment, the service account and, unless the labels say otherwise, the service.
    pub name: &'static str,
    pub namespace: &'static str,
    /// A gateway's proxy in place of a sidecar.
    pub is_gateway: bool,
    /// Labels of the pod.
    pub labels: &'static [(&'static str, &'static str)],
    /// Istio's name of the cluster that it runs in.
    pub cluster: &'static str,
}

impl Workload {
    /// The pod's name.
    pub fn pod(&self) -> String {
        format!("{}-5f7d9c4b8-x2x8p", self.name)
    }

    /// What Istio's agent says of it to the control plane and to Envoy.
    fn node(&self, release: &str) -> Value {
        let Self {
            name, namespace, ..
        } = self;
        let pod = self.pod();
        let role = if self.is_gateway { "router" } else { "sidecar" };
        let labels: BTreeMap<_, _> = self.labels.iter().copied().collect();
        json!({
            "id": format!("{role}~127.0.0.1~{pod}.{namespace}~{namespace}.svc.cluster.local"),
            "cluster": format!("{name}.{namespace}"),
            "locality": { "region": "us-west-2", "zone": "us-west-2b" },
            "metadata": {
                "NAME": pod,
                "NAMESPACE": namespace,
                "WORKLOAD_NAME": name,
                "SERVICE_ACCOUNT": name,
                "OWNER": format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}"),
                "LABELS": labels,
                "INSTANCE_IPS": "127.0.0.1",
                "CLUSTER_ID": self.cluster,
                "MESH_ID": "cluster.local",
                "NODE_NAME": "node-3",
                "ISTIO_VERSION": format!("{release}.0"),
                // Without iptables, Envoy listens where a Sidecar resource says.
                "INTERCEPTION_MODE": "NONE",
            },
        })
    }
}

/// istiod's own discovery server and the agent's own fetching of modules; drop ends it.
pub struct ControlPlane {
    program: Program,
    _modules: TempDir,
    addr: SocketAddr,
    release: String,
}

/// What a control plane is given.
#[derive(Default)]
pub struct Input<'a> {
    /// A file with the mesh's configuration.
    pub mesh: &'a str,
    /// A folder with an OCI image, which a registry on loopback serves.
    pub image: &'a str,
    /// Pieces of text of the manifests and what stands for them; where two begin at the same
    /// place, the first one.
    pub replace: &'a [(String, String)],
    /// Files of manifests and folders with kustomizations.
    pub manifests: &'a [&'a str],
}

impl ControlPlane {
    /// Starts the one of this release, which `make test-istio` has built. All paths are relative
    /// to the workspace's root. Panics with its log if it refuses what it is given.
    pub fn start(release: &str, input: &Input) -> Self {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let modules = TempDir::new();
        let mut args: Vec<OsString> = vec!["-listen".into(), addr.to_string().into()];
        args.extend(["-modules".into(), modules.path().into()]);
        let root = workspace_root();
        for (flag, path) in [("-mesh", input.mesh), ("-image", input.image)] {
            if !path.is_empty() {
                args.extend([flag.into(), root.join(path).into()]);
            }
        }
        for (from, to) in input.replace {
            args.extend(["-replace".into(), format!("{from}={to}").into()]);
        }
        args.extend(input.manifests.iter().map(|path| root.join(path).into()));
        let args: Vec<&OsStr> = args.iter().map(OsString::as_os_str).collect();
        // A stock Envoy has none of Istio's own filters.
        let env = BTreeMap::from([
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false".to_owned()),
            ("PILOT_ENABLE_ALPN_FILTER", "false".to_owned()),
        ]);
        let path = root.join(format!("build/istio/controlplane-{release}"));
        let name = format!("Istio {release}");
        Self {
            program: Program::start(&name, &path, &args, &env, addr),
            _modules: modules,
            addr,
            release: release.to_owned(),
        }
    }

    /// All that it has written, also as the agent.
    pub fn log(&self) -> String {
        self.program.log()
    }

    /// The release's Envoy as the proxy of a workload, which asks this for its configuration.
    pub fn proxy(&self, workload: &Workload) -> EnvoyBuilder {
        let discovery = json!({
            "ads": {},
            "resource_api_version": "V3",
            "initial_fetch_timeout": "0s",
        });
        // The stats that Istio's own bootstrap leaves an Envoy.
        let kept = [
            "reporter=",
            "cluster_manager",
            "listener_manager",
            "server",
            "cluster.xds-grpc",
            "wasm",
        ]
        .map(|prefix| json!({ "prefix": prefix }));
        let bootstrap = json!({
            "node": workload.node(&self.release),
            "stats_config": { "stats_matcher": { "inclusion_list": { "patterns": kept } } },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds-grpc" } }],
                },
                "lds_config": discovery,
                "cds_config": discovery,
            },
            "static_resources": { "clusters": [{
                "name": "xds-grpc",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                        "explicit_http_config": { "http2_protocol_options": {} },
                    },
                },
                "load_assignment": static_endpoint("xds-grpc", self.addr),
            }] },
            "admin": { "address": socket_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) },
        });
        Envoy::from_yaml(bootstrap.to_string()).binary(binary(&self.release))
    }
}

/// The Envoy that goes with a release, which `make test-istio` has installed.
fn binary(release: &str) -> PathBuf {
    let note = workspace_root().join(format!("build/istio/envoy-{release}"));
    let text = std::fs::read_to_string(&note)
        .unwrap_or_else(|error| panic!("{}: {error}: run `make test-istio`", note.display()));
    text.trim().into()
}

fn socket_address(addr: SocketAddr) -> Value {
    json!({ "socket_address": { "address": addr.ip().to_string(), "port_value": addr.port() } })
}

fn static_endpoint(cluster: &str, addr: SocketAddr) -> Value {
    json!({
        "cluster_name": cluster,
        "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": socket_address(addr) } }] }],
    })
}

/// What a control plane has given to an Envoy as files by their names: `NAME.yaml`, a complete
/// configuration, and `NAME.ecds.json`, its filters that come by discovery, as from `dir`.
///
/// Routes and endpoints stand in their listeners and clusters. `replace` is for what differs from
/// run to run, such as ports and paths.
pub fn record(
    envoy: &Envoy,
    name: &str,
    dir: &str,
    replace: &[(String, String)],
) -> BTreeMap<String, String> {
    let dump = envoy.admin("/config_dump?include_eds");
    let dump = replace
        .iter()
        .fold(dump, |dump, (from, to)| replace_whole(&dump, from, to));
    let dump: Value = serde_json::from_str(&dump).expect("a dump in JSON");
    let ecds = format!("{name}.ecds.json");
    let given = Given::new(&dump);

    let listeners = given.listeners.iter().map(|listener| {
        let mut listener = listener.clone();
        put_in(&mut listener, &mut |object| {
            if let Some(rds) = object.remove("rds") {
                let name = rds["route_config_name"].as_str().expect("a name");
                object.insert("route_config".to_owned(), given.routes[name].clone());
            }
            if let Some(discovery) = object.get_mut("config_discovery") {
                discovery["config_source"] = json!({
                    "path_config_source": { "path": format!("{dir}/{ecds}") },
                    "resource_api_version": "V3",
                });
            }
        });
        listener
    });
    let clusters = given.clusters.iter().map(|cluster| {
        let mut cluster = cluster.clone();
        let object = cluster.as_object_mut().expect("an object");
        if let Some(eds) = object.remove("eds_cluster_config") {
            let name = eds.get("service_name").or(object.get("name"));
            let name = name.and_then(Value::as_str).expect("a name");
            let none = json!({ "cluster_name": name });
            let endpoints = given.endpoints.get(name).unwrap_or(&none).clone();
            object.insert("type".to_owned(), json!("STATIC"));
            object.insert("load_assignment".to_owned(), endpoints);
        }
        cluster
    });
    let bootstrap = json!({
        "node": given.node,
        "static_resources": {
            "listeners": listeners.collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        },
        "admin": { "address": socket_address(SocketAddr::from((Ipv4Addr::LOCALHOST, 9901))) },
    });
    let yaml = serde_yaml_ng::to_string(&bootstrap).expect("YAML");
    let mut files = BTreeMap::from([(format!("{name}.yaml"), yaml)]);
    if !given.filters.is_empty() {
        let response = json!({ "version_info": "1", "resources": given.filters });
        let text = serde_json::to_string_pretty(&response).expect("JSON");
        files.insert(ecds, text + "\n");
    }
    files
}

/// Replaces a text where it is no part of a longer number.
fn replace_whole(text: &str, from: &str, to: &str) -> String {
    let is_digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(from) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        out.push_str(before);
        let is_whole = !is_digit(out.chars().next_back()) && !is_digit(after.chars().next());
        out.push_str(if is_whole { to } else { from });
        rest = after;
    }
    out + rest
}

/// What stands in a dump of Envoy's configuration.
struct Given {
    node: Value,
    listeners: Vec<Value>,
    clusters: Vec<Value>,
    routes: BTreeMap<String, Value>,
    endpoints: BTreeMap<String, Value>,
    filters: Vec<Value>,
}

impl Given {
    fn new(dump: &Value) -> Self {
        let all = |list: &str, item: &[&str]| -> Vec<Value> {
            let configs = dump["configs"].as_array().expect("configs");
            let found = configs
                .iter()
                .filter_map(|config| config[list].as_array())
                .flatten();
            let mut found: Vec<_> = found
                .map(|entry| item.iter().fold(entry, |entry, key| &entry[*key]).clone())
                .collect();
            // In no order of their own.
            found.sort_by_key(|entry| entry["name"].to_string());
            found
        };
        let untyped = |mut entries: Vec<Value>| {
            for entry in &mut entries {
                let object = entry.as_object_mut().expect("an object");
                object.remove("@type");
            }
            entries
        };
        let by = |key: &str, entries: Vec<Value>| {
            let pair = |entry: Value| (entry[key].as_str().expect("a name").to_owned(), entry);
            entries.into_iter().map(pair).collect()
        };
        let configs = dump["configs"].as_array().expect("configs");
        let bootstrap = configs.iter().find_map(|config| config.get("bootstrap"));
        let mut node = bootstrap.expect("a bootstrap")["node"].clone();
        // What Envoy adds is another with each build.
        let own = ["id", "cluster", "locality", "metadata"];
        let object = node.as_object_mut().expect("an object");
        object.retain(|key, _| own.contains(&key.as_str()));
        Self {
            node,
            listeners: untyped(all("dynamic_listeners", &["active_state", "listener"])),
            clusters: untyped(all("dynamic_active_clusters", &["cluster"])),
            routes: by(
                "name",
                untyped(all("dynamic_route_configs", &["route_config"])),
            ),
            endpoints: by(
                "cluster_name",
                untyped(all("dynamic_endpoint_configs", &["endpoint_config"])),
            ),
            filters: all("ecds_filters", &["ecds_filter"]),
        }
    }
}

/// Gives each object in a value to `change`, the outer ones first.
fn put_in(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| put_in(value, change));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| put_in(value, change)),
        _ => {}
    }
}
