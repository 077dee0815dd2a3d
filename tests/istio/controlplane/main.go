// The part of Istio that turns resources into Envoy's configuration, without a
// cluster: istiod's own discovery server on manifests from files, with the
// piece of Istio's agent that stands between it and Envoy and fetches modules.
//
//	controlplane -listen 127.0.0.1:15010 -modules DIR [-mesh mesh.yaml] [-image DIR] [-replace FROM=TO]… PATH…
//
// A PATH is a file of manifests, or a folder with a kustomization. It serves
// ADS in plain text until it is asked to end.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/test"

	"sidespan/istio/manifests"
)

// What the manifests have in place of a registry's and a web server's host.
const (
	registryHost = "registry.example.com"
	webServer    = "https://modules.example.com"
)

type replacements []string

func (r *replacements) String() string { return strings.Join(*r, " ") }

func (r *replacements) Set(pair string) error {
	from, to, found := strings.Cut(pair, "=")
	if !found || from == "" {
		return fmt.Errorf("%q: expected FROM=TO", pair)
	}
	*r = append(*r, from, to)
	return nil
}

func main() {
	log.SetFlags(0)
	listen := flag.String("listen", "127.0.0.1:0", "where to serve ADS")
	meshFile := flag.String("mesh", "", "a file with Istio's mesh configuration")
	image := flag.String("image", "", "an OCI image layout, to be served from a registry on loopback")
	modules := flag.String("modules", "", "an empty folder for the modules that are fetched")
	var replace replacements
	flag.Var(&replace, "replace", "FROM=TO: a piece of text of the manifests")
	flag.Parse()

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	if err := run(*listen, *meshFile, *image, *modules, replace, flag.Args(), ended); err != nil {
		log.Fatal(err)
	}
}

func run(listen, meshFile, image, modules string, replace replacements, paths []string, ended <-chan os.Signal) error {
	if image != "" {
		server, err := serveModules(image)
		if err != nil {
			return err
		}
		replace = append(replace, registryHost, server, webServer, "http://"+server)
	}
	var all manifests.Set
	for _, path := range paths {
		read, err := manifests.Read(path)
		if err != nil {
			return err
		}
		all = append(all, read...)
	}
	text := strings.NewReplacer(replace...)
	options := xds.FakeOptions{
		KubernetesObjectString: text.Replace(all.Kubernetes().YAML()),
		ConfigString:           text.Replace(all.Istio().YAML()),
	}
	if meshFile != "" {
		yaml, err := os.ReadFile(meshFile)
		if err != nil {
			return err
		}
		if options.MeshConfig, err = mesh.ApplyMeshConfigDefaults(string(yaml)); err != nil {
			return fmt.Errorf("%s: %w", meshFile, err)
		}
	}

	var failed error
	// A discovery server is made for tests; its cleanups run when this returns.
	err := test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, options)
		istiod, err := grpc.NewClient("passthrough:///istiod",
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return server.BufListener.DialContext(ctx)
			}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<20)),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			failed = err
			return
		}
		defer istiod.Close()
		listener, err := net.Listen("tcp", listen)
		if err != nil {
			failed = err
			return
		}
		agent := newAgent(istiod, modules)
		go agent.Serve(listener)
		defer agent.Stop()
		fmt.Printf("ADS on %s\n", listener.Addr())
		<-ended
	})
	if failed != nil {
		return failed
	}
	return err
}
