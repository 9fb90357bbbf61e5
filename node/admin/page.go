package admin

import (
	"context"
	_ "embed"
	"errors"
	"html/template"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

//go:embed page.html
var pageText string

var pages = template.Must(template.New("page").Funcs(template.FuncMap{
	"when": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
	"retriable": func(d *Detail) bool {
		return d.State == Failed || d.State == Skipped || d.State == Waiting || slices.ContainsFunc(d.Deliveries, func(one Delivery) bool {
			return one.State == "failed" || one.State == "cancelled" || one.State == "waiting"
		})
	},
	"cancellable": func(d *Detail) bool {
		return d.State == Waiting || d.State == Analysing || d.State == Delivering
	},
	"picture": func(name string) bool { return strings.HasSuffix(name, ".png") },
	"answered": func(o result.Outcome) bool {
		return o == result.OutcomeNodules || o == result.OutcomeNone
	},
}).Parse(pageText))

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	state := State(r.FormValue("state"))
	list, err := s.List(r.Context(), Filter{State: state, Series: r.FormValue("series"), Limit: r.FormValue("limit")})
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	s.render(w, "list", map[string]any{"List": list, "States": States, "State": state, "Checks": s.opts.Ready(r.Context()), "Version": s.opts.Version})
}

func (s *Server) seriesPage(w http.ResponseWriter, r *http.Request) {
	d, err := s.Detail(r.Context(), key(r))
	if err != nil {
		http.Error(w, err.Error(), statusOf(err))
		return
	}
	s.render(w, "series", map[string]any{"D": d, "Version": s.opts.Version})
}

func (s *Server) render(w http.ResponseWriter, name string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pages.ExecuteTemplate(w, name, data); err != nil {
		s.opts.Log.Warn("admin_failed", zap.Error(err))
	}
}

func (s *Server) pageChange(do func(context.Context, store.Key, string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := key(r)
		if err := k.Valid(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if _, err := do(r.Context(), k, r.FormValue("destination")); err != nil && !errors.Is(err, ErrNothing) {
			http.Error(w, err.Error(), statusOf(err))
			return
		}
		http.Redirect(w, r, "/series/"+k.Study+"/"+k.Series, http.StatusSeeOther)
	}
}

// picture serves a key image. Only what the manifest lists as a picture is
// served, so no request reaches another file.
func (s *Server) picture(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.PathValue("generation"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	m, err := s.opts.Store.Generation(key(r), n)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	name := r.PathValue("file")
	if !slices.ContainsFunc(m.Files, func(f store.ManifestFile) bool { return f.Name == name && f.Kind == "png" }) {
		http.NotFound(w, r)
		return
	}
	folder, err := s.opts.Store.GenerationFolder(key(r), n)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	f, err := os.Open(filepath.Join(folder, name))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "image/png")
	http.ServeContent(w, r, "", m.Written, f)
}
