// Command licences prints the licences of the Go modules that are linked into
// pulmonode, for the package that ships it. A module without one is an error.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// goPackage is what `go list` tells of a package that is linked in.
type goPackage struct {
	Dir    string
	Module *struct {
		Path, Version, Dir string
		Main               bool
	}
}

var licence = regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)(-[a-z0-9-]+)?(\.(txt|md))?$`)

func main() {
	if err := write(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "licences:", err)
		os.Exit(1)
	}
}

func write(w io.Writer) error {
	out, err := exec.Command("go", "list", "-deps", "-json=Dir,Module", "./cmd/pulmonode").Output()
	if err != nil {
		return fmt.Errorf("go list: %w", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	texts := map[string][]string{"Go " + runtime.Version(): {filepath.Join(strings.TrimSpace(string(root)), "LICENSE")}}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		if p.Module == nil || p.Module.Main {
			continue
		}
		name := p.Module.Path + " " + p.Module.Version
		// A package may have a licence of its own, fonts among them.
		for dir := p.Dir; ; dir = filepath.Dir(dir) {
			entries, err := os.ReadDir(dir)
			if err != nil {
				return err
			}
			for _, e := range entries {
				if path := filepath.Join(dir, e.Name()); e.Type().IsRegular() && licence.MatchString(e.Name()) && !slices.Contains(texts[name], path) {
					texts[name] = append(texts[name], path)
				}
			}
			if dir == p.Module.Dir {
				break
			}
		}
		if len(texts[name]) == 0 {
			return fmt.Errorf("%s has no licence in %s: find it, or do without the module", name, p.Module.Dir)
		}
	}
	var names []string
	for name := range texts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		slices.Sort(texts[name])
		for _, path := range texts[name] {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line := strings.Repeat("=", 78)
			if _, err := fmt.Fprintf(w, "%s\n%s: %s\n%s\n\n%s\n\n", line, name, filepath.Base(path), line, bytes.TrimSpace(text)); err != nil {
				return err
			}
		}
	}
	return nil
}
