package onnx

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Version is the release of ONNX Runtime that the results were measured with.
// Releases of the same or a newer API (24) load as well.
const Version = "1.24.1"

// libraryNames are tried in this order in each folder.
var libraryNames = []string{
	"libonnxruntime.so." + Version,
	"libonnxruntime.so.1",
	"libonnxruntime.so",
}

// ErrNoLibrary is wrapped by errors that say that ONNX Runtime's shared library
// was not found.
var ErrNoLibrary = errors.New("the shared library of ONNX Runtime was not found")

const remedy = "run `make runtime`, or name the file in [inference] runtime_library or $PULMONODE_RUNTIME_LIBRARY"

// FindLibrary returns the path of ONNX Runtime's shared library: setting when
// it is not empty, else $PULMONODE_RUNTIME_LIBRARY, else the first found in the
// executable's folder, ../lib/pulmonode beside it, and the system's folders.
func FindLibrary(setting string) (string, error) {
	for _, named := range []struct{ path, from string }{
		{setting, "the setting runtime_library"},
		{os.Getenv("PULMONODE_RUNTIME_LIBRARY"), "$PULMONODE_RUNTIME_LIBRARY"},
	} {
		if named.path == "" {
			continue
		}
		info, err := os.Stat(named.path)
		if err != nil {
			return "", fmt.Errorf("%w: %s names %s, which cannot be read (%v); %s", ErrNoLibrary, named.from, named.path, errors.Unwrap(err), remedy)
		}
		if info.IsDir() {
			for _, name := range libraryNames {
				if path := filepath.Join(named.path, name); isFile(path) {
					return filepath.Abs(path)
				}
			}
			return "", fmt.Errorf("%w: %s names the folder %s, which does not hold it; %s", ErrNoLibrary, named.from, named.path, remedy)
		}
		return filepath.Abs(named.path)
	}
	folders := libraryFolders()
	for _, folder := range folders {
		for _, name := range libraryNames {
			if path := filepath.Join(folder, name); isFile(path) {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%w in %s; %s", ErrNoLibrary, strings.Join(folders, ", "), remedy)
}

func libraryFolders() []string {
	var folders []string
	if exe, err := os.Executable(); err == nil {
		if real, err := filepath.EvalSymlinks(exe); err == nil {
			exe = real
		}
		dir := filepath.Dir(exe)
		folders = append(folders, dir, filepath.Join(dir, "..", "lib", "pulmonode"))
	}
	folders = append(folders, "/usr/local/lib/pulmonode", "/usr/lib/pulmonode", "/usr/local/lib")
	switch runtime.GOARCH {
	case "amd64":
		folders = append(folders, "/usr/lib/x86_64-linux-gnu")
	case "arm64":
		folders = append(folders, "/usr/lib/aarch64-linux-gnu")
	}
	return append(folders, "/usr/lib64", "/usr/lib")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// environment is the process-wide state of ONNX Runtime. It is never torn down:
// unloading a library whose threads may still run is not safe.
var environment struct {
	sync.Mutex
	library string
}

// load makes sure that the library is loaded, after its bytes were found to be
// trusted, and returns its version.
func load(library string, accepted []string) (string, error) {
	environment.Lock()
	defer environment.Unlock()
	if real, err := filepath.EvalSymlinks(library); err == nil {
		library = real
	}
	if environment.library != "" {
		if environment.library != library {
			return "", fmt.Errorf("ONNX Runtime is already loaded from %s in this process, so %s cannot be loaded too; use one library for all pipelines of a process", environment.library, library)
		}
		return ort.GetVersion(), nil
	}
	f, err := trust(library, accepted)
	if err != nil {
		return "", fmt.Errorf("load ONNX Runtime: %w", err)
	}
	defer f.Close()
	path := library
	if hasCUDA(library) {
		// This build finds its providers beside its path.
		if err := trustProviders(library, accepted); err != nil {
			return "", fmt.Errorf("load ONNX Runtime: %w", err)
		}
	} else if fd := fmt.Sprintf("/proc/self/fd/%d", f.Fd()); isFile(fd) {
		path = fd
	}
	ort.SetSharedLibraryPath(path)
	// Warnings of the runtime go straight to standard error and speak of graph
	// nodes; what matters comes back as an error.
	if err := ort.InitializeEnvironment(ort.WithLogLevelError()); err != nil {
		if strings.Contains(err.Error(), "API base") {
			return "", fmt.Errorf("%s is too old a release of ONNX Runtime: version %s or newer is needed; %s", library, Version, remedy)
		}
		if strings.Contains(err.Error(), "OrtGetApiBase") {
			return "", fmt.Errorf("%s is no library of ONNX Runtime; %s", library, remedy)
		}
		return "", fmt.Errorf("load ONNX Runtime from %s: %w; %s", library, err, remedy)
	}
	environment.library = library
	return ort.GetVersion(), nil
}
