//go:build unix

package node

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pulmonode/pulmonode/node/admin"
)

// A whole life under the most careless umask: what it leaves in the data folder,
// the queue's files and the records of what was deleted among it, is the node's alone.
func TestWhatANodeLeavesIsItsOwn(t *testing.T) {
	careless := syscall.Umask(0)
	defer syscall.Umask(careless)
	p := newPACS(t, "127.0.0.1:0", nil)
	s := newSite(t, func(s *site) {
		s.to("pacs", p)
		s.config.Storage.DataDir = filepath.Join(t.TempDir(), "made", "by the node")
	})
	s.start()
	s.send(0, 4)
	s.untilState(admin.Delivered)
	s.makeRoom()
	s.untilState(admin.Deleted)
	s.send(0, 5)
	s.untilState(admin.Delivered)
	walk := func(when string) {
		var seen []string
		err := filepath.WalkDir(s.config.Storage.DataDir, func(path string, e fs.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil // a file of the queue that comes and goes
			}
			if err != nil {
				return err
			}
			info, err := e.Info()
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil {
				return err
			}
			seen = append(seen, filepath.Base(path))
			want := fs.FileMode(0o600)
			if e.IsDir() {
				want = 0o700
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s: %s has the mode %04o, not %04o", when, path, info.Mode().Perm(), want)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		all := strings.Join(seen, " ")
		for _, want := range []string{"queue.db", "lock", "incoming", "removed", ".json", ".dcm", "receipts"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: there is no %s among %s", when, want, all)
			}
		}
	}
	walk("while it runs")
	if _, err := os.Stat(filepath.Join(s.config.Storage.DataDir, "queue.db-wal")); err != nil {
		t.Errorf("the queue's log was not looked at: %v", err)
	}
	s.stop()
	walk("after it ended")
}
