// Command sbom completes a software bill of materials: to the Go modules that
// cyclonedx-gomod read out of the binary it adds what no module names, which is
// ONNX Runtime, the models and the C libraries. `make sbom` runs it.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pulmonode/pulmonode/inference/models"
	"github.com/pulmonode/pulmonode/inference/onnx"
)

func main() {
	library := flag.String("library", "", "ONNX Runtime's shared library, as it is shipped")
	linked := flag.String("linked", "", "C libraries that the binary is linked with: \"charls 2.4.1,openjpeg 2.5.0\"")
	flag.Parse()
	if err := run(os.Stdin, os.Stdout, *library, *linked); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

// component is one of CycloneDX's, as far as we fill it.
type component struct {
	Ref         string    `json:"bom-ref"`
	Type        string    `json:"type"`
	Name        string    `json:"name"`
	Version     string    `json:"version,omitempty"`
	Description string    `json:"description,omitempty"`
	Scope       string    `json:"scope"`
	Hashes      []hash    `json:"hashes,omitempty"`
	Licenses    []licence `json:"licenses,omitempty"`
	PURL        string    `json:"purl,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type licence struct {
	License struct {
		ID   string `json:"id,omitempty"`
		Name string `json:"name,omitempty"`
	} `json:"license"`
}

func licensed(id, name string) []licence {
	var l licence
	l.License.ID, l.License.Name = id, name
	return []licence{l}
}

// run adds our components to a bill of materials in CycloneDX's JSON.
func run(in io.Reader, out io.Writer, library, linked string) error {
	var bom map[string]any
	if err := json.NewDecoder(in).Decode(&bom); err != nil {
		return fmt.Errorf("read the bill of materials of the Go modules: %w", err)
	}
	modules, ok := bom["components"].([]any)
	if !ok || bom["bomFormat"] != "CycloneDX" {
		return errors.New("what came is no bill of materials of cyclonedx-gomod: `make sbom` runs both")
	}
	ours, err := components(library, linked)
	if err != nil {
		return err
	}
	dependencies, _ := bom["dependencies"].([]any)
	var refs []any
	for _, c := range ours {
		modules = append(modules, c)
		dependencies = append(dependencies, map[string]any{"ref": c.Ref})
		refs = append(refs, c.Ref)
	}
	root, err := mainRef(bom)
	if err != nil {
		return err
	}
	for _, d := range dependencies {
		if d, ok := d.(map[string]any); ok && d["ref"] == root {
			on, _ := d["dependsOn"].([]any)
			d["dependsOn"] = append(on, refs...)
		}
	}
	bom["components"], bom["dependencies"] = modules, dependencies
	e := json.NewEncoder(out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(bom)
}

func mainRef(bom map[string]any) (any, error) {
	metadata, _ := bom["metadata"].(map[string]any)
	program, _ := metadata["component"].(map[string]any)
	if program["bom-ref"] == nil {
		return nil, errors.New("the bill of materials does not say what it is of")
	}
	return program["bom-ref"], nil
}

func components(library, linked string) ([]component, error) {
	b, err := os.ReadFile(library)
	if err != nil {
		return nil, fmt.Errorf("ONNX Runtime's library: %w; `make runtime` fetches it", err)
	}
	sum := sumOf(b)
	if onnx.KnownLibraries[sum] == "" {
		return nil, fmt.Errorf("%s is not the library that inference/onnx/libraries.txt names; `make runtime` fetches it", library)
	}
	list := []component{{
		Ref: "pkg:pypi/onnxruntime@" + onnx.Version, Type: "library", Name: "onnxruntime", Version: onnx.Version, Scope: "required",
		Description: "ONNX Runtime, loaded at run time: " + onnx.KnownLibraries[sum],
		Hashes:      []hash{{"SHA-256", sum}}, Licenses: licensed("MIT", ""), PURL: "pkg:pypi/onnxruntime@" + onnx.Version,
	}}
	for _, m := range []struct {
		role onnx.Role
		read func() ([]byte, error)
	}{{onnx.Localize, models.Localize}, {onnx.Refine, models.Refine}} {
		b, err := m.read()
		if err != nil {
			return nil, err
		}
		g, err := onnx.Parse(b)
		if err != nil {
			return nil, err
		}
		meta, err := g.Check(m.role)
		if err != nil {
			return nil, err
		}
		list = append(list, component{
			Ref: "model:" + string(m.role), Type: "machine-learning-model", Name: string(m.role) + ".onnx", Version: meta.Version, Scope: "required",
			Description: meta.Name + ", embedded; trained on " + meta.TrainedOn,
			Hashes:      []hash{{"SHA-256", g.SHA256}}, Licenses: licensed("", meta.Licence),
		})
	}
	known := map[string]string{"charls": "BSD-3-Clause", "openjpeg": "BSD-2-Clause"}
	for one := range strings.SplitSeq(linked, ",") {
		if one = strings.TrimSpace(one); one == "" {
			continue
		}
		name, version, _ := strings.Cut(one, " ")
		if known[name] == "" || version == "" {
			return nil, fmt.Errorf("%q is no linked library with its version", one)
		}
		list = append(list, component{
			Ref: "lib:" + name, Type: "library", Name: name, Version: version, Scope: "required",
			Description: "C library, linked dynamically", Licenses: licensed(known[name], ""),
		})
	}
	return list, nil
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
