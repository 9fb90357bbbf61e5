package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testStudy  = "1.2.826.0.1.3680043.9.1"
	testSeries = "1.2.826.0.1.3680043.9.1.1"
	ctNodule   = "Nodule^Norma" // must never reach a log
)

var testKey = store.Key{Study: testStudy, Series: testSeries}

// fake is an analyzer that finds what the test says.
type fake struct {
	mu      sync.Mutex
	calls   []inference.Series
	analyze func(ctx context.Context, s inference.Series) (*result.Result, error)
}

func (f *fake) Analyze(ctx context.Context, s inference.Series, progress func(string, int, int)) (*result.Result, error) {
	f.mu.Lock()
	f.calls = append(f.calls, s)
	do := f.analyze
	f.mu.Unlock()
	progress("reading", 1, 2)
	if do != nil {
		return do(ctx, s)
	}
	return found(s), nil
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func found(s inference.Series) *result.Result {
	return &result.Result{
		Schema: result.Schema, Series: result.Series{StudyInstanceUID: testStudy, SeriesInstanceUID: testSeries, Instances: len(s.Paths)},
		Generation: s.Generation, Closed: s.Closed, Outcome: result.OutcomeNodules, Algorithm: (*fake)(nil).Algorithm(),
		TimingsS: map[string]float64{"total": 0.1}, Nodules: []result.Nodule{{ID: "N1", TrackingUID: s.UID("tracking", 0)}},
	}
}

func (*fake) Algorithm() result.Algorithm {
	return result.Algorithm{Name: "fake", Version: "1", Provider: "cpu"}
}
func (*fake) Close() error { return nil }

// fakeDocuments writes a report, a segmentation and a key image that hold the
// result, so that equal results are equal bytes.
func fakeDocuments(_ *config.Config) documents {
	return func(header *dataset.Dataset, r *result.Result, uid func(string, int) string) ([]store.File, error) {
		kinds := map[string]string{"sr": dataset.Comprehensive3DSR, "seg": dataset.SegmentationStorage, "keyimage": dataset.SecondaryCapture}
		if r.Outcome != result.OutcomeNodules {
			kinds = map[string]string{"sr": dataset.Comprehensive3DSR}
		}
		var files []store.File
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			var d dataset.Dataset
			sop := uid(kind, 0)
			d.SetText(dataset.SOPClassUID, "UI", kinds[kind])
			d.SetText(dataset.SOPInstanceUID, "UI", sop)
			d.SetText(dataset.StudyInstanceUID, "UI", header.Text(dataset.StudyInstanceUID))
			d.SetText(dataset.SeriesInstanceUID, "UI", uid(kind+" series", 0))
			d.SetText(dataset.PatientName, "PN", header.Text(dataset.PatientName))
			d.SetText(dataset.ImageComments, "LT", fmt.Sprintf("%s %s of %d", r.Outcome, r.Reason, r.Series.Instances))
			b, err := d.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: kinds[kind], SOPInstanceUID: sop, TransferSyntax: dataset.ExplicitLE}))
			if err != nil {
				return nil, err
			}
			files = append(files, store.File{Name: kind + ".dcm", Kind: kind, SOPClassUID: kinds[kind], SOPInstanceUID: sop, Bytes: b})
		}
		return append(files, store.File{Name: "key-1.png", Kind: "png", Bytes: []byte("\x89PNG picture")}), nil
	}
}

// slice is slice i of a CT series, 2 mm apart, as a data set in Explicit LE.
func slice(t *testing.T, i int, change func(*dataset.Dataset)) (sop string, data []byte) {
	t.Helper()
	var d dataset.Dataset
	sop = fmt.Sprintf("%s.%d", testSeries, i+1)
	d.SetText(dataset.ImageType, "CS", "ORIGINAL", "PRIMARY", "AXIAL")
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	d.SetText(dataset.SOPInstanceUID, "UI", sop)
	d.SetText(dataset.Modality, "CS", "CT")
	d.SetText(dataset.PatientName, "PN", ctNodule)
	d.SetText(dataset.StudyInstanceUID, "UI", testStudy)
	d.SetText(dataset.SeriesInstanceUID, "UI", testSeries)
	d.SetText(dataset.ImagePositionPatient, "DS", "-100", "-100", fmt.Sprint(2*i))
	d.SetText(dataset.ImageOrientationPatient, "DS", "1", "0", "0", "0", "1", "0")
	d.SetText(dataset.FrameOfReferenceUID, "UI", testStudy+".9")
	d.SetUint16(dataset.Rows, 2)
	d.SetUint16(dataset.Columns, 2)
	d.SetText(dataset.PixelSpacing, "DS", "0.7", "0.7")
	d.SetUint16(dataset.BitsAllocated, 16)
	d.Set(dataset.PixelData, "OW", make([]byte, 8))
	if change != nil {
		change(&d)
	}
	b, err := d.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return d.Text(dataset.SOPInstanceUID), b
}

// pacs is a destination.
type pacs struct {
	mu       sync.Mutex
	store    func(n int, class string) dimse.Status // nil: success
	reject   *dimse.Reject
	hang     chan struct{} // not nil: answers nothing until it is closed
	attempts int
	objects  map[string][][]byte // bytes of each C-STORE by SOP Instance UID
	arrived  chan string
	address  string
	server   *dimse.Server
}

func newPACS(t *testing.T, address string, change func(*pacs)) *pacs {
	t.Helper()
	p := &pacs{objects: map[string][][]byte{}, arrived: make(chan string, 1000)}
	if change != nil {
		change(p)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	p.server = &dimse.Server{Handler: p}
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.server.Serve(l)
	}()
	t.Cleanup(func() {
		if p.hang != nil {
			close(p.hang)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p.server.Shutdown(ctx)
		<-done
	})
	return p
}

func (p *pacs) Associate(_ context.Context, _ *dimse.Association) (dimse.Session, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.attempts++
	if p.reject != nil {
		return nil, p.reject
	}
	return p, nil
}

func (p *pacs) Store(ctx context.Context, r *dimse.StoreRequest) dimse.Status {
	b, err := io.ReadAll(r.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	p.mu.Lock()
	hang, n := p.hang, 0
	for _, all := range p.objects {
		n += len(all)
	}
	status := dimse.Success
	if p.store != nil {
		status = p.store(n, r.SOPClassUID)
	}
	p.objects[r.SOPInstanceUID] = append(p.objects[r.SOPInstanceUID], append([]byte(r.TransferSyntaxUID+" "), b...))
	p.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
		}
	}
	p.arrived <- r.SOPClassUID
	return status
}

func (p *pacs) End(dimse.End) {}

func (p *pacs) associations() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.attempts
}

func (p *pacs) got() map[string][][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.objects)
}

// site is a node under test with its configuration.
type site struct {
	t        *testing.T
	config   *config.Config
	analyzer *fake
	parts    parts
	node     *Node
	logger   *zap.Logger

	broken func() (mend func()) // of a disk that a test can break
	mend   func()
}

func newSite(t *testing.T, change func(*site)) *site {
	t.Helper()
	c := config.Default()
	c.Node.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Storage.DataDir, c.Storage.StopReceivingBelow = t.TempDir(), 0
	c.Source = []config.Source{{AETitle: "CT1", From: []string{"127.0.0.0/8"}}}
	c.Complete.Quiet, c.Complete.Idle = config.Duration(50*time.Millisecond), config.Duration(500*time.Millisecond)
	c.Select.MinSlices = 3
	c.Queue.MaxAttempts = 4
	s := &site{t: t, config: c, analyzer: &fake{}, logger: zaptest.NewLogger(t)}
	s.parts = parts{
		open:      func(*config.Config, *zap.Logger) (Analyzer, error) { return s.analyzer, nil },
		documents: fakeDocuments,
		backoff:   job.Backoff{Base: 5 * time.Millisecond, Cap: 20 * time.Millisecond}, poll: 10 * time.Millisecond,
		reopen: 20 * time.Millisecond,
	}
	if change != nil {
		change(s)
	}
	t.Cleanup(s.stop)
	return s
}

func (s *site) to(name string, p *pacs) {
	s.config.Destination = append(s.config.Destination, config.Destination{
		Name: name, AETitle: "PACS", Address: p.address, Send: config.Outputs,
	})
}

func (s *site) start() {
	s.t.Helper()
	n, err := start(s.t.Context(), s.config, s.logger, s.parts)
	if err != nil {
		s.t.Fatal(err)
	}
	s.node = n
}

func (s *site) stop() {
	if s.node != nil {
		if err := s.node.Stop(); err != nil {
			s.t.Errorf("stop: %v", err)
		}
		s.node = nil
	}
}

// dial opens an association as the scanner does.
func (s *site) dial(calling string, classes ...string) (*dimse.Conn, error) {
	if len(classes) == 0 {
		classes = []string{dataset.CTImage}
	}
	var contexts []dimse.Context
	for _, c := range classes {
		contexts = append(contexts, dimse.Context{SOPClassUID: c, TransferSyntaxUIDs: []string{dataset.ExplicitLE}})
	}
	client := dimse.Client{CallingAE: calling, CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}
	return client.Dial(s.t.Context(), contexts)
}

// send sends slices first to last over one association, which it releases.
func (s *site) send(first, last int) {
	s.t.Helper()
	conn, err := s.dial("CT1")
	if err != nil {
		s.t.Fatal(err)
	}
	for i := first; i <= last; i++ {
		sop, data := slice(s.t, i, nil)
		if status := s.storeOne(conn, sop, data); status != dimse.Success {
			s.t.Fatalf("slice %d: status %04X", i, uint16(status))
		}
	}
	if err := conn.Release(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) storeOne(conn *dimse.Conn, sop string, data []byte) dimse.Status {
	s.t.Helper()
	status, err := conn.Store(s.t.Context(), dimse.StoreObject{
		SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(data),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

func (s *site) get(path string, into any) int {
	s.t.Helper()
	return s.ask(http.MethodGet, path, into)
}

func (s *site) ask(method, path string, into any) int {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.node.AdminAddr().String()+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	switch into := into.(type) {
	case nil:
	case *string:
		*into = string(body)
	default:
		if err := json.Unmarshal(body, into); err != nil {
			s.t.Fatalf("%s: %v in %s", path, err, body)
		}
	}
	return answer.StatusCode
}

const seriesPath = "/api/v1/series/" + testStudy + "/" + testSeries

// until asks for the series until it is as the test wants it.
func (s *site) until(what string, yes func(*admin.Detail) bool) *admin.Detail {
	s.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var d admin.Detail
	for range 2000 {
		d = admin.Detail{}
		s.get(seriesPath, &d)
		if yes(&d) {
			return &d
		}
		<-tick.C
	}
	s.t.Fatalf("never %s: %+v", what, d)
	return nil
}

func (s *site) untilState(want admin.State) *admin.Detail {
	s.t.Helper()
	return s.until(string(want), func(d *admin.Detail) bool { return d.State == want })
}

// complete checks that the PACS has exactly one result set, however often each
// object came: the same UID always with the same bytes.
func complete(t *testing.T, p *pacs, sets int) {
	t.Helper()
	got := p.got()
	if len(got) != 3*sets {
		t.Errorf("the PACS has %d objects, want %d", len(got), 3*sets)
	}
	for uid, all := range got {
		for _, b := range all {
			if !bytes.Equal(b, all[0]) {
				t.Errorf("object %s came with different bytes", uid)
			}
		}
	}
}

func TestSeriesInResultsOut(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("pacs", p) })
	s.start()
	s.send(0, 4)
	d := s.untilState(admin.Delivered)
	if d.Outcome != result.OutcomeNodules || d.Nodules != 1 || d.Instances != 5 || d.Generation != 1 || len(d.Deliveries) != 1 ||
		d.Deliveries[0].Stored != 3 || d.Closings[0].Reason != "geometry" || d.Sentence != "1 nodule was found; the results are at 1 destination." {
		t.Errorf("detail %+v", d)
	}
	complete(t, p, 1)
	if s.analyzer.count() != 1 {
		t.Errorf("%d analyses", s.analyzer.count())
	}

	// The same slices again change nothing.
	s.send(0, 4)
	// A late slice opens generation 2 of the whole series.
	s.send(5, 5)
	s.until("delivered twice", func(d *admin.Detail) bool { return d.State == admin.Delivered && d.Generation == 2 })
	complete(t, p, 2)
	s.analyzer.mu.Lock()
	defer s.analyzer.mu.Unlock()
	if len(s.analyzer.calls) != 2 || len(s.analyzer.calls[1].Paths) != 6 || s.analyzer.calls[1].Predecessor == nil {
		t.Errorf("second analysis %+v", s.analyzer.calls)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.config.Source = append(s.config.Source, config.Source{AETitle: "FAR", From: []string{"10.0.0.0/8", "192.0.2.7"}},
			config.Source{AETitle: "SECURE", From: []string{"*"}, TLS: true})
	})
	s.start()
	for _, calling := range []string{"CT2", "FAR", "SECURE", "ct1"} {
		_, err := s.dial(calling)
		var reject *dimse.RejectError
		if !errors.As(err, &reject) || reject.Result != 1 || reject.Source != 1 || reject.Reason != 3 {
			t.Errorf("%s: %v", calling, err)
		}
	}
}

func TestDefaultIsToRefuseAll(t *testing.T) {
	s := newSite(t, func(s *site) { s.config.Source = nil })
	s.start()
	if _, err := s.dial("CT1"); err == nil {
		t.Error("a node without sources took an association")
	}
}

func TestSkippedSeriesSaysWhy(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) { s.to("pacs", p); s.config.Select.MaxSpacingMM = 1.5 })
	s.start()
	s.send(0, 4)
	d := s.untilState(admin.Skipped)
	if !strings.Contains(d.Sentence, "2.0 mm apart") || s.analyzer.count() != 0 || len(p.got()) != 0 {
		t.Errorf("%+v, %d analyses, %d objects sent", d, s.analyzer.count(), len(p.got()))
	}
	if _, err := s.node.store.Generation(testKey, 1); err != nil {
		t.Error(err)
	}
}

func TestSkippedIsReportedWhenAsked(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Select.MaxSpacingMM = 1.5
		s.config.Output.ReportSkipped = true
	})
	s.start()
	s.send(0, 4)
	s.until("the report delivered", func(d *admin.Detail) bool { return len(d.Deliveries) == 1 && d.Deliveries[0].State == "delivered" })
	if got := p.got(); len(got) != 1 {
		t.Errorf("%d objects", len(got))
	}
}

func TestFailedForGoodIsReportedAndRetriedByAPerson(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.analyzer.analyze = func(context.Context, inference.Series) (*result.Result, error) {
			return nil, errors.New("the GPU fell off: put it back")
		}
	})
	s.start()
	s.send(0, 4)
	d := s.until("the failure reported", func(d *admin.Detail) bool { return len(d.Deliveries) == 1 && d.Deliveries[0].State == "delivered" })
	if d.State != admin.Failed || !strings.Contains(d.Sentence, "the GPU fell off: put it back") || s.analyzer.count() != 4 {
		t.Errorf("%+v after %d analyses", d, s.analyzer.count())
	}
	if got := p.got(); len(got) != 1 {
		t.Errorf("%d objects", len(got))
	}
	s.analyzer.mu.Lock()
	s.analyzer.analyze = nil
	s.analyzer.mu.Unlock()
	var a admin.Answer
	if code := s.ask(http.MethodPost, seriesPath+"/retry", &a); code != http.StatusOK {
		t.Fatalf("retry: %d %+v", code, a)
	}
	d = s.untilState(admin.Delivered)
	if d.Generations[0].Attempt != 1 {
		t.Errorf("%+v", d)
	}
	// The failed report and the later result are different objects.
	if got := p.got(); len(got) != 4 {
		t.Errorf("%d objects, want the failed report and three results", len(got))
	}
	if code := s.ask(http.MethodPost, seriesPath+"/retry", &a); code != http.StatusConflict {
		t.Errorf("retrying what is delivered: %d %+v", code, a)
	}
}

// A result that no document can be made of, because it would lie in the wrong
// place, is not sent and not tried again: the series failed, and the report says
// why.
func TestWhatCannotBeWrittenFailsAtOnce(t *testing.T) {
	const why = "the images have no usable Frame of Reference UID"
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		ample := s.parts.documents
		s.parts.documents = func(c *config.Config) documents {
			write := ample(c)
			return func(header *dataset.Dataset, r *result.Result, uid func(string, int) string) ([]store.File, error) {
				if r.Outcome == result.OutcomeNodules {
					return nil, errors.New(why)
				}
				return write(header, r, uid)
			}
		}
	})
	s.start()
	s.send(0, 4)
	d := s.until("failed", func(d *admin.Detail) bool { return d.State == admin.Failed })
	if g := d.Generations[0]; !strings.Contains(d.Sentence, why) || g.Attempt > 1 {
		t.Errorf("%q, attempt %d", d.Sentence, g.Attempt)
	}
	s.until("the report was sent", func(*admin.Detail) bool { return len(p.got()) == 1 })
}

func TestMissingModelsDelayAnalysesNotReception(t *testing.T) {
	var mu sync.Mutex
	there := false
	s := newSite(t, func(s *site) {
		s.parts.open = func(*config.Config, *zap.Logger) (Analyzer, error) {
			mu.Lock()
			defer mu.Unlock()
			if !there {
				return nil, errors.New("localize.onnx is missing: put it in its place")
			}
			return s.analyzer, nil
		}
	})
	s.start()
	s.send(0, 4)
	d := s.until("waiting with a reason", func(d *admin.Detail) bool {
		return d.State == admin.Waiting && strings.Contains(d.Sentence, "localize.onnx is missing")
	})
	if d.Analysis.Attempt != 0 {
		t.Errorf("waiting used up an attempt: %+v", d.Analysis)
	}
	var ready admin.Readiness
	if code := s.get("/readyz", &ready); code != http.StatusServiceUnavailable || ready.Ready {
		t.Errorf("readyz %d %+v", code, ready)
	}
	mu.Lock()
	there = true
	mu.Unlock()
	s.untilState(admin.Delivered)
	if code := s.get("/readyz", &ready); code != http.StatusOK || !ready.Ready {
		t.Errorf("readyz %d %+v", code, ready)
	}
}

func TestSecondNodeOnTheFolderIsRefused(t *testing.T) {
	s := newSite(t, nil)
	s.start()
	_, err := start(t.Context(), s.config, s.logger, s.parts)
	if !errors.Is(err, store.ErrLocked) {
		t.Errorf("error %v", err)
	}
}

func TestDeletedOrCorruptQueueLosesNothing(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"deleted": func(t *testing.T, path string) {
			for _, suffix := range []string{"", "-wal", "-shm"} {
				if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
			}
		},
		"corrupt": func(t *testing.T, path string) {
			if err := os.WriteFile(path, bytes.Repeat([]byte("nonsense"), 4096), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			release := make(chan struct{})
			p := newPACS(t, "127.0.0.1:0", nil)
			s := newSite(t, func(s *site) {
				s.to("pacs", p)
				s.analyzer.analyze = func(ctx context.Context, series inference.Series) (*result.Result, error) {
					select {
					case <-release:
						return found(series), nil
					case <-ctx.Done():
						return nil, ctx.Err()
					}
				}
			})
			s.start()
			s.send(0, 4)
			s.untilState(admin.Analysing)
			s.stop()
			path := filepath.Join(s.config.Storage.DataDir, "queue.db")
			spoil(t, path)
			close(release)
			s.start()
			s.untilState(admin.Delivered)
			complete(t, p, 1)

			// Once delivered, a new queue delivers nothing again.
			s.stop()
			spoil(t, path)
			before := p.associations()
			s.start()
			s.untilState(admin.Delivered)
			if s.stop(); p.associations() != before {
				t.Error("delivered again")
			}
		})
	}
}

func TestOpenSeriesGoesOnAfterARestart(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.config.Complete.Quiet, s.config.Complete.Idle = config.Duration(time.Hour), config.Duration(time.Hour)
	})
	s.start()
	s.send(0, 4)
	s.untilState(admin.Receiving)
	s.stop()
	s.config.Complete.Idle = config.Duration(50 * time.Millisecond)
	s.start()
	if d := s.untilState(admin.Delivered); !strings.Contains(d.Sentence, "no destination is configured") {
		t.Errorf("%+v", d)
	}
}

func TestConflictingInstanceIsKeptAndTold(t *testing.T) {
	s := newSite(t, nil)
	s.start()
	conn, err := s.dial("CT1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		sop, data := slice(t, i, nil)
		s.storeOne(conn, sop, data)
	}
	sop, other := slice(t, 2, func(d *dataset.Dataset) { d.Set(dataset.PixelData, "OW", []byte("12345678")) })
	if got := s.storeOne(conn, sop, other); got != dimse.Success {
		t.Errorf("status %04X", uint16(got))
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.untilState(admin.Delivered); !slices.Equal(d.Conflicts, []string{sop}) || !strings.Contains(d.Sentence, "other bytes") {
		t.Errorf("%+v", d)
	}
}

func TestCancelledByAPerson(t *testing.T) {
	s := newSite(t, func(s *site) {
		s.analyzer.analyze = func(ctx context.Context, series inference.Series) (*result.Result, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	s.start()
	s.send(0, 4)
	s.untilState(admin.Analysing)
	var a admin.Answer
	if code := s.ask(http.MethodPost, seriesPath+"/cancel", &a); code != http.StatusOK {
		t.Fatalf("%d %+v", code, a)
	}
	d := s.untilState(admin.Failed)
	if !strings.Contains(d.Sentence, "cancelled by a person") {
		t.Errorf("%+v", d)
	}
	s.analyzer.mu.Lock()
	s.analyzer.analyze = nil
	s.analyzer.mu.Unlock()
	// A restart leaves it with the person.
	s.stop()
	s.start()
	s.untilState(admin.Failed)
	if code := s.ask(http.MethodPost, seriesPath+"/retry", &a); code != http.StatusOK {
		t.Fatalf("%d %+v", code, a)
	}
	s.untilState(admin.Delivered)
}
