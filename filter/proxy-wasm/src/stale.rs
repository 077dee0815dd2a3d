//! Roots whose newest document is not in force, as the gauge
//! `sidespan.config_stale` counts them: one for each worker.
//!
//! A host also configures a root to test a document, and one on its main thread,
//! which serves no request. The first is never called again; the second is not
//! told from those of the workers, so that one root is left out of the count.

use crate::shared;
use std::cell::RefCell;

thread_local! {
    static STALE: RefCell<Vec<StaleRoot>> = RefCell::default();
}

struct StaleRoot {
    root_id: u32,
    document: Vec<u8>,
    counted: Option<Counted>,
}

enum Counted {
    /// As a worker's.
    Worker,
    /// Not at all, in place of the main thread's.
    MainThread,
}

/// Remembers a root until the host calls it.
pub(crate) fn expect(root_id: u32, document: &[u8]) {
    STALE.with_borrow_mut(|stale| {
        stale.push(StaleRoot {
            root_id,
            document: document.to_vec(),
            counted: None,
        });
    });
}

/// Counts a root, once.
pub(crate) fn count(root_id: u32) {
    STALE.with_borrow_mut(|stale| {
        for root in stale.iter_mut().filter(|root| root.root_id == root_id) {
            root.counted
                .get_or_insert_with(|| count_document(&root.document));
        }
    });
}

fn count_document(document: &[u8]) -> Counted {
    if shared::is_first(&shared::stale_key(document), b"1") {
        return Counted::MainThread;
    }
    shared::add_stale(1);
    Counted::Worker
}

/// A root goes, and its document with it.
pub(crate) fn release(root_id: u32) {
    STALE.with_borrow_mut(|stale| {
        for root in stale.extract_if(.., |root| root.root_id == root_id) {
            match root.counted {
                Some(Counted::Worker) => shared::add_stale(-1),
                Some(Counted::MainThread) => {
                    shared::is_first(&shared::stale_key(&root.document), b"");
                }
                None => {}
            }
        }
    });
}
