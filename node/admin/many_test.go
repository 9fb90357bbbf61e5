package admin

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/node/store"
)

// many makes n copies of the house's series, each of a study of its own. They
// are copied and not received: that would take as many fsyncs.
func (h *house) many(n int) {
	h.t.Helper()
	root := filepath.Join(h.store.Dir(), "series")
	from := filepath.Join(root, key1.Study, key1.Series)
	type file struct {
		path string
		data []byte
	}
	var files []file
	h.must(filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files = append(files, file{strings.TrimPrefix(path, from), b})
		return err
	}))
	for i := range n {
		k := store.Key{Study: fmt.Sprintf("1.2.4.%d", i), Series: fmt.Sprintf("1.2.4.%d.1", i)}
		for _, f := range files {
			path := filepath.Join(root, k.Study, k.Series, f.path)
			h.must(os.MkdirAll(filepath.Dir(path), 0o700))
			data := f.data
			if strings.HasSuffix(path, ".json") {
				data = []byte(strings.NewReplacer(`"`+key1.Study+`"`, `"`+k.Study+`"`, `"`+key1.Series+`"`, `"`+k.Series+`"`).Replace(string(data)))
			}
			h.must(os.WriteFile(path, data, 0o600))
		}
	}
}

// BenchmarkListOf5000 is the list's page of a node that holds 5,000 series: as it
// is asked for every few seconds, and the first time.
func BenchmarkListOf5000(b *testing.B) {
	h := newHouse(b)
	h.slice(key1, 1, person1)
	h.close(1, "1.2.3.4.1")
	h.found(key1, 1, both...)
	h.receipt("pacs", "2.25.1")
	h.many(4999)
	for _, c := range []struct {
		name   string
		forget bool
	}{{"again", false}, {"first", true}} {
		b.Run(c.name, func(b *testing.B) {
			h.ask("GET", "/", nil)
			for b.Loop() {
				h.surveyed = nil
				if c.forget {
					h.views.known = nil
				}
				w := h.ask("GET", "/", nil)
				if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "1 to 50 of 5\u202f000 series") {
					b.Fatalf("%d: %s", w.Code, w.Body)
				}
			}
		})
	}
}
