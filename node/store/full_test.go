package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"golang.org/x/sys/unix"
)

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

// slice is an instance of 256 KiB.
var slice = strings.Repeat("0123456789abcdef", 16<<10)

// fill stores instances until one is refused, and says how many were stored.
func fill(t *testing.T, s *Store, k Key) (n int, refusal error) {
	t.Helper()
	for n = range 1000 {
		if _, err := put(s, k, fmt.Sprintf("%s.%d", k.Series, n), slice, "CT1"); err != nil {
			return n, err
		}
	}
	t.Fatal("the disk does not fill")
	return 0, nil
}

func whole(t *testing.T, s *Store, k Key, want int) {
	t.Helper()
	list, err := s.Instances(k)
	if err != nil || len(list) != want {
		t.Fatalf("%d instances, %v, want %d", len(list), err, want)
	}
	for _, i := range list {
		if b, err := os.ReadFile(i.Path); err != nil || !strings.HasSuffix(string(b), slice) {
			t.Errorf("instance %s has lost bytes: %v", i.SOPInstanceUID, err)
		}
	}
	if left, err := os.ReadDir(s.incoming()); err != nil || len(left) > 0 {
		t.Errorf("incoming/ holds %v, %v", left, err)
	}
}

func TestDiskFullAndBack(t *testing.T) {
	s, err := Open(smallDisk(t, "8m"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, refusal := fill(t, s, keyA)
	if n < 20 || !errors.Is(refusal, ErrFull) {
		t.Fatalf("after %d instances: %v", n, refusal)
	}
	whole(t, s, keyA, n)

	big := []File{{Name: "seg.dcm", Kind: "seg", Bytes: make([]byte, 1<<20)}}
	if err := s.WriteGeneration(keyA, 1, big, Manifest{Outcome: result.OutcomeNone}); !errors.Is(err, ErrFull) {
		t.Errorf("results on the full disk: %v", err)
	}
	if g, err := s.Generations(keyA); err != nil || len(g) > 0 {
		t.Errorf("a generation is there by half: %v, %v", g, err)
	}
	whole(t, s, keyA, n)

	// Room comes back: from a person, or because retention removed a series.
	os.Remove(filepath.Join(s.folder(keyA), "instances", keyA.Series+".0.dcm"))
	if o, err := put(s, keyA, keyA.Series+".0", slice, "CT1"); err != nil || o != Stored {
		t.Errorf("after room came back: %v, %v", o, err)
	}
	if err := remove(s, keyA); err != nil {
		t.Fatalf("a series cannot be removed from a full disk: %v", err)
	}
	if again, _ := fill(t, s, keyB); again < n-1 {
		t.Errorf("only %d instances fit after the removal of %d", again, n)
	}
}

// A disk without a free byte still loses no record of what is deleted from it:
// the instances make the room for it.
func TestRetentionOnAFullDisk(t *testing.T) {
	s, err := Open(smallDisk(t, "8m"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, keyA, "1.2.3.1.1", slice)
	if err := s.WriteClosing(Closing{Key: keyA, Generation: 1, Closed: closedAt, Instances: []string{"1.2.3.1.1"}}); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteGeneration(keyA, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(s.Dir(), "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for size := len(slice); size > 0; {
		if n, err := f.WriteString(slice[:size]); err != nil {
			size = min(n, size-1)
		}
	}
	f.Close()
	removed, err := s.Retain(t.Context(), time.Now(), Retention{RoomBelow: 1 << 20}, func(Key, string) bool { return true })
	if err != nil || len(removed) != 1 {
		t.Fatalf("deleted %v, %v", removed, err)
	}
	if r, err := s.Removed(keyA); err != nil || r.Generation != 1 || r.Reason != ForRoom || len(r.Objects) != 1 {
		t.Errorf("the record: %+v, %v", r, err)
	}
	if left, err := os.ReadDir(s.removing()); err != nil || len(left) > 0 {
		t.Errorf("removing/ holds %v, %v", left, err)
	}
}

func TestWatermark(t *testing.T) {
	const mark = 4 << 20
	s, err := Open(smallDisk(t, "16m"), Options{StopReceivingBelow: mark})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ready(); err != nil {
		t.Errorf("the empty store is not ready: %v", err)
	}
	n, refusal := fill(t, s, keyA)
	free, err := s.Free()
	if err != nil || !errors.Is(refusal, ErrFull) || free < mark-(1<<20) || !strings.Contains(refusal.Error(), "stop_receiving_below") {
		t.Fatalf("refused with %d bytes free: %v, %v", free, refusal, err)
	}
	whole(t, s, keyA, n)
	if err := s.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("below the watermark the store says it is ready: %v", err)
	}
	// What was received can still be finished.
	if err := s.WriteClosing(Closing{Key: keyA, Generation: 1, Closed: closedAt}); err != nil {
		t.Errorf("a closing below the watermark: %v", err)
	}
	if err := s.WriteGeneration(keyA, 1, filesOf(0), Manifest{Outcome: result.OutcomeNone}); err != nil {
		t.Errorf("results below the watermark: %v", err)
	}
	if err := remove(s, keyA); err != nil {
		t.Fatal(err)
	}
	if _, err := put(s, keyA, "1.2.3.1.1", slice, "CT1"); err != nil {
		t.Errorf("above the watermark again: %v", err)
	}
}

// One instance of gigabytes is stopped at the watermark too.
func TestWatermarkWithinAnInstance(t *testing.T) {
	s, err := Open(smallDisk(t, "64m"), Options{StopReceivingBelow: 20 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	in, err := s.Create(dataset.MetaInfo{SOPInstanceUID: "1.2.3", TransferSyntax: dataset.ExplicitLE})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = in.Write([]byte(slice))
	}
	if free, _ := s.Free(); !errors.Is(err, ErrFull) || free < 1<<20 {
		t.Errorf("stopped with %d bytes free: %v", free, err)
	}
	if _, err := in.Commit(keyA, "1.2.3"); !errors.Is(err, ErrFull) {
		t.Errorf("half an instance was committed: %v", err)
	}
	whole(t, s, keyA, 0)
}

func TestReadOnlyDiskAndBack(t *testing.T) {
	dir := smallDisk(t, "8m")
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mustPut(t, s, keyA, "1.2.3.1.1", slice)
	if err := s.Close(); err != nil { // the lock file is open for writing
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"ready": s.Ready(), "put": func() error { _, err := put(s, keyA, "1.2.3.1.2", slice, "CT1"); return err }()} {
		if err == nil || errors.Is(err, ErrFull) || !errors.Is(err, unix.EROFS) {
			t.Errorf("%s on a read-only disk: %v", name, err)
		}
	}
	if _, err := Open(dir, Options{}); err == nil {
		t.Error("a read-only data folder was opened")
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=8m"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("writable again: %v", err)
	}
	if o := mustPut(t, s, keyA, "1.2.3.1.2", slice); o != Stored {
		t.Errorf("writable again: %v", o)
	}
}

// BenchmarkStore stores instances of 512 KiB durably, as one and as four
// associations do.
func BenchmarkStore(b *testing.B) {
	for _, associations := range []int{1, 4} {
		b.Run(fmt.Sprint(associations, " associations"), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			block := make([]byte, 128<<10)
			b.SetBytes(4 * int64(len(block)))
			next := make(chan int)
			done := make(chan error, associations)
			for range associations {
				go func() {
					var err error
					for i := range next {
						sop := fmt.Sprintf("1.2.3.1.%d", i)
						var in *Incoming
						if in, err = s.Create(dataset.MetaInfo{SOPInstanceUID: sop, TransferSyntax: dataset.ExplicitLE}); err != nil {
							break
						}
						for range 4 {
							in.Write(block)
						}
						if _, err = in.Commit(keyA, sop); err != nil {
							break
						}
					}
					done <- err
				}()
			}
			b.ResetTimer()
			for i := range b.N {
				next <- i
			}
			close(next)
			for range associations {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "images/s")
			b.ReportMetric(float64(s.syncs.count)/float64(b.N), "folder-fsyncs/image")
		})
	}
}
