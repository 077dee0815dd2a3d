//! Contexts whose newest document is not in force, as the gauge
//! `sidespan.config_stale` counts them: one for each worker.
//!
//! A host also configures a context to test a document, and one on its main
//! thread, which serves no request. The first is never called again; the second
//! cannot be told from those of the workers, so that one context is left out of
//! the count.

use crate::configuration::{DocumentStore as _, SharedDocuments};
use crate::log_throttle::hash;
use crate::metrics::Metrics;
use crate::worker::WorkerHost;

/// The contexts with a rejected document.
#[derive(Debug, Default)]
pub(crate) struct StaleDocuments {
    contexts: Vec<StaleContext>,
}

#[derive(Debug)]
struct StaleContext {
    context_id: u32,
    key_prefix: String,
    document: Vec<u8>,
    is_live: bool,
    counted: Option<Counted>,
}

#[derive(Debug)]
enum Counted {
    /// As a worker's.
    Worker,
    /// Not at all, in place of the main thread's.
    MainThread,
}

impl StaleContext {
    /// The key under which contexts agree which one stands for the main thread.
    fn key(&self) -> String {
        format!("{}stale/{:x}", self.key_prefix, hash(&self.document))
    }

    fn count<M: Copy>(&mut self, host: &impl WorkerHost<Id = M>, metrics: &Metrics<M>) {
        if self.counted.is_some() {
            return;
        }
        self.counted = Some(match host.change(&self.key(), b"1") {
            true => Counted::MainThread,
            false => {
                metrics.add_stale(host, 1);
                Counted::Worker
            }
        });
    }

    fn release<M: Copy>(&mut self, host: &impl WorkerHost<Id = M>, metrics: &Metrics<M>) {
        match self.counted.take() {
            Some(Counted::Worker) => metrics.add_stale(host, -1),
            Some(Counted::MainThread) => {
                host.change(&self.key(), b"");
            }
            None => {}
        }
    }
}

/// The key of a plugin's documents.
pub(crate) fn documents<'a, H: WorkerHost>(host: &'a H, prefix: &str) -> SharedDocuments<'a, H> {
    SharedDocuments::new(host, format!("{prefix}documents"))
}

impl StaleDocuments {
    /// Remembers a context with a rejected document until the host calls it.
    pub(crate) fn expect(&mut self, context_id: u32, key_prefix: String, document: &[u8]) {
        self.contexts.push(StaleContext {
            context_id,
            key_prefix,
            document: document.to_vec(),
            is_live: false,
            counted: None,
        });
    }

    /// The host calls a context. Returns whether its document was rejected: then it
    /// must be called again, as a newer document may take its place.
    pub(crate) fn on_tick<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        context_id: u32,
        now: u64,
    ) -> bool {
        let mut contexts = self.contexts.iter_mut();
        let Some(context) = contexts.find(|context| context.context_id == context_id) else {
            return false;
        };
        let documents = documents(host, &context.key_prefix);
        if !std::mem::replace(&mut context.is_live, true) {
            documents.update(|history| history.confirm(&context.document));
        }
        match documents.update(|history| history.is_stale(&context.document, now)) {
            true => context.count(host, metrics),
            false => context.release(host, metrics),
        }
        true
    }

    /// A context goes, and its document with it if no other context here has it.
    pub(crate) fn on_done<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        context_id: u32,
    ) {
        let is_it = |context: &StaleContext| context.context_id == context_id;
        let Some(index) = self.contexts.iter().position(is_it) else {
            return;
        };
        let mut context = self.contexts.swap_remove(index);
        context.release(host, metrics);
        let mut others = self.contexts.iter();
        if !others.any(|other| other.document == context.document) {
            let documents = documents(host, &context.key_prefix);
            documents.update(|history| history.end(&context.document));
        }
    }
}
