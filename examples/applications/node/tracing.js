// Starts OpenTelemetry. The environment names the service, the propagators and the collector:
// OTEL_SERVICE_NAME, OTEL_PROPAGATORS, OTEL_EXPORTER_OTLP_ENDPOINT.
'use strict';

const { OTLPTraceExporter } = require('@opentelemetry/exporter-trace-otlp-grpc');
const { ExpressInstrumentation } = require('@opentelemetry/instrumentation-express');
const { HttpInstrumentation } = require('@opentelemetry/instrumentation-http');
const { NodeSDK } = require('@opentelemetry/sdk-node');

// What the mesh tells the application in headers, as attributes of the application's span.
const MESH_HEADERS = {
  'x-request-id': 'mesh.request_id',
  'x-b3-traceid': 'mesh.b3.trace_id',
  'x-envoy-attempt-count': 'mesh.retry_count',
};

const sdk = new NodeSDK({
  traceExporter: new OTLPTraceExporter(),
  instrumentations: [
    new HttpInstrumentation({
      // Also called for requests that go out, which have no `headers`.
      requestHook: (span, request) => {
        for (const [header, attribute] of Object.entries(MESH_HEADERS)) {
          const value = request.headers?.[header];
          if (value) span.setAttribute(attribute, value);
        }
      },
    }),
    new ExpressInstrumentation(),
  ],
});
sdk.start();

module.exports = { shutdown: () => sdk.shutdown() };
