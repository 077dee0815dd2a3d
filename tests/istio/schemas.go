// Package istio has Istio's own code read what this repository offers to those
// who run Istio.
package istio

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// What the manifests of this repository are of.
var kinds = map[string]bool{
	"extensions.istio.io/v1alpha1 WasmPlugin":       true,
	"extensions.istio.io/v1alpha1 TrafficExtension": true,
	"networking.istio.io/v1 DestinationRule":        true,
	"networking.istio.io/v1 ServiceEntry":           true,
	"networking.istio.io/v1 Sidecar":                true,
	"networking.istio.io/v1alpha3 EnvoyFilter":      true,
	"telemetry.istio.io/v1 Telemetry":               true,

	"gateway.envoyproxy.io/v1alpha1 EnvoyExtensionPolicy": true,
	"gateway.envoyproxy.io/v1alpha1 EnvoyProxy":           true,
	"gateway.networking.k8s.io/v1 GatewayClass":           true,
}

// small is the part of a large spec that the manifests use.
var small = map[string]string{
	"gateway.envoyproxy.io/v1alpha1 EnvoyProxy": "bootstrap",
}

// schemas makes JSON Schemas of the CRDs in files, by "GROUP/VERSION KIND":
// the types, the enums and the bounds, without the words, and without the rules
// in CEL, which need another interpreter. Unknown fields are refused.
func schemas(files []string) ([]byte, error) {
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		all = append(all, bytes.Split(text, []byte("\n---"))...)
	}
	made := map[string]any{}
	for _, part := range all {
		var crd struct {
			Spec struct {
				Group string
				Names struct{ Kind string }
				// With what a schema has there.
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := yaml.Unmarshal(part, &crd); err != nil {
			return nil, err
		}
		for _, version := range crd.Spec.Versions {
			kind := fmt.Sprintf("%s/%s %s", crd.Spec.Group, version.Name, crd.Spec.Names.Kind)
			if !kinds[kind] {
				continue
			}
			root := closed(version.Schema.OpenAPIV3Schema).(map[string]any)
			// The API server knows these itself.
			properties := root["properties"].(map[string]any)
			properties["apiVersion"] = map[string]any{"type": "string"}
			properties["kind"] = map[string]any{"type": "string"}
			properties["metadata"] = map[string]any{"type": "object"}
			if part, is := small[kind]; is {
				spec := properties["spec"].(map[string]any)
				whole := spec["properties"].(map[string]any)
				spec["properties"] = map[string]any{part: whole[part]}
			}
			made[kind] = root
		}
	}
	out, err := json.MarshalIndent(made, "", " ")
	return append(out, '\n'), err
}

// closed is a structural schema as a JSON Schema that has no room for unknown
// properties.
func closed(schema any) any {
	from, ok := schema.(map[string]any)
	if !ok {
		return schema
	}
	to := map[string]any{}
	for word, value := range from {
		switch word {
		case "type", "enum", "required", "minimum", "maximum", "minLength", "maxLength",
			"minItems", "maxItems", "pattern", "oneOf", "anyOf", "allOf", "not":
			to[word] = value
		case "properties":
			properties := map[string]any{}
			for name, property := range value.(map[string]any) {
				properties[name] = closed(property)
			}
			to[word] = properties
		case "items", "additionalProperties":
			to[word] = closed(value)
		}
	}
	if _, has := to["properties"]; has && from["x-kubernetes-preserve-unknown-fields"] != true {
		to["additionalProperties"] = false
	}
	if from["nullable"] == true {
		to["type"] = []any{to["type"], "null"}
	}
	return to
}
