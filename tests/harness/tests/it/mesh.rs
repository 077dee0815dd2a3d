//! `make run`, as a newcomer has it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::eventually;

const MESH: &str = env!("CARGO_BIN_EXE_mesh");

fn mesh() -> Command {
    let mut command = Command::new(MESH);
    command
        .env("ONCE", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The processes that this one has started, as the kernel knows them.
fn children(child: &Child) -> Vec<String> {
    let tasks = format!("/proc/{}/task", child.id());
    let Ok(tasks) = std::fs::read_dir(tasks) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|pids| {
            pids.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn it_prints_whole_traces_and_ends_by_itself() {
    let output = mesh().output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.matches("  5 spans  3 services  ").count(), 4, "{text}");
    // The client's own trace goes on, and its span is the parent of the first.
    assert!(
        text.contains("trace 80f198ee56343ba864fe8b2a57d3eff7  5 spans"),
        "{text}"
    );
    assert!(text.contains("↑ remote parent e457b5a2e4d86bd1"), "{text}");
    assert!(text.contains("503 ERROR"), "{text}");
    assert!(text.contains("GET /healthz"), "{text}");
    assert_eq!(
        text.matches("\ntrace ").count(),
        4,
        "none of the health check: {text}"
    );
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
}

#[test]
fn it_leaves_no_process_behind_when_interrupted() {
    let mut child = mesh().spawn().expect("it runs");
    let stdout = child.stdout.take().expect("its output");
    let mut lines = BufReader::new(stdout).lines();
    lines.next().expect("a first line").expect("text");
    let envoys = children(&child);
    assert_eq!(envoys.len(), 4, "four Envoys");
    // SAFETY: a signal to a child that has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let mut rest = String::new();
    child
        .stderr
        .take()
        .expect("its errors")
        .read_to_string(&mut rest)
        .expect("text");
    child.wait().expect("it ends");
    eventually(Duration::from_secs(5), "the Envoys end", || {
        let alive = envoys
            .iter()
            .any(|pid| Path::new("/proc").join(pid).exists());
        (!alive).then_some(())
    });
}
