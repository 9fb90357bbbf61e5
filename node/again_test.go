package node

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/store"
)

const againPath = seriesPath + "/deliver"

// What was delivered is sent once more when a person asks: the same objects to
// the destination that was named, and to no other.
func TestDeliverAgain(t *testing.T) {
	first, second := newPACS(t, "127.0.0.1:0", nil), newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("first", first); s.to("second", second) })
	s.start()
	ask := func(query string, want int, says string) {
		t.Helper()
		var a admin.Answer
		if status := s.ask(http.MethodPost, againPath+query, &a); status != want || !strings.Contains(a.Done+a.Error, says) {
			t.Errorf("deliver%s: %d %+v, want %d %q", query, status, a, want, says)
		}
	}
	ask("", http.StatusNotFound, "")
	s.send(0, 4)
	s.untilState(admin.Delivered)
	ask("?destination=nowhere", http.StatusConflict, `no destination is named "nowhere"`)
	ask("?destination=first", http.StatusOK, "the delivery to first is queued once more")
	s.until("sent twice to first", func(d *admin.Detail) bool { return d.State == admin.Delivered && copies(first) == 6 })
	complete(t, first, 1)
	if n := copies(second); n != 3 {
		t.Errorf("second has %d objects", n)
	}
	ask("", http.StatusOK, "the delivery to second is queued once more")
	s.until("sent to both", func(d *admin.Detail) bool {
		return d.State == admin.Delivered && copies(first) == 9 && copies(second) == 6
	})
	complete(t, first, 1)
	complete(t, second, 1)
	if s.analyzer.count() != 1 {
		t.Errorf("%d analyses", s.analyzer.count())
	}
}

// copies counts the objects that came, each as often as it came.
func copies(p *pacs) (n int) {
	for _, all := range p.got() {
		n += len(all)
	}
	return n
}

// A process that ends right after the receipts were set aside sends at its next
// start.
func TestDeliverAgainOutlivesTheProcess(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("pacs", p) })
	s.start()
	s.send(0, 4)
	s.untilState(admin.Delivered)
	s.stop()
	files, err := store.Open(s.config.Storage.DataDir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = files.SetReceiptsAside(testKey, 1, "pacs")
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	s.until("sent twice", func(d *admin.Detail) bool { return d.State == admin.Delivered && copies(p) == 6 })
	complete(t, p, 1)
}

// While a delivery is on its way there is nothing to send again. One that a
// person cancels while it runs says so, in the words of people.
func TestDeliverAgainWhatIsOnItsWayAndCancelIt(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", func(p *pacs) { p.hang = make(chan struct{}) })
	s := newSite(t, func(s *site) { s.to("pacs", p) })
	s.start()
	s.send(0, 4)
	s.until("being sent", func(d *admin.Detail) bool { return len(d.Deliveries) == 1 && d.Deliveries[0].State == "running" })
	var a admin.Answer
	if status := s.ask(http.MethodPost, againPath, &a); status != http.StatusConflict || !strings.Contains(a.Error, "the delivery to pacs is on its way") {
		t.Errorf("%d %+v", status, a)
	}
	if status := s.ask(http.MethodPost, seriesPath+"/cancel", &a); status != http.StatusOK {
		t.Errorf("cancel: %d %+v", status, a)
	}
	d := s.until("cancelled", func(d *admin.Detail) bool { return d.Deliveries[0].State == "cancelled" })
	if d.State != admin.Failed || d.Deliveries[0].Job.LastError != "" || !strings.Contains(d.Sentence, "cancelled by a person") || strings.Contains(d.Sentence, "remotely") {
		t.Errorf("%s: %s: %+v", d.State, d.Sentence, d.Deliveries[0].Job)
	}
	if status := s.ask(http.MethodPost, againPath, &a); status != http.StatusConflict || !strings.Contains(a.Error, "retry is for that") {
		t.Errorf("%d %+v", status, a)
	}
}
