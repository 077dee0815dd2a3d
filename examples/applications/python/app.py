"""Answers with what reached it, and with the answer of the application behind it."""

import os
import signal
import sys

import requests
from flask import Flask, request
from opentelemetry import baggage, trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from werkzeug.serving import make_server

# What the mesh tells the application in headers, as attributes of the application's span.
MESH_HEADERS = {
    "x-request-id": "mesh.request_id",
    "x-b3-traceid": "mesh.b3.trace_id",
    "x-envoy-attempt-count": "mesh.retry_count",
}

# The environment names the service, the propagators and the collector: OTEL_SERVICE_NAME,
# OTEL_PROPAGATORS, OTEL_EXPORTER_OTLP_ENDPOINT.
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

app = Flask(__name__)
FlaskInstrumentor().instrument_app(app)
RequestsInstrumentor().instrument()


@app.before_request
def record_mesh():
    span = trace.get_current_span()
    for header, attribute in MESH_HEADERS.items():
        if value := request.headers.get(header):
            span.set_attribute(attribute, value)


@app.get("/", defaults={"path": ""})
@app.get("/<path:path>")
def answer(path):
    return {
        "service": os.environ.get("OTEL_SERVICE_NAME"),
        "baggage": dict(baggage.get_all()),
        "headers": {name.lower(): value for name, value in request.headers},
        "next": ask_next(),
    }


def ask_next():
    base = os.environ.get("NEXT")
    if not base:
        return None
    # The id of the request is the application's to pass on, as the context is the SDK's.
    headers = {"x-request-id": request.headers.get("x-request-id")}
    return requests.get(base + request.full_path.rstrip("?"), headers=headers, timeout=10).json()


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8080"))
    server = make_server("127.0.0.1", port, app, threaded=True)
    # What is under way ends before the process does, and at its exit the provider sends what it
    # holds.
    server.daemon_threads = False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
