package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/store"
)

// One destination is down, one refuses, one hangs in the middle, one is full:
// the good one has its results all the same, and reception goes on.
func TestBadDestinationsDelayNeitherReceptionNorOthers(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := &pacs{address: gone.Addr().String()}
	gone.Close()
	refusing := newPACS(t, "127.0.0.1:0", func(p *pacs) { p.reject = &dimse.Reject{Result: 2, Source: 3, Reason: 1} })
	hanging := newPACS(t, "127.0.0.1:0", func(p *pacs) { p.hang = make(chan struct{}) })
	full := newPACS(t, "127.0.0.1:0", func(p *pacs) { p.store = func(int, string) dimse.Status { return dimse.OutOfResources } })
	good := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		for name, p := range map[string]*pacs{"down": down, "refusing": refusing, "hanging": hanging, "full": full, "good": good} {
			s.to(name, p)
		}
		s.config.Queue.MaxAttempts = config.MaxAttemptsLimit
		s.parts.backoff = job.Backoff{Base: 20 * time.Millisecond, Cap: 100 * time.Millisecond}
		s.parts.timeouts = dimse.Timeouts{Closing: 10 * time.Millisecond}
	})
	s.start()
	s.send(0, 4)
	s.until("delivered to the good one", func(d *admin.Detail) bool { return delivery(d, "good").State == "delivered" })
	complete(t, good, 1)
	s.send(0, 4) // reception goes on: a resend is answered at once

	d := s.until("every bad one was tried", func(d *admin.Detail) bool {
		return delivery(d, "down").Sentence != "" && refusing.associations() >= 3 && hanging.associations() >= 1 && full.associations() >= 3
	})
	if d.State != admin.Delivering {
		t.Errorf("state %s: %s", d.State, d.Sentence)
	}
	for name, objects := range map[string]int{"down": 0, "refusing": 0, "hanging": 0, "full": 0} {
		if v := delivery(d, name); v.Stored != objects || v.State == "delivered" {
			t.Errorf("%s: %+v", name, v)
		}
	}

	// The full one has room again, and the refusing one takes associations.
	full.mu.Lock()
	full.store = nil
	full.mu.Unlock()
	refusing.mu.Lock()
	refusing.reject = nil
	refusing.mu.Unlock()
	s.until("the mended ones have theirs", func(d *admin.Detail) bool {
		return delivery(d, "full").State == "delivered" && delivery(d, "refusing").State == "delivered"
	})
	complete(t, full, 1)
	complete(t, refusing, 1)
}

func delivery(d *admin.Detail, name string) admin.Delivery {
	for _, v := range d.Deliveries {
		if v.Destination == name {
			return v
		}
	}
	return admin.Delivery{}
}

// An instance that was refused and never came again keeps its series from
// counting as complete at once, however politely the sender said goodbye.
func TestRefusedInstanceIsNotForgotten(t *testing.T) {
	for name, again := range map[string]bool{"sent again": true, "given up": false} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, nil)
			s.start()
			conn, err := s.dial("CT1")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				sop, data := slice(t, i, nil)
				if i == 4 {
					if got := s.storeOne(conn, sop, data[:len(data)/2]); got.Stored() {
						t.Fatalf("half an instance: %v", got)
					}
					if !again {
						break
					}
				}
				if got := s.storeOne(conn, sop, data); got != dimse.Success {
					t.Fatalf("slice %d: %v", i, got)
				}
			}
			if err := conn.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: result.ClosedGeometry, false: result.ClosedIdle}[again]
			if d := s.untilState(admin.Delivered); len(d.Closings) != 1 || d.Closings[0].Reason != want {
				t.Errorf("closed as %+v, want %q", d.Closings, want)
			}
		})
	}
}

// A peer that calls another AE title, or brings what is not taken, is told so by
// the protocol; the administrator reads it in the log.
func TestMisdirectedPeersAreLogged(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	s := newSite(t, func(s *site) { s.logger = zap.New(core) })
	s.start()
	client := dimse.Client{CallingAE: "CT1", CalledAE: "WRONG", Address: s.node.Addr().String()}
	_, err := client.Dial(t.Context(), []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}})
	var reject *dimse.RejectError
	if !errors.As(err, &reject) || reject.Reason != 7 {
		t.Errorf("the wrong AE title: %v", err)
	}
	conn, err := s.dial("CT1", dataset.SecondaryCapture)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Error(err)
	}
	refused := logs.FilterMessage("association_refused").All()
	if len(refused) != 1 || refused[0].ContextMap()["called_ae"] != "WRONG" || !strings.Contains(fmt.Sprint(refused[0].ContextMap()["do"]), "[node] ae_title") {
		t.Errorf("logged of the wrong AE title: %v", refused)
	}
	classes := logs.FilterMessage("sop_classes_refused").All()
	if len(classes) != 1 || !strings.Contains(fmt.Sprint(classes[0].ContextMap()), dataset.SecondaryCapture) {
		t.Errorf("logged of the refused class: %v", classes)
	}
}

// smallDisk mounts a file system of this size in memory.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("a disk that can be filled needs the right to mount one (root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

// A full disk is told to the sender as A700H, on an association that lives on;
// when there is room again the node goes on by itself.
func TestFullDiskIsToldAndRecoversByItself(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	disk := smallDisk(t, "16m")
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Storage.DataDir, s.config.Storage.StopReceivingBelow = disk, 4*config.MiB
		s.config.Complete.Quiet, s.config.Complete.Idle = config.Duration(time.Second), config.Duration(time.Minute)
	})
	s.start()
	conn, err := s.dial("CT1")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		sop, data := slice(t, i, nil)
		if got := s.storeOne(conn, sop, data); got != dimse.Success {
			t.Fatalf("slice %d before the disk is full: %v", i, got)
		}
	}
	filler := filepath.Join(disk, "filler")
	fill(t, filler)
	sop, data := slice(t, 2, nil)
	for range 3 {
		if got := s.storeOne(conn, sop, data); got != dimse.OutOfResources {
			t.Fatalf("on a full disk: %v", got)
		}
	}
	var said string
	if code := s.get("/readyz", &said); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz on a full disk: %d %s", code, said)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 5; i++ {
		sop, data := slice(t, i, nil)
		if got := s.storeOne(conn, sop, data); got != dimse.Success {
			t.Fatalf("slice %d when there is room again: %v", i, got)
		}
	}
	if err := conn.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.untilState(admin.Delivered); d.Instances != 5 {
		t.Errorf("%d instances of 5: %s", d.Instances, d.Sentence)
	}
	complete(t, p, 1)
}

// The disk fills while the results are written, and the queue's file with it:
// nothing is sent, nothing is lost, and with room again it ends as it should.
func TestResultsWaitForRoom(t *testing.T) {
	p := newPACS(t, "127.0.0.1:0", nil)
	disk := smallDisk(t, "16m")
	filler := filepath.Join(disk, "filler")
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Storage.DataDir = disk
		ample := s.parts.documents
		var once sync.Once
		s.parts.documents = func(c *config.Config) documents {
			write := ample(c)
			return func(header *dataset.Dataset, r *result.Result, uid func(string, int) string) ([]store.File, error) {
				once.Do(func() { fill(t, filler) })
				return write(header, r, uid)
			}
		}
	})
	s.start()
	s.send(0, 4)
	s.until("the disk is full", func(*admin.Detail) bool { return s.node.store.Ready() != nil || exists(filler) })
	if len(p.got()) != 0 {
		t.Errorf("%d objects were sent before the results were kept", len(p.got()))
	}
	s.node.Stop() // the queue's last words may find no room
	s.node = nil
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.untilState(admin.Delivered)
	complete(t, p, 1)
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// fill writes until the disk has nothing left.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
}
