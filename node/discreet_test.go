package node

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
)

// secrets identify the patient of this test, and nobody else.
var secrets = map[string]string{
	"name": "Geheimrat^Gustav", "another writing of it": "GEHEIMRAT", "ID": "PID-77-88", "accession number": "ACC-99-11", "birth date": "19470117",
	"physician": "Verschwiegen^Viktor", "comment": "Confidential remark",
}

func identified(d *dataset.Dataset) {
	d.SetText(dataset.PatientName, "PN", secrets["name"])
	d.SetText(dataset.PatientID, "LO", secrets["ID"])
	d.SetText(dataset.PatientBirthDate, "DA", secrets["birth date"])
	d.SetText(dataset.AccessionNumber, "SH", secrets["accession number"])
	d.SetText(dataset.ReferringPhysicianName, "PN", secrets["physician"])
	d.SetText(dataset.ImageComments, "LT", secrets["comment"])
}

// written is a log in memory.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}
func (w *written) Sync() error { return nil }

// A node's life with everything that can go wrong in it, at the log's most
// talkative: no identity is in the log, in the metrics, in the queue with its
// errors, or in a trail that is to name no patients.
func TestNoIdentityLeaves(t *testing.T) {
	var log written
	trail := filepath.Join(t.TempDir(), "audit.log")
	p := newPACS(t, "127.0.0.1:0", func(p *pacs) {
		p.store = func(n int, class string) dimse.Status {
			switch {
			case n == 0:
				return 0xA700 // try again
			case class == dataset.SegmentationStorage:
				return 0x0110 // never
			}
			return 0xB000 // with a note
		}
	})
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Audit.File = trail
		encoder := zap.NewProductionEncoderConfig()
		s.logger = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(encoder), &log, zap.DebugLevel))
		failures := 0
		s.analyzer.analyze = func(_ context.Context, in inference.Series) (*result.Result, error) {
			if failures++; failures == 1 {
				_, err := dataset.Open(filepath.Join(filepath.Dir(in.Paths[0]), "missing.dcm"), dataset.Limits{})
				return nil, err
			}
			return found(in), nil
		}
	})
	s.start()

	// Strangers, and what is no DICOM.
	for _, title := range []string{"STRANGER", "ct1"} {
		if _, err := s.dial(title); err == nil {
			t.Errorf("%s was let in", title)
		}
	}
	if conn, err := net.Dial("tcp", s.node.Addr().String()); err == nil {
		conn.Write([]byte("GET /?patient=" + secrets["ID"] + " HTTP/1.1\r\n\r\n"))
		conn.Close()
	}

	// Instances that are whole, come again, come with other bytes, and are bad in
	// ways that bring the identity to where a message could quote it.
	conn, err := s.dial("CT1")
	if err != nil {
		t.Fatal(err)
	}
	send := func(i int, command string, change func(*dataset.Dataset)) {
		sop, data := slice(t, i, func(d *dataset.Dataset) {
			identified(d)
			if change != nil {
				change(d)
			}
		})
		if command != "" {
			sop = command
		}
		status, err := conn.Store(t.Context(), dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(data)})
		if err == nil && status == dimse.Success && command != "" {
			t.Errorf("%q was taken", command)
		}
		if err != nil { // refused before it went out, or the connection is gone
			if conn, err = s.dial("CT1"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 5 {
		send(i, "", nil)
	}
	send(0, "", nil)
	send(1, "", func(d *dataset.Dataset) { d.SetText(dataset.ImageComments, "LT", secrets["comment"]+" too") })
	send(2, "1.2.3.4", nil)
	send(9, secrets["name"], nil)
	for _, tag := range []dataset.Tag{dataset.SOPInstanceUID, dataset.SOPClassUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID} {
		send(9, "1.2.9", func(d *dataset.Dataset) { d.SetText(tag, "UI", secrets["ID"]) })
	}
	send(9, "1.2.9", func(d *dataset.Dataset) { d.SetText(dataset.SeriesInstanceUID, "UI", "1.2", secrets["name"]) })
	for i, tag := range []dataset.Tag{dataset.ImagePositionPatient, dataset.PixelSpacing, dataset.ImageOrientationPatient} {
		// Taken, and a series of its own that is skipped.
		send(10+i, "", func(d *dataset.Dataset) {
			d.SetText(dataset.SeriesInstanceUID, "UI", testSeries+".7")
			d.SetText(tag, "DS", secrets["name"])
		})
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}

	s.untilState(admin.Failed) // one kind is refused for good
	s.until("the other series is skipped", func(*admin.Detail) bool {
		var d admin.Detail
		s.get(seriesPath+".7", &d)
		return d.State == admin.Skipped
	})
	// A person looks for the patient.
	for _, secret := range secrets {
		q := url.QueryEscape(secret)
		for _, path := range []string{"/?search=" + q, "/?state=" + q, "/api/v1/series?search=" + q, "/api/v1/series?limit=" + q, "/series/" + url.PathEscape(secret) + "/1.2.3",
			"/api/v1/series/1.2.3/" + url.PathEscape(secret), "/" + q, "/series/" + testStudy + "/" + testSeries + "/1/" + q} {
			s.get(path, nil)
		}
	}
	s.ask("POST", seriesPath+"/retry?destination="+url.QueryEscape(secrets["name"]), nil)
	s.ask("POST", seriesPath+"/retry", nil)
	s.untilState(admin.Failed)
	var metrics string
	s.get("/metrics", &metrics)
	s.stop()

	seen := func(where string, text []byte) {
		t.Helper()
		if len(text) == 0 {
			t.Errorf("%s is empty: nothing was looked at", where)
		}
		for what, secret := range secrets {
			if i := bytes.Index(bytes.ToUpper(text), []byte(strings.ToUpper(secret))); i >= 0 {
				t.Errorf("%s has the patient's %s: ...%q...", where, what, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
	seen("the log", log.b.Bytes())
	seen("the metrics", []byte(metrics))
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return b
	}
	seen("the audit trail", read(trail))
	seen("the queue", read(filepath.Join(s.config.Storage.DataDir, "queue.db")))
	for _, event := range []string{"association_refused", "instance_refused", "instance_conflicts", "analysis_attempt_failed", "delivery_failed", "stored_with_note"} {
		if !bytes.Contains(log.b.Bytes(), []byte(`"`+event+`"`)) {
			t.Errorf("%s did not happen, so nothing is known of it", event)
		}
	}
}
