//! The resource: who sends the spans.

use crate::host::environment::{Environment, is_istio};
use crate::span::attributes::{OwnedValue, put_key_value};
use crate::span::semconv;
use percent_encoding::percent_decode_str;

/// The name of the instrumentation scope and of the SDK.
pub(crate) const SDK_NAME: &str = "sidespan";

/// The version of both.
pub(crate) const SDK_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The field of OTLP's `Resource` that holds its attributes.
const ATTRIBUTES: u32 = 1;

/// The resource of every span that one tracer makes.
#[derive(Debug)]
pub struct Resource {
    attributes: Vec<(String, OwnedValue)>,
    /// What an operator should know of the environment.
    warnings: Vec<String>,
}

impl Resource {
    /// What the configuration says wins over `OTEL_SERVICE_NAME` and
    /// `OTEL_RESOURCE_ATTRIBUTES`, these over what Istio says of its workload,
    /// and that over Envoy's node.
    pub fn new(
        service_name: &str,
        configured: Vec<(String, OwnedValue)>,
        environment: &impl Environment,
    ) -> Self {
        let mut resource = Self {
            attributes: Vec::new(),
            warnings: Vec::new(),
        };
        resource.add_text(semconv::SERVICE_NAME, Some(service_name.to_owned()));
        for (key, value) in configured {
            // A service without a name has none.
            if key != semconv::SERVICE_NAME || value != OwnedValue::Str(String::new()) {
                resource.add(key, value);
            }
        }
        resource.add_variables(environment);
        resource.add_istio(environment);
        resource.add_node(environment);
        // A resource without a name: "MUST fallback to `unknown_service:`
        // concatenated with process.executable.name".
        if !resource.has(semconv::SERVICE_NAME) {
            const UNKNOWN: &str = "unknown_service:envoy";
            resource.add_text(semconv::SERVICE_NAME, Some(UNKNOWN.to_owned()));
            resource.warnings.push(format!(
                "no service name: service_name is empty, OTEL_SERVICE_NAME is not in the environment that the filter sees, the node has no cluster; spans have service.name {UNKNOWN}"
            ));
        }
        for (key, value) in [
            (semconv::TELEMETRY_SDK_NAME, SDK_NAME),
            (semconv::TELEMETRY_SDK_LANGUAGE, "rust"),
            (semconv::TELEMETRY_SDK_VERSION, SDK_VERSION),
        ] {
            resource.add_text(key, Some(value.to_owned()));
        }
        resource
    }

    fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|(earlier, _)| earlier == key)
    }

    /// Adds an attribute that nobody has said before.
    fn add(&mut self, key: String, value: OwnedValue) {
        if !self.has(&key) {
            self.attributes.push((key, value));
        }
    }

    /// Adds a text, if there is one.
    fn add_text(&mut self, key: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.add(key.to_owned(), OwnedValue::Str(value));
        }
    }

    /// OpenTelemetry specification, Environment variables.
    fn add_variables(&mut self, environment: &impl Environment) {
        const LIST: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let name = environment.variable("OTEL_SERVICE_NAME");
        self.add_text(semconv::SERVICE_NAME, name);
        let Some(list) = environment.variable(LIST) else {
            return;
        };
        match parse_list(&list) {
            Some(pairs) => {
                for (key, value) in pairs {
                    self.add_text(&key, Some(value));
                }
            }
            // "In case of any error […] the entire environment variable value
            // SHOULD be discarded and an error SHOULD be reported."
            None => {
                self.warnings.push(format!(
                    "{LIST}: {list:?} is ignored, expected key=value,key=value"
                ));
            }
        }
    }

    /// What Istio puts into the metadata of its proxies' nodes.
    fn add_istio(&mut self, environment: &impl Environment) {
        if !is_istio(environment) {
            return;
        }
        let said = |value: Option<String>| value.filter(|value| !value.is_empty());
        let metadata = |key| said(environment.node(&["metadata", key]));
        let label = |key| said(environment.node(&["metadata", "LABELS", key]));
        let namespace = metadata("NAMESPACE");
        let pod = metadata("NAME");
        let name = label("service.istio.io/canonical-name")
            .or_else(|| metadata("WORKLOAD_NAME"))
            .or_else(|| label("app.kubernetes.io/name"))
            .or_else(|| label("app"));
        let version = label("service.istio.io/canonical-revision")
            .or_else(|| label("app.kubernetes.io/version"))
            .or_else(|| label("version"));
        // As the OpenTelemetry operator names what runs in a pod.
        let instance = namespace
            .as_ref()
            .zip(pod.as_ref())
            .map(|(namespace, pod)| format!("{namespace}.{pod}.istio-proxy"));
        self.add_text(semconv::SERVICE_NAME, name);
        self.add_text(semconv::SERVICE_NAMESPACE, namespace.clone());
        self.add_text(semconv::SERVICE_VERSION, version);
        self.add_text(semconv::SERVICE_INSTANCE_ID, instance);
        self.add_text(semconv::K8S_CLUSTER_NAME, metadata("CLUSTER_ID"));
        self.add_text(semconv::K8S_NAMESPACE_NAME, namespace);
        self.add_text(semconv::K8S_POD_NAME, pod);
        self.add_text(semconv::K8S_NODE_NAME, metadata("NODE_NAME"));
        if let Some((key, name)) = metadata("OWNER").as_deref().and_then(owner) {
            self.add_text(key, Some(name.to_owned()));
        }
    }

    /// What any Envoy says of itself.
    fn add_node(&mut self, environment: &impl Environment) {
        self.add_text(semconv::SERVICE_NAME, environment.node(&["cluster"]));
        self.add_text(semconv::SERVICE_INSTANCE_ID, environment.node(&["id"]));
        let locality = |key| environment.node(&["locality", key]);
        self.add_text(semconv::CLOUD_REGION, locality("region"));
        self.add_text(semconv::CLOUD_AVAILABILITY_ZONE, locality("zone"));
    }

    /// The encoded `Resource` message.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in &self.attributes {
            put_key_value(ATTRIBUTES, key, value.as_value(), &mut bytes);
        }
        bytes
    }

    /// What an operator should know of the environment.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// `key1=value1,key2=value2`, values percent-encoded; `None` if it is not.
fn parse_list(list: &str) -> Option<Vec<(String, String)>> {
    let pairs = list
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=')?;
            // "[…] in keys and values MUST be percent encoded."
            let decoded = |text: &str| {
                let text = percent_decode_str(text.trim()).decode_utf8().ok()?;
                Some(text.into_owned())
            };
            let (key, value) = (decoded(key)?, decoded(value)?);
            (!key.is_empty()).then_some((key, value))
        })
        .collect()
}

/// The owner of a pod,
/// `kubernetes://apis/apps/v1/namespaces/shop/deployments/cart`, as an
/// attribute.
fn owner(owner: &str) -> Option<(&'static str, &str)> {
    let (rest, name) = owner.rsplit_once('/')?;
    let (_, kind) = rest.rsplit_once('/')?;
    let key = match kind {
        "deployments" => "k8s.deployment.name",
        "statefulsets" => "k8s.statefulset.name",
        "daemonsets" => "k8s.daemonset.name",
        "replicasets" => "k8s.replicaset.name",
        "replicationcontrollers" => "k8s.replicationcontroller.name",
        "jobs" => "k8s.job.name",
        "cronjobs" => "k8s.cronjob.name",
        _ => return None,
    };
    Some((key, name))
}
