// Answers with what reached it, and with the answer of the application behind it.
'use strict';

// First, as it instruments what is loaded after it.
const tracing = require('./tracing');

const http = require('node:http');
const { context, propagation } = require('@opentelemetry/api');
const express = require('express');

const { NEXT, OTEL_SERVICE_NAME, PORT = '8080' } = process.env;

const app = express();

app.get('/{*path}', async (request, response) => {
  const baggage = propagation.getBaggage(context.active())?.getAllEntries() ?? [];
  response.json({
    service: OTEL_SERVICE_NAME,
    baggage: Object.fromEntries(baggage.map(([key, { value }]) => [key, value])),
    headers: request.headers,
    next: NEXT ? await ask(NEXT + request.originalUrl, request.headers['x-request-id']) : null,
  });
});

// The id of the request is the application's to pass on, as the context is the SDK's.
function ask(url, id) {
  const headers = id ? { 'x-request-id': id } : {};
  return new Promise((resolve, reject) => {
    http.get(url, { headers }, async (answer) => {
      try {
        const chunks = await answer.toArray();
        resolve(JSON.parse(Buffer.concat(chunks).toString()));
      } catch (error) {
        reject(error);
      }
    }).on('error', reject);
  });
}

const server = app.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});

process.on('SIGTERM', () => {
  server.close(async () => {
    await tracing.shutdown();
    process.exit();
  });
});
