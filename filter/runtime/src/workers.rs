//! The contexts of one VM: configured, called, drained and replaced.

use crate::configuration::{self, DocumentStore as _, Plugin, Strictness};
use crate::log_throttle::LogThrottle;
use crate::metrics::Metrics;
use crate::stale_documents::{StaleDocuments, documents};
use crate::worker::{FIRST_TICK, MAX_TICK, StoredResponse, Worker, WorkerHost};
use sidespan_core::config::Config;
use sidespan_core::export::callout::CalloutOutcome;
use sidespan_core::host::environment::Environment;
use sidespan_core::tracer::Tracer;
use std::time::Duration;

/// The root contexts of one VM. One without a configuration lets requests
/// through untraced.
#[derive(Debug)]
pub struct Workers<R, X> {
    /// Few, so that a linear search is the fastest.
    contexts: Vec<(u32, Option<Worker<R, X>>)>,
    stale: StaleDocuments,
}

impl<R, X> Default for Workers<R, X> {
    fn default() -> Self {
        Self {
            contexts: Vec::new(),
            stale: StaleDocuments::default(),
        }
    }
}

/// What a host configures a context with.
#[derive(Debug)]
pub struct Configured<'a, E> {
    /// The context.
    pub context_id: u32,
    /// The plugin that it belongs to.
    pub plugin: &'a Plugin,
    /// Separates the plugin's keys in shared state from those of others.
    pub key_prefix: String,
    /// The document, JSON.
    pub document: Vec<u8>,
    /// The environment of the proxy.
    pub environment: &'a E,
    /// 32 bytes of entropy.
    pub seed: [u8; 32],
}

impl<R: StoredResponse, X> Workers<R, X> {
    /// Adds a context without a configuration.
    pub fn create(&mut self, context_id: u32) {
        self.insert(context_id, None);
    }

    /// Returns a context with a configuration.
    pub fn get(&mut self, context_id: u32) -> Option<&mut Worker<R, X>> {
        let mut contexts = self.contexts.iter_mut();
        let (_, worker) = contexts.find(|(id, _)| *id == context_id)?;
        worker.as_mut()
    }

    /// Configures a context. `extend` makes what the adapter keeps with it.
    ///
    /// Returns `false` for a document that the host must refuse, which is one that
    /// is invalid where only valid ones are wanted.
    pub fn configure<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        configured: Configured<'_, impl Environment>,
        extend: impl FnOnce(&Config, &Tracer) -> X,
    ) -> bool {
        let Configured {
            context_id,
            plugin,
            key_prefix,
            document,
            environment,
            seed,
        } = configured;
        let strictness = Strictness::read(environment);
        let is_strict = strictness.is_strict;
        let store = documents(host, &key_prefix);
        let loaded = configuration::load(&document, plugin, &store, is_strict, host.now());
        if loaded.is_newly_rejected {
            metrics.count_rejected(host, 1);
        }
        if let Some(warning) = strictness.warning {
            LogThrottle::new(host, &key_prefix).warn_once(&warning);
        }
        if loaded.is_refused {
            return false;
        }
        if loaded.is_rejected {
            self.stale.expect(context_id, key_prefix.clone(), &document);
            host.set_tick_period(FIRST_TICK);
        }
        let Some(config) = loaded.config else {
            return true;
        };
        let tracer = Tracer::new(config.clone(), environment, seed);
        let adapter = extend(&config, &tracer);
        let is_fallback = loaded.is_rejected;
        let worker = Worker::new(
            host,
            context_id,
            tracer,
            key_prefix,
            document,
            is_fallback,
            adapter,
        );
        self.insert(context_id, Some(worker));
        true
    }

    /// A tick of a context.
    pub fn on_tick<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        context_id: u32,
    ) {
        let now = host.now();
        let is_rejected = self.stale.on_tick(host, metrics, context_id, now);
        let Some(worker) = self.get(context_id) else {
            if is_rejected {
                // Without a configuration there is nothing else to do.
                host.set_tick_period(MAX_TICK);
            }
            return;
        };
        if worker.confirm() {
            let documents = documents(host, worker.key_prefix());
            documents.update(|history| history.confirm(worker.document()));
        }
        worker.on_tick(host, metrics, now);
        if worker.has_ended() {
            self.release(host, context_id);
        }
    }

    /// The export of a context with this token ended.
    pub fn on_export_end<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        context_id: u32,
        token: u32,
        outcome: CalloutOutcome<'_>,
    ) {
        let Some(worker) = self.get(context_id) else {
            return;
        };
        worker.complete_export(host, metrics, token, outcome);
        if worker.has_ended() {
            self.release(host, context_id);
        }
    }

    /// The host asks whether it may delete a context. One that has spans to
    /// deliver stays until they are, and then calls [`WorkerHost::done`].
    pub fn on_done<M: Copy>(
        &mut self,
        host: &impl WorkerHost<Id = M>,
        metrics: &Metrics<M>,
        context_id: u32,
    ) -> bool {
        let Some(is_last) = self.is_last(context_id) else {
            return true;
        };
        self.stale.on_done(host, metrics, context_id);
        self.end_document(host, context_id);
        let now = host.now();
        if is_last {
            for mut worker in self.contexts.drain(..).filter_map(|(_, worker)| worker) {
                worker.drop_undelivered(host, metrics, now);
            }
            return true;
        }
        let predecessor = self.take_draining(context_id);
        let may_go = self.get(context_id).is_none_or(|worker| {
            worker.shut_down(host, metrics, predecessor, now);
            worker.has_ended()
        });
        if may_go {
            host.set_tick_period(Duration::ZERO);
            self.forget(context_id);
        }
        may_go
    }

    /// The accepted document of a context that goes ends, if no other context here
    /// has it.
    fn end_document(&mut self, host: &impl WorkerHost, context_id: u32) {
        let contexts = self.contexts.iter();
        let workers = contexts.filter_map(|(id, worker)| Some((*id, worker.as_ref()?)));
        let workers = workers.filter(|(_, worker)| worker.has_document());
        let Some((_, own)) = workers.clone().find(|(id, _)| *id == context_id) else {
            return;
        };
        let mut others = workers.filter(|(id, _)| *id != context_id);
        if !others.any(|(_, other)| other.document() == own.document()) {
            let documents = documents(host, own.key_prefix());
            documents.update(|history| history.end(own.document()));
        }
    }

    /// Whether the host has asked all other contexts to end: it ends the VM when it
    /// has asked the last one, whatever that answers, and every export with it.
    /// `None` for a context that is not here.
    fn is_last(&self, context_id: u32) -> Option<bool> {
        self.contexts.iter().find(|(id, _)| *id == context_id)?;
        let mut others = self.contexts.iter().filter(|(id, _)| *id != context_id);
        Some(others.all(|(_, worker)| worker.as_ref().is_some_and(Worker::is_ending)))
    }

    /// Removes a context with the same document that still drains. The host knows
    /// one context by a document and forgets the earlier one, with its exports.
    fn take_draining(&mut self, context_id: u32) -> Option<Worker<R, X>> {
        let document = self.get(context_id)?.document().to_vec();
        let is_it = |worker: &Worker<R, X>| worker.is_ending() && worker.document() == document;
        let index = self
            .contexts
            .iter()
            .position(|(_, worker)| worker.as_ref().is_some_and(is_it))?;
        self.contexts.swap_remove(index).1
    }

    fn insert(&mut self, context_id: u32, worker: Option<Worker<R, X>>) {
        self.contexts.retain(|(id, _)| *id != context_id);
        self.contexts.push((context_id, worker));
    }

    /// Lets the host delete a context, in a callback of its own. It would go on
    /// with its ticks.
    fn release(&mut self, host: &impl WorkerHost, context_id: u32) {
        host.set_tick_period(Duration::ZERO);
        self.forget(context_id);
        host.done();
    }

    fn forget(&mut self, context_id: u32) {
        self.contexts.retain(|(id, _)| *id != context_id);
    }
}
