package main

import (
	"log"
	"sync"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	v3 "istio.io/istio/pilot/pkg/xds/v3"
	"istio.io/istio/pkg/wasm"
)

// agent hands on what Envoy and istiod say to each other, as Istio's agent in
// each pod does, and has the agent's own code fetch the modules that are named
// in between.
type agent struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	istiod  *grpc.ClientConn
	modules wasm.Cache
}

func newAgent(istiod *grpc.ClientConn, modules string) *grpc.Server {
	server := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(server, &agent{
		istiod: istiod,
		modules: wasm.NewLocalFileCache(modules, wasm.Options{
			HTTPRequestTimeout:    wasm.DefaultHTTPRequestTimeout,
			HTTPRequestMaxRetries: wasm.DefaultHTTPRequestMaxRetries,
		}),
	})
	return server
}

func (a *agent) StreamAggregatedResources(envoy discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	istiod, err := discovery.NewAggregatedDiscoveryServiceClient(a.istiod).StreamAggregatedResources(envoy.Context())
	if err != nil {
		return err
	}
	go func() {
		defer istiod.CloseSend()
		for {
			request, err := envoy.Recv()
			if err != nil {
				return
			}
			if detail := request.GetErrorDetail(); detail != nil {
				log.Printf("Envoy refused %s: %s", request.GetTypeUrl(), detail.GetMessage())
			}
			if istiod.Send(request) != nil {
				return
			}
		}
	}()
	var sending sync.Mutex
	send := func(response *discovery.DiscoveryResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return envoy.Send(response)
	}
	for {
		response, err := istiod.Recv()
		if err != nil {
			return err
		}
		if response.GetTypeUrl() != v3.ExtensionConfigurationType {
			if err := send(response); err != nil {
				return err
			}
			continue
		}
		// What takes its time must not hold up what does not.
		go func() {
			if err := wasm.MaybeConvertWasmExtensionConfig(response.GetResources(), a.modules); err != nil {
				log.Printf("modules: %v", err)
				return
			}
			if err := send(response); err != nil {
				log.Printf("extensions: %v", err)
			}
		}()
	}
}
