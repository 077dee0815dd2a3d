// Package manifests reads Kubernetes manifests as people apply them: from
// files, and from kustomizations.
package manifests

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Manifest is one resource.
type Manifest struct {
	// APIVersion is "GROUP/VERSION", or a version for Kubernetes' own core.
	APIVersion string
	Kind       string
	Name       string
	YAML       string
}

// Set is resources in their order.
type Set []Manifest

// Read reads a file of manifests, or builds the kustomization in a folder.
func Read(path string) (Set, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		return Parse(path, text)
	}
	options := krusty.MakeDefaultOptions()
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return Parse(path, text)
}

// Parse splits a text into its manifests. The source is named in errors.
func Parse(source string, text []byte) (Set, error) {
	var set Set
	for _, part := range bytes.Split(append([]byte("\n"), text...), []byte("\n---")) {
		// A list is a part of something, shown on a page.
		var list []any
		if yaml.Unmarshal(part, &list) == nil && list != nil {
			continue
		}
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name string `json:"name"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(part, &head); err != nil {
			return nil, fmt.Errorf("%s: %w", source, err)
		}
		if head.APIVersion == "" {
			continue
		}
		set = append(set, Manifest{head.APIVersion, head.Kind, head.Metadata.Name, string(part)})
	}
	return set, nil
}

// Group is the API's group, "" for Kubernetes' own core.
func (m Manifest) Group() string {
	group, _, found := strings.Cut(m.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// IsIstio tells whether it is one of Istio's.
func (m Manifest) IsIstio() bool { return strings.HasSuffix(m.Group(), ".istio.io") }

// Istio gives those of Istio's API.
func (s Set) Istio() Set {
	return s.only(Manifest.IsIstio)
}

// Kubernetes gives those that Istio reads of Kubernetes' own.
func (s Set) Kubernetes() Set {
	return s.only(func(m Manifest) bool {
		return m.Group() == "" || m.Group() == "discovery.k8s.io"
	})
}

// YAML is one text of all.
func (s Set) YAML() string {
	parts := make([]string, 0, len(s))
	for _, m := range s {
		parts = append(parts, strings.TrimPrefix(m.YAML, "\n"))
	}
	return strings.Join(parts, "\n---\n")
}

func (s Set) only(is func(Manifest) bool) Set {
	var some Set
	for _, m := range s {
		if is(m) {
			some = append(some, m)
		}
	}
	return some
}
