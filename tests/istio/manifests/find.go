package manifests

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// Where people do not look for manifests, and tests have placeholders in them.
var skipped = map[string]bool{
	"build": true, "dist": true, "target": true, "tests": true, "node_modules": true,
}

var codeBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")

// Find reads all manifests in the files of a repository, also those that stand
// in its documents, by the places where they stand.
func Find(root string) (map[string]Set, error) {
	found := map[string]Set{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if path != root && (skipped[name] || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		isYAML, isDocument := filepath.Ext(name) == ".yaml", filepath.Ext(name) == ".md"
		if !isYAML && !isDocument {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if isDocument {
			var blocks [][]byte
			for _, block := range codeBlock.FindAllSubmatch(text, -1) {
				blocks = append(blocks, block[1])
			}
			text = bytes.Join(blocks, []byte("\n---\n"))
		}
		set, err := Parse(path, text)
		if len(set) > 0 {
			found[path] = set
		}
		return err
	})
	return found, err
}

// Kustomizations lists the folders below one that people apply: those of a
// Kustomization, which a Component is not.
func Kustomizations(dir string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.Name() != "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		if bytes.Contains(text, []byte("\nkind: Kustomization\n")) {
			found = append(found, filepath.Dir(path))
		}
		return err
	})
	sort.Strings(found)
	return found, err
}
