//! Of which streams nothing is asked but what is asked of each, so that their
//! spans can be made when the host has forgotten them.

use crate::common;
use crate::common::spans::{configured, istio};
use crate::common::{Headers, Host, Info, Nowhere};
use serde_json::{Value, json};
use sidespan_core::host::request_info::Direction;
use sidespan_core::host::response_flags::ResponseFlags;
use sidespan_core::host::response_info::{End, MetadataKind, ResponseInfo};
use sidespan_core::recording::deferrable::Deferrable;
use sidespan_core::recording::snapshot::Settled;
use sidespan_core::tracer::Tracer;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

/// A stream that ended as most do, of a host that knows nothing else any more;
/// or almost as most do.
#[derive(Clone, Copy)]
struct Ordinary {
    status: u16,
    flags: u64,
    attempts: u64,
    response_size: Option<u64>,
    peer: Option<End>,
    direction: Direction,
}

const ORDINARY: Ordinary = Ordinary {
    status: 200,
    flags: 0,
    attempts: 1,
    response_size: Some(10),
    peer: None,
    direction: Direction::Inbound,
};

impl ResponseInfo for Ordinary {
    fn listener_direction(&self) -> Direction {
        self.direction
    }

    fn status(&self) -> Option<u16> {
        Some(self.status)
    }

    fn protocol(&self) -> Option<Cow<'_, str>> {
        Some("HTTP/1.1".into())
    }

    fn source_address(&self) -> Option<Cow<'_, str>> {
        Some("10.0.0.1:4711".into())
    }

    fn response_header(&self, name: &str) -> Option<&[u8]> {
        panic!("the response header {name} was asked for")
    }

    fn response_trailer(&self, name: &str) -> Option<&[u8]> {
        panic!("the trailer {name} was asked for")
    }

    fn response_flags(&self) -> ResponseFlags {
        ResponseFlags(self.flags)
    }

    fn response_code_details(&self) -> Option<Cow<'_, str>> {
        panic!("the details were asked for")
    }

    fn request_size(&self) -> Option<u64> {
        panic!("the request's size was asked for")
    }

    fn response_size(&self) -> Option<u64> {
        self.response_size
    }

    fn attempt_count(&self) -> u64 {
        self.attempts
    }

    fn route_name(&self) -> Option<Cow<'_, str>> {
        Some("/orders/{id}".into())
    }

    fn cluster_name(&self) -> Option<Cow<'_, str>> {
        Some("orders".into())
    }

    fn upstream_address(&self) -> Option<Cow<'_, str>> {
        Some("10.0.0.2:8080".into())
    }

    fn connection_wait(&self) -> Option<Duration> {
        Some(Duration::ZERO)
    }

    fn upstream_latency(&self) -> Option<Duration> {
        Some(Duration::from_millis(1))
    }

    fn transport_failure(&self) -> Option<Cow<'_, str>> {
        panic!("the reason of a failure was asked for")
    }

    fn tls_peer(&self, end: End) -> Option<Cow<'_, str>> {
        (self.peer == Some(end)).then(|| "spiffe://shop/cart".into())
    }

    fn workload(&self, _end: End, field: &str) -> Option<Cow<'_, str>> {
        panic!("the {field} of a workload was asked for")
    }

    fn metadata(&self, _: MetadataKind, namespace: &str, _: &[String]) -> Option<Value> {
        panic!("the metadata of {namespace} was asked for")
    }

    fn property(&self, path: &[String]) -> Option<Vec<u8>> {
        panic!("{path:?} was asked for")
    }
}

fn request(method: &str, more: &[(&str, &str)]) -> Headers {
    let head = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "shop.example"),
        (":path", "/orders/4711?page=2"),
        ("user-agent", "curl/8"),
    ];
    Headers::from_wire(head.iter().chain(more).copied())
}

/// Whether a sampled stream is plain, after its spans were made without asking
/// for anything else if it is.
fn is_plain(keys: &Value, host: &Host, lines: &Headers) -> bool {
    let directions = [
        Direction::Inbound,
        Direction::Outbound,
        Direction::Unspecified,
    ];
    let is_plain = directions.map(|direction| {
        let start = || {
            let mut tracer = Tracer::new(configured(keys), host, [7; 32]);
            let started =
                tracer.on_request(lines, &Info::default().at(direction, 1_000), &mut Nowhere);
            (tracer, started.stream.expect("sampled"))
        };
        let ordinary = Ordinary {
            direction,
            ..ORDINARY
        };
        let is_plain = Deferrable::read(&start().1, &ordinary).is_some();
        for status in [100, 101, 200, 204, 304, 399].iter().filter(|_| is_plain) {
            let response = Ordinary {
                status: *status,
                ..ordinary
            };
            let (mut tracer, stream) = start();
            let settled =
                Settled::read(tracer.recorder(), &stream, &response).expect("all that there is");
            tracer.on_end(stream, &settled, 5_000);
            let kept = common::flush(&mut tracer).expect("an export");
            assert!(!common::spans(&kept).is_empty());
            let (mut tracer, stream) = start();
            tracer.on_end(stream, &response, 5_000);
            let at_once = common::flush(&mut tracer).expect("an export");
            assert_eq!(*kept.body, *at_once.body, "{status}");
        }
        is_plain
    });
    assert_eq!(is_plain, [is_plain[0]; 3], "whatever the direction");
    is_plain[0]
}

#[test]
fn what_most_requests_are_is_plain() {
    let tags = json!({"custom_tags": [
        {"tag": "tenant", "request_header": {"name": "x-tenant"}},
        {"tag": "user", "baggage": {"name": "user"}},
        {"tag": "site", "literal": {"value": "eu"}},
        {"tag": "zone", "environment": {"name": "ZONE"}},
    ]});
    let template = json!({"span": {"name": "{method} {route} {cluster} {path} {host}"}});
    for keys in [json!({}), tags, template] {
        for (method, more) in [
            ("GET", &[][..]),
            ("HEAD", &[]),
            ("CONNECT", &[]),
            ("POST", &[("content-length", "17")]),
            (
                "POST",
                &[
                    ("content-length", "0"),
                    ("content-type", "application/json"),
                ],
            ),
            ("BREW", &[("content-length", "17")]),
            ("GET", &[("x-tenant", "acme"), ("baggage", "user=me")]),
        ] {
            let lines = request(method, more);
            assert!(
                is_plain(&keys, &Host::default(), &lines),
                "{keys} {method} {more:?}"
            );
        }
    }
}

#[test]
fn what_the_host_must_be_asked_for_more_is_not() {
    let get = request("GET", &[]);
    let host = Host::default();
    for (method, more) in [
        ("POST", &[][..]),
        ("POST", &[("content-length", "many")]),
        (
            "POST",
            &[
                ("content-length", "7"),
                ("content-type", "application/grpc"),
            ],
        ),
    ] {
        assert!(
            !is_plain(&json!({}), &host, &request(method, more)),
            "{method} {more:?}"
        );
    }
    for keys in [
        json!({"span": {"attributes": "envoy"}}),
        json!({"span": {"attributes": "both"}}),
        json!({"custom_tags": [{"tag": "t", "response_header": {"name": "x"}}]}),
        json!({"custom_tags": [{"tag": "t", "property": ["connection", "mtls"]}]}),
        json!({"custom_tags": [
            {"tag": "t", "metadata": {"kind": "route", "metadata_key": {"key": "n", "path": [{"key": "k"}]}}},
        ]}),
    ] {
        assert!(!is_plain(&keys, &host, &get), "{keys}");
    }
    assert!(!is_plain(&json!({}), &istio(), &get), "who the peer is");
}

/// Of these there may be more to ask, so that they are not put off.
#[test]
fn what_did_not_end_as_most_do_is_not_settled() {
    let odd = [
        Ordinary {
            status: 404,
            ..ORDINARY
        },
        Ordinary {
            status: 99,
            ..ORDINARY
        },
        Ordinary {
            flags: 4,
            ..ORDINARY
        },
        Ordinary {
            attempts: 0,
            ..ORDINARY
        },
        Ordinary {
            attempts: 2,
            ..ORDINARY
        },
        Ordinary {
            response_size: None,
            ..ORDINARY
        },
        Ordinary {
            peer: Some(End::Downstream),
            ..ORDINARY
        },
        Ordinary {
            peer: Some(End::Upstream),
            ..ORDINARY
        },
    ];
    let mut tracer = Tracer::new(configured(&json!({})), &Host::default(), [7; 32]);
    let recorder = Arc::clone(tracer.recorder());
    let mut start = |method| {
        let lines = request(method, &[]);
        let direction = Direction::Inbound;
        let started =
            tracer.on_request(&lines, &Info::default().at(direction, 1_000), &mut Nowhere);
        started.stream.expect("sampled")
    };
    for (index, response) in odd.iter().enumerate() {
        let settled = Settled::read(&recorder, &start("GET"), response);
        assert!(settled.is_none(), "{index}: {settled:?}");
    }
    assert!(Settled::read(&recorder, &start("GET"), &ORDINARY).is_some());
    // Its size only the host knows.
    assert!(Settled::read(&recorder, &start("POST"), &ORDINARY).is_none());
}
