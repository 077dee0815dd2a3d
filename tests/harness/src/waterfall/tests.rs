use super::*;
use crate::otlp::common::v1::{AnyValue, KeyValue};
use crate::otlp::trace::v1::{Span, Status};

const PLAIN: Style = Style {
    color: false,
    width: 0,
};
const MS: u64 = 1_000_000;

fn pair(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue {
        key: key.to_owned(),
        value,
        ..KeyValue::default()
    }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.to_owned())
}

/// A span of `service` from `start` to `end`; `parent` 0 is none.
fn span(
    service: &str,
    id: u8,
    parent: u8,
    kind: SpanKind,
    (start, end): (u64, u64),
) -> ReceivedSpan {
    let base = 1_700_000_000_000_000_000;
    ReceivedSpan {
        resource: vec![pair("service.name", text(service))],
        span: Span {
            trace_id: vec![0xab; 16],
            span_id: vec![id; 8],
            parent_span_id: if parent == 0 { vec![] } else { vec![parent; 8] },
            name: format!("op {id}"),
            kind: kind.into(),
            start_time_unix_nano: base + start,
            end_time_unix_nano: base + end,
            ..Span::default()
        },
        ..ReceivedSpan::default()
    }
}

fn with(mut span: ReceivedSpan, attributes: &[(&str, Value)]) -> ReceivedSpan {
    let pairs = attributes
        .iter()
        .map(|(key, value)| pair(key, value.clone()));
    span.span.attributes.extend(pairs);
    span
}

fn failed(mut span: ReceivedSpan) -> ReceivedSpan {
    span.span.status = Some(Status {
        code: StatusCode::Error.into(),
        ..Status::default()
    });
    span
}

fn example() -> Vec<ReceivedSpan> {
    let server = SpanKind::Server;
    let client = SpanKind::Client;
    vec![
        // Out of order on purpose: exporters are.
        with(
            failed(span("back", 5, 4, server, (6 * MS, 9 * MS))),
            &[
                ("rpc.grpc.status_code", Value::IntValue(14)),
                ("error.type", text("14")),
                ("sidespan.response_flags", text("UF")),
            ],
        ),
        with(
            span("edge", 1, 9, server, (0, 12 * MS)),
            &[
                ("http.response.status_code", Value::IntValue(200)),
                ("url.path", text("/a")),
            ],
        ),
        with(
            failed(span("edge", 4, 1, client, (5 * MS, 10 * MS))),
            &[
                ("http.response.status_code", Value::IntValue(503)),
                ("server.address", text("10.0.0.1")),
                ("server.port", Value::IntValue(80)),
            ],
        ),
        span("edge", 2, 1, client, (MS, 4 * MS)),
        span("mid", 3, 2, server, (1_500_000, 1_930_000)),
    ]
}

#[test]
fn a_trace_is_drawn_as_a_tree() {
    let want = "\
trace abababababababababababababababab  5 spans  3 services  12.0 ms
edge        SERVER    op 1  ████████████████████████████████  12.0 ms  200            ↑ remote parent 0909090909090909  /a
├─ edge     CLIENT    op 2    ████████                        3.00 ms
│  └─ mid   SERVER    op 3      █▏                             430 µs
└─ edge     CLIENT    op 4               █████████████▎       5.00 ms  503 ERROR      → 10.0.0.1:80
   └─ back  SERVER    op 5                  ████████          3.00 ms  grpc 14 ERROR  error.type=14  sidespan.response_flags=UF
";
    assert_eq!(render(&example(), PLAIN), want);
}

#[test]
fn lines_are_cut_by_characters() {
    let style = Style {
        color: false,
        width: 40,
    };
    let want = "\
trace abababababababababababababababab …
edge        SERVER    op 1  ███████████…
├─ edge     CLIENT    op 2    ██████   …
│  └─ mid   SERVER    op 3     ▊       …
└─ edge     CLIENT    op 4            █…
   └─ back  SERVER    op 5             …
";
    let got = render(&example(), style);
    assert!(got.lines().all(|line| line.chars().count() == 40));
    assert_eq!(got, want);
}

#[test]
fn colours_are_stable_and_of_one_service_each() {
    let style = Style {
        color: true,
        width: 0,
    };
    let got = render(&example(), style);
    let colours = service_colours(&[]);
    assert!(colours.is_empty());
    let spans = example();
    let colours = service_colours(&spans);
    assert_eq!(colours.values().collect::<BTreeSet<_>>().len(), 3);
    let edge = colours["edge"];
    assert_eq!(got.matches(&format!("\x1b[{edge}medge\x1b[0m")).count(), 3);
    assert!(got.contains("\x1b[31m503 ERROR    \x1b[0m"));
    assert!(got.contains("\x1b[2m  error.type=14"));
    let only_edge = service_colours(&spans[1..2])["edge"];
    assert_eq!(only_edge, service_colours(&spans[1..4])["edge"]);
    // Without its colours it is the plain text.
    let mut plain = String::new();
    let mut rest = got.as_str();
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        rest = after.split_once('m').expect("a whole sequence").1;
    }
    plain.push_str(rest);
    assert_eq!(plain, render(&spans, PLAIN));
}

#[test]
fn more_services_than_colours() {
    let spans: Vec<_> = (1..=30)
        .map(|id| span(&format!("s{id}"), id, 0, SpanKind::Server, (0, 1)))
        .collect();
    assert_eq!(service_colours(&spans).len(), 30);
}

#[test]
fn cycles_and_orphans_are_drawn_once() {
    let kind = SpanKind::Internal;
    let spans = [
        span("a", 1, 2, kind, (0, 10)),
        span("a", 2, 1, kind, (1, 10)),
        span("a", 3, 3, kind, (2, 10)),
        span("a", 4, 2, kind, (3, 10)),
        span("a", 5, 77, kind, (4, 10)),
        // The same span twice.
        span("a", 5, 77, kind, (4, 10)),
    ];
    let want = "\
trace abababababababababababababababab  6 spans  1 service  10 ns
a        INTERNAL  op 5              ███████████████████▏   6 ns    ↑ remote parent 4d4d4d4d4d4d4d4d
a        INTERNAL  op 5              ███████████████████▏   6 ns    ↑ remote parent 4d4d4d4d4d4d4d4d
a        INTERNAL  op 1  ████████████████████████████████  10 ns    ↻ parent 0202020202020202 in a cycle
└─ a     INTERNAL  op 2     ████████████████████████████▊   9 ns
   └─ a  INTERNAL  op 4           ██████████████████████▍   7 ns
a        INTERNAL  op 3        █████████████████████████▌   8 ns    ↻ parent 0303030303030303 in a cycle
";
    assert_eq!(render(&spans, PLAIN), want);
}

#[test]
fn odd_times_are_drawn() {
    let kind = SpanKind::Server;
    let zero = render(&[span("a", 1, 0, kind, (5, 5))], PLAIN);
    assert!(
        zero.ends_with("\na  SERVER    op 1  ▏                                 0 µs\n"),
        "{zero}"
    );
    let negative = render(&[span("a", 1, 0, kind, (9, 5))], PLAIN);
    assert!(negative.contains("  0 µs"), "{negative}");
    let mut unset = span("a", 1, 0, kind, (0, 0));
    unset.span.start_time_unix_nano = 0;
    unset.span.end_time_unix_nano = u64::MAX;
    let huge = render(&[unset, span("a", 2, 0, kind, (0, 1))], PLAIN);
    assert!(huge.contains("18446744074 s"), "{huge}");
}

#[test]
fn long_chains_need_no_stack() {
    let mut spans = Vec::new();
    for n in 0..20_000_u32 {
        let mut next = span("a", 1, 0, SpanKind::Server, (0, 1));
        next.span.span_id = (n + 1).to_be_bytes().to_vec();
        next.span.parent_span_id = if n == 0 {
            vec![]
        } else {
            n.to_be_bytes().to_vec()
        };
        spans.push(next);
    }
    assert_eq!(
        render(
            &spans,
            Style {
                color: true,
                width: 120
            }
        )
        .lines()
        .count(),
        20_001
    );
}

#[test]
fn control_characters_are_escaped() {
    let mut evil = span("a\x1b[2J", 1, 0, SpanKind::Client, (0, 1));
    evil.span.name = "GET\r\n\u{202e}é".to_owned();
    let evil = with(
        evil,
        &[
            ("url.path", text("/\u{7}\u{9b}")),
            ("sidespan.rule", text("\t")),
        ],
    );
    let got = render(&[evil], PLAIN);
    assert_eq!(got.lines().count(), 2);
    assert!(got.chars().all(|c| c == '\n' || !c.is_control()), "{got:?}");
    for seen in [
        "a\\u{1b}[2J",
        "GET\\r\\n\\u{202e}é",
        "/\\u{7}\\u{9b}",
        "sidespan.rule=\\t",
    ] {
        assert!(got.contains(seen), "{seen} in {got}");
    }
}

#[test]
fn durations_have_three_digits() {
    let want = [
        (0, "0 µs"),
        (999, "999 ns"),
        (430_000, "430 µs"),
        (999_499, "999 µs"),
        (999_500, "1.00 ms"),
        (1_234_000, "1.23 ms"),
        (9_996_000, "10.0 ms"),
        (12_400_000, "12.4 ms"),
        (123_456_000, "123 ms"),
        (1_500_000_000, "1.50 s"),
    ];
    for (nanos, text) in want {
        assert_eq!(duration(nanos), text);
    }
}

#[test]
fn traces_are_told_apart_in_order() {
    let mut other = span("a", 2, 0, SpanKind::Server, (0, 1));
    other.span.trace_id = vec![1; 16];
    let one = span("a", 1, 0, SpanKind::Server, (5, 6));
    let three = span("a", 3, 1, SpanKind::Server, (5, 6));
    let groups = group_by_trace(&[one.clone(), other.clone(), three.clone()]);
    assert_eq!(groups, [vec![one, three], vec![other]]);
}

#[test]
fn no_spans_no_text() {
    assert_eq!(render(&[], PLAIN), "");
}
