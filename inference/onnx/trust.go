package onnx

import (
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed libraries.txt
var librariesText string

// KnownLibraries are the SHA-256, hexadecimal, of the library files that this
// version may load, each with what it is.
var KnownLibraries = func() map[string]string {
	known := map[string]string{}
	for line := range strings.Lines(librariesText) {
		if sum, what, ok := strings.Cut(strings.TrimSpace(line), " "); ok && sum != "#" {
			known[sum] = strings.Join(strings.Fields(what), " ")
		}
	}
	return known
}()

// ErrUnknownLibrary is wrapped by errors that say that a library's bytes are not
// those of a known release.
var ErrUnknownLibrary = errors.New("not a library that this version knows")

// trust opens a library file, and returns it when its bytes are known, or named
// by accepted where that names any. Loaded as /proc/self/fd/N it is the file that
// was read here, whatever its path names by then. Whoever may write into the file
// itself can still change it: so can he the program.
func trust(path string, accepted []string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	sum, err := hashOf(f, accepted)
	if err == nil {
		err = judge(path, sum, accepted)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func judge(path, sum string, accepted []string) error {
	if len(accepted) > 0 {
		if slices.ContainsFunc(accepted, func(a string) bool { return strings.EqualFold(a, sum) }) {
			return nil
		}
		return fmt.Errorf("%s is %w: its SHA-256 is %s, which [inference] runtime_sha256 does not name; put the right file in its place, or name this one there", path, ErrUnknownLibrary, sum)
	}
	if KnownLibraries[sum] != "" {
		return nil
	}
	return fmt.Errorf("%s is %w: its SHA-256 is %s; take ONNX Runtime %s as its makers publish it (`make runtime`), or name this one in [inference] runtime_sha256", path, ErrUnknownLibrary, sum, Version)
}

// hashes remembers what was hashed: a CUDA build has 400 MB, and a node that
// waits for the right file looks four times a minute.
var hashes struct {
	sync.Mutex
	known map[fileIdentity]string
}

type fileIdentity struct {
	path     string
	size     int64
	modified time.Time
}

// hashOf reads the file, unless it is one that was refused and has not changed:
// what may be loaded is read each time.
func hashOf(f *os.File, accepted []string) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", &fs.PathError{Op: "read", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	id := fileIdentity{f.Name(), info.Size(), info.ModTime()}
	hashes.Lock()
	defer hashes.Unlock()
	if sum, ok := hashes.known[id]; ok && judge(f.Name(), sum, accepted) != nil {
		return sum, nil
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if hashes.known == nil || len(hashes.known) > 16 {
		hashes.known = map[fileIdentity]string{}
	}
	hashes.known[id] = sum
	return sum, nil
}

// providers are the files that the CUDA build loads by itself, from its folder.
var providers = []string{"libonnxruntime_providers_shared.so", "libonnxruntime_providers_cuda.so"}

// trustProviders is trust for these. They are loaded by their path.
func trustProviders(library string, accepted []string) error {
	for _, name := range providers {
		f, err := trust(filepath.Join(filepath.Dir(library), name), accepted)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// Trusted says why a library may not be loaded, nil when it may.
func Trusted(library string, accepted []string) error {
	if real, err := filepath.EvalSymlinks(library); err == nil {
		library = real
	}
	f, err := trust(library, accepted)
	if err != nil {
		return err
	}
	f.Close()
	if hasCUDA(library) {
		return trustProviders(library, accepted)
	}
	return nil
}
