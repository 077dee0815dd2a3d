//! Traces as lines, to compare them.

use std::collections::{HashMap, HashSet};

use crate::ReceivedSpan;

/// The spans from their roots on, a line each: two blanks for each span above it, then its
/// service, its kind and the scope that recorded it. Siblings come in the order of their starts.
///
/// A root is a span whose parent is not among the spans. What no root leads to has no line.
pub(super) fn lines(spans: &[ReceivedSpan]) -> Vec<String> {
    let ids: HashSet<&[u8]> = spans.iter().map(|s| &*s.span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "two spans with one id");
    let mut children: HashMap<&[u8], Vec<&ReceivedSpan>> = HashMap::new();
    let mut roots = Vec::new();
    for span in spans {
        let parent = &*span.span.parent_span_id;
        if ids.contains(parent) {
            children.entry(parent).or_default().push(span);
        } else {
            roots.push(span);
        }
    }
    let mut lines = Vec::new();
    draw(&mut roots, 0, &mut children, &mut lines);
    lines
}

fn draw<'a>(
    spans: &mut [&'a ReceivedSpan],
    depth: usize,
    children: &mut HashMap<&'a [u8], Vec<&'a ReceivedSpan>>,
    lines: &mut Vec<String>,
) {
    spans.sort_by_key(|span| span.span.start_time_unix_nano);
    for span in spans {
        lines.push(format!(
            "{:1$}{2} {3} {4}",
            "",
            2 * depth,
            span.service_name(),
            format!("{:?}", span.kind()).to_uppercase(),
            span.scope.name,
        ));
        if let Some(mut below) = children.remove(&*span.span.span_id) {
            draw(&mut below, depth + 1, children, lines);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::common::v1::InstrumentationScope;
    use crate::otlp::trace::v1::{Span, span::SpanKind};

    fn span(id: u8, parent: u8, start: u64) -> ReceivedSpan {
        ReceivedSpan {
            scope: InstrumentationScope {
                name: id.to_string(),
                ..Default::default()
            },
            span: Span {
                span_id: vec![id; 8],
                parent_span_id: vec![parent; if parent == 0 { 0 } else { 8 }],
                start_time_unix_nano: start,
                kind: SpanKind::Server.into(),
                ..Default::default()
            },
            ..Default::default()
        }
    }

    #[test]
    fn depth_order_and_roots() {
        let spans = [
            span(4, 2, 9),
            span(3, 1, 7),
            span(2, 1, 5),
            span(1, 0, 5),
            span(6, 8, 1),
        ];
        let got = lines(&spans);
        let want = [
            " SERVER 6",
            " SERVER 1",
            "   SERVER 2",
            "     SERVER 4",
            "   SERVER 3",
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn a_cycle_has_no_line() {
        assert_eq!(lines(&[span(1, 2, 0), span(2, 1, 0)]), [""; 0]);
    }
}
