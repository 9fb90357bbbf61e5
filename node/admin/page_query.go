package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// query is what of the list a person looks at: the page's address.
type query struct {
	Search string // an accession number, or what a Study or Series Instance UID begins with
	State  State  // empty: all
	Page   int    // from 1
	Per    int    // rows of a page
}

// Limits of an address: a UID has 64 characters (PS3.5 9.1), an accession number 16.
const (
	maxQuery  = 2 << 10
	maxSearch = 64
	maxPage   = 1_000_000
	perPage   = 50
	maxPer    = 500
)

// parseQuery reads the part of an address behind the question mark. Parameters
// that it does not know are another's.
func parseQuery(raw string) (query, error) {
	q := query{Page: 1, Per: perPage}
	if len(raw) > maxQuery {
		return q, errRequest(fmt.Sprintf("the address has more than %d characters: begin at the list of all series", maxQuery))
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return q, errRequest("the address is damaged: begin at the list of all series")
	}
	for _, p := range []struct {
		name string
		take func(string) error
	}{
		{"search", func(s string) error {
			q.Search = strings.TrimSpace(s)
			switch {
			case !utf8.ValidString(s) || strings.ContainsFunc(q.Search, func(r rune) bool { return unicode.Is(unicode.C, r) }):
				return errRequest("the search has characters that no accession number and no UID has: type it anew")
			case utf8.RuneCountInString(q.Search) > maxSearch:
				return errRequest(fmt.Sprintf("the search has more than %d characters, which no accession number and no UID has", maxSearch))
			}
			return nil
		}},
		{"state", func(s string) error {
			if q.State = State(s); s != "" && !slices.Contains(States, q.State) {
				return errRequest(fmt.Sprintf("no state is called so: the states are %s", all(States)))
			}
			return nil
		}},
		{"page", func(s string) (err error) {
			q.Page, err = number(s, maxPage, "page")
			return err
		}},
		{"per", func(s string) (err error) {
			q.Per, err = number(s, maxPer, "per, the rows of a page,")
			return err
		}},
	} {
		given := values[p.name]
		if len(given) > 1 {
			return q, errRequest(p.name + " stands in the address more than once: leave one")
		}
		if len(given) == 1 {
			if err := p.take(given[0]); err != nil {
				return q, err
			}
		}
	}
	return q, nil
}

func number(s string, most int, what string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 1, errRequest(fmt.Sprintf("%s is a number from 1 to %d", what, most))
	}
	return n, nil
}

func all(states []State) string {
	var words []string
	for _, s := range states {
		words = append(words, string(s))
	}
	return strings.Join(words, ", ")
}

// address is that of the list, with what is as usual left out.
func (q query) address() string {
	v := url.Values{}
	if q.Search != "" {
		v.Set("search", q.Search)
	}
	if q.State != "" {
		v.Set("state", string(q.State))
	}
	if q.Page != 1 {
		v.Set("page", strconv.Itoa(q.Page))
	}
	if q.Per != perPage {
		v.Set("per", strconv.Itoa(q.Per))
	}
	if len(v) == 0 {
		return "/"
	}
	return "/?" + v.Encode()
}

// In is the address of the same search in another state; At that of another page.
func (q query) In(s State) string  { q.State, q.Page = s, 1; return q.address() }
func (q query) At(page int) string { q.Page = page; return q.address() }
