//! How what tracing adds grows: with rules, custom tags, headers, connections, workers and bodies.
//!
//! A point is a proxy of another shape. It starts an Envoy without tracing and one with each of our
//! filters, loads them in turn, and subtracts within each turn: what the shape costs Envoy itself is
//! in neither.

use std::fmt::Write as _;

use harness::workspace_root;

use crate::load::Upstream;
use crate::machine::{Cores, Machine};
use crate::rig::{BODY, CONNECTIONS, Load, SLICE, Stage, costs_of, take_turns};
use crate::statistics::Spread;
use crate::variant::{CUSTOM_TAGS, FILTERS, HEADERS, NONE, VARIANTS, Variant, replace};

const WARM_UP: u64 = 20 * SLICE;
const TURNS: u32 = 60;
const QUICK_TURNS: u32 = 3;

/// What a proxy is asked and how it is configured.
#[derive(Clone, Copy)]
struct Shape {
    rules: usize,
    tags: usize,
    headers: usize,
    connections: usize,
    workers: u32,
    body: usize,
}

const USUAL: Shape = Shape {
    rules: 0,
    tags: 3,
    headers: HEADERS.len(),
    connections: CONNECTIONS,
    workers: 1,
    body: BODY,
};

/// What grows, and how to make a shape that has so much of it.
type Series = (&'static str, &'static [usize], fn(usize) -> Shape);

const SERIES: [Series; 6] = [
    ("rules", &[1, 20, 200], |rules| Shape { rules, ..USUAL }),
    ("custom tags", &[0, 8, 32], |tags| Shape { tags, ..USUAL }),
    ("request headers", &[5, 25, 100], |headers| Shape {
        headers,
        ..USUAL
    }),
    ("connections", &[1, 16, 256], |connections| Shape {
        connections,
        ..USUAL
    }),
    ("workers", &[1, 2], |workers| Shape {
        workers: workers as u32,
        ..USUAL
    }),
    ("bytes of the body", &[10, 1_000, 100_000], |body| Shape {
        body,
        ..USUAL
    }),
];

/// What one of our filters adds to an Envoy of one shape, in µs of CPU time a request.
pub(crate) struct Point {
    series: &'static str,
    size: usize,
    variant: &'static str,
    /// Envoy without tracing.
    none: Spread,
    added: Spread,
}

/// Measures all points.
pub(crate) fn run(cores: &Cores, is_quick: bool) -> Vec<Point> {
    let turns = if is_quick { QUICK_TURNS } else { TURNS };
    let mut points = Vec::new();
    for (series, sizes, shape) in SERIES {
        for &size in sizes {
            points.extend(point(series, size, &shape(size), cores, turns));
            eprintln!("{series}: {size}");
        }
    }
    points
}

fn point(
    series: &'static str,
    size: usize,
    shape: &Shape,
    cores: &Cores,
    turns: u32,
) -> Vec<Point> {
    let upstream = Upstream::start(shape.body).expect("an upstream");
    let is_one = |variant: &&Variant| variant.name == NONE || FILTERS.contains(&variant.name);
    let variants = VARIANTS.iter().filter(is_one);
    let more = shape.headers.saturating_sub(HEADERS.len());
    let names: Vec<_> = (0..more).map(|n| format!("x-header-{n}")).collect();
    let more = names
        .iter()
        .map(|name| (name.as_str(), b"a value of some length" as &[u8]));
    let headers: Vec<_> = HEADERS.into_iter().chain(more).collect();
    let load = Load {
        headers: &headers,
        connections: shape.connections,
        workers: shape.workers,
        body: shape.body,
    };
    let mut stages: Vec<_> = variants
        .map(|variant| Stage::start(variant, shape.config(variant), &load, &upstream, cores))
        .collect();
    for stage in &mut stages {
        stage.load(WARM_UP);
    }
    take_turns(&mut stages, turns);
    let base = costs_of(&stages, NONE);
    let ours = |name| Point {
        series,
        size,
        variant: name,
        none: Spread::of(base.iter().map(|&(_, cost)| cost)),
        added: Spread::of_differences(costs_of(&stages, name), base),
    };
    FILTERS.into_iter().map(ours).collect()
}

impl Shape {
    fn config(&self, variant: &Variant) -> String {
        let path = workspace_root().join("envoy-configs/edge.yaml");
        let edge = std::fs::read_to_string(path).expect("the gateway");
        // Envoy's own limit is 100 of them, and it adds some.
        const STAT_PREFIX: &str = "          stat_prefix: edge\n";
        const LIMIT: &str = "          common_http_protocol_options: { max_headers_count: 200 }\n";
        let edge = replace(&edge, STAT_PREFIX, &(STAT_PREFIX.to_owned() + LIMIT));
        let config = (variant.config)(&edge, 100);
        match variant.name {
            NONE => config,
            _ => self.configure(&config),
        }
    }

    /// The filter with as many rules, of which none matches, and tags.
    fn configure(&self, config: &str) -> String {
        let rule =
            |n| format!("{{ match: {{ path: {{ prefix: /service-{n}/ }} }}, action: disable }}");
        let tag = |n| {
            let header = HEADERS.get(n).map_or("x-header-0", |(name, _)| *name);
            format!("{{ tag: tag.{n}, request_header: {{ name: {header}, default_value: none }} }}")
        };
        let list = |entries: Vec<String>| entries.join(", ");
        let rules = list((0..self.rules).map(rule).collect());
        let tags = list((0..self.tags).map(tag).collect());
        let keys = format!("custom_tags: [{tags}]\n                    rules: [{rules}]");
        replace(config, CUSTOM_TAGS, &keys)
    }
}

/// A table for people.
pub(crate) fn text(machine: &Machine, points: &[Point]) -> String {
    let mut out = format!(
        "\
{}, {}, Envoy {}, Sidespan {}
What our filters add to a request at 100 % sampled, in µs of Envoy's CPU time: the median of the
turns, and between what half of them lie. All else is as in the record.

| what grows | to | Envoy alone | wasm filter | half within | native filter | half within |
|---|---:|---:|---:|---:|---:|---:|
",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    for pair in points.chunks(FILTERS.len()) {
        let [wasm, native] = pair else { continue };
        let range = |spread: Spread| format!("{:.1} to {:.1}", spread.lower, spread.upper);
        let _ = writeln!(
            out,
            "| {} | {} | {:.1} | +{:.1} | {} | +{:.1} | {} |",
            wasm.series,
            wasm.size,
            wasm.none.median,
            wasm.added.median,
            range(wasm.added),
            native.added.median,
            range(native.added),
        );
    }
    out
}

/// The same for machines.
pub(crate) fn csv(machine: &Machine, points: &[Point]) -> String {
    let mut out = format!(
        "# machine: {}\n# date: {}\n# Envoy: {}\n# Sidespan: {}\n\
series,size,variant,none_us,added_us,added_lower_us,added_upper_us\n",
        machine.processor, machine.date, machine.envoy, machine.sidespan
    );
    for point in points {
        let Point {
            series,
            size,
            variant,
            none,
            added,
        } = point;
        let _ = writeln!(
            out,
            "{series},{size},{variant},{:.3},{:.3},{:.3},{:.3}",
            none.median, added.median, added.lower, added.upper
        );
    }
    out
}
