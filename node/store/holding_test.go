package store

import (
	"maps"
	"os"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

func TestHoldsNamesWhatIsKeptAndReadable(t *testing.T) {
	s := testStore(t, Options{})
	d := &dataset.Dataset{}
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	data, err := d.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, keyA, "1.2.3.1.1", string(data))
	mustPut(t, s, keyB, "1.2.3.2.1", string(data))
	mustPut(t, s, keyB, "1.2.3.2.2", string(data))
	path, err := s.InstancePath(keyB, "1.2.3.2.2")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 140); err != nil {
		t.Fatal(err)
	}
	held, err := s.Holds([]string{"1.2.3.1.1", "1.2.3.2.1", "1.2.3.2.2", "1.9", "../1.2.3.1.1"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (map[string]string{"1.2.3.1.1": dataset.CTImage, "1.2.3.2.1": dataset.CTImage}); !maps.Equal(held, want) {
		t.Errorf("holds %v, want %v", held, want)
	}
}
