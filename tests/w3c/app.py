"""The application that the official W3C trace-context suite asks for: one
without an SDK, which only forwards the headers it gets.

usage: app.py [OUTBOUND_PORT]

Prints the port it listens on. With OUTBOUND_PORT, calls go to that port of
this machine, as a sidecar has them, and not to the host that they are for.
"""

import http.client
import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FORWARDED = ("traceparent", "tracestate")
OUTBOUND = int(sys.argv[1]) if len(sys.argv) > 1 else None


def call(url, arguments, headers):
    parts = urllib.parse.urlsplit(url)
    address = ("127.0.0.1", OUTBOUND) if OUTBOUND else (parts.hostname, parts.port)
    body = json.dumps(arguments).encode()
    connection = http.client.HTTPConnection(*address, timeout=5)
    connection.putrequest("POST", parts.path, skip_host=True)
    connection.putheader("Host", parts.netloc)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(body)))
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders(body)
    connection.getresponse().read()
    connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [(n, v) for n, v in self.headers.items() if n.lower() in FORWARDED]
        for action in json.loads(body):
            call(action["url"], action["arguments"], headers)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"null")

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
