// Package istio has Istio's own code read what this repository offers to those
// who run Istio.
package istio

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
	crdvalidation "istio.io/istio/pkg/config/crd"
	"istio.io/istio/pkg/config/schema/collections"
	istiokube "istio.io/istio/pkg/kube"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"sidespan/istio/manifests"
)

const root = "../.."

// inherent is what Istio says of each EnvoyFilter, whatever is in it.
const inherent = "EnvoyFilter exposes internal implementation details"

// read gives every manifest of the repository by the place where it stands, and
// what each kustomization makes of them.
func read(t *testing.T) map[string]manifests.Set {
	t.Helper()
	all, err := manifests.Find(root)
	if err != nil {
		t.Fatal(err)
	}
	built := 0
	for _, dir := range []string{root + "/istio", "sources"} {
		folders, err := manifests.Kustomizations(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			set, err := manifests.Read(folder)
			if err != nil {
				t.Error(err)
			}
			all[folder+" (built)"] = set
			built++
		}
	}
	if built < 12 {
		t.Errorf("only %d kustomizations", built)
	}
	return all
}

// envoyGateway is the release whose CRDs its manifests are checked by.
const envoyGateway = "github.com/envoyproxy/gateway@v1.9.1"

// crds are the files with the CRDs of Istio, of the Gateway API that goes with
// it, and of Envoy Gateway.
func crds(t *testing.T) []string {
	t.Helper()
	run := func(args ...string) []byte {
		out, err := exec.Command("go", args...).Output()
		if err != nil {
			t.Fatalf("go %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	dir := func(module string) string {
		return strings.TrimSpace(string(run("list", "-m", "-f", "{{.Dir}}", "-modfile="+modfile(), module)))
	}
	// Not one of ours: only its CRDs are read.
	var downloaded struct{ Dir string }
	if err := json.Unmarshal(run("mod", "download", "-json", envoyGateway), &downloaded); err != nil {
		t.Fatal(err)
	}
	gateway := filepath.Join(downloaded.Dir, "charts/gateway-helm/charts/crds/crds/generated")
	return []string{
		filepath.Join(dir("istio.io/istio"), "manifests/charts/base/files/crd-all.gen.yaml"),
		filepath.Join(dir("sigs.k8s.io/gateway-api"), "config/crd/standard/gateway.networking.k8s.io_gatewayclasses.yaml"),
		filepath.Join(gateway, "gateway.envoyproxy.io_envoyextensionpolicies.yaml"),
		filepath.Join(gateway, "gateway.envoyproxy.io_envoyproxies.yaml"),
	}
}

// modfile is the file with the modules of the release that is tested.
func modfile() string {
	if file := os.Getenv("MODFILE"); file != "" {
		return file
	}
	return "go.mod"
}

// Unknown fields, wrong types and enums, and the rules in CEL.
func TestManifestsAreAsTheCRDsHaveThem(t *testing.T) {
	validator, err := crdvalidation.NewValidatorFromFiles(crds(t)...)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for place, set := range read(t) {
		for _, each := range set {
			if !kinds[each.APIVersion+" "+each.Kind] {
				continue
			}
			count++
			if err := validator.ValidateCustomResourceYAML(each.YAML, nil); err != nil {
				t.Errorf("%s: %v", place, err)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d manifests", count)
	}
}

// What istiod's webhook says when they are applied.
func TestManifestsPassTheWebhook(t *testing.T) {
	for place, set := range read(t) {
		for _, each := range set.Istio() {
			configs, unknown, err := crd.ParseInputs(each.YAML)
			if err != nil || len(unknown) > 0 || len(configs) != 1 {
				t.Errorf("%s: %s %s: %v %v", place, each.Kind, each.Name, err, unknown)
				continue
			}
			schema, found := collections.All.FindByGroupVersionAliasesKind(configs[0].GroupVersionKind)
			if !found {
				t.Errorf("%s: %s is none of Istio's", place, each.Kind)
				continue
			}
			warning, err := schema.ValidateConfig(configs[0])
			if warning != nil && strings.HasPrefix(warning.Error(), inherent) && !strings.Contains(warning.Error(), "\n") {
				warning = nil
			}
			if warning != nil || err != nil {
				t.Errorf("%s: %s %s: warning %v, error %v", place, each.Kind, each.Name, warning, err)
			}
		}
	}
}

// Kubernetes' own kinds, with unknown fields refused.
func TestKubernetesManifestsAreStrict(t *testing.T) {
	decoder := serializer.NewCodecFactory(istiokube.IstioScheme, serializer.EnableStrict).UniversalDeserializer()
	count := 0
	for place, set := range read(t) {
		for _, each := range set.Kubernetes() {
			count++
			if _, _, err := decoder.Decode([]byte(each.YAML), nil, nil); err != nil {
				t.Errorf("%s: %s %s: %v", place, each.Kind, each.Name, err)
			}
		}
	}
	if count == 0 {
		t.Error("none")
	}
}

// What `istioctl analyze` says of each kustomization.
func TestAnalysisFindsNothing(t *testing.T) {
	for place, set := range read(t) {
		if !strings.HasSuffix(place, "(built)") {
			continue
		}
		analyzer := local.NewIstiodAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
		resources := append(set.Istio(), set.Kubernetes()...)
		source := local.ReaderSource{Name: place, Reader: strings.NewReader(resources.YAML())}
		if err := analyzer.AddReaderKubeSource([]local.ReaderSource{source}); err != nil {
			t.Errorf("%s: %v", place, err)
			continue
		}
		stop := make(chan struct{})
		result, err := analyzer.Analyze(stop)
		close(stop)
		if err != nil {
			t.Errorf("%s: %v", place, err)
		}
		for _, message := range result.Messages {
			isInherent := strings.Contains(message.String(), "Schema validation warning: "+inherent)
			if message.Type.Level().IsWorseThanOrEqualTo(diag.Warning) && !isInherent {
				t.Errorf("%s: %s", place, message.String())
			}
		}
	}
}

// The check that needs no Go goes by these schemas.
func TestSchemasAreTheOnesOfTheCRDs(t *testing.T) {
	if modfile() != "istio-1.30.mod" {
		t.Skip("they are those of the oldest release")
	}
	made, err := schemas(crds(t))
	if err != nil {
		t.Fatal(err)
	}
	const file = "crds.schema.json"
	if os.Getenv("RECORD") != "" {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(file)
	if err != nil || string(kept) != string(made) {
		t.Errorf("%s is not what Istio's CRDs say: make test-istio RECORD=1 (%v)", file, err)
	}
}
