package onnx

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

func TestALibraryThatNobodyKnowsIsRefused(t *testing.T) {
	const text = "a library with a change"
	path := write(t, "libonnxruntime.so", text)
	for _, c := range []struct {
		name     string
		accepted []string
		says     string // "": accepted
	}{
		{"not named", nil, "[inference] runtime_sha256"},
		{"another one is named", []string{sumOf("another")}, "does not name"},
		{"named", []string{sumOf("another"), strings.ToUpper(sumOf(text))}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Trusted(path, c.accepted)
			if c.says == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, ErrUnknownLibrary) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), sumOf(text)) {
				t.Errorf("got %v", err)
			}
		})
	}
	if err := Trusted(t.TempDir(), nil); err == nil {
		t.Error("a folder was taken for a library")
	}
}

// What was refused is not refused for ever: the right file in its place is read.
func TestTheRightFileInItsPlace(t *testing.T) {
	path := write(t, "libonnxruntime.so", "wrong")
	accepted := []string{sumOf("right, and longer")}
	if err := Trusted(path, accepted); err == nil {
		t.Fatal("the wrong file was taken")
	}
	if err := os.WriteFile(path, []byte("right, and longer"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Trusted(path, accepted); err != nil {
		t.Error(err)
	}
}

// A file whose bytes change while its size and time do not is read again before
// it is loaded, also one that only the setting names.
func TestWhatMayBeLoadedIsReadEachTime(t *testing.T) {
	path := write(t, "libonnxruntime.so", "right")
	accepted := []string{sumOf("right")}
	if err := Trusted(path, accepted); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("wrong"), 0o600), os.Chtimes(path, time.Time{}, info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if err := Trusted(path, accepted); !errors.Is(err, ErrUnknownLibrary) {
		t.Errorf("got %v", err)
	}
}

// The CUDA build loads its providers itself, so they are asked for too.
func TestProvidersOfTheCUDABuildAreTrustedToo(t *testing.T) {
	path := write(t, "libonnxruntime.so", "library")
	accepted := []string{sumOf("library"), sumOf("shared"), sumOf("cuda")}
	place := func(name, text string) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place(providers[0], "shared")
	place(providers[1], "cuda")
	if err := Trusted(path, accepted); err != nil {
		t.Error(err)
	}
	place(providers[1], "changed")
	if err := Trusted(path, accepted); !errors.Is(err, ErrUnknownLibrary) || !strings.Contains(err.Error(), providers[1]) {
		t.Errorf("got %v", err)
	}
}

// Between the look and the loading somebody puts another file in its place: what
// is loaded is what was looked at.
func TestWhatIsLoadedIsWhatWasHashed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc/self/fd")
	}
	path := write(t, "libonnxruntime.so", "good")
	f, err := trust(path, []string{sumOf("good")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Rename(write(t, "evil.so", "evil"), path); err != nil {
		t.Fatal(err)
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if b, err := io.ReadAll(again); err != nil || string(b) != "good" {
		t.Errorf("loaded %q, %v", b, err)
	}
}

// The table is of the version that `make runtime` unpacks, for each machine that
// the wheels are for.
func TestLibrariesAreOfThePinnedVersion(t *testing.T) {
	pins, err := os.ReadFile("runtime.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(pins), "onnxruntime=="+Version+" ") || !strings.Contains(librariesText, "ONNX Runtime "+Version+" ") {
		t.Errorf("runtime.txt and libraries.txt are not both of version %s", Version)
	}
	has := map[string]bool{}
	for sum, what := range KnownLibraries {
		if b, err := hex.DecodeString(sum); err != nil || len(b) != sha256.Size {
			t.Errorf("%q is no SHA-256", sum)
		}
		has[what] = true
	}
	for _, want := range []string{"onnxruntime x86_64", "onnxruntime aarch64", "onnxruntime-gpu x86_64"} {
		if !has["libonnxruntime.so."+Version+" "+want] {
			t.Errorf("no hash of %s", want)
		}
	}
	for _, name := range providers {
		if !has[name+" onnxruntime-gpu x86_64"] {
			t.Errorf("no hash of %s", name)
		}
	}
}
