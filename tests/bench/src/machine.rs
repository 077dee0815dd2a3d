//! The machine: its cores, and what a record says of it and of the programs.

use std::ffi::OsString;
use std::process::Command;

use harness::envoy::find_binary;

/// Envoy has a core of its own; all that is not measured shares another one.
pub(crate) struct Cores {
    envoy: String,
    rest: String,
}

impl Cores {
    /// 0 and 1, or what `CORES` says: on a machine whose cores have two threads each, 0 and 1 may
    /// be one core.
    pub(crate) fn from_env() -> Self {
        let text = std::env::var("CORES").unwrap_or_default();
        let (envoy, rest) = text.split_once(',').unwrap_or(("0", "1"));
        Self {
            envoy: envoy.to_owned(),
            rest: rest.to_owned(),
        }
    }

    /// Moves this process: the client, the upstream and the collector are its threads.
    pub(crate) fn keep_this_process_off_envoys(&self) -> Result<(), String> {
        let id = std::process::id().to_string();
        let output = Command::new("taskset")
            .args(["-cp", &self.rest, &id])
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("cannot run taskset: {error}")),
        }
    }

    /// The command that runs an Envoy on its core.
    pub(crate) fn envoy_command(&self) -> [OsString; 4] {
        let binary = find_binary().into_os_string();
        [
            "taskset".into(),
            "-c".into(),
            self.envoy.clone().into(),
            binary,
        ]
    }
}

/// What a figure is worth nothing without. No name of a host or a user is in it.
pub(crate) struct Machine {
    /// The processor's model and the number of cores.
    pub(crate) processor: String,
    /// The day of the run, in UTC.
    pub(crate) date: String,
    /// Envoy's version.
    pub(crate) envoy: String,
    /// Ours, with the first digits of each artefact's SHA-256.
    pub(crate) sidespan: String,
}

impl Machine {
    pub(crate) fn read() -> Self {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let wasm = digest("dist/sidespan.wasm");
        let module = digest("dist/libsidespan.so");
        let version = env!("CARGO_PKG_VERSION");
        Self {
            processor: processor(&cpuinfo),
            date: output(Command::new("date").args(["-u", "+%F"])),
            envoy: envoy_version(&output(Command::new(find_binary()).arg("--version"))),
            sidespan: format!("{version} (sidespan.wasm {wasm}, libsidespan.so {module})"),
        }
    }

    /// The name of its record: `2026-11-27-amd-epyc-2-cores`.
    pub(crate) fn record_name(&self) -> String {
        let words = self.processor.split(|c: char| !c.is_ascii_alphanumeric());
        let words = words.filter(|word| !word.is_empty());
        let words = words.map(str::to_lowercase).collect::<Vec<_>>();
        format!("{}-{}", self.date, words.join("-"))
    }
}

fn processor(cpuinfo: &str) -> String {
    let values = |key: &str| {
        let of_key =
            |line: &str| Some(line.strip_prefix(key)?.split_once(':')?.1.trim().to_owned());
        cpuinfo.lines().filter_map(of_key).collect::<Vec<_>>()
    };
    let cores = values("processor").len();
    let model = values("model name").into_iter().next();
    format!(
        "{}, {cores} cores",
        model.unwrap_or_else(|| "unknown".to_owned())
    )
}

/// Of `/path/to/envoy  version: 9e55…/1.40.0/Clean/RELEASE/BoringSSL`.
fn envoy_version(text: &str) -> String {
    let version = text.rsplit("version: ").next();
    let version = version.and_then(|text| text.split('/').nth(1));
    version.unwrap_or("unknown").to_owned()
}

fn digest(path: &str) -> String {
    let text = output(Command::new("sha256sum").arg(harness::workspace_root().join(path)));
    text.chars().take(12).collect()
}

/// What a program prints; nothing if it cannot be run.
fn output(command: &mut Command) -> String {
    let bytes = command.output().map(|output| output.stdout);
    String::from_utf8_lossy(&bytes.unwrap_or_default())
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_named_for_the_day_and_the_processor() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Some(R) CPU @ 2.10GHz\n\nprocessor\t: 1\nmodel name\t: Some(R) CPU @ 2.10GHz\n";
        let machine = Machine {
            processor: processor(cpuinfo),
            date: "2026-11-27".to_owned(),
            envoy: String::new(),
            sidespan: String::new(),
        };
        assert_eq!(machine.processor, "Some(R) CPU @ 2.10GHz, 2 cores");
        let name = "2026-11-27-some-r-cpu-2-10ghz-2-cores";
        assert_eq!(machine.record_name(), name);
    }

    #[test]
    fn the_version_of_envoy() {
        let text = "/x/envoy  version: 9e55/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(envoy_version(text), "1.40.0");
        assert_eq!(envoy_version(""), "unknown");
    }
}
