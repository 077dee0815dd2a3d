//! Roots whose newest document is not in force, as the gauge
//! `sidespan.config_stale` counts them: one for each worker.
//!
//! A host also configures a root to test a document, and one on its main thread,
//! which serves no request. The first is never called again; the second is not
//! told from those of the workers, so that one root is left out of the count.

use crate::shared_data;
use std::cell::RefCell;

thread_local! {
    static STALE: RefCell<Vec<StaleRoot>> = RefCell::default();
}

struct StaleRoot {
    root_id: u32,
    document: Vec<u8>,
    is_live: bool,
    counted: Option<Counted>,
}

enum Counted {
    /// As a worker's.
    Worker,
    /// Not at all, in place of the main thread's.
    MainThread,
}

impl StaleRoot {
    fn count(&mut self) {
        let document = &self.document;
        self.counted.get_or_insert_with(|| {
            if shared_data::is_first(&shared_data::stale_key(document), b"1") {
                return Counted::MainThread;
            }
            shared_data::add_stale(1);
            Counted::Worker
        });
    }

    fn release(&mut self) {
        match self.counted.take() {
            Some(Counted::Worker) => shared_data::add_stale(-1),
            Some(Counted::MainThread) => {
                shared_data::is_first(&shared_data::stale_key(&self.document), b"");
            }
            None => {}
        }
    }
}

/// Remembers a root with a rejected document until the host calls it.
pub(crate) fn expect(root_id: u32, document: &[u8]) {
    STALE.with_borrow_mut(|stale| {
        stale.push(StaleRoot {
            root_id,
            document: document.to_vec(),
            is_live: false,
            counted: None,
        });
    });
}

/// The host calls a root. Whether its document was rejected: then it must be
/// called again, as a newer document may take its place.
pub(crate) fn on_tick(root_id: u32) -> bool {
    STALE.with_borrow_mut(|stale| {
        let Some(root) = stale.iter_mut().find(|root| root.root_id == root_id) else {
            return false;
        };
        if !std::mem::replace(&mut root.is_live, true) {
            shared_data::confirm(&root.document);
        }
        match shared_data::is_stale(&root.document) {
            true => root.count(),
            false => root.release(),
        }
        true
    })
}

/// A root goes, and its document with it if no other root here has it.
pub(crate) fn on_done(root_id: u32) {
    STALE.with_borrow_mut(|stale| {
        let Some(index) = stale.iter().position(|root| root.root_id == root_id) else {
            return;
        };
        let mut root = stale.swap_remove(index);
        root.release();
        if !stale.iter().any(|other| other.document == root.document) {
            shared_data::end(&root.document);
        }
    });
}
