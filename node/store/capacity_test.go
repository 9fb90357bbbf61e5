package store

import (
	"errors"
	"testing"
)

func TestDiskHasASizeAndRoom(t *testing.T) {
	s, err := Open(t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	free, err := s.Free()
	if err != nil {
		t.Fatal(err)
	}
	if total, err := s.Total(); err != nil || total < free || free <= 0 {
		t.Errorf("%d bytes of %d are free: %v", free, total, err)
	}
}

// A disk without a block left makes files still; only writing to one tells.
func TestFullDiskIsNotReadyWithoutAWatermark(t *testing.T) {
	s, err := Open(smallDisk(t, "4m"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Ready(); err != nil {
		t.Fatal(err)
	}
	if _, refusal := fill(t, s, keyA); !errors.Is(refusal, ErrFull) {
		t.Fatalf("filled until %v", refusal)
	}
	for {
		f, err := s.fs.create(s.temporary())
		if err != nil {
			break
		}
		if _, err = f.Write(trial); err != nil {
			f.Close()
			break
		}
		f.Close()
	}
	if err := s.Ready(); !errors.Is(err, ErrFull) {
		t.Errorf("the full disk is ready: %v", err)
	}
}
