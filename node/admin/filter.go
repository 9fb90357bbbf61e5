package admin

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pulmonode/pulmonode/node/store"
)

// Filter narrows a list; what is empty does not.
type Filter struct {
	State     State
	Study     string // what the Study Instance UID begins with
	Series    string // what the Series Instance UID begins with
	Source    string // AE title of who sent it
	Accession string // an accession number, whole
	Search    string // an accession number, or what the Study or Series Instance UID begins with
	Limit     int    // 0: defaultLimit
	After     *place // only what comes after it
}

// Limits of a list and of what asks for one.
const (
	defaultLimit = 500
	maxLimit     = 10000
	maxCursor    = 256
)

// place is one in the order of a list: the latest change first, and of the same
// time by UID. Series that change go to the front, so who follows cursors sees no
// series twice, and may miss one that changed meanwhile: it is on the first page.
type place struct {
	changed time.Time
	key     store.Key
}

func placeOf(s *Series) place {
	return place{s.Changed, store.Key{Study: s.Study, Series: s.Series}}
}

func (p place) compare(q place) int {
	return cmp.Or(q.changed.Compare(p.changed), strings.Compare(p.key.Study, q.key.Study), strings.Compare(p.key.Series, q.key.Series))
}

// cursor is the place as a parameter. What is in it is nobody's to rely on.
func (p place) cursor() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d/%s/%s", p.changed.UnixNano(), p.key.Study, p.key.Series))
}

func parseCursor(s string) (p place, err error) {
	bad := errRequest("cursor is not one that a list gave as next: begin without one")
	if len(s) > maxCursor {
		return p, bad
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return p, bad
	}
	parts := strings.Split(string(b), "/")
	if len(parts) != 3 {
		return p, bad
	}
	nanoseconds, err := strconv.ParseInt(parts[0], 10, 64)
	p = place{time.Unix(0, nanoseconds), store.Key{Study: parts[1], Series: parts[2]}}
	if err != nil || p.key.Valid() != nil || p.cursor() != s {
		return place{}, bad
	}
	return p, nil
}

// parameters of a list, each with what it means and how it is taken.
var parameters = []struct {
	name, means string
	take        func(f *Filter, s string) error
}{
	{"state", "only those in this state", func(f *Filter, s string) error {
		if f.State = State(s); !slices.Contains(States, f.State) {
			return errRequest(fmt.Sprintf("no state is called so: the states are %s", all(States)))
		}
		return nil
	}},
	{"study", "only those whose Study Instance UID begins so", func(f *Filter, s string) error { f.Study = s; return nil }},
	{"series", "only those whose Series Instance UID begins so", func(f *Filter, s string) error { f.Series = s; return nil }},
	{"source", "only those that this AE title sent", func(f *Filter, s string) error { f.Source = s; return nil }},
	{"accession", "only those with this accession number", func(f *Filter, s string) error { f.Accession = s; return nil }},
	{"search", "only those with this accession number, or whose Study or Series Instance UID begins so", func(f *Filter, s string) error { f.Search = s; return nil }},
	{"limit", fmt.Sprintf("at most so many, from 1 to %d; %d when left out", maxLimit, defaultLimit), func(f *Filter, s string) (err error) {
		f.Limit, err = number(s, maxLimit, "limit")
		return err
	}},
	{"cursor", "what the list before gave as next: goes on behind it", func(f *Filter, s string) error {
		p, err := parseCursor(s)
		f.After = &p
		return err
	}},
}

// parseFilter reads the part of an address behind the question mark. A parameter
// that it does not know is a fault: who writes "stat=failed" must not be told of
// every series.
func parseFilter(raw string) (Filter, error) {
	var f Filter
	if len(raw) > maxQuery {
		return f, errRequest(fmt.Sprintf("the query has more than %d characters", maxQuery))
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return f, errRequest("the query is damaged: encode its values (%20 for a space)")
	}
	var known []string
	for _, p := range parameters {
		known = append(known, p.name)
		given := values[p.name]
		delete(values, p.name)
		switch {
		case len(given) > 1:
			return f, errRequest(p.name + " is there more than once: leave one")
		case len(given) == 0 || given[0] == "":
			continue
		case p.name != "cursor" && utf8.RuneCountInString(given[0]) > maxSearch:
			return f, errRequest(fmt.Sprintf("%s has more than %d characters", p.name, maxSearch))
		case !utf8.ValidString(given[0]) || strings.ContainsFunc(given[0], unicode.IsControl):
			return f, errRequest(p.name + " has characters that nothing sought has")
		}
		if err := p.take(&f, given[0]); err != nil {
			return f, err
		}
	}
	if len(values) > 0 {
		return f, errRequest("there is a parameter that means nothing here: it takes " + strings.Join(known, ", "))
	}
	return f, nil
}

// wants reports whether a series passes, as far as its UIDs tell.
func (f *Filter) wants(k store.Key) bool {
	return strings.HasPrefix(k.Study, f.Study) && strings.HasPrefix(k.Series, f.Series)
}

// passes reports whether it does altogether.
func (f *Filter) passes(s *Series, b *brought) bool {
	k := store.Key{Study: s.Study, Series: s.Series}
	return (f.State == "" || s.State == f.State) &&
		(f.Source == "" || s.Source == f.Source) &&
		(f.Accession == "" || b != nil && strings.EqualFold(b.patient.AccessionNumber, f.Accession)) &&
		(f.Search == "" || b.sought(k, f.Search))
}
