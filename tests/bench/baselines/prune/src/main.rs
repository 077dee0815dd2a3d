//! `prune IN OUT NAME…` deletes exports of a Wasm module by name, and the functions,
//! data and imports that nothing else refers to.

use std::process::ExitCode;

use walrus::{ModuleConfig, passes};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, names @ ..] = arguments.as_slice() else {
        eprintln!("usage: prune IN OUT NAME…");
        return ExitCode::FAILURE;
    };
    match prune(input, output, names) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("prune: {input}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A name that is not exported is an error: a later version of the crate may have renamed it.
fn prune(input: &str, output: &str, names: &[String]) -> Result<(), String> {
    let mut config = ModuleConfig::new();
    config.generate_producers_section(false);
    let module = config.parse_file(input);
    let mut module = module.map_err(|error| format!("{error:#}"))?;
    for name in names {
        let removed = module.exports.remove(name);
        removed.map_err(|error| format!("export {name:?}: {error:#}"))?;
    }
    passes::gc::run(&mut module);
    std::fs::write(output, module.emit_wasm()).map_err(|error| format!("{output}: {error}"))
}
