package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// said is what the page says after a button was pressed.
var said = map[string]string{
	"retry":   "It is tried again.",
	"cancel":  "It is cancelled.",
	"deliver": "It is sent again.",
	"nothing": "There was nothing to do: the series had gone on in the meantime.",
}

// change is something that a person may ask of a series.
type change struct {
	Name     string
	Question string
	Button   string
	What     string // what it will do, with %s for
	Every    string // all of them, or
	One      string // one destination
	Keep     string // the way back
}

// confirmed are the changes that a person is asked about first.
var confirmed = map[string]change{
	"cancel": {"cancel", "Cancel the work on this series?", "Cancel the work",
		"What is queued, waits or runs of %s ends. What destinations have stays there. “Try again” takes it up later.",
		"this series", "the delivery to %s", "Let it go on"},
	"deliver": {"deliver", "Deliver again?", "Deliver again",
		"The same objects, with the same UIDs, are sent again to %s confirmed them before. An archive that still has them keeps one of each.",
		"every destination that", "%s, which", "Leave it"},
}

type confirmPage struct {
	sheet
	change
	Study, Series, Destination string
}

func (s *Server) confirm(w http.ResponseWriter, r *http.Request) {
	k := key(r)
	if _, err := s.Detail(r.Context(), k); err != nil {
		s.failPage(w, err)
		return
	}
	// A part that cannot be read must not turn one destination into all of them.
	asked, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		s.failPage(w, errRequest("the address is damaged: go back to the series and choose there"))
		return
	}
	c, ok := confirmed[asked.Get("do")]
	if !ok || c.Name == "deliver" && s.opts.Deliver == nil {
		s.failPage(w, errRequest("the address does not say what to do: go back to the series and choose there"))
		return
	}
	destination, of := asked.Get("destination"), c.Every
	if asked.Has("destination") {
		if !s.configured(destination) {
			s.failPage(w, errRequest("no destination is called so: go back to the series and choose there"))
			return
		}
		of = fmt.Sprintf(c.One, destination)
	}
	c.What = fmt.Sprintf(c.What, of)
	s.render(w, http.StatusOK, "confirm.html", confirmPage{s.sheet(c.Question, false), c, k.Study, k.Series, destination})
}

func (s *Server) configured(destination string) bool {
	return slices.ContainsFunc(s.opts.Destinations, func(d job.Destination) bool { return d.Name == destination })
}

// pageChange does what a button asks for and goes back to the series' page.
func (s *Server) pageChange(name string, do func(context.Context, store.Key, string) (string, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k := key(r)
		if err := k.Valid(); err != nil {
			s.failPage(w, errRequest(err.Error()))
			return
		}
		destination, err := destinationOf(r)
		if err != nil {
			s.failPage(w, err)
			return
		}
		outcome := name
		_, err = do(r.Context(), k, destination)
		if errors.Is(err, ErrNothing) {
			outcome, err = "nothing", nil
		}
		if err != nil {
			s.failPage(w, err)
			return
		}
		http.Redirect(w, r, seriesAddress(k)+"?said="+outcome, http.StatusSeeOther)
	}
}

func seriesAddress(k store.Key) string { return "/series/" + k.Study + "/" + k.Series }
