package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/models"
	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/onnx/onnxtest"
)

const modules = `{"bomFormat":"CycloneDX","specVersion":"1.6","metadata":{"component":{"bom-ref":"main"}},
	"components":[{"bom-ref":"a","name":"go.uber.org/zap"}],"dependencies":[{"ref":"main","dependsOn":["a"]}]}`

func TestWhatTheBundleHoldsIsNamed(t *testing.T) {
	var out bytes.Buffer
	if err := run(strings.NewReader(modules), &out, onnxtest.Library(t), "charls 2.4.1, openjpeg 2.5.0"); err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Components   []component
		Dependencies []struct {
			Ref       string
			DependsOn []string
		}
	}
	if err := json.Unmarshal(out.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	has := map[string]component{}
	for _, c := range bom.Components {
		has[c.Name] = c
	}
	for _, name := range []string{"go.uber.org/zap", "onnxruntime", "localize.onnx", "refine.onnx", "charls", "openjpeg"} {
		if has[name].Name == "" {
			t.Errorf("%s is not named", name)
		}
	}
	if has["onnxruntime"].Version != onnx.Version || has["openjpeg"].Version != "2.5.0" {
		t.Errorf("versions: %+v", bom.Components)
	}
	b, err := models.Refine()
	if err != nil {
		t.Fatal(err)
	}
	if h := has["refine.onnx"].Hashes; len(h) != 1 || h[0].Content != sumOf(b) {
		t.Errorf("the refine model's hash: %v", h)
	}
	if d := bom.Dependencies[0]; d.Ref != "main" || len(d.DependsOn) != 6 {
		t.Errorf("the program depends on %v", d.DependsOn)
	}
}

func TestABillOfSomethingElseIsRefused(t *testing.T) {
	other := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(other, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	library := onnxtest.Library(t)
	for _, c := range []struct{ bom, library, linked, says string }{
		{"{}", library, "", "no bill of materials"},
		{"nothing", library, "", "read the bill of materials"},
		{modules, other, "", "libraries.txt"},
		{modules, other + "x", "", "make runtime"},
		{modules, library, "charls", "no linked library"},
		{modules, library, "zlib 1.2", "no linked library"},
		{strings.Replace(modules, `"bom-ref":"main"`, `"name":"main"`, 1), library, "", "what it is of"},
	} {
		if err := run(strings.NewReader(c.bom), &bytes.Buffer{}, c.library, c.linked); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %v", c.says, err)
		}
	}
}
