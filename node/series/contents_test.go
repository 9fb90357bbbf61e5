//go:build unix

package series

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pulmonode/pulmonode/node/store"
)

// While a node closes a series another brings an instance and closes it before:
// the first must not take what it saw earlier for all there is, and close the
// series once more without that instance. A pipe in the place of the other's
// closing holds the first up for as long as that takes.
func TestAClosingOfAnotherNodeIsNotOutdone(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{Node: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	folder, err := s.Folder(key)
	if err != nil {
		t.Fatal(err)
	}
	instances := filepath.Join(folder, "instances")
	pipe := filepath.Join(folder, "closed-1.json")
	bring := func(uid string) error { return os.WriteFile(filepath.Join(instances, uid+".dcm"), nil, 0o600) }
	if err := errors.Join(os.MkdirAll(instances, 0o700), bring("1.2.3.1"), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	closed := make(chan error, 1)
	go func() {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits until the closing is read
		if err == nil {
			err = errors.Join(bring("1.2.3.2"),
				json.NewEncoder(w).Encode(store.Closing{Key: key, Generation: 1, Instances: []string{"1.2.3.1", "1.2.3.2"}}), w.Close())
		}
		closed <- err
	}()
	uids, last, err := (&Tracker{store: s}).contents(key)
	if err := errors.Join(err, <-closed); err != nil {
		t.Fatal(err)
	}
	if len(uids) != len(last.Instances) {
		t.Errorf("%d instances are there, %d were closed", len(uids), len(last.Instances))
	}
}
