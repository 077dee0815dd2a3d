//! The upstream with each of the clients, and the load.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use harness::client::{self, Connection};
use harness::{Garbage, Upstream, load};

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_default_answer_describes_the_request() {
    let upstream = Upstream::start();
    let headers: &[(&str, &[u8])] = &[
        ("x-one", b"1"),
        ("x-odd", b"a\xff\xfeb"),
        ("x-one", b"2"),
        ("x-utf8", "é".as_bytes()),
    ];
    let response = client::request(upstream.addr(), "PUT", "/p?q=1", headers, b"body").unwrap();
    assert_eq!(response.status, 200);
    let json = response.json();
    assert_eq!(json["method"], "PUT");
    assert_eq!(json["path"], "/p?q=1");
    assert_eq!(json["version"], "HTTP/1.1");
    let got = json["headers"].as_array().unwrap();
    let wanted = [
        serde_json::json!(["host", upstream.addr().to_string()]),
        serde_json::json!(["x-one", "1"]),
        serde_json::json!(["x-one", "2"]),
        serde_json::json!(["x-odd", "a\u{fffd}\u{fffd}b"]),
        serde_json::json!(["x-utf8", "é"]),
        serde_json::json!(["content-length", "4"]),
    ];
    assert_eq!(got, &wanted);
    assert_eq!(
        json["headers_hex"],
        serde_json::json!([["x-odd", "61fffe62"]])
    );

    let seen = upstream.last();
    assert_eq!(seen.path, "/p?q=1");
    assert!(
        seen.headers
            .contains(&("x-odd".to_owned(), b"a\xff\xfeb".to_vec()))
    );
    assert_eq!(seen.header("x-one"), ["1", "2"]);
}

#[test]
fn a_given_host_is_kept() {
    let upstream = Upstream::start();
    client::request(upstream.addr(), "GET", "/", &[("Host", b"other")], b"").unwrap();
    assert_eq!(upstream.last().header("host"), ["other"]);
}

#[test]
fn statuses_bodies_and_heads() {
    let upstream = Upstream::start();
    assert_eq!(client::get(upstream.addr(), "/status/404").status, 404);
    assert_eq!(
        client::get(upstream.addr(), "/bytes/70000").body.len(),
        70_000
    );
    let chunks = client::get(upstream.addr(), "/chunks/3");
    assert_eq!(chunks.body, b"chunk\nchunk\nchunk\n");
    assert_eq!(
        chunks.header("Transfer-Encoding").as_deref(),
        Some("chunked")
    );
    let head = client::request(upstream.addr(), "HEAD", "/", &[], b"").unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(client::get(upstream.addr(), "/status/204").status, 204);
}

#[test]
fn delays() {
    let upstream = Upstream::start();
    let start = Instant::now();
    assert_eq!(
        client::get(upstream.addr(), "/delay/120").json()["path"],
        "/delay/120"
    );
    assert!(start.elapsed() >= Duration::from_millis(120));
}

#[test]
fn no_answers() {
    let upstream = Upstream::start();
    let error = client::request(upstream.addr(), "GET", "/reset", &[], b"").unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    ));
    for path in ["/hang", "/stream"] {
        let mut connection = Connection::open(upstream.addr()).unwrap();
        connection.set_timeout(Duration::from_millis(200)).unwrap();
        let error = connection.send("GET", path, &[], b"").unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{error:?}"
        );
    }
    assert_eq!(upstream.wait_requests(3, SOON).len(), 3);
}

#[test]
fn a_kept_connection() {
    let upstream = Upstream::start();
    let mut connection = Connection::open(upstream.addr()).unwrap();
    for n in 0..3 {
        let response = connection
            .send("POST", &format!("/{n}"), &[], b"x")
            .unwrap();
        assert_eq!(response.json()["path"], format!("/{n}"));
    }
    let response = connection
        .send_raw(b"GET /raw HTTP/1.1\r\nHost: a\r\n\r\n", false)
        .unwrap();
    assert_eq!(response.json()["path"], "/raw");
    let bad = connection.send_raw(b"\0\r\n\r\n", false).unwrap();
    assert_eq!(bad.status, 400);
}

#[test]
fn http2() {
    let upstream = Upstream::start();
    let headers: &[(&str, &[u8])] = &[("host", b"name:1"), ("x-odd", b"\xff")];
    let response = client::h2_request(upstream.addr(), "GET", "/x", headers, b"").unwrap();
    let json = response.json();
    assert_eq!(json["version"], "HTTP/2.0");
    assert_eq!(json["headers_hex"], serde_json::json!([["x-odd", "ff"]]));
    assert!(client::h2_request(upstream.addr(), "GET", "/reset", &[], b"").is_err());
}

#[test]
fn grpc() {
    let upstream = Upstream::start();
    let call = |path| client::grpc_unary(upstream.addr(), path, &[("x-a", b"b")], b"hello");
    let ok = call("/pkg.Svc/Ok");
    assert_eq!((ok.status, ok.grpc_status), (200, Some(0)));
    assert_eq!(ok.body, b"\0\0\0\0\x05hello");
    assert!(ok.trailers.iter().any(|(name, _)| name == "grpc-status"));
    assert_eq!(upstream.last().header("x-a"), ["b"]);
    let fail = call("/pkg.Svc/Fail");
    assert_eq!(fail.grpc_status, Some(14));
    assert!(
        fail.trailers
            .contains(&("grpc-message".to_owned(), b"unavailable".to_vec()))
    );
    let only = call("/pkg.Svc/TrailersOnly");
    assert_eq!((only.grpc_status, only.trailers.len()), (Some(5), 0));
    assert_eq!(call("/pkg.Svc/Status/7").grpc_status, Some(7));
    assert_eq!(call("/pkg.Svc/Other").grpc_status, Some(12));
}

#[test]
fn websockets_echo() {
    let upstream = Upstream::start();
    let mut stream = client::websocket_upgrade(upstream.addr(), "/ws");
    for text in [b"one", b"two"] {
        stream.write_all(text).unwrap();
        let mut echo = [0; 3];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, text);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
#[should_panic(expected = "HTTP/1.1 200")]
fn a_refused_upgrade() {
    // The echo of a plain server: it ignores the upgrade.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    client::websocket_upgrade(addr, "/");
}

#[test]
fn recording_is_optional_and_counting_is_not() {
    let upstream = Upstream::start();
    client::get(upstream.addr(), "/");
    upstream.record(false);
    client::get(upstream.addr(), "/");
    assert_eq!((upstream.requests().len(), upstream.count()), (1, 2));
    upstream.forget();
    assert_eq!((upstream.requests().len(), upstream.count()), (0, 0));
}

#[test]
#[should_panic(expected = "1 of 2 requests")]
fn too_few_requests() {
    let upstream = Upstream::start();
    client::get(upstream.addr(), "/");
    upstream.wait_requests(2, Duration::from_millis(20));
}

#[test]
fn a_stopped_upstream_is_closed() {
    let upstream = Upstream::start();
    let addr = upstream.addr();
    let mut idle = TcpStream::connect(addr).unwrap();
    drop(upstream);
    assert!(TcpStream::connect(addr).is_err());
    assert!(matches!(idle.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn a_load_makes_exactly_its_requests() {
    let upstream = Upstream::start();
    upstream.record(false);
    let report = load::run(upstream.addr(), "/", 8, 5003, &[("x-a", b"b")]);
    assert_eq!((report.ok, report.failed), (5003, 0));
    assert_eq!(
        report.statuses.into_iter().collect::<Vec<_>>(),
        [(200, 5003)]
    );
    assert_eq!(upstream.count(), 5003);
}

#[test]
fn a_load_counts_failures() {
    let upstream = Upstream::start();
    let report = load::run(upstream.addr(), "/status/503", 2, 10, &[]);
    assert_eq!(
        (report.ok, report.failed, report.statuses[&503]),
        (0, 10, 10)
    );
    let report = load::run(upstream.addr(), "/reset", 2, 10, &[]);
    assert_eq!(
        (report.ok, report.failed, report.statuses.len()),
        (0, 10, 0)
    );
    assert_eq!(upstream.count(), 20);
    let addr = upstream.addr();
    drop(upstream);
    assert_eq!(load::run(addr, "/", 1, 3, &[]).failed, 3);
}

#[test]
fn a_load_tells_how_long_answers_took() {
    let upstream = Upstream::start();
    let report = load::run(upstream.addr(), "/delay/20", 4, 40, &[]);
    assert!(report.p50 >= Duration::from_millis(20), "{report:?}");
    assert!(report.p50 <= report.p99 && report.p99 <= report.max);
    assert!(report.max <= report.elapsed);
    let report = load::run(upstream.addr(), "/reset", 1, 3, &[]);
    assert_eq!((report.failed, report.max), (3, Duration::ZERO));
}

#[test]
fn a_load_for_a_time() {
    let upstream = Upstream::start();
    upstream.record(false);
    let duration = Duration::from_millis(200);
    let report = load::run_for(upstream.addr(), "/", 4, duration, &[("x-a", b"b")]);
    assert_eq!(report.ok, u64::try_from(upstream.count()).unwrap());
    assert!(report.ok > 0 && report.failed == 0);
    assert!(report.elapsed >= duration);
}

#[test]
fn a_load_at_a_pace() {
    let upstream = Upstream::start();
    let duration = Duration::from_millis(500);
    let report = load::run_paced(upstream.addr(), "/", 4, 300, duration, &[]);
    assert_eq!((report.ok, report.failed), (150, 0));
    // The last one is due after 149 of 150 intervals.
    assert!(report.elapsed >= duration.mul_f64(149.0 / 150.0));
}

#[test]
fn a_slow_server_is_behind_the_pace() {
    let upstream = Upstream::start();
    // One connection makes 20 requests a second of 100.
    let duration = Duration::from_millis(200);
    let report = load::run_paced(upstream.addr(), "/delay/50", 1, 100, duration, &[]);
    assert_eq!(report.ok, 20);
    // The last one is due after 190 ms and answered after 20 · 50 ms.
    assert!(report.max >= Duration::from_millis(810), "{report:?}");
    assert!(report.p50 >= Duration::from_millis(400), "{report:?}");
}

#[test]
fn garbage_is_no_http() {
    let mut garbage = Garbage::start();
    let addr = garbage.addr();
    assert!(client::request(addr, "GET", "/", &[], b"").is_err());
    assert!(client::h2_request(addr, "GET", "/", &[], b"").is_err());
    assert_eq!(garbage.connections(), 2);
    let mut stream = TcpStream::connect(addr).unwrap();
    for _ in 0..3 {
        stream.write_all(b"more").unwrap();
        let mut answer = [0; 1024];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [0xff; 1024]);
    }
    garbage.stop();
    assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)));
    let again = Garbage::start_on(addr);
    assert_eq!((again.addr(), again.connections()), (addr, 0));
}
