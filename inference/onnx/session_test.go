package onnx_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/onnx/onnxtest"
)

func open(t testing.TB, model []byte, role onnx.Role, threads int) *onnx.Session {
	t.Helper()
	s, err := onnx.Open(model, role, onnx.Options{Library: onnxtest.Library(t), Provider: "cpu", Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestRunGivesWhatTheModelComputes(t *testing.T) {
	s := open(t, onnxtest.Refiner(nil), onnx.Refine, 1)
	const n, one = 3, onnx.Planes * onnx.Side * onnx.Side
	in := make([]float32, n*one)
	for i := range in {
		in[i] = float32(i/one) * 0.4 // samples of 0, 0.4 and 0.8
	}
	mask, chars, nodule := make([]float32, n*one), make([]float32, n*4), make([]float32, n)
	dims := []int64{onnx.Planes, onnx.Side, onnx.Side}
	if err := s.Run(t.Context(), n, dims, in, mask, chars, nodule); err != nil {
		t.Fatal(err)
	}
	for k, x := range []float64{0, 0.4, 0.8} {
		if got, want := float64(mask[k*one+77]), 1/(1+math.Exp(-40*(x-0.5))); math.Abs(got-want) > 1e-5 {
			t.Errorf("mask of sample %d is %g, want %g", k, got, want)
		}
		if got := float64(nodule[k]); math.Abs(got-10*x) > 1e-4 {
			t.Errorf("nodule of sample %d is %g, want %g", k, got, 10*x)
		}
		if got := float64(chars[k*4+1]); math.Abs(got+8*x) > 1e-4 {
			t.Errorf("margin of sample %d is %g, want %g", k, got, -8*x)
		}
	}
	if err := s.Run(t.Context(), n, dims, in[:one], mask, chars, nodule); err == nil {
		t.Error("too short an input was run")
	}
	if err := s.Run(t.Context(), n, dims, in, mask[:1], chars, nodule); err == nil {
		t.Error("too short an output was run")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Run(ctx, n, dims, in, mask, chars, nodule); !errors.Is(err, context.Canceled) {
		t.Errorf("after cancelling: %v", err)
	}
	s.Close()
	if err := s.Run(t.Context(), n, dims, in, mask, chars, nodule); err == nil {
		t.Error("a closed session ran")
	}
}

func TestCubesMayBeLargerThan64(t *testing.T) {
	s := open(t, onnxtest.Localizer(nil), onnx.Localize, 1)
	in := make([]float32, 80*64*96)
	for i := range in {
		in[i] = 1
	}
	out := make([]float32, len(in))
	if err := s.Run(t.Context(), 1, []int64{1, 80, 64, 96}, in, out); err != nil {
		t.Fatal(err)
	}
	if out[len(out)-1] < 0.99 {
		t.Errorf("last voxel %g", out[len(out)-1])
	}
}

func TestCUDAThatCannotBeHadIsAnError(t *testing.T) {
	library := onnxtest.Library(t)
	if _, err := os.Stat(filepath.Join(filepath.Dir(library), "libonnxruntime_providers_cuda.so")); err == nil {
		t.Skip("this is the CUDA build of ONNX Runtime")
	}
	_, err := onnx.Open(onnxtest.Localizer(nil), onnx.Localize, onnx.Options{Library: library, Provider: "cuda"})
	if err == nil || !strings.Contains(err.Error(), `provider "cuda" cannot be used`) {
		t.Errorf("got %v", err)
	}
	s, err := onnx.Open(onnxtest.Localizer(nil), onnx.Localize, onnx.Options{Library: library, Provider: "auto"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.Provider != "cpu" {
		t.Errorf("provider %q", s.Provider)
	}
	if _, err := onnx.Open(onnxtest.Localizer(nil), onnx.Localize, onnx.Options{Library: library, Provider: "gpu"}); err == nil {
		t.Error(`provider "gpu" was accepted`)
	}
}

func TestAMissingLibraryIsNamedWithTheRemedy(t *testing.T) {
	_, err := onnx.FindLibrary(filepath.Join(t.TempDir(), "libonnxruntime.so"))
	if !errors.Is(err, onnx.ErrNoLibrary) || !strings.Contains(err.Error(), "make runtime") {
		t.Errorf("got %v", err)
	}
	t.Setenv("PULMONODE_RUNTIME_LIBRARY", t.TempDir())
	if _, err := onnx.FindLibrary(""); !errors.Is(err, onnx.ErrNoLibrary) || !strings.Contains(err.Error(), "PULMONODE_RUNTIME_LIBRARY") {
		t.Errorf("got %v", err)
	}
}

func TestASecondLibraryInOneProcessIsRefused(t *testing.T) {
	open(t, onnxtest.Localizer(nil), onnx.Localize, 1)
	other := filepath.Join(t.TempDir(), "libonnxruntime.so")
	if err := os.WriteFile(other, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := onnx.Open(onnxtest.Localizer(nil), onnx.Localize, onnx.Options{Library: other, Provider: "cpu"})
	if err == nil || !strings.Contains(err.Error(), "already loaded from") {
		t.Errorf("got %v", err)
	}
}

// What `make runtime` unpacks, and the tests run with, is in the table.
func TestThePinnedLibraryIsKnown(t *testing.T) {
	if err := onnx.Trusted(onnxtest.Library(t), nil); err != nil {
		t.Error(err)
	}
}
