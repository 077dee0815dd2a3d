//! Documents: accepted, refused, replaced.

use crate::fake_host::{FakeEnvironment, FakeHost, SECOND, START};
use crate::logs;
use log::Level;
use sidespan_runtime::configuration::{
    Loaded, Plugin, SharedDocuments, Strictness, load, reject_route,
};

const GOOD: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "collector"}}}"#;
const OTHER: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "tenant-b"}}}"#;
const BAD: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "collector"}}, "sampler": 1}"#;
const BAD_OTHER: &str = r#"{"exporter": {"otlp_grpc": {"cluster": "tenant-b"}}, "sampler": 1}"#;

fn plugin(has_identity: bool) -> Plugin {
    Plugin {
        description: "plugin \"a\", root_id \"b\"".to_owned(),
        has_identity,
    }
}

fn load_at(host: &FakeHost, document: &str, has_identity: bool, now: u64) -> Loaded {
    let store = SharedDocuments::new(host, "documents".to_owned());
    load(
        document.as_bytes(),
        &plugin(has_identity),
        &store,
        false,
        now,
    )
}

fn cluster(loaded: &Loaded) -> Option<&str> {
    let config = loaded.config.as_ref()?;
    Some(&config.exporter.cluster)
}

#[test]
fn accepted_document_is_logged_once_for_all_workers() {
    logs::capture();
    let host = FakeHost::new();
    for _ in 0..3 {
        let loaded = load_at(&host, GOOD, true, START);
        assert_eq!(cluster(&loaded), Some("collector"));
        assert!(!loaded.is_rejected && !loaded.is_refused);
    }
    let lines = logs::take();
    let [(Level::Info, line)] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(
        line.contains("configuration loaded, plugin \"a\", root_id \"b\""),
        "{line}"
    );
}

#[test]
fn rejected_document_without_predecessor_leaves_requests_untraced() {
    logs::capture();
    let host = FakeHost::new();
    let first = load_at(&host, BAD, true, START);
    assert!(first.config.is_none() && first.is_rejected && first.is_newly_rejected);
    assert!(!first.is_refused);
    let second = load_at(&host, BAD, true, START);
    assert!(second.is_rejected && !second.is_newly_rejected);
    let lines = logs::take();
    let [(Level::Error, line)] = &lines[..] else {
        panic!("{lines:?}");
    };
    assert!(line.starts_with(
        "configuration rejected, requests go through untraced, plugin \"a\", root_id \"b\": sampler: "
    ), "{line}");
}

#[test]
fn rejected_document_of_a_plugin_with_identity_keeps_the_last_good_one() {
    logs::capture();
    let host = FakeHost::new();
    load_at(&host, GOOD, true, START);
    let loaded = load_at(&host, BAD_OTHER, true, START + SECOND);
    assert_eq!(cluster(&loaded), Some("collector"));
    assert!(logs::texts()[1].contains("the last good configuration stays"));
}

/// Two listeners with the same names may be of two tenants.
#[test]
fn rejected_document_without_identity_never_takes_another_destination() {
    let host = FakeHost::new();
    load_at(&host, GOOD, false, START);
    assert_eq!(cluster(&load_at(&host, BAD_OTHER, false, START)), None);
    assert_eq!(
        cluster(&load_at(&host, BAD, false, START)),
        Some("collector")
    );
    load_at(&host, OTHER, false, START);
    assert_eq!(
        cluster(&load_at(&host, BAD_OTHER, false, START)),
        Some("tenant-b")
    );
}

#[test]
fn strict_host_refuses_a_rejected_document() {
    logs::capture();
    let host = FakeHost::new();
    let store = SharedDocuments::new(&host, "documents".to_owned());
    load(GOOD.as_bytes(), &plugin(true), &store, true, START);
    let loaded = load(BAD.as_bytes(), &plugin(true), &store, true, START);
    assert!(loaded.is_refused && loaded.config.is_none());
    assert!(logs::texts()[1].contains("refused, SIDESPAN_STRICT is 1"));
}

#[test]
fn strictness_has_a_warning_for_another_value() {
    let read = |variables: &[_]| Strictness::read(&FakeEnvironment(variables.to_vec()));
    assert!(!read(&[]).is_strict);
    assert!(read(&[("SIDESPAN_STRICT", "1")]).is_strict);
    let odd = read(&[("SIDESPAN_STRICT", "yes")]);
    assert!(!odd.is_strict);
    let warning = odd.warning.expect("a warning");
    assert!(
        warning.contains("SIDESPAN_STRICT") && warning.contains("\"yes\""),
        "{warning}"
    );
}

#[test]
fn documents_survive_the_writes_of_other_workers() {
    let host = FakeHost::new();
    host.conflicts.set(200);
    load_at(&host, GOOD, true, START);
    assert_eq!(host.conflicts.get(), 0);
    assert_eq!(
        cluster(&load_at(&host, BAD, true, START)),
        Some("collector")
    );
}

#[test]
fn rejected_route_is_logged_once_and_never_replaced() {
    logs::capture();
    let host = FakeHost::new();
    let store = SharedDocuments::new(&host, "routes".to_owned());
    let document = br#"{"sampler": 1}"#;
    let Err(faults) = sidespan_config::parse_route(document) else {
        panic!("it is invalid");
    };
    let reject = || reject_route(document, &plugin(true), &faults, &store, false, START);
    assert_eq!([reject(), reject()], [true, false]);
    let lines = logs::texts();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("its route is as all others"), "{lines:?}");
}
