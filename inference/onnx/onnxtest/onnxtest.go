// Package onnxtest finds ONNX Runtime for tests: the library that `make
// runtime` puts into the checkout's bin folder, or the one a person names.
package onnxtest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulmonode/pulmonode/inference/onnx"
)

// Library returns the path of ONNX Runtime's shared library or skips the test.
func Library(t testing.TB) string {
	t.Helper()
	if path, err := onnx.FindLibrary(""); err == nil {
		return path
	}
	dir, err := os.Getwd()
	for err == nil {
		path := filepath.Join(dir, "bin", "libonnxruntime.so."+onnx.Version)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		up := filepath.Dir(dir)
		if up == dir {
			break
		}
		dir = up
	}
	t.Skip("ONNX Runtime is not here, so the networks cannot run: `make runtime` fetches it")
	return ""
}
