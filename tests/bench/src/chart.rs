//! The chart: what each variant adds to a request, as SVG written by hand.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::report::Summary;
use crate::variant::{NONE, VARIANTS};

const WIDTH: f64 = 760.0;
/// Where bars begin, and what they may be long at most; their figures stand behind them.
const LEFT: f64 = 190.0;
const LONGEST: f64 = 400.0;
const BAR: f64 = 18.0;
const ROW: f64 = 26.0;
const GROUP_GAP: f64 = 34.0;
const TOP: f64 = 62.0;

/// Greys for what is Envoy's, colours for what is ours; each is told from light and from dark.
const COLOURS: [&str; 5] = ["#8c959f", "#b4a98f", "#8250df", "#1f883d", "#0969da"];

/// A group of bars for each percentage; a thin line shows between what half of the rounds lie.
pub(crate) fn svg(machine: &Machine, percentages: &[u32], summaries: &[Summary]) -> String {
    let rows = VARIANTS.len() - 1;
    let group = rows as f64 * ROW + GROUP_GAP;
    let height = TOP + percentages.len() as f64 * group + 10.0;
    let traced = || summaries.iter().filter(|summary| summary.variant != NONE);
    let most = traced()
        .map(|summary| summary.added.upper)
        .fold(1.0, f64::max);
    let scale = LONGEST / most;

    let mut out = head(machine, height);
    for (number, percent) in percentages.iter().enumerate() {
        let top = TOP + number as f64 * group;
        let y = top + 14.0;
        let _ = writeln!(
            out,
            r#"<text class="group" x="16" y="{y}">{percent} % sampled</text>"#
        );
        for (row, summary) in traced().filter(|s| s.percent == *percent).enumerate() {
            let colour = COLOURS[row % COLOURS.len()];
            bar(
                &mut out,
                top + 24.0 + row as f64 * ROW,
                scale,
                colour,
                summary,
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn head(machine: &Machine, height: f64) -> String {
    let title = "CPU time that tracing adds to a request, in µs";
    let machine = escape(&format!(
        "Envoy {} with one worker, {}, {}",
        machine.envoy, machine.processor, machine.date
    ));
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img" aria-label="{title}">
<style>
.back {{ fill: #ffffff }}
text {{ font: 13px sans-serif; fill: #1f2328 }}
.title {{ font-size: 16px; font-weight: bold }}
.group {{ font-weight: bold }}
.small {{ fill: #59636e }}
.half {{ stroke: #1f2328; stroke-width: 1.5; fill: none }}
@media (prefers-color-scheme: dark) {{
.back {{ fill: #0d1117 }}
text {{ fill: #f0f6fc }}
.small {{ fill: #9198a1 }}
.half {{ stroke: #f0f6fc }}
}}
</style>
<rect class="back" width="{WIDTH}" height="{height}"/>
<text class="title" x="16" y="26">{title}</text>
<text class="small" x="16" y="46">{machine}; lines: half of the rounds</text>
"##
    )
}

fn bar(out: &mut String, y: f64, scale: f64, colour: &str, summary: &Summary) {
    let length = |value: f64| (value * scale).max(0.0);
    let added = summary.added;
    let (name, width) = (escape(summary.variant), length(added.median));
    let (from, to) = (LEFT + length(added.lower), LEFT + length(added.upper));
    let (middle, text) = (y + BAR / 2.0, y + 13.5);
    let end = to.max(LEFT + width) + 8.0;
    let ratio = match summary.variant == crate::variant::BUILT_IN {
        true => String::new(),
        false => format!(" ({:.2} of built-in)", summary.of_built_in),
    };
    let _ = write!(
        out,
        r#"<text x="{x}" y="{text}" text-anchor="end">{name}</text>
<rect x="{LEFT}" y="{y}" width="{width:.1}" height="{BAR}" fill="{colour}"/>
<path class="half" d="M{from:.1} {middle}H{to:.1}"/>
<text x="{end:.1}" y="{text}">{median:.1}{ratio}</text>
"#,
        x = LEFT - 8.0,
        median = added.median,
    );
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_meaning_in_xml_is_escaped() {
        assert_eq!(escape("a & b <\"c\">"), "a &amp; b &lt;&quot;c&quot;&gt;");
    }
}
