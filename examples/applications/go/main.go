// Answers with what reached it, and with the answer of the application behind it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/contrib/propagators/autoprop"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// What the mesh tells the application in headers, as attributes of the application's span.
var meshHeaders = map[string]string{
	"x-request-id":          "mesh.request_id",
	"x-b3-traceid":          "mesh.b3.trace_id",
	"x-envoy-attempt-count": "mesh.retry_count",
}

type answer struct {
	Service string            `json:"service"`
	Baggage map[string]string `json:"baggage"`
	Headers map[string]string `json:"headers"`
	Next    json.RawMessage   `json:"next"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

// run serves until the context ends, and then sends the spans that are left.
func run(ctx context.Context) error {
	provider, err := startTracing(ctx)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: otelhttp.NewHandler(http.HandlerFunc(serve), "request")}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		last := context.Background()
		stopped <- errors.Join(server.Shutdown(last), provider.Shutdown(last))
	}()
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-stopped
}

// startTracing leaves it to the environment to name the service, the propagators and the
// collector: OTEL_SERVICE_NAME, OTEL_PROPAGATORS, OTEL_EXPORTER_OTLP_ENDPOINT.
func startTracing(ctx context.Context) (*sdktrace.TracerProvider, error) {
	exporter, err := otlptracegrpc.New(ctx)
	if err != nil {
		return nil, err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(autoprop.NewTextMapPropagator())
	return provider, nil
}

func port() string {
	if port := os.Getenv("PORT"); port != "" {
		return port
	}
	return "8080"
}

func serve(w http.ResponseWriter, r *http.Request) {
	span := trace.SpanFromContext(r.Context())
	for header, name := range meshHeaders {
		if value := r.Header.Get(header); value != "" {
			span.SetAttributes(attribute.String(name, value))
		}
	}
	next, err := askNext(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	w.Header().Set("content-type", "application/json")
	json.NewEncoder(w).Encode(answer{
		Service: os.Getenv("OTEL_SERVICE_NAME"),
		Baggage: entries(baggage.FromContext(r.Context())),
		Headers: headers(r.Header),
		Next:    next,
	})
}

func askNext(r *http.Request) (json.RawMessage, error) {
	base := os.Getenv("NEXT")
	if base == "" {
		return nil, nil
	}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, base+r.URL.RequestURI(), nil)
	if err != nil {
		return nil, err
	}
	// The id of the request is the application's to pass on, as the context is the SDK's.
	if id := r.Header.Get("x-request-id"); id != "" {
		request.Header.Set("x-request-id", id)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var next json.RawMessage
	err = json.NewDecoder(response.Body).Decode(&next)
	return next, err
}

var client = http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport)}

func entries(bag baggage.Baggage) map[string]string {
	out := make(map[string]string)
	for _, member := range bag.Members() {
		out[member.Key()] = member.Value()
	}
	return out
}

func headers(from http.Header) map[string]string {
	out := make(map[string]string)
	for name, values := range from {
		out[strings.ToLower(name)] = strings.Join(values, ",")
	}
	return out
}
