//! What came of all rounds, and the table of it.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::measure::{Effort, Sample};
use crate::statistics::Spread;
use crate::variant::{BUILT_IN, NONE, Variant};

/// What came of one variant at one share of sampled requests.
pub(crate) struct Summary {
    pub(crate) percent: u32,
    pub(crate) variant: &'static str,
    /// µs of CPU time for a request.
    cpu: Spread,
    /// What of that is due to tracing.
    pub(crate) added: Spread,
    /// That as a multiple of what the built-in tracer adds.
    pub(crate) of_built_in: f64,
    per_second: Spread,
    busy: Spread,
    p50_us: Spread,
    p99_us: Spread,
    rss_mib: Spread,
    is_traced: bool,
    due: u64,
    received: u64,
    calls: u64,
}

/// One for each variant at each percentage, in this order.
pub(crate) fn summarise(
    samples: &[Sample],
    variants: &[&'static Variant],
    percentages: &[u32],
) -> Vec<Summary> {
    let mut summaries = Vec::new();
    for &percent in percentages {
        let of = |name: &str| -> Vec<&Sample> {
            let own = samples
                .iter()
                .filter(|s| s.percent == percent && s.variant == name);
            own.collect()
        };
        let built_in = added(&of(BUILT_IN)).median;
        let names = variants.iter().map(|variant| variant.name);
        summaries.extend(names.map(|name| summary(percent, name, &of(name), built_in)));
    }
    summaries
}

fn added(own: &[&Sample]) -> Spread {
    Spread::of(own.iter().map(|sample| sample.added_us))
}

fn summary(percent: u32, variant: &'static str, own: &[&Sample], built_in: f64) -> Summary {
    let spread = |value: fn(&Sample) -> f64| Spread::of(own.iter().map(|s| value(s)));
    let sum = |value: fn(&Sample) -> u64| own.iter().map(|s| value(s)).sum();
    let added = added(own);
    Summary {
        percent,
        variant,
        cpu: spread(|s| s.cpu_us),
        added,
        of_built_in: added.median / built_in,
        per_second: spread(|s| s.per_second),
        busy: spread(|s| s.busy),
        p50_us: spread(|s| s.p50.as_secs_f64() * 1e6),
        p99_us: spread(|s| s.p99.as_secs_f64() * 1e6),
        rss_mib: spread(|s| s.rss_bytes as f64 / f64::from(1 << 20)),
        is_traced: own.iter().any(|s| s.is_traced),
        due: sum(Sample::spans_due),
        received: sum(|s| s.received),
        calls: sum(|s| s.calls),
    }
}

/// How many spans of ours have not arrived.
pub(crate) fn spans_of_ours_lost(samples: &[Sample]) -> u64 {
    let ours = samples.iter().filter(|sample| sample.is_ours);
    ours.map(|sample| sample.spans_due().abs_diff(sample.received))
        .sum()
}

/// The tables, with what must be known to read them.
pub(crate) fn text(machine: &Machine, effort: &Effort, summaries: &[Summary]) -> String {
    let mut out = String::new();
    let (rounds, requests) = (effort.rounds, effort.requests());
    let _ = write!(
        out,
        "\
{}, {}, Envoy {}, Sidespan {}
{rounds} rounds of {requests} requests each; Envoy with one worker on one core, all else on another one.
One span a request, by all but a floor: upstream_span is false, spawn_upstream_span is not set.

CPU time of Envoy, in µs a request: the median of the rounds, and between what half of them lie.
`added` is over `none`, measured in the same few seconds.

{}
req/s is at full load, p50 and p99 are at {} requests a second; medians. `busy` is the part of the
time of full load that Envoy was on its core. `spans` is one for each sampled request of all rounds,
`lost` is how many of them the collector has not seen, and `calls` are the exports that it got.

{}
",
        machine.processor,
        machine.date,
        machine.envoy,
        machine.sidespan,
        table(&COSTS, summaries),
        effort.pace,
        table(&REST, summaries),
    );
    out
}

/// A column's heading, and a cell.
type Column = (&'static str, fn(&Summary) -> String);

const COSTS: [Column; 7] = [
    ("sampled", |s| format!("{} %", s.percent)),
    ("variant", |s| s.variant.to_owned()),
    ("in all", |s| format!("{:.1}", s.cpu.median)),
    ("half within", |s| range(s.cpu)),
    ("added", |s| {
        of_tracing(s, format!("{:+.1}", s.added.median))
    }),
    ("half within", |s| of_tracing(s, range(s.added))),
    ("of built-in", |s| {
        of_tracing(s, format!("{:.2}", s.of_built_in))
    }),
];

const REST: [Column; 10] = [
    ("sampled", |s| format!("{} %", s.percent)),
    ("variant", |s| s.variant.to_owned()),
    ("req/s", |s| format!("{:.0}", s.per_second.median)),
    ("busy", |s| format!("{:.0} %", s.busy.median * 100.0)),
    ("p50 µs", |s| format!("{:.0}", s.p50_us.median)),
    ("p99 µs", |s| format!("{:.0}", s.p99_us.median)),
    ("RSS MiB", |s| format!("{:.1}", s.rss_mib.median)),
    ("spans", |s| of_spans(s, s.due)),
    ("lost", |s| of_spans(s, s.due.saturating_sub(s.received))),
    ("calls", |s| of_spans(s, s.calls)),
];

fn range(spread: Spread) -> String {
    format!("{:.1} to {:.1}", spread.lower, spread.upper)
}

/// Nothing is to be said where nothing is traced.
fn of_tracing(summary: &Summary, text: String) -> String {
    match summary.variant {
        NONE => String::new(),
        _ => text,
    }
}

/// Nor of what makes none of its own.
fn of_spans(summary: &Summary, number: u64) -> String {
    match summary.is_traced {
        true => number.to_string(),
        false => String::new(),
    }
}

/// A Markdown table that reads as text, too.
fn table(columns: &[Column], summaries: &[Summary]) -> String {
    let mut rows: Vec<Vec<String>> =
        vec![columns.iter().map(|(name, _)| (*name).to_owned()).collect()];
    rows.extend(
        summaries
            .iter()
            .map(|s| columns.iter().map(|(_, cell)| cell(s)).collect()),
    );
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns.len()).map(|n| width(n).unwrap_or(0)).collect();
    let mut out = String::new();
    for (number, row) in rows.iter().enumerate() {
        for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            // The first two are words, the others numbers.
            let _ = match column {
                0 | 1 => write!(out, "| {cell:<width$} "),
                _ => write!(out, "| {cell:>width$} "),
            };
        }
        out.push_str("|\n");
        if number == 0 {
            for (column, width) in widths.iter().enumerate() {
                let line = "-".repeat(width + 1);
                let _ = match column {
                    0 | 1 => write!(out, "|{line}-"),
                    _ => write!(out, "|{line}:"),
                };
            }
            out.push_str("|\n");
        }
    }
    out
}
