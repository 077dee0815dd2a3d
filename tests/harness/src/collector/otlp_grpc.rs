//! OTLP/gRPC.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Notify;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::{Request, Response, Status};

use super::{Call, Plain, Refusal, Shared, rpc};
use crate::otlp::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use crate::otlp::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};

const MAX_MESSAGE: usize = 64 << 20;

pub(super) async fn answer(
    shared: Arc<Shared>,
    kill: Arc<Notify>,
    head: Call,
    request: http::Request<Incoming>,
) -> http::Response<Body> {
    let transport = Arc::new(Transport {
        head,
        received: AtomicUsize::new(0),
        recorded: AtomicBool::new(false),
        plain: Mutex::default(),
        kill,
    });
    let seen = Arc::clone(&transport);
    let mut request = request.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let len = frame.data_ref().map_or(0, |data| data.len());
            seen.received.fetch_add(len, Ordering::Relaxed);
            frame
        }))
    });
    request.extensions_mut().insert(Arc::clone(&transport));
    let mut service = TraceServiceServer::new(Handler(Arc::clone(&shared)))
        .max_decoding_message_size(MAX_MESSAGE);
    let Ok(response) = service.call(request).await;
    if !transport.recorded.load(Ordering::Relaxed) {
        shared.unreadable(transport.call());
    }
    let plain = transport.plain().take();
    plain.map_or(response, Plain::response)
}

/// What the gRPC service cannot see or do by itself of the HTTP request.
struct Transport {
    head: Call,
    received: AtomicUsize,
    recorded: AtomicBool,
    /// The answer in place of the service's.
    plain: Mutex<Option<Plain>>,
    kill: Arc<Notify>,
}

impl Transport {
    fn call(&self) -> Call {
        self.recorded.store(true, Ordering::Relaxed);
        let message_len = self.received.load(Ordering::Relaxed).saturating_sub(5);
        Call {
            message_len,
            ..self.head.clone()
        }
    }

    fn plain(&self) -> MutexGuard<'_, Option<Plain>> {
        self.plain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Handler(Arc<Shared>);

#[tonic::async_trait]
impl TraceService for Handler {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let transport = request
            .extensions()
            .get::<Arc<Transport>>()
            .expect("set above")
            .clone();
        let spans = request.into_inner().resource_spans;
        let outcome = self.0.export(transport.call(), spans, &transport.kill);
        match outcome.await {
            Ok(answer) => Ok(Response::new(answer)),
            Err(Refusal::Status(code, message)) => Err(Status::new(code, message)),
            Err(Refusal::RetryAfter(code, delay)) => {
                let message = "retry later";
                let details = rpc::encode_status(code, message, Some(delay));
                Err(Status::with_details(code, message, details.into()))
            }
            Err(Refusal::Plain(plain)) => {
                *transport.plain() = Some(plain);
                Err(Status::unknown("answered by HTTP alone"))
            }
        }
    }
}
