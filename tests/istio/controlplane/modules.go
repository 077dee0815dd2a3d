package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// serveModules puts the image of a layout into a registry on loopback, as
// sidespan with the tag that the layout gives it, and serves the module beside
// that layout as /sidespan.wasm.
func serveModules(dir string) (addr string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	mux.HandleFunc("/sidespan.wasm", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(filepath.Dir(dir), "sidespan.wasm"))
	})
	go http.Serve(listener, mux)

	addr = listener.Addr().String()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return "", err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return "", err
	}
	for _, each := range manifest.Manifests {
		image, err := index.Image(each.Digest)
		if err != nil {
			return "", err
		}
		tag := each.Annotations["org.opencontainers.image.ref.name"]
		to, err := name.ParseReference(fmt.Sprintf("%s/sidespan:%s", addr, tag))
		if err != nil {
			return "", err
		}
		if err := remote.Write(to, image); err != nil {
			return "", err
		}
	}
	return addr, nil
}
