//! What runs in an example.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Variant;
use super::mock::Mock;
use crate::config::{free_port, listener_ports};
use crate::linkerd::LinkerdProxy;
use crate::program::{self, Program};
use crate::{Envoy, MockCollector, Upstream, workspace_root};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    Envoy(EnvoyPart),
    Application(ApplicationPart),
    Collector(CollectorPart),
    MockCollector(MockCollectorPart),
    Linkerd(LinkerdPart),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvoyPart {
    /// Needed where ports of this file stand in another one, too.
    name: Option<String>,
    /// Beside the scenario, or from the root of the repository.
    file: String,
    /// Pieces of the file's text, and what stands for them.
    #[serde(default)]
    replace: BTreeMap<String, String>,
    /// Ports of the file and what stands behind them, above in the list or an application; all
    /// others lead to the upstream.
    #[serde(default)]
    next: BTreeMap<u16, Place>,
    /// Variables of its environment.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Of its command line.
    #[serde(default)]
    args: Vec<String>,
}

/// An application: a folder with `install.sh`, which installs it below `build/` and with `--check`
/// says what it lacks for that, and `run.sh`.
///
/// It listens on `PORT`, asks the URL in `NEXT`, and obeys OpenTelemetry's variables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplicationPart {
    /// Its service's name, too.
    name: String,
    /// Beside the scenario, or from the root of the repository.
    dir: String,
    /// Above in the list.
    next: Option<Place>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

/// An OpenTelemetry Collector: a folder as an application's, whose `run.sh` takes a configuration.
///
/// All parts below it in the list export to it. It listens on `PORT`, and exports to the URL in
/// `NEXT`: the Collector above it, if there is one, else the one that the test looks into.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CollectorPart {
    name: String,
    /// Beside the scenario, or from the root of the repository.
    dir: String,
    /// Likewise.
    config: String,
}

/// A collector of the test beside the one that Envoys export to unless `next` of their port 4317
/// says otherwise. Steps can stop it, start it again and make it misbehave; the spans that it takes
/// are looked into as the other one's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MockCollectorPart {
    name: String,
    /// It speaks nothing else, as a gRPC server does; else HTTP/1.1, too.
    #[serde(default)]
    only_http2: bool,
}

/// A stand-in for Linkerd's proxy; see [`LinkerdProxy`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkerdPart {
    name: String,
    /// Above in the list.
    next: Place,
}

/// Where something listens: `15006`, a port in the file of an Envoy without a name, `a:15006`, a
/// port in the file of the Envoy `a`, or `b`, any other part `b`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Place {
    Port(u16),
    Name(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(port) => port.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

impl Part {
    /// Whether it is installed before it runs.
    pub(super) fn is_program(&self) -> bool {
        matches!(self, Self::Application(_) | Self::Collector(_))
    }

    /// What this machine lacks to run it.
    pub(super) fn missing(&self, dir: &Path) -> Option<String> {
        match self {
            Self::Envoy(_) | Self::MockCollector(_) | Self::Linkerd(_) => None,
            Self::Application(part) => program::missing(&find(dir, &part.dir)),
            Self::Collector(part) => program::missing(&find(dir, &part.dir)),
        }
    }

    pub(super) fn install(&self, dir: &Path) {
        match self {
            Self::Envoy(_) | Self::MockCollector(_) | Self::Linkerd(_) => {}
            Self::Application(part) => program::install(&find(dir, &part.dir)),
            Self::Collector(part) => program::install(&find(dir, &part.dir)),
        }
    }
}

/// All parts of an example while it runs.
pub(super) struct Running {
    applications: Vec<Program>,
    envoys: Vec<(Option<String>, Envoy)>,
    collectors: Vec<Program>,
    mocks: BTreeMap<String, Mock>,
    linkerds: Vec<LinkerdProxy>,
    /// What is started now exports to it.
    collector: SocketAddr,
    places: BTreeMap<String, SocketAddr>,
}

impl Running {
    pub(super) fn start(
        parts: &[Part],
        dir: &Path,
        variant: &Variant,
        upstream: &Upstream,
        collector: &MockCollector,
    ) -> Self {
        let mut running = Self {
            applications: Vec::new(),
            envoys: Vec::new(),
            collectors: Vec::new(),
            mocks: BTreeMap::new(),
            linkerds: Vec::new(),
            collector: collector.addr(),
            places: BTreeMap::new(),
        };
        // An application and its sidecar lead to each other, so the port of one must be known
        // before either starts.
        for part in parts {
            if let Part::Application(part) = part {
                let addr = running.free_addr();
                running.add(part.name.clone(), addr);
            }
        }
        for part in parts {
            match part {
                Part::Envoy(part) => running.start_envoy(part, dir, variant, upstream),
                Part::Application(part) => running.start_application(part, dir, variant),
                Part::Collector(part) => running.start_collector(part, dir),
                Part::MockCollector(part) => running.start_mock(part),
                Part::Linkerd(part) => running.start_linkerd(part),
            }
        }
        running
    }

    pub(super) fn addr(&self, place: &Place) -> SocketAddr {
        let addr = self.places.get(&place.to_string());
        *addr.unwrap_or_else(|| {
            panic!(
                "nothing listens on {place} so far, only on {:?}",
                self.places
            )
        })
    }

    /// The Envoy of this name; without one, the only Envoy that there is.
    pub(super) fn envoy(&self, name: Option<&str>) -> &Envoy {
        let mut named = self.envoys.iter();
        let found = match name {
            Some(_) => named.find(|(its, _)| its.as_deref() == name),
            None => named.next().filter(|_| self.envoys.len() == 1),
        };
        let (_, envoy) = found.unwrap_or_else(|| panic!("which Envoy is {name:?}?"));
        envoy
    }

    pub(super) fn mock(&self, name: &str) -> &Mock {
        let mock = self.mocks.get(name);
        mock.unwrap_or_else(|| panic!("there is no mock collector {name:?}"))
    }

    pub(super) fn mocks(&self) -> impl Iterator<Item = &Mock> {
        self.mocks.values()
    }

    /// Ends the applications as a platform does, and waits until they have.
    pub(super) fn end_applications(&mut self) {
        // Front to back, so that none asks another that has ended.
        for application in self.applications.drain(..).rev() {
            application.terminate();
        }
    }

    /// Ends the Collectors, which send what they hold. They must have got it before.
    pub(super) fn end_collectors(&mut self) {
        for collector in self.collectors.drain(..).rev() {
            collector.terminate();
        }
    }

    fn add(&mut self, place: String, addr: SocketAddr) {
        let before = self.places.insert(place.clone(), addr);
        assert!(before.is_none(), "two parts listen on {place}: name them");
    }

    /// With a port that is free now and no other part's.
    fn free_addr(&self) -> SocketAddr {
        (0..1000)
            .map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())))
            .find(|addr| self.places.values().all(|taken| taken != addr))
            .expect("a free port")
    }

    fn start_envoy(
        &mut self,
        part: &EnvoyPart,
        dir: &Path,
        variant: &Variant,
        upstream: &Upstream,
    ) {
        let file = find(dir, &part.file);
        let mut envoy = Envoy::from_file(&file)
            .concurrency(2)
            .port(8080, upstream.port())
            .port(4317, self.collector.port());
        for (port, place) in &part.next {
            envoy = envoy.port(*port, self.addr(place).port());
        }
        for (from, to) in part.replace.iter().chain(&variant.replace) {
            envoy = envoy.replace(from, to);
        }
        for (name, value) in &part.env {
            envoy = envoy.env(name, value);
        }
        for arg in &part.args {
            envoy = envoy.arg(arg);
        }
        let envoy = envoy.start();
        let text = std::fs::read_to_string(&file).expect("the file was started");
        for port in listener_ports(&text) {
            let place = match &part.name {
                Some(name) => format!("{name}:{port}"),
                None => port.to_string(),
            };
            self.add(place, envoy.addr(port));
        }
        self.envoys.push((part.name.clone(), envoy));
    }

    fn start_application(&mut self, part: &ApplicationPart, dir: &Path, variant: &Variant) {
        let addr = self.places[&part.name];
        let mut env = BTreeMap::from([
            ("PORT", addr.port().to_string()),
            ("OTEL_SERVICE_NAME", part.name.clone()),
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                format!("http://{}", self.collector),
            ),
            ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
            // The collector takes traces only.
            ("OTEL_METRICS_EXPORTER", "none".to_owned()),
            ("OTEL_LOGS_EXPORTER", "none".to_owned()),
        ]);
        if let Some(next) = &part.next {
            env.insert("NEXT", format!("http://{}", self.addr(next)));
        }
        for (name, value) in part.env.iter().chain(&variant.env) {
            env.insert(name, value.clone());
        }
        let application = Program::start(&part.name, &run_script(dir, &part.dir), &[], &env, addr);
        self.applications.push(application);
    }

    fn start_collector(&mut self, part: &CollectorPart, dir: &Path) {
        let addr = self.free_addr();
        let env = BTreeMap::from([
            ("PORT", addr.port().to_string()),
            ("NEXT", format!("http://{}", self.collector)),
        ]);
        let config = find(dir, &part.config);
        let args = [config.as_os_str()];
        let collector = Program::start(&part.name, &run_script(dir, &part.dir), &args, &env, addr);
        self.collectors.push(collector);
        self.add(part.name.clone(), addr);
        self.collector = addr;
    }

    fn start_linkerd(&mut self, part: &LinkerdPart) {
        let next = self.addr(&part.next);
        let proxy = LinkerdProxy::start_on(self.free_addr(), next, self.collector);
        self.add(part.name.clone(), proxy.addr());
        self.linkerds.push(proxy);
    }

    fn start_mock(&mut self, part: &MockCollectorPart) {
        // Nobody else gets this port while it is stopped.
        let addr = self.free_addr();
        self.add(part.name.clone(), addr);
        let mock = Mock::start_on(addr, part.only_http2);
        self.mocks.insert(part.name.clone(), mock);
    }
}

/// What a scenario names: beside it, or from the root of the repository.
fn find(dir: &Path, name: &str) -> PathBuf {
    let beside = dir.join(name);
    if beside.exists() {
        beside
    } else {
        workspace_root().join(name)
    }
}

fn run_script(dir: &Path, name: &str) -> PathBuf {
    find(dir, name).join("run.sh")
}
