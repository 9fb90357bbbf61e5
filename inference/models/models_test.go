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
	}
}
