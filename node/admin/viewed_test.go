package admin

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// The audit trail hears of every way on which a person is shown pictures or a
// patient, and of no other.
func TestWhoSeesPatientsIsTold(t *testing.T) {
	for _, shown := range []bool{false, true} {
		h := newHouse(t)
		h.slice(key1, 1, Patient{Name: "Nodule^Norma", ID: "4711"})
		h.close(1, "1.2.3.4.1")
		h.results(result.OutcomeNodules, "", 1, both...)
		var told []string
		h.opts.ShowPatient = shown
		h.opts.Viewed = func(_ string, from netip.Addr, k store.Key) {
			if k == key1 && from.IsValid() {
				told = append(told, "viewed")
			}
		}
		for path, tells := range map[string]bool{
			path1: shown, "/api/v1/series": shown, "/": shown, "/series/1.2.3/1.2.3.4": shown,
			"/series/1.2.3/1.2.3.4/1/key-1.png": true, "/series/1.2.3/1.2.3.4/1/none.png": false,
			"/series/1.2.3/1.2.3.5": false, "/healthz": false, "/metrics": false,
		} {
			told = nil
			w := h.ask("GET", path, nil)
			if slices.Contains(told, "viewed") != tells {
				t.Errorf("patients shown %v, %s: %d, told %v", shown, path, w.Code, told)
			}
		}
	}
}
