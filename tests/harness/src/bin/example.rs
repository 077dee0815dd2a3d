//! `make example NAME=…`: runs one of `examples/`, and says what it sees.

fn main() {
    match std::env::args().nth(1) {
        Some(name) => harness::example::run(&name),
        None => {
            eprintln!("usage: make example NAME=one of the folders in examples/");
            std::process::exit(2);
        }
    }
}
