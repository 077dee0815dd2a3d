//! The record: each Envoy of each round as a line, so that other figures can be made of it.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::measure::{Effort, Sample};

/// Comma-separated values, after comments that say of which machine, when, and of what.
pub(crate) fn csv(machine: &Machine, effort: &Effort, samples: &[Sample]) -> String {
    let mut out = format!(
        "\
# machine: {}
# date: {}
# Envoy: {}
# Sidespan: {}
# cpu_us: CPU time of all of Envoy's threads for a request, the slices' median.
# added_us: median of the differences to the slices of none that were measured beside them.
# p50_us, p99_us: latency at {} requests a second. spans_*: of all requests, unmeasured ones too.
round,sampled_percent,variant,requests,cpu_us,added_us,requests_per_second,busy,p50_us,p99_us,rss_kib,spans_due,spans_received,export_calls
",
        machine.processor, machine.date, machine.envoy, machine.sidespan, effort.pace,
    );
    for sample in samples {
        let _ = writeln!(
            out,
            "{},{},{},{},{:.3},{:.3},{:.0},{:.3},{},{},{},{},{},{}",
            sample.round + 1,
            sample.percent,
            field(sample.variant),
            sample.requests,
            sample.cpu_us,
            sample.added_us,
            sample.per_second,
            sample.busy,
            sample.p50.as_micros(),
            sample.p99.as_micros(),
            sample.rss_bytes / 1024,
            sample.spans_due(),
            sample.received,
            sample.calls,
        );
    }
    out
}

/// A field, in quotes if it needs them (RFC 4180).
pub(crate) fn field(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must() {
        assert_eq!(field("built-in"), "built-in");
        assert_eq!(field("batches, of 512"), "\"batches, of 512\"");
        assert_eq!(field("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
