//! `make example NAME=…`: runs one of `examples/`, and says what it sees.

use harness::example::{self, Outcome};

fn main() {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: make example NAME=one of the folders in examples/");
        std::process::exit(2);
    };
    match example::run(&name) {
        Outcome::Ran => {}
        Outcome::Skipped(why) => println!("skipped: {why}"),
    }
}
