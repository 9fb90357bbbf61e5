// Package models carries the two networks that the program ships with, inside
// the program: localize.onnx (stage 1) and refine.onnx (stage 2), made by
// inference/training. MODEL_CARD.md says what they were trained on, how well
// they do and where they fail.
package models

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// The folder as a whole, so that a checkout whose models were taken away still
// builds and says so when it runs.
//
//go:embed *
var files embed.FS

// Localize returns the bytes of localize.onnx.
func Localize() ([]byte, error) { return read("localize.onnx") }

// Refine returns the bytes of refine.onnx.
func Refine() ([]byte, error) { return read("refine.onnx") }

// Card returns the model card, Markdown.
func Card() ([]byte, error) { return read("MODEL_CARD.md") }

func read(name string) ([]byte, error) {
	b, err := files.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("this build does not carry %s: put one into inference/models (make train makes them) and build again, or name a file in [inference] localize and refine", name)
	}
	return b, err
}
