package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/node/store"
)

// Who follows the cursors sees every series once, in the order of the whole list,
// though series go on arriving at its front.
func TestCursorsGoThroughTheList(t *testing.T) {
	h := newHouse(t)
	for i := range 7 {
		h.instance(store.Key{Study: "1.2.3", Series: fmt.Sprintf("1.2.3.%d", i+4)}, 1, "slice")
	}
	list := func(query string) List {
		t.Helper()
		w := h.ask("GET", "/api/v1/series"+query, nil)
		var l List
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != http.StatusOK {
			t.Fatalf("%s: %d %v %s", query, w.Code, err, w.Body)
		}
		return l
	}
	var all, seen []string
	for _, s := range list("").Series {
		all = append(all, s.Series)
	}
	cursor, pages := "", 0
	for {
		l := list("?limit=3&cursor=" + cursor)
		for _, s := range l.Series {
			seen = append(seen, s.Series)
		}
		if l.Total != 7+pages {
			t.Errorf("page %d: %d in all", pages, l.Total)
		}
		pages++
		if cursor = l.Next; cursor == "" {
			break
		}
		h.instance(store.Key{Study: "1.2.9", Series: fmt.Sprintf("1.2.9.%d", pages)}, 1, "slice")
	}
	if pages != 3 || !slices.Equal(seen, all) {
		t.Errorf("%d pages of %q, want %q", pages, seen, all)
	}
}

func TestFilters(t *testing.T) {
	h := newHouse(t)
	for _, k := range []store.Key{{Study: "1.2.3", Series: "1.2.3.4"}, {Study: "1.2.3", Series: "1.2.3.5"}, {Study: "1.2.4", Series: "1.2.3.6"}} {
		h.instance(k, 1, "slice")
	}
	for query, want := range map[string]int{
		"": 3, "study=1.2.3": 2, "study=1.2.3&series=1.2.3.5": 1, "study=1.2": 3, "source=CT1": 0, "accession=A1": 0, "search=1.2.4": 1, "state=": 3, "state=receiving": 3,
	} {
		w := h.ask("GET", "/api/v1/series?"+query, nil)
		var l List
		if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || len(l.Series) != want {
			t.Errorf("%q lists %d, want %d: %v", query, len(l.Series), want, err)
		}
	}
	for name, query := range map[string]string{
		"a parameter that there is not":  "stat=failed",
		"a parameter twice":              "study=1&study=2",
		"a state that there is not":      "state=lost",
		"a limit of nothing":             "limit=0",
		"a limit of everything":          "limit=1000000",
		"a word for a limit":             "limit=all",
		"a long value":                   "series=" + strings.Repeat("1", 65),
		"a control character":            "source=%00",
		"no UTF-8":                       "accession=%ff",
		"a broken escape":                "series=%zz",
		"a semicolon":                    "series=1;state=failed",
		"a long query":                   strings.Repeat("&", maxQuery+1),
		"a cursor that no list gave":     "cursor=1",
		"a cursor with another's series": "cursor=" + url.QueryEscape(place{time.Unix(1, 0), store.Key{Study: "..", Series: "1"}}.cursor()),
		"a long cursor":                  "cursor=" + strings.Repeat("A", 300),
	} {
		w := h.ask("GET", "/api/v1/series?"+query, nil)
		var a Answer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusBadRequest || len(a.Error) < 10 || len(a.Error) > 300 {
			t.Errorf("%s: %d %v %q", name, w.Code, err, a.Error)
		}
	}
}

func FuzzFilter(f *testing.F) {
	for _, s := range []string{"state=failed&limit=3", "cursor=" + place{time.Unix(1e9, 5), key1}.cursor(), "series=1.2;3", "%", "study=1.2&study=3", "source=CT1&accession=%C3%BC&search=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parseFilter(raw)
		if err != nil {
			if statusOf(err) != http.StatusBadRequest {
				t.Errorf("%v is a fault of ours", err)
			}
			return
		}
		if got.Limit < 0 || got.Limit > maxLimit || got.State != "" && !slices.Contains(States, got.State) {
			t.Errorf("%+v", got)
		}
		if got.After != nil {
			if again, err := parseCursor(got.After.cursor()); err != nil || again.compare(*got.After) != 0 {
				t.Errorf("a cursor changes when it is read: %v", err)
			}
		}
	})
}
