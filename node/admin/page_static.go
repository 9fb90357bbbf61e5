package admin

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path/filepath"
)

//go:embed static/*
var staticFiles embed.FS

// staticAddresses are what the page loads, with a part of their hash, so that a
// browser keeps them until they change.
var staticAddresses = func() map[string]string {
	list := map[string]string{}
	entries, err := fs.ReadDir(staticFiles, "static")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		b, err := staticFiles.ReadFile("static/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		list[e.Name()] = "/static/" + e.Name() + "?" + hex.EncodeToString(sum[:6])
	}
	return list
}()

func staticAddress(name string) (string, error) {
	a, ok := staticAddresses[name]
	if !ok {
		return "", fmt.Errorf("no static file is called %s", name)
	}
	return a, nil
}

var staticTypes = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// static serves the page's style, script and icon, and nothing else.
func (s *Server) static(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		s.fault(w, http.StatusNotFound, "the page has no file of this name")
		return
	}
	w.Header().Set("Content-Type", staticTypes[filepath.Ext(name)])
	w.Header().Set("Cache-Control", "private, max-age=31536000, immutable")
	w.Write(b)
}
