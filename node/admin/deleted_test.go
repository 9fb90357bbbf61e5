package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// What retention deleted is listed as such, with how it ended, who has it, when
// and why it went; when it comes again it is what it is then.
func TestDeletedSeriesAreListed(t *testing.T) {
	h := newHouse(t)
	h.instance(key1, 1, "slice")
	h.close(1, "1.2.3.4.1")
	h.results(result.OutcomeNodules, "", 2, both...)
	took := time.Date(2026, 3, 1, 10, 5, 0, 0, time.UTC)
	h.must(h.store.WriteReceipt(key1, 1, "pacs", "2.25.1", store.Receipt{Time: took}))
	if settled, _ := h.Settled(t.Context(), key1); settled {
		t.Fatal("a series with an open delivery may be deleted")
	}
	records, err := h.store.Retain(t.Context(), time.Now().Add(time.Hour), store.Retention{Keep: time.Minute}, func(store.Key, string) bool { return true })
	h.must(err)
	if len(records) != 1 {
		t.Fatalf("deleted %v", records)
	}
	var list List
	h.must(json.Unmarshal(h.ask("GET", "/api/v1/series?state=deleted", nil).Body.Bytes(), &list))
	if len(list.Series) != 1 || list.Series[0].State != Deleted || list.Series[0].Nodules != 2 {
		t.Fatalf("listed: %+v", list)
	}
	d := h.detail()
	for _, want := range []string{"Deleted on ", "[storage] keep", "2 nodules were found.", "pacs took 1 object of generation 1, the last on 2026-03-01 10:05:00 UTC."} {
		if !strings.Contains(d.Sentence, want) {
			t.Errorf("the sentence lacks %q: %s", want, d.Sentence)
		}
	}
	if len(d.Closings) != 1 || len(d.Deliveries) != 1 || d.Deliveries[0].Destination != "pacs" {
		t.Errorf("detail: %+v", d)
	}
	if d.Deleted == nil || len(d.Generations) != 1 || !d.Generations[0].Written.IsZero() || d.Deliveries[0].Last == nil || !d.Deliveries[0].Last.Equal(took) {
		t.Errorf("times that were not, or none that were: %+v", d)
	}
	page := h.body(page1, http.StatusOK)
	says(t, page, "Delivered to pacs", `<p class="what">Deleted</p>`, "not kept of what was deleted")
	if strings.Contains(page, "show_patient") {
		t.Error("the page says that a setting would show the patient")
	}
	if settled, spare := h.Settled(t.Context(), key1); settled || spare {
		t.Error("what is deleted can be deleted")
	}
	h.instance(key1, 1, "slice")
	if d := h.detail(); d.State != Receiving {
		t.Errorf("come again: %s: %s", d.State, d.Sentence)
	}
	h.must(h.each(context.Background(), func(store.Key) bool { return true }, func(d *Detail, _ *view) {
		if d.State == Deleted {
			t.Error("it is listed twice")
		}
	}))
}

// Only what others have, or what nobody was to have, goes before its time.
func TestSpare(t *testing.T) {
	for name, c := range map[string]struct {
		outcome        result.Outcome
		receipts       int
		settled, spare bool
	}{
		"delivered":         {result.OutcomeNone, 2, true, true},
		"half of it":        {result.OutcomeNone, 1, false, false},
		"skipped":           {result.OutcomeSkipped, 2, true, true},
		"skipped, reported": {result.OutcomeSkipped, 0, false, false},
		"failed":            {result.OutcomeFailed, 2, false, false},
	} {
		h := newHouse(t)
		h.instance(key1, 1, "slice")
		h.close(1, "1.2.3.4.1")
		h.results(c.outcome, "why", 0, both...)
		for _, uid := range []string{"2.25.1", "2.25.2"}[:c.receipts] {
			for _, d := range h.opts.Destinations {
				h.must(h.store.WriteReceipt(key1, 1, d.Name, uid, store.Receipt{Time: time.Now()}))
			}
		}
		if settled, spare := h.Settled(t.Context(), key1); settled != c.settled || spare != c.spare {
			t.Errorf("%s: settled %v, spare %v: %s", name, settled, spare, h.detail().Sentence)
		}
	}
	if !slices.Contains(States, Deleted) {
		t.Error("the state is not listed")
	}
}
