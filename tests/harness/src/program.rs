//! What tests install and run as child processes: applications, Collectors, Istio.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::process::end_with_this_process;
use crate::temp::TempDir;
use crate::wait::poll;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// What this machine lacks to install the program in a folder.
pub(crate) fn missing(dir: &Path) -> Option<String> {
    let script = dir.join("install.sh");
    let output = Command::new(&script)
        .arg("--check")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    if output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(
        !text.is_empty(),
        "{} --check: {}: {}",
        script.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Some(text)
}

/// Installs the program in a folder, unless it is.
pub(crate) fn install(dir: &Path) {
    let script = dir.join("install.sh");
    let status = Command::new(&script)
        .stdin(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(status.success(), "{}: {status}", script.display());
}

/// A running program; drop kills it. When a test panics, drop prints its log.
pub(crate) struct Program {
    name: String,
    child: Child,
    dir: TempDir,
}

impl Program {
    /// Starts a program and waits until it accepts connections. Panics with its log when it does
    /// not.
    ///
    /// It is killed at the end of the thread that calls this, at the latest.
    pub(crate) fn start(
        name: &str,
        program: &Path,
        args: &[&OsStr],
        env: &BTreeMap<&str, String>,
        addr: SocketAddr,
    ) -> Self {
        let temp = TempDir::new();
        let log = File::create(temp.path().join("log")).expect("create the log file");
        let mut command = Command::new(program);
        // What the caller's shell says of tracing is not this example's.
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"OTEL_") {
                command.env_remove(key);
            }
        }
        command
            .args(args)
            // Some clients send even what stays on loopback to a proxy.
            .envs(["NO_PROXY", "no_proxy"].map(|key| (key, "127.0.0.1")))
            .envs(env)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clone the log file"))
            .stderr(log)
            // Ctrl-C is for the runner, which ends its parts itself.
            .process_group(0);
        end_with_this_process(&mut command);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let mut program = Self {
            name: name.to_owned(),
            child,
            dir: temp,
        };
        let accepts = poll(START_TIMEOUT, || {
            program.assert_running();
            TcpStream::connect(addr).ok()
        });
        assert!(
            accepts.is_some(),
            "{name} does not accept connections after {START_TIMEOUT:?}"
        );
        program.assert_running();
        program
    }

    /// Asks it to end with SIGTERM and waits until it has. Panics when it does not, or not with
    /// success: it has lost spans then.
    pub(crate) fn terminate(mut self) {
        self.assert_running();
        // SAFETY: kill has no memory effects; the child is ours and not reaped.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let status = poll(STOP_TIMEOUT, || self.child.try_wait().expect("wait for it"));
        let Some(status) = status else {
            panic!("{} still runs {STOP_TIMEOUT:?} after SIGTERM", self.name)
        };
        assert!(
            status.success(),
            "{} ended with {status} on SIGTERM",
            self.name
        );
    }

    /// All that it has written to its standard output and error.
    pub(crate) fn log(&self) -> String {
        let log = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().expect("wait for it") {
            panic!("{} ended with {status}", self.name);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}\n---", self.name, self.log());
        }
    }
}
