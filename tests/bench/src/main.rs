//! `make bench`: what tracing costs Envoy, in CPU time a request.
//!
//! Envoys with one worker share one core; the clients, the upstream and the
//! collectors have another. Each variant has an Envoy of its own that runs all
//! the time, and gets its load in turn, round after round: what is compared
//! was measured within the same seconds.

mod measure;
mod report;
mod variant;

use measure::{Point, Subject};
use std::process::Command;
use variant::{SAMPLINGS, Variant};

/// How much is measured.
struct Size {
    rounds: usize,
    requests: u64,
    /// Of a load at a fixed rate.
    seconds: u64,
}

const FULL: Size = Size {
    rounds: 11,
    requests: 20_000,
    seconds: 5,
};

/// Enough to see that it works.
const QUICK: Size = Size {
    rounds: 3,
    requests: 5_000,
    seconds: 1,
};

fn main() {
    let is_quick = std::env::var_os("QUICK").is_some();
    let size = if is_quick { QUICK } else { FULL };
    let subjects: Vec<Subject> = variant::all()
        .into_iter()
        .flat_map(|variant| {
            let samplings = match variant {
                Variant::None => &SAMPLINGS[..1],
                _ => &SAMPLINGS[..],
            };
            samplings.iter().map(move |sampled| (variant, *sampled))
        })
        .map(|(variant, sampled)| Subject::start(variant, sampled))
        .collect();
    println!(
        "{} rounds of {} requests, {} Envoys on core 0; one span a request",
        size.rounds,
        size.requests,
        subjects.len()
    );
    // What happens once only: connections, caches, lazily made things.
    for subject in &subjects {
        subject.load(size.requests.min(5_000));
    }
    let mut points: Vec<Point> = subjects.iter().map(Point::new).collect();
    for round in 0..size.rounds {
        // Another one begins each time.
        for offset in 0..subjects.len() {
            let index = (round + offset) % subjects.len();
            let measured = subjects[index].load(size.requests);
            points[index].add(measured);
        }
        eprintln!("round {} of {}", round + 1, size.rounds);
    }
    for (subject, point) in subjects.iter().zip(&mut points) {
        point.finish(subject, size.seconds);
    }
    let report = report::Report::new(points, size.rounds, size.requests);
    print!("{report}");
    if !is_quick {
        report.keep(&date());
    }
    report.assert_complete();
}

/// Today, as `2026-01-31`.
fn date() -> String {
    let output = Command::new("date").arg("+%F").output().expect("date");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
