//! What the proxy knows of itself: variables, its node, and this plugin.

use crate::hostcalls;
use sidespan_core::host::environment::Environment;
use sidespan_runtime::configuration::Plugin;

/// The environment of this VM.
pub(crate) struct ProxyEnvironment {
    variables: Vec<(String, String)>,
}

impl ProxyEnvironment {
    /// Reads the variables.
    pub(crate) fn read() -> Self {
        Self {
            variables: hostcalls::environment(),
        }
    }
}

impl Environment for ProxyEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        let mut named = self.variables.iter().filter(|(key, _)| key == name);
        named.next().map(|(_, value)| value.clone())
    }

    fn node(&self, path: &[&str]) -> Option<String> {
        let path = format!("xds\0node\0{}", path.join("\0"));
        String::from_utf8(hostcalls::property(&path)?).ok()
    }
}

/// Returns the plugin of the current root context, as it is configured in Envoy,
/// and the prefix of its keys in shared data, which is one space for all modules
/// of a VM.
pub(crate) fn current_plugin() -> (Plugin, String) {
    let property = |name| hostcalls::property(name).and_then(|text| String::from_utf8(text).ok());
    let name = property("plugin_name").unwrap_or_default();
    let root_id = property("plugin_root_id").unwrap_or_default();
    let key_prefix = format!("sidespan/{name:?}/{root_id:?}/");
    // Istio names a WasmPlugin `NAMESPACE.NAME`.
    let is_istio = || hostcalls::property("xds\0node\0metadata\0ISTIO_VERSION").is_some();
    let plugin = Plugin {
        description: format!("plugin {name:?}, root_id {root_id:?}"),
        has_identity: !root_id.is_empty() || (name.contains('.') && is_istio()),
    };
    (plugin, key_prefix)
}
