package models_test

import (
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/models"
	"github.com/pulmonode/pulmonode/inference/onnx"
)

func TestShippedModelsFitTheContract(t *testing.T) {
	for role, read := range map[onnx.Role]func() ([]byte, error){onnx.Localize: models.Localize, onnx.Refine: models.Refine} {
		b, err := read()
		if err != nil {
			if !strings.Contains(err.Error(), "make train") {
				t.Errorf("%s: the error does not say what to do: %v", role, err)
			}
			t.Logf("%s: %v", role, err)
			continue
		}
		g, err := onnx.Parse(b)
		if err != nil {
			t.Errorf("%s: %v", role, err)
			continue
		}
		m, err := g.Check(role)
		if err != nil {
			t.Errorf("%s: %v", role, err)
			continue
		}
		card, err := models.Card()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(card), m.Version) {
			t.Errorf("%s: the model card does not speak of version %s", role, m.Version)
		}
		// A card of another file is worse than none: where it gives hashes, they are these.
		if prefix := g.SHA256[:12]; strings.Contains(string(card), "SHA-256") && !strings.Contains(string(card), prefix) {
			t.Errorf("%s: the model card gives hashes, but not this file's, %s...", role, prefix)
		}
	}
}

// What is shipped goes into the program, the package and the images.
func TestShippedModelsAreSmall(t *testing.T) {
	const most = 25 << 20
	size := 0
	for _, read := range []func() ([]byte, error){models.Localize, models.Refine} {
		b, err := read()
		if err != nil {
			t.Skip(err)
		}
		size += len(b)
	}
	if size > most {
		t.Errorf("both have %d bytes, more than %d: choose a smaller width or fewer networks", size, most)
	}
}
