//! The exporters of a process, on its main thread, fed by all workers.

use crate::dispatch::DispatchError;
use crate::log_throttle::LogThrottle;
use crate::process::calls::{Call, Calls, Response};
use crate::process::unpublished::Unpublished;
use crate::process::worker_queues::{WorkerQueue, WorkerQueues};
use crate::shared_state::ProcessState;
use sidespan_core::context::id_generator::IdGenerator;
use sidespan_core::export::callout::{Callout, CalloutId, CalloutOutcome, Target};
use sidespan_core::export::pipeline::{Delivery, DeliveryConfig};
use sidespan_core::export::queue::BatchSpanProcessor;
use sidespan_core::host::environment::Environment;
use sidespan_core::stats::Level;
use std::sync::Arc;
use std::time::Duration;

/// The exporters of a process, and the exports that are under way.
///
/// A host lets a configuration of the filter, named by an `H`, send requests until
/// that configuration goes. All spans are exported by the newest one, and when it
/// goes, by another.
#[derive(Debug)]
pub struct ExportState<H> {
    /// The newest last.
    hosts: Vec<H>,
    exporters: Vec<Exporter>,
    calls: Calls<H>,
    log_state: ProcessState,
    ids: IdGenerator,
    /// What was counted and not published yet.
    pub unpublished: Unpublished,
}

#[derive(Debug)]
struct Exporter {
    config: DeliveryConfig,
    queues: Arc<WorkerQueues>,
    delivery: Delivery,
    /// What workers had, and the queue has no space for yet.
    rest: Vec<BatchSpanProcessor>,
    /// Nobody feeds it any more.
    is_ending: bool,
}

/// A request that a host must send.
#[derive(Debug)]
pub struct Dispatch<H> {
    /// The host.
    pub host: H,
    /// Where it goes.
    pub target: Target,
    /// Its body.
    pub callout: Callout,
    queues: Arc<WorkerQueues>,
}

impl<H: Copy + PartialEq> ExportState<H> {
    /// No exporter. `seed` is 32 bytes of entropy.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            hosts: Vec::new(),
            exporters: Vec::new(),
            calls: Calls::default(),
            log_state: ProcessState::default(),
            ids: IdGenerator::new(seed),
            unpublished: Unpublished::default(),
        }
    }

    /// Throttled log lines of this process.
    pub fn throttle(&self) -> LogThrottle<'_, ProcessState> {
        LogThrottle::new(&self.log_state, "")
    }

    /// Counts a rejected document.
    pub fn count_rejected(&mut self) {
        self.unpublished.rejected += 1;
    }

    /// Returns the workers' side of the exporter for a configuration, which all
    /// configurations with equal values share.
    pub fn exporter(
        &mut self,
        config: DeliveryConfig,
        workers: usize,
        environment: &impl Environment,
    ) -> Arc<WorkerQueues> {
        let same = |exporter: &&Exporter| !exporter.is_ending && exporter.config == config;
        if let Some(exporter) = self.exporters.iter().find(same) {
            return Arc::clone(&exporter.queues);
        }
        // The document's limits are for each worker, and here all share them.
        let mut shared_by_all = config.clone();
        let batch = &mut shared_by_all.batch;
        for limit in [
            &mut batch.max_queue_size,
            &mut batch.max_queue_bytes,
            &mut batch.max_concurrent_exports,
        ] {
            *limit = limit.saturating_mul(workers);
        }
        let delivery = Delivery::new(shared_by_all, environment);
        let throttle = LogThrottle::new(&self.log_state, "");
        for warning in delivery.warnings() {
            throttle.warn_once(warning);
        }
        let queues = Arc::new(WorkerQueues::new(workers, &delivery, &config.batch));
        self.exporters.push(Exporter {
            config,
            queues: Arc::clone(&queues),
            delivery,
            rest: Vec::new(),
            is_ending: false,
        });
        queues
    }

    /// Adds a host: exports may be sent by it.
    pub fn register_host(&mut self, host: H) {
        self.hosts.push(host);
    }

    /// The newest host.
    pub fn newest_host(&self) -> Option<H> {
        self.hosts.last().copied()
    }

    /// Removes a host that goes, and its exports with it: they are sent again by
    /// another one. If it is the last, and nothing else keeps spans until a host
    /// comes, what is left is dropped and counted. Returns whether it was here.
    pub fn unregister_host(&mut self, host: H, keeps_spans: bool, now: u64) -> bool {
        let Some(index) = self.hosts.iter().position(|known| *known == host) else {
            return false;
        };
        for call in self.calls.take(|call| call.host == host) {
            self.requeue(&call, now);
        }
        if self.hosts.len() == 1 && !keeps_spans {
            self.drop_undelivered(now);
        }
        self.hosts.remove(index);
        true
    }

    /// An export is sent again: its host forgot it.
    fn requeue(&mut self, call: &Call<H>, now: u64) {
        if let Some(exporter) = find(&mut self.exporters, &call.queues) {
            exporter.delivery.recall(call.id, now);
        }
    }

    /// Takes what workers have as far as there is space, and lets time go by. After
    /// the exports that are ready, [`collect_rest`](Self::collect_rest) takes the
    /// rest.
    pub fn collect(&mut self, now: u64) {
        for exporter in &mut self.exporters {
            let Exporter {
                config,
                queues,
                delivery,
                rest,
                ..
            } = exporter;
            let mut filled = Vec::new();
            queues.take(
                || WorkerQueue::new(delivery, &config.batch),
                |queue| filled.push(queue),
            );
            for mut queue in filled {
                rest.extend(delivery.merge(queue.queue));
                delivery.stats().add_all(&mut queue.stats);
            }
            delivery.on_tick(now);
        }
    }

    /// Takes the rest of what workers had. What has no space now is dropped, and
    /// counted. Returns whether there was a rest.
    pub fn collect_rest(&mut self) -> bool {
        let mut has_rest = false;
        for exporter in &mut self.exporters {
            for rest in exporter.rest.drain(..) {
                exporter.delivery.take_in(rest);
                has_rest = true;
            }
        }
        has_rest
    }

    /// Returns the next export that is ready and may be under way. What the host
    /// made of it comes to [`dispatched`](Self::dispatched).
    pub fn next_dispatch(&mut self, now: u64) -> Option<Dispatch<H>> {
        let host = self.newest_host()?;
        self.exporters.iter_mut().find_map(|exporter| {
            let callout = exporter.delivery.next_callout(now)?;
            Some(Dispatch {
                host,
                target: exporter.delivery.target().clone(),
                callout,
                queues: Arc::clone(&exporter.queues),
            })
        })
    }

    /// The host sent an export as a stream of its own, or could not.
    pub fn dispatched(
        &mut self,
        dispatch: Dispatch<H>,
        started: Result<u64, DispatchError>,
        now: u64,
    ) {
        let Dispatch {
            host,
            callout,
            queues,
            ..
        } = dispatch;
        match started {
            Ok(stream) => self.calls.add(host, stream, queues, callout.id, now),
            Err(error) => self.end_export(&queues, callout.id, error.into(), now),
        }
    }

    /// The response to an export of this host, as it comes.
    pub fn response(&mut self, host: H, stream: u64) -> Option<&mut Response> {
        self.calls.get(host, stream).map(|call| &mut call.response)
    }

    /// A response is complete, or was reset before. Returns whether it was known.
    pub fn end_response(&mut self, host: H, stream: u64, is_complete: bool, now: u64) -> bool {
        let Some(call) = self.calls.remove(host, stream) else {
            return false;
        };
        let (headers, trailers) = call.response.lines();
        let outcome = match is_complete {
            true => CalloutOutcome::Answered {
                headers: &headers,
                body: &call.response.body,
                trailers: &trailers,
            },
            false => CalloutOutcome::Reset,
        };
        self.end_export(&call.queues, call.id, outcome, now);
        true
    }

    fn end_export(
        &mut self,
        queues: &Arc<WorkerQueues>,
        id: CalloutId,
        outcome: CalloutOutcome<'_>,
        now: u64,
    ) {
        let ids = &mut self.ids;
        let Some(exporter) = find(&mut self.exporters, queues) else {
            return;
        };
        let delivery = &mut exporter.delivery;
        let Some(end) = delivery.on_callout_end(id, outcome, now, || ids.fraction()) else {
            return;
        };
        let millis = u64::try_from(end.took.as_millis()).unwrap_or(u64::MAX);
        self.unpublished.add_export_time(millis);
        LogThrottle::new(&self.log_state, "").log_export_end(&delivery.target().cluster, &end, now);
    }

    /// Takes back what is under way by hosts that are no longer the newest, once it
    /// had its time: a host ends the exports of a configuration that goes on
    /// whichever thread lets it go. The streams returned must be reset.
    pub fn take_old_calls(&mut self, now: u64) -> Vec<(H, u64)> {
        const TIME_NANOS: u64 = 2_000_000_000;
        let newest = self.newest_host();
        let is_old = |call: &Call<H>| {
            Some(call.host) != newest && now.saturating_sub(call.began_unix_nanos) > TIME_NANOS
        };
        let old = self.calls.take(is_old);
        for call in &old {
            self.requeue(call, now);
        }
        old.iter().map(|call| (call.host, call.stream)).collect()
    }

    /// Nobody is left to send anything: what there is is dropped, and counted.
    pub fn drop_undelivered(&mut self, now: u64) {
        self.collect(now);
        self.collect_rest();
        for exporter in &mut self.exporters {
            exporter.delivery.give_up();
        }
        self.count_levels(now);
        self.exporters
            .retain(|exporter| Arc::strong_count(&exporter.queues) > 1);
    }

    /// Has exporters that nobody feeds deliver what they have, within 30 s.
    pub fn end_orphans(&mut self, now: u64) {
        // Those that are marked only now may have been fed since the queues were
        // looked at, and go no earlier than the next turn.
        self.exporters
            .retain(|exporter| !(exporter.is_ending && exporter.delivery.is_idle()));
        let ids = &mut self.ids;
        for exporter in &mut self.exporters {
            if !exporter.is_ending && Arc::strong_count(&exporter.queues) == 1 {
                exporter.is_ending = true;
                exporter.delivery.shutdown(now, || ids.fraction());
            }
        }
    }

    /// How long the next turn may take to come.
    pub fn next_turn(&self, now: u64) -> Duration {
        let exporters = self.exporters.iter();
        let waits = exporters.map(|exporter| exporter.delivery.next_tick(now));
        waits.min().unwrap_or(Duration::from_secs(1))
    }

    /// Adds what was counted to what is to be published.
    pub fn count_levels(&mut self, now: u64) {
        let throttle = LogThrottle::new(&self.log_state, "");
        let mut levels = [0; Level::ALL.len()];
        for exporter in &mut self.exporters {
            for (stat, n) in exporter.delivery.stats().take() {
                throttle.log_drops(stat, n, now);
                self.unpublished.stats.add(stat, n);
            }
            for (sum, level) in levels.iter_mut().zip(Level::ALL) {
                let its = exporter.delivery.level(*level);
                *sum = match level.is_sum() {
                    true => *sum + its,
                    false => its.max(*sum),
                };
            }
        }
        self.unpublished.levels = Some(levels);
    }
}

fn find<'a>(exporters: &'a mut [Exporter], queues: &Arc<WorkerQueues>) -> Option<&'a mut Exporter> {
    let mut exporters = exporters.iter_mut();
    exporters.find(|exporter| Arc::ptr_eq(&exporter.queues, queues))
}
