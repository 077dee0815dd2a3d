//! `make validate FILE=…` and `make schema`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--schema"] => {
            println!("{:#}", sidespan_config::schema());
            ExitCode::SUCCESS
        }
        [] => {
            eprintln!("usage: sidespan-validate FILE… | --schema");
            ExitCode::from(2)
        }
        ref files => files
            .iter()
            .map(|file| check(file))
            .max()
            .map_or(ExitCode::SUCCESS, ExitCode::from),
    }
}

/// 0: all is right; 1: faults; 2: there is nothing that could be checked.
fn check(file: &str) -> u8 {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return 2;
        }
    };
    let report = sidespan_validate::check(&text);
    for fault in &report.faults {
        println!("{file}:{fault}");
    }
    match (report.documents, report.faults.len()) {
        (0, 0) => {
            eprintln!("{file}: no configuration of Sidespan is in it");
            2
        }
        (documents, 0) => {
            println!("{file}: {documents} right");
            0
        }
        _ => 1,
    }
}
