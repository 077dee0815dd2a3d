//! Envoy as a child process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::client::{self, Response};
use crate::config::{self, Port};
use crate::process::end_with_this_process;
use crate::temp::TempDir;
use crate::wait::poll;
use crate::workspace_root;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
const WASM_IN_CONFIG: &str = "dist/sidespan.wasm";

/// What stands for the filter in a configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Artefact {
    /// `dist/sidespan.wasm`, as it is written there.
    #[default]
    Wasm,
    /// `dist/libsidespan.so`, with the same document.
    Module,
}

impl Artefact {
    /// Puts it in the place of each Wasm filter of ours in a configuration.
    pub fn rewrite(self, text: &str) -> String {
        match self {
            Self::Wasm => text.to_owned(),
            Self::Module => config::with_module(text, minor_version() >= 40),
        }
    }

    /// What Envoy puts in front of the names of the filter's stats.
    pub fn stats_prefix(self) -> &'static str {
        match self {
            Self::Wasm => "wasmcustom.",
            Self::Module => "dynamicmodulescustom.",
        }
    }
}

/// How to start an Envoy; made by [`Envoy::from_file`] and [`Envoy::from_yaml`].
#[derive(Clone)]
pub struct EnvoyBuilder {
    source: Source,
    replacements: Vec<(String, String)>,
    ports: BTreeMap<u16, u16>,
    listeners: Vec<u16>,
    concurrency: u32,
    log_level: String,
    env: Vec<(OsString, OsString)>,
    args: Vec<OsString>,
    wasm: Option<PathBuf>,
    artefact: Artefact,
    modules: PathBuf,
    binary: Option<PathBuf>,
    prefix: Vec<OsString>,
}

#[derive(Clone)]
enum Source {
    File(PathBuf),
    Yaml(String),
}

impl EnvoyBuilder {
    fn new(source: Source) -> Self {
        Self {
            source,
            replacements: Vec::new(),
            ports: BTreeMap::new(),
            listeners: Vec::new(),
            concurrency: 1,
            log_level: "info".to_owned(),
            env: Vec::new(),
            args: Vec::new(),
            wasm: None,
            artefact: Artefact::Wasm,
            modules: PathBuf::from("dist"),
            binary: None,
            prefix: Vec::new(),
        }
    }

    /// Replaces a piece of the configuration's text everywhere. Panics at start when it is absent,
    /// so that a test does not run with another configuration than it means to.
    pub fn replace(mut self, from: &str, to: impl ToString) -> Self {
        self.replacements.push((from.to_owned(), to.to_string()));
        self
    }

    /// Replaces the port of every `port_value: FIXED`.
    pub fn port(mut self, fixed: u16, actual: u16) -> Self {
        self.ports.insert(fixed, actual);
        self
    }

    /// Gives the listener on this port of the file a free port. Without any call of this, all
    /// listeners get one.
    pub fn listener(mut self, fixed: u16) -> Self {
        self.listeners.push(fixed);
        self
    }

    /// The number of worker threads; 1 unless set.
    pub fn concurrency(mut self, n: u32) -> Self {
        self.concurrency = n;
        self
    }

    /// Sets a variable in Envoy's environment.
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Envoy's log level; `info` unless set.
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Adds an argument to Envoy's command line.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The module that stands for `dist/sidespan.wasm` in the configuration. Unless set, it is
    /// `SIDESPAN_WASM`, else that file in the workspace.
    pub fn wasm(mut self, path: impl Into<PathBuf>) -> Self {
        self.wasm = Some(path.into());
        self
    }

    /// What stands for the filter; the Wasm module unless set.
    pub fn artefact(mut self, artefact: Artefact) -> Self {
        self.artefact = artefact;
        self
    }

    /// The folder with `libsidespan.so`; `dist` in the workspace unless set.
    pub fn modules(mut self, folder: impl Into<PathBuf>) -> Self {
        self.modules = folder.into();
        self
    }

    /// The Envoy to run. Unless set, it is `ENVOY_PATH`, else the path in the workspace's file
    /// `build/envoy-path`, else `envoy` on `PATH`.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// A command that takes Envoy's arguments in place of the binary, such as `func-e run`.
    pub fn prefix_command<S: Into<OsString>>(
        mut self,
        command: impl IntoIterator<Item = S>,
    ) -> Self {
        self.prefix = command.into_iter().map(Into::into).collect();
        self
    }

    /// Starts Envoy and waits until it is live and listens; panics with its log when it is not.
    pub fn start(self) -> Envoy {
        self.try_start().unwrap_or_else(|error| panic!("{error}"))
    }

    /// As [`start`](Self::start), but gives the error of an Envoy that ends or does not get ready
    /// within 30 s. Panics when there is no such binary or configuration.
    pub fn try_start(self) -> Result<Envoy, StartError> {
        let prepared = config::prepare(self.config_text(), &self.listeners, &self.ports);
        let dir = TempDir::new();
        let config = dir.path().join("envoy.yaml");
        std::fs::write(&config, &prepared.text).expect("write the configuration");
        let log = File::create(dir.path().join("envoy.log")).expect("create the log file");
        let command = self.command(&dir, &config, log);

        let (child, keeper) = spawn(command);
        let mut envoy = Envoy {
            child: Mutex::new(child),
            keeper: Some(keeper),
            dir,
            admin: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            ports: BTreeMap::new(),
            source: match self.source {
                Source::File(path) => path.display().to_string(),
                Source::Yaml(_) => "inline".to_owned(),
            },
            wrapped: !self.prefix.is_empty(),
            quiet: true,
        };
        match envoy.wait_ready(&prepared.listeners) {
            Ok(()) => {
                envoy.quiet = false;
                Ok(envoy)
            }
            Err(reason) => {
                let status = envoy.child().try_wait().ok().flatten();
                Err(StartError {
                    reason,
                    log: envoy.log(),
                    status,
                })
            }
        }
    }

    fn config_text(&self) -> String {
        let mut text = match &self.source {
            Source::Yaml(text) => text.clone(),
            Source::File(path) => {
                let path = workspace_root().join(path);
                std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
            }
        };
        for (from, to) in &self.replacements {
            assert!(
                text.contains(from),
                "the configuration has no {from:?} to replace"
            );
            text = text.replace(from, to);
        }
        let wasm = self
            .wasm
            .clone()
            .or_else(|| std::env::var_os("SIDESPAN_WASM").map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(WASM_IN_CONFIG));
        let wasm = workspace_root().join(wasm);
        let text = config::replace_path(&text, WASM_IN_CONFIG, &wasm.to_string_lossy());
        self.artefact.rewrite(&text)
    }

    fn command(&self, dir: &TempDir, config: &Path, log: File) -> Command {
        let mut command = match self.prefix.split_first() {
            Some((program, args)) => {
                let mut command = Command::new(program);
                command.args(args);
                command
            }
            None => Command::new(self.binary.clone().unwrap_or_else(find_binary)),
        };
        command
            .arg("--disable-hot-restart")
            .args(["--concurrency", &self.concurrency.to_string()])
            .args(["--log-level", &self.log_level])
            .arg("--admin-address-path")
            .arg(dir.path().join("admin"))
            .arg("-c")
            .arg(config)
            .args(&self.args)
            .env(
                "ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
                workspace_root().join(&self.modules),
            )
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone the log file"))
            .stderr(log)
            .process_group(0);
        let root = workspace_root();
        if root.is_dir() {
            command.current_dir(root);
        }
        end_with_this_process(&mut command);
        command
    }
}

/// The Envoy that is run unless a builder says otherwise; see [`EnvoyBuilder::binary`]. Panics when
/// there is none.
pub fn find_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENVOY_PATH") {
        return PathBuf::from(path);
    }
    let note = workspace_root().join("build/envoy-path");
    if let Ok(text) = std::fs::read_to_string(note)
        && let Some(line) = text
            .lines()
            .map(str::trim)
            .next()
            .filter(|line| !line.is_empty())
    {
        return workspace_root().join(line);
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join("envoy"))
        .find(|path| path.is_file())
        .expect("there is no Envoy: run `make envoy`, or set ENVOY_PATH to a binary")
}

/// The minor version, 40 of 1.40.0, of the Envoy that is run unless a builder says otherwise. Panics
/// when it does not tell.
pub fn minor_version() -> u32 {
    static VERSION: OnceLock<u32> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let output = Command::new(find_binary())
            .arg("--version")
            .output()
            .expect("run Envoy");
        let text = String::from_utf8_lossy(&output.stdout);
        // envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL
        let parts = text.split('/').find_map(|part| part.strip_prefix("1."));
        let minor = parts.and_then(|rest| rest.split('.').next()?.parse().ok());
        minor.unwrap_or_else(|| panic!("no version in {text:?}"))
    })
}

/// A thread that ends when it is dropped.
///
/// The kernel kills the child when the thread that spawned it ends, and a test's thread may end
/// before an Envoy that it made.
struct Keeper {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

fn spawn(mut command: Command) -> (Child, Keeper) {
    let (end, ended) = mpsc::channel::<()>();
    let (give, take) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("envoy-keeper".to_owned())
        .spawn(move || {
            let child = command.spawn();
            let program = command.get_program().to_string_lossy().into_owned();
            drop(command);
            let _ = give.send(child.map_err(|error| format!("cannot run {program}: {error}")));
            let _ = ended.recv();
        })
        .expect("spawn a thread");
    let keeper = Keeper {
        end: Some(end),
        thread: Some(thread),
    };
    match take.recv().expect("the keeper sends before it ends") {
        Ok(child) => (child, keeper),
        Err(error) => panic!("{error}; `make envoy` fetches an Envoy"),
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Why an Envoy did not start.
#[derive(Debug)]
pub struct StartError {
    /// What was waited for.
    pub reason: String,
    /// All that Envoy wrote.
    pub log: String,
    /// Its exit status; `None` when it still ran and was killed.
    pub status: Option<ExitStatus>,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Envoy did not start: {}\n{}",
            self.reason,
            tail(&self.log)
        )
    }
}

impl std::error::Error for StartError {}

/// A running Envoy; drop kills it. When a test panics, drop prints the end of its log.
pub struct Envoy {
    child: Mutex<Child>,
    keeper: Option<Keeper>,
    dir: TempDir,
    admin: SocketAddr,
    ports: BTreeMap<u16, u16>,
    source: String,
    wrapped: bool,
    quiet: bool,
}

impl Envoy {
    /// Runs the configuration in a file, which is relative to the workspace's root.
    pub fn from_file(path: impl Into<PathBuf>) -> EnvoyBuilder {
        EnvoyBuilder::new(Source::File(path.into()))
    }

    /// Runs the configuration in a text.
    pub fn from_yaml(text: impl Into<String>) -> EnvoyBuilder {
        EnvoyBuilder::new(Source::Yaml(text.into()))
    }

    /// The real port of the listener that has this port in the file. Panics if there is none.
    pub fn port(&self, fixed: u16) -> u16 {
        *self.ports.get(&fixed).unwrap_or_else(|| {
            panic!(
                "no listener on port {fixed} in the configuration ({:?})",
                self.ports
            )
        })
    }

    /// The address, on 127.0.0.1, of the listener that has this port in the file.
    pub fn addr(&self, fixed: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port(fixed)))
    }

    /// The address of the admin interface.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// The body of an admin page. Panics when Envoy does not answer.
    pub fn admin(&self, path: &str) -> String {
        self.admin_request("GET", path)
    }

    /// The body of the answer to a POST to the admin interface. Panics when Envoy does not answer.
    pub fn admin_post(&self, path: &str) -> String {
        self.admin_request("POST", path)
    }

    /// The value of the counter or gauge of exactly this name; `None` while it does not exist.
    pub fn stat(&self, name: &str) -> Option<u64> {
        self.stats(&format!("^{}$", escape_regex(name)))
            .remove(name)
    }

    /// The counters and gauges whose names match a regular expression.
    pub fn stats(&self, regex_filter: &str) -> BTreeMap<String, u64> {
        parse_stats(&self.admin(&format!("/stats?filter={}", percent_encode(regex_filter))))
    }

    /// Waits until a stat exists and satisfies `pred`, and gives its value. Panics with the log
    /// when it does not within `timeout`.
    pub fn wait_stat(&self, name: &str, pred: impl Fn(u64) -> bool, timeout: Duration) -> u64 {
        let mut last = None;
        let found = poll(timeout, || {
            last = self.stat(name);
            last.filter(|&value| pred(value))
        });
        found.unwrap_or_else(|| {
            panic!(
                "stat {name} is {last:?} after {timeout:?}\n{}",
                tail(&self.log())
            )
        })
    }

    /// All that Envoy has written to its standard output and error.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("envoy.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until the log contains `needle`, and gives the first such line. Panics with the log
    /// when it does not within `timeout`.
    pub fn wait_log(&self, needle: &str, timeout: Duration) -> String {
        let find = || {
            self.log()
                .lines()
                .find(|line| line.contains(needle))
                .map(str::to_owned)
        };
        poll(timeout, find).unwrap_or_else(|| {
            panic!(
                "no {needle:?} in the log after {timeout:?}\n{}",
                tail(&self.log())
            )
        })
    }

    /// The id of the process; of the wrapper when there is a prefix command.
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Whether the process has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.child().try_wait(), Ok(None))
    }

    /// The time that the process's present threads have run on a CPU.
    pub fn cpu_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        let nanos = tasks.into_iter().flatten().flatten().filter_map(|task| {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }

    /// The process's resident memory; 0 when it has ended.
    pub fn rss_bytes(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let text = text.unwrap_or_default();
        let kib = text.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        });
        kib.unwrap_or(0) * 1024
    }

    /// Asks Envoy to end with SIGTERM and waits for it. Panics when it does not within 30 s.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(libc::SIGTERM);
        self.wait_exit(STOP_TIMEOUT).unwrap_or_else(|| {
            panic!(
                "Envoy still runs {STOP_TIMEOUT:?} after SIGTERM\n{}",
                tail(&self.log())
            )
        })
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a signal unless the process was reaped, when its id may be another's.
    fn signal(&self, signal: i32) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            // SAFETY: kill has no memory effects; the child is ours and not reaped.
            unsafe { libc::kill(child.id().cast_signed(), signal) };
        }
    }

    fn wait_exit(&self, timeout: Duration) -> Option<ExitStatus> {
        poll(timeout, || self.child().try_wait().expect("wait for Envoy"))
    }

    fn admin_request(&self, method: &str, path: &str) -> String {
        match client::request(self.admin, method, path, &[], b"") {
            Ok(response) => response.text(),
            Err(error) => panic!("{method} {path}: {error}\n{}", tail(&self.log())),
        }
    }

    fn admin_get(&self, path: &str) -> Option<Response> {
        client::request(self.admin, "GET", path, &[], b"").ok()
    }

    fn wait_ready(&mut self, listeners: &BTreeMap<u16, Port>) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Ok(Some(status)) = self.child().try_wait() {
                return Err(format!("it ended with {status}"));
            }
            match self.try_ready(listeners) {
                Ok(ports) => {
                    self.ports = ports;
                    return Ok(());
                }
                Err(missing) if Instant::now() >= deadline => {
                    return Err(format!("no {missing} after {START_TIMEOUT:?}"));
                }
                Err(_) => {}
            }
            // Between two looks.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The listeners' ports, or what is missing still.
    fn try_ready(
        &mut self,
        listeners: &BTreeMap<u16, Port>,
    ) -> Result<BTreeMap<u16, u16>, &'static str> {
        if self.admin.port() == 0 {
            let text = std::fs::read_to_string(self.dir.path().join("admin"));
            let addr = text
                .ok()
                .and_then(|text| text.trim().parse::<SocketAddr>().ok());
            self.admin.set_port(addr.ok_or("admin address")?.port());
        }
        let ready = self
            .admin_get("/ready")
            .is_some_and(|response| response.status == 200);
        if !ready {
            return Err("live state");
        }
        let started = self
            .admin_get("/stats?filter=workers_started")
            .map(|r| r.text());
        if parse_stats(&started.unwrap_or_default()).get("listener_manager.workers_started")
            != Some(&1)
        {
            return Err("running workers");
        }
        let found = self
            .admin_get("/listeners?format=json")
            .ok_or("list of listeners")?;
        let found = found.json();
        let real = |port: &Port| match port {
            Port::Known(port) => Some(*port),
            Port::OfListener(name) => listener_port(&found, name),
        };
        listeners
            .iter()
            .map(|(&fixed, port)| Some((fixed, real(port)?)))
            .collect::<Option<_>>()
            .ok_or("listener")
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.quiet {
            let ports = &self.ports;
            eprintln!(
                "--- Envoy (configuration: {}, ports: {ports:?})",
                self.source
            );
            eprintln!("{}\n---", tail(&self.log()));
        }
        if self.wrapped && self.is_running() {
            // The wrapper ends its Envoy itself; what it leaves is in its process group.
            self.signal(libc::SIGTERM);
            let group = self.pid().cast_signed();
            if poll(Duration::from_secs(5), || {
                (!self.is_running()).then_some(())
            })
            .is_none()
            {
                // SAFETY: kill has no memory effects; the group's leader is ours and not reaped.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
        }
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
        drop(child);
        self.keeper.take();
    }
}

fn listener_port(listeners: &serde_json::Value, name: &str) -> Option<u16> {
    let all = listeners["listener_statuses"].as_array()?;
    let listener = all.iter().find(|listener| listener["name"] == name)?;
    let port = listener["local_address"]["socket_address"]["port_value"].as_u64()?;
    u16::try_from(port).ok().filter(|&port| port != 0)
}

/// Reads `name: value` lines; text readouts and histograms are left out.
fn parse_stats(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.parse().ok()?))
    });
    pairs.collect()
}

fn escape_regex(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if !c.is_ascii_alphanumeric() && c != '_' {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn percent_encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(200)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_numbers_of_exact_names() {
        let text = "a.b: 3\na.text: \"x: y\"\nh: P0(nan,1.0)\nodd: name: 7\n";
        let want = [("a.b".to_owned(), 3), ("odd: name".to_owned(), 7)];
        assert_eq!(parse_stats(text), BTreeMap::from(want));
    }

    #[test]
    fn filters_are_escaped() {
        assert_eq!(percent_encode(&escape_regex("a.b_c|d")), "a%5C.b_c%5C%7Cd");
    }

    #[test]
    fn the_log_is_cut_to_its_end() {
        let log: String = (0..300).map(|n| format!("{n}\n")).collect();
        assert!(tail(&log).starts_with("100\n"));
        assert!(tail(&log).ends_with("\n299"));
    }
}
