//! Finished traces as text for people.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

use crate::ReceivedSpan;
use crate::otlp::common::v1::any_value::Value;
use crate::otlp::trace::v1::{span::SpanKind, status::StatusCode};
use crate::span::hex;

const MAX_DEPTH: usize = 16;
const MAX_TREE: usize = 40;
const MAX_NAME: usize = 36;
const MAX_STATUS: usize = 24;

/// How [`render`] draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour the text with ANSI sequences.
    pub color: bool,
    /// The number of characters that a line may have, 0 for any.
    pub width: usize,
}

/// Splits spans by their trace, in the order in which the traces first occur.
pub fn group_by_trace(spans: &[ReceivedSpan]) -> Vec<Vec<ReceivedSpan>> {
    let mut groups: Vec<Vec<ReceivedSpan>> = Vec::new();
    let mut index: HashMap<&[u8], usize> = HashMap::new();
    for span in spans {
        let at = *index.entry(&span.span.trace_id).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[at].push(span.clone());
    }
    groups
}

/// Draws the spans of one trace: a line about the trace, then a tree of one line a span.
///
/// Each span is drawn once, whatever its parent is. Control characters in what the spans say are
/// escaped. Each line ends with a line feed; without spans there is no line.
pub fn render(spans: &[ReceivedSpan], style: Style) -> String {
    let mut out = String::new();
    let Some(first) = spans.first() else {
        return out;
    };
    let axis = Axis::of(
        spans,
        if style.width == 0 || style.width >= 140 {
            32
        } else {
            24
        },
    );
    let colours = service_colours(spans);
    let rows: Vec<Row> = tree(spans)
        .iter()
        .map(|node| Row::new(node, spans, &axis))
        .collect();
    let columns = Columns::of(&rows);

    let mut line = Line::default();
    line.push(Paint::Bold, "trace ");
    line.push(Paint::Bold, &first.trace_id_hex());
    line.push(Paint::Plain, &format!("  {}", plural(spans.len(), "span")));
    line.push(
        Paint::Plain,
        &format!("  {}", plural(colours.len(), "service")),
    );
    line.push(Paint::Plain, &format!("  {}", duration(axis.total())));
    line.write(&mut out, style);
    for row in &rows {
        row.line(&columns, &colours).write(&mut out, style);
    }
    out
}

/// A span's place in the drawing.
struct Node {
    span: usize,
    prefix: String,
    mark: Mark,
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    None,
    RemoteParent,
    Cycle,
}

/// The spans in the order of their lines. No recursion, as a chain may be of any length.
fn tree(spans: &[ReceivedSpan]) -> Vec<Node> {
    let mut by_id: HashMap<&[u8], usize> = HashMap::new();
    for (index, span) in spans.iter().enumerate() {
        by_id.entry(&span.span.span_id).or_insert(index);
    }
    let mut by_start: Vec<usize> = (0..spans.len()).collect();
    by_start.sort_by_key(|&index| spans[index].span.start_time_unix_nano);
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); spans.len()];
    let mut roots = Vec::new();
    for &index in &by_start {
        let parent = &spans[index].span.parent_span_id;
        match by_id.get(parent.as_slice()) {
            _ if parent.is_empty() => roots.push((index, Mark::None)),
            Some(&parent) => children[parent].push(index),
            None => roots.push((index, Mark::RemoteParent)),
        }
    }

    let mut nodes = Vec::with_capacity(spans.len());
    let mut drawn = vec![false; spans.len()];
    for (root, mark) in roots {
        draw(root, mark, &children, &mut drawn, &mut nodes);
    }
    // What no root leads to hangs on a cycle.
    for &index in &by_start {
        if !drawn[index] {
            draw(index, Mark::Cycle, &children, &mut drawn, &mut nodes);
        }
    }
    nodes
}

fn draw(
    root: usize,
    mark: Mark,
    children: &[Vec<usize>],
    drawn: &mut [bool],
    nodes: &mut Vec<Node>,
) {
    drawn[root] = true;
    // The span, the prefix of its line, the prefix of its children's lines, and its depth.
    let mut stack = vec![(root, mark, String::new(), String::new(), 0)];
    while let Some((span, mark, prefix, below, depth)) = stack.pop() {
        nodes.push(Node { span, prefix, mark });
        let fresh: Vec<usize> = children[span]
            .iter()
            .copied()
            .filter(|&child| !drawn[child])
            .collect();
        for (position, &child) in fresh.iter().enumerate().rev() {
            drawn[child] = true;
            let last = position + 1 == fresh.len();
            let prefix = format!("{below}{}", if last { "└─ " } else { "├─ " });
            let below = match depth {
                MAX_DEPTH.. => below.clone(),
                _ => format!("{below}{}", if last { "   " } else { "│  " }),
            };
            stack.push((child, Mark::None, prefix, below, depth + 1));
        }
    }
}

/// The time that a trace covers, on a bar of so many characters.
struct Axis {
    start: u64,
    end: u64,
    cells: u64,
}

impl Axis {
    fn of(spans: &[ReceivedSpan], cells: u64) -> Self {
        let starts = spans.iter().map(|span| span.span.start_time_unix_nano);
        let ends = spans.iter().map(|span| span.span.end_time_unix_nano);
        let start = starts.clone().min().unwrap_or(0);
        Self {
            start,
            end: starts.chain(ends).max().unwrap_or(start),
            cells,
        }
    }

    fn total(&self) -> u64 {
        self.end - self.start
    }

    /// The bar of a span, begun at a whole character and precise to an eighth of one.
    fn bar(&self, start: u64, nanos: u64) -> String {
        const PARTS: [char; 8] = ['▏', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
        let scale = |nanos: u64, units: u64| -> u64 {
            let units = u128::from(nanos) * u128::from(units);
            u64::try_from(units / u128::from(self.total().max(1))).unwrap_or(u64::MAX)
        };
        let eighths = scale(nanos, self.cells * 8).clamp(1, self.cells * 8);
        let at = scale(start.saturating_sub(self.start), self.cells);
        let at = at.min(self.cells - eighths.div_ceil(8));
        let mut bar = " ".repeat(usize::try_from(at).unwrap_or(0));
        bar.extend((0..eighths / 8).map(|_| '█'));
        if let Some(part) = usize::try_from(eighths % 8).ok().filter(|&part| part > 0) {
            bar.push(PARTS[part]);
        }
        let len = bar.chars().count();
        bar.extend((len..usize::try_from(self.cells).unwrap_or(0)).map(|_| ' '));
        bar
    }
}

/// The texts of a span's line.
struct Row {
    prefix: String,
    service: String,
    key: String,
    kind: &'static str,
    name: String,
    bar: String,
    duration: String,
    status: String,
    failed: bool,
    notes: String,
}

impl Row {
    fn new(node: &Node, spans: &[ReceivedSpan], axis: &Axis) -> Self {
        let span = &spans[node.span];
        let start = span.span.start_time_unix_nano;
        let nanos = span.span.end_time_unix_nano.saturating_sub(start);
        let service = match span.service_name() {
            "" => "(no service)".to_owned(),
            name => escape(name),
        };
        let room = MAX_TREE.saturating_sub(node.prefix.chars().count()).max(8);
        let failed = span.status_code() == StatusCode::Error;
        Self {
            prefix: node.prefix.clone(),
            service: shorten(&service, room),
            key: span.service_name().to_owned(),
            kind: kind(span.kind()),
            name: shorten(&escape(span.name()), MAX_NAME),
            bar: axis.bar(start, nanos),
            duration: duration(nanos),
            status: shorten(&status(span, failed), MAX_STATUS),
            failed,
            notes: notes(span, node.mark),
        }
    }

    fn line(&self, columns: &Columns, colours: &BTreeMap<&str, u8>) -> Line {
        let colour = Paint::Colour(colours.get(self.key.as_str()).copied().unwrap_or(0));
        let mut line = Line::default();
        line.push(Paint::Dim, &self.prefix);
        line.push(colour, &self.service);
        line.pad(columns.tree);
        line.push(Paint::Plain, &format!("  {:<8}", self.kind));
        line.push(
            Paint::Plain,
            &format!("  {:<1$}  ", self.name, columns.name),
        );
        line.push(colour, &self.bar);
        line.push(
            Paint::Plain,
            &format!("  {:>1$}  ", self.duration, columns.duration),
        );
        let status = format!("{:<1$}", self.status, columns.status);
        line.push(
            if self.failed {
                Paint::Red
            } else {
                Paint::Plain
            },
            &status,
        );
        if !self.notes.is_empty() {
            line.push(Paint::Dim, &format!("  {}", self.notes));
        }
        line
    }
}

/// The widths of the columns.
struct Columns {
    tree: usize,
    name: usize,
    duration: usize,
    status: usize,
}

impl Columns {
    fn of(rows: &[Row]) -> Self {
        let widest = |text: fn(&Row) -> usize| rows.iter().map(text).max().unwrap_or(0);
        Self {
            tree: widest(|row| row.prefix.chars().count() + row.service.chars().count()),
            name: widest(|row| row.name.chars().count()),
            duration: widest(|row| row.duration.chars().count()),
            status: widest(|row| row.status.chars().count()),
        }
    }
}

/// A line of painted pieces, so that it is cut by what is seen.
#[derive(Default)]
struct Line(Vec<(Paint, String)>);

#[derive(Clone, Copy, PartialEq)]
enum Paint {
    Plain,
    Bold,
    Dim,
    Red,
    Colour(u8),
}

impl Paint {
    fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Colour(code) => code,
        }
    }
}

impl Line {
    fn push(&mut self, paint: Paint, text: &str) {
        self.0.push((paint, text.to_owned()));
    }

    fn pad(&mut self, width: usize) {
        let len: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        self.push(Paint::Plain, &" ".repeat(width.saturating_sub(len)));
    }

    fn write(mut self, out: &mut String, style: Style) {
        self.cut(if style.width == 0 {
            usize::MAX
        } else {
            style.width
        });
        for (paint, text) in self.0.iter().filter(|(_, text)| !text.is_empty()) {
            match paint.code() {
                0 => out.push_str(text),
                code if style.color => {
                    let _ = write!(out, "\x1b[{code}m{text}\x1b[0m");
                }
                _ => out.push_str(text),
            }
        }
        out.push('\n');
    }

    /// Keeps `width` characters at most, the last of them `…` if some are lost, and no blanks at
    /// the end.
    fn cut(&mut self, width: usize) {
        self.trim_end();
        let len: usize = self.0.iter().map(|(_, text)| text.chars().count()).sum();
        if len <= width {
            return;
        }
        let mut left = width - 1;
        for (_, text) in &mut self.0 {
            let kept: String = text.chars().take(left).collect();
            left -= kept.chars().count();
            *text = kept;
        }
        self.push(Paint::Dim, "…");
    }

    fn trim_end(&mut self) {
        while let Some((_, text)) = self.0.last_mut() {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() {
                return;
            }
            self.0.pop();
        }
    }
}

/// A colour for each service: the same in every trace unless another service of the trace has it.
fn service_colours(spans: &[ReceivedSpan]) -> BTreeMap<&str, u8> {
    const COLOURS: [u8; 10] = [36, 32, 33, 35, 34, 96, 92, 93, 95, 94];
    let services: BTreeSet<&str> = spans.iter().map(ReceivedSpan::service_name).collect();
    let mut used = BTreeSet::new();
    let mut colours = BTreeMap::new();
    for service in services {
        let hash = service
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let preferred = usize::try_from(hash % COLOURS.len() as u64).unwrap_or(0);
        let mut choices = COLOURS.iter().cycle().skip(preferred).take(COLOURS.len());
        let free = choices.clone().find(|colour| !used.contains(*colour));
        let colour = *free.or_else(|| choices.next()).unwrap_or(&COLOURS[0]);
        used.insert(colour);
        colours.insert(service, colour);
    }
    colours
}

fn kind(kind: SpanKind) -> &'static str {
    match kind {
        SpanKind::Unspecified => "-",
        SpanKind::Internal => "INTERNAL",
        SpanKind::Server => "SERVER",
        SpanKind::Client => "CLIENT",
        SpanKind::Producer => "PRODUCER",
        SpanKind::Consumer => "CONSUMER",
    }
}

fn status(span: &ReceivedSpan, failed: bool) -> String {
    let grpc = span
        .attr("rpc.grpc.status_code")
        .or_else(|| span.attr("rpc.status_code"));
    let mut words = Vec::new();
    if let Some(code) = grpc {
        words.push(format!("grpc {}", value_text(code)));
    } else if let Some(code) = span.attr("http.response.status_code") {
        words.push(value_text(code));
    }
    if failed {
        words.push("ERROR".to_owned());
    }
    words.join(" ")
}

fn notes(span: &ReceivedSpan, mark: Mark) -> String {
    let mut notes = Vec::new();
    match mark {
        Mark::None => {}
        Mark::RemoteParent => notes.push(format!("↑ remote parent {}", span.parent_span_id_hex())),
        Mark::Cycle => notes.push(format!("↻ parent {} in a cycle", span.parent_span_id_hex())),
    }
    if let Some(path) = span.attr("url.path").or_else(|| span.attr("http.route")) {
        notes.push(value_text(path));
    }
    if span.kind() == SpanKind::Client
        && let Some(address) = span.attr("server.address")
    {
        let port = span
            .attr("server.port")
            .map(|port| format!(":{}", value_text(port)));
        notes.push(format!(
            "→ {}{}",
            value_text(address),
            port.unwrap_or_default()
        ));
    }
    for pair in &span.span.attributes {
        if UNUSUAL.contains(&pair.key.as_str()) {
            let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
            let value = value.map(value_text).unwrap_or_default();
            notes.push(format!("{}={value}", pair.key));
        }
    }
    notes.join("  ")
}

/// What is worth a place on the line, as most spans do not have it.
const UNUSUAL: [&str; 7] = [
    "error.type",
    "http.request.resend_count",
    "sidespan.keep_reason",
    "sidespan.response_code_details",
    "sidespan.response_flags",
    "sidespan.rule",
    "sidespan.upstream.transport_failure",
];

fn value_text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => escape(text),
        Value::BoolValue(value) => value.to_string(),
        Value::IntValue(value) => value.to_string(),
        Value::DoubleValue(value) => value.to_string(),
        Value::BytesValue(bytes) => hex(bytes),
        Value::ArrayValue(array) => {
            let values = array.values.iter().filter_map(|value| value.value.as_ref());
            format!(
                "[{}]",
                values.map(value_text).collect::<Vec<_>>().join(", ")
            )
        }
        _ => "{…}".to_owned(),
    }
}

/// Three digits and a unit.
fn duration(nanos: u64) -> String {
    const UNITS: [(&str, f64); 3] = [("µs", 1e3), ("ms", 1e6), ("s", 1e9)];
    if (1..1000).contains(&nanos) {
        return format!("{nanos} ns");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let nanos = nanos as f64;
    let fits = |&&(_, scale): &&(&str, f64)| nanos / scale < 999.5;
    let (unit, scale) = UNITS.iter().find(fits).unwrap_or(&UNITS[2]);
    let value = nanos / scale;
    match value {
        _ if *unit == "µs" => format!("{value:.0} {unit}"),
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Escapes what would act on a terminal in place of being seen.
fn escape(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    out
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests;
