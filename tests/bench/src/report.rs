//! What was measured, as a table, as data, and as a chart.

use crate::measure::Point;
use crate::variant::{SAMPLINGS, Variant};
use harness::workspace_root;
use std::fmt::{self, Write};

/// A value with the middle half of what it was made of.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len().saturating_sub(1)) as f64 * share;
            let (low, high) = (index.floor() as usize, index.ceil() as usize);
            (values[low] + values[high]) / 2.0
        };
        Self {
            low: at(0.25),
            median: at(0.5),
            high: at(0.75),
        }
    }
}

pub struct Report {
    points: Vec<Point>,
    rounds: usize,
    requests: u64,
}

impl Report {
    pub fn new(points: Vec<Point>, rounds: usize, requests: u64) -> Self {
        Self {
            points,
            rounds,
            requests,
        }
    }

    fn of(&self, variant: Variant, sampled: u32) -> &Point {
        let mut points = self.points.iter();
        points
            .find(|point| point.variant == variant && point.sampled == sampled)
            .expect("it was measured")
    }

    /// Microseconds of CPU that a request has more than one without tracing,
    /// of the same round.
    fn added(&self, point: &Point) -> Spread {
        let none = self.of(Variant::None, SAMPLINGS[0]);
        let pairs = point.rounds.iter().zip(&none.rounds);
        Spread::of(pairs.map(|(it, none)| (it.cpu - none.cpu) / 1000.0))
    }

    /// How that is to the tracer that is built in, of the same sampling.
    fn ratio(&self, point: &Point) -> f64 {
        let built_in = self.of(Variant::BuiltIn, point.sampled);
        self.added(point).median / self.added(built_in).median
    }

    /// Fails if a span of ours did not come.
    pub fn assert_complete(&self) {
        for point in &self.points {
            if point.variant.stats_prefix().is_some() {
                let (sampled, received) = (point.spans.sampled, point.spans.received);
                let name = point.variant.name();
                assert_eq!(sampled, Some(received), "{name}, {} %", point.sampled);
            }
        }
    }

    /// Writes the record and the chart.
    pub fn keep(&self, date: &str) {
        let record = workspace_root().join(format!("tests/bench/record/{date}.csv"));
        std::fs::create_dir_all(record.parent().expect("a folder")).expect("the folder");
        std::fs::write(record, self.csv(date)).expect("the record");
        std::fs::write(workspace_root().join("docs/bench.svg"), self.svg()).expect("the chart");
    }

    fn csv(&self, date: &str) -> String {
        let mut csv = format!(
            "# {date}; {}; {}; {} rounds of {} requests\nvariant,sampled_percent,round,cpu_ns_per_request,requests_per_second\n",
            machine(),
            harness_envoy(),
            self.rounds,
            self.requests
        );
        for point in &self.points {
            for (round, measured) in point.rounds.iter().enumerate() {
                let _ = writeln!(
                    csv,
                    "\"{}\",{},{},{:.0},{:.0}",
                    point.variant.name(),
                    point.sampled,
                    round + 1,
                    measured.cpu,
                    measured.rate
                );
            }
        }
        csv
    }

    /// Bars of the added CPU time; readable on light and on dark.
    fn svg(&self) -> String {
        const LEFT: f64 = 250.0;
        const WIDTH: f64 = 760.0;
        const BAR: f64 = 14.0;
        let traced: Vec<Variant> = crate::variant::all()[1..].to_vec();
        let groups = SAMPLINGS.len() as f64;
        let height = groups * (traced.len() as f64 * (BAR + 4.0) + 34.0) + 20.0;
        let most = self.points.iter().map(|point| self.added(point).high);
        let most = most.fold(1.0, f64::max);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"#808080\">\n<title>CPU time added to a request, in microseconds</title>\n"
        );
        let mut y = 10.0;
        for sampled in SAMPLINGS {
            y += 16.0;
            let _ = writeln!(
                svg,
                "<text x=\"0\" y=\"{y}\" font-weight=\"bold\">added CPU a request, {sampled} % sampled</text>"
            );
            y += 8.0;
            for variant in &traced {
                let added = self.added(self.of(*variant, sampled)).median;
                let colour = match variant.stats_prefix() {
                    Some(_) => "#2a78d6",
                    None => "#a0a0a0",
                };
                let length = (added.max(0.0) / most) * (WIDTH - LEFT - 70.0);
                let text = y + BAR - 3.0;
                let _ = writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"{BAR}\" fill=\"{colour}\"/><text x=\"{:.1}\" y=\"{text}\">{added:.1} µs</text>",
                    LEFT - 8.0,
                    variant.name(),
                    LEFT + length + 6.0,
                );
                y += BAR + 4.0;
            }
            y += 10.0;
        }
        svg + "</svg>\n"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let none = self.of(Variant::None, SAMPLINGS[0]);
        let cpu = Spread::of(none.rounds.iter().map(|measured| measured.cpu / 1000.0));
        writeln!(f, "{}; {}", machine(), harness_envoy())?;
        writeln!(
            f,
            "without tracing a request takes {:.1} µs of Envoy's CPU ({:.1} to {:.1})\n",
            cpu.median, cpu.low, cpu.high
        )?;
        writeln!(
            f,
            "| | sampled | added CPU, µs | middle half | to built-in | requests/s | p50, p99 at 2000/s | RSS, MB | spans came |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|---|")?;
        for point in &self.points {
            let added = self.added(point);
            let rate = Spread::of(point.rounds.iter().map(|measured| measured.rate));
            let latency = point.latency.map_or(String::new(), |(p50, p99)| {
                format!("{:.2}, {:.2} ms", millis(p50), millis(p99))
            });
            let spans = match (point.variant, point.spans.sampled) {
                (Variant::None, _) => String::new(),
                (_, Some(sampled)) => format!("{} of {sampled}", point.spans.received),
                (_, None) => point.spans.received.to_string(),
            };
            let (sampled, added, ratio) = match point.variant {
                Variant::None => Default::default(),
                _ => (
                    format!("{} %", point.sampled),
                    format!(
                        "{:.1} | {:.1} to {:.1}",
                        added.median, added.low, added.high
                    ),
                    format!("{:.2}", self.ratio(point)),
                ),
            };
            let added = if added.is_empty() {
                " | ".to_owned()
            } else {
                added
            };
            writeln!(
                f,
                "| {} | {sampled} | {added} | {ratio} | {:.0} | {latency} | {:.1} | {spans} |",
                point.variant.name(),
                rate.median,
                point.resident as f64 / 1e6,
            )?;
        }
        Ok(())
    }
}

fn millis(time: std::time::Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The CPU's model and the number of cores.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = info.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cores = info.lines().filter(|line| line.starts_with("processor"));
    let model = value("model name").unwrap_or_else(|| "unknown CPU".to_owned());
    format!("{model}, {} cores", cores.count())
}

fn harness_envoy() -> String {
    format!("Envoy 1.{}", harness::envoy::minor_version())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_half() {
        let spread = Spread::of([9.0, 1.0, 5.0, 3.0, 7.0]);
        let expected = Spread {
            low: 3.0,
            median: 5.0,
            high: 7.0,
        };
        assert_eq!(spread, expected);
        assert_eq!(Spread::of([2.0, 4.0]).median, 3.0);
        assert_eq!(Spread::of([2.0]).high, 2.0);
    }
}
