package admin

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"

	"github.com/pulmonode/pulmonode/node/store"
)

// resultFile opens what of a generation the request names, if it is wanted: only
// what the manifest lists is opened, so no request reaches another file.
func (s *Server) resultFile(r *http.Request, wanted func(store.ManifestFile) bool) (*os.File, *store.Manifest, error) {
	n, err := number(r.PathValue("generation"), maxGeneration, "the generation")
	if err != nil {
		return nil, nil, err
	}
	if err := key(r).Valid(); err != nil {
		return nil, nil, errRequest(err.Error())
	}
	m, err := s.opts.Store.Generation(key(r), n)
	if err != nil {
		return nil, nil, err
	}
	at := slices.IndexFunc(m.Files, wanted)
	if at < 0 {
		return nil, nil, store.ErrNotExist
	}
	folder, err := s.opts.Store.GenerationFolder(key(r), n)
	if err != nil {
		return nil, nil, err
	}
	f, err := os.Open(filepath.Join(folder, m.Files[at].Name))
	if errors.Is(err, os.ErrNotExist) {
		err = store.ErrNotExist // set aside since
	}
	return f, m, err
}

const maxGeneration = 1_000_000

// resultJSON answers with what was found: result.json as it was written.
func (s *Server) resultJSON(w http.ResponseWriter, r *http.Request) {
	s.serveResult(w, r, "application/json", func(f store.ManifestFile) bool { return f.Name == "result.json" }, s.fail)
}

// apiPicture answers with a key image, and a sentence for programs where there is none.
func (s *Server) apiPicture(w http.ResponseWriter, r *http.Request) { s.servePicture(w, r, s.fail) }

// picture answers with a key image, and a sentence for people where there is none.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	s.servePicture(w, r, func(w http.ResponseWriter, _ error) {
		s.fault(w, http.StatusNotFound, "there is no picture at this address")
	})
}

func (s *Server) servePicture(w http.ResponseWriter, r *http.Request, fail func(http.ResponseWriter, error)) {
	name := r.PathValue("file")
	if s.serveResult(w, r, "image/png", func(f store.ManifestFile) bool { return f.Kind == "png" && f.Name == name }, fail) {
		s.viewed(r, key(r))
	}
}

func (s *Server) serveResult(w http.ResponseWriter, r *http.Request, kind string, wanted func(store.ManifestFile) bool, fail func(http.ResponseWriter, error)) bool {
	f, m, err := s.resultFile(r, wanted)
	if err != nil {
		fail(w, err)
		return false
	}
	defer f.Close()
	w.Header().Set("Content-Type", kind)
	http.ServeContent(w, r, "", m.Written, f)
	return true
}
