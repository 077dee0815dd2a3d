//! `make validate FILE=…` and `make schema`.

use clap::Parser;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use walkdir::WalkDir;

/// Checks Sidespan configurations offline.
///
/// A configuration is checked in JSON or YAML, alone or inside a WasmPlugin, an
/// EnvoyFilter or an Envoy configuration. Each finding is a line
/// `FILE:LINE: PLACE: message`.
///
/// Exit status: 0 without findings, 1 with findings, 2 if a file could not be
/// checked or the command line is wrong. Notes do not change it.
#[derive(Parser)]
#[command(
    name = "sidespan-validate",
    version,
    override_usage = "sidespan-validate [OPTIONS] <PATH>..."
)]
struct Options {
    /// A file, a folder with *.yaml, *.yml and *.json files, or - for standard
    /// input
    #[arg(value_name = "PATH", required_unless_present = "schema")]
    paths: Vec<PathBuf>,
    /// Print the JSON Schema of the configuration
    #[arg(long, exclusive = true)]
    schema: bool,
}

const VALID: u8 = 0;
const FINDINGS: u8 = 1;
const NOT_CHECKED: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.schema {
        println!("{:#}", sidespan_config::schema());
        return ExitCode::SUCCESS;
    }
    let statuses = options.paths.iter().map(|path| check(path));
    ExitCode::from(statuses.max().unwrap_or(VALID))
}

fn check(path: &Path) -> u8 {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = io::stdin().read_to_string(&mut text);
        return check_file("<stdin>", read.map(|_| text), false).unwrap_or(NOT_CHECKED);
    }
    if path.is_dir() {
        return check_folder(path);
    }
    let text = std::fs::read_to_string(path);
    check_file(&path.display().to_string(), text, false).unwrap_or(NOT_CHECKED)
}

/// Checks the files of a folder that have a configuration.
fn check_folder(folder: &Path) -> u8 {
    let is_shown = |name: &std::ffi::OsStr| !name.to_string_lossy().starts_with('.');
    let entries = WalkDir::new(folder)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || is_shown(entry.file_name()));
    let mut statuses = Vec::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                eprintln!("{error}");
                statuses.push(NOT_CHECKED);
                continue;
            }
        };
        let end = entry.path().extension().and_then(|end| end.to_str());
        if entry.path().is_file() && matches!(end, Some("yaml" | "yml" | "json")) {
            let text = std::fs::read_to_string(entry.path());
            let name = entry.path().display().to_string();
            statuses.extend(check_file(&name, text, true));
        }
    }
    if statuses.is_empty() {
        let folder = folder.display();
        eprintln!("{folder}: no file with a Sidespan configuration");
    }
    statuses.into_iter().max().unwrap_or(NOT_CHECKED)
}

/// Checks the text of a file. `None` if it has no configuration and comes from
/// a folder.
fn check_file(name: &str, text: io::Result<String>, in_folder: bool) -> Option<u8> {
    let text = match text {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{name}: {error}");
            return Some(NOT_CHECKED);
        }
    };
    let report = sidespan_validate::check(&text);
    // A template or another project's file with wrong syntax.
    let is_ours = || ["sidespan", "otlp_"].iter().any(|word| text.contains(word));
    if in_folder && report.documents == 0 && (report.faults.is_empty() || !is_ours()) {
        return None;
    }
    for fault in &report.faults {
        println!("{name}:{fault}");
    }
    for note in &report.notes {
        println!("{name}:{}: note: {}", note.line, note.text);
    }
    Some(match (report.documents, report.faults.len()) {
        (0, 0) => {
            eprintln!("{name}: no Sidespan configuration");
            NOT_CHECKED
        }
        (1, 0) => {
            println!("{name}: 1 configuration is valid");
            VALID
        }
        (documents, 0) => {
            println!("{name}: {documents} configurations are valid");
            VALID
        }
        _ => FINDINGS,
    })
}
