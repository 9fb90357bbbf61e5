package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/store"
)

// The backup is the command of OPERATIONS.md, run while the node receives and a
// delivery waits. On another machine what was delivered stays so, and what was
// not is delivered, with the identifiers that it had.
func TestBackupOfARunningNode(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.send(seeded(t, 11))
	s.ends(1, analysed)
	delivered := s.series()[0]
	p.mu.Lock()
	p.hook = func(int, received) dimse.Status { return dimse.OutOfResources }
	p.mu.Unlock()
	s.send(seeded(t, 12))
	var waits admin.Series
	eventually(t, analysed, "the second series waits for the PACS", func() bool {
		all := s.series()
		i := slices.IndexFunc(all, func(one admin.Series) bool { return one.State == admin.Delivering && one.Series != delivered.Series })
		if i >= 0 {
			waits = all[i]
		}
		return i >= 0
	})

	archive := filepath.Join(t.TempDir(), "backup.tar")
	third := command(t, "send", seeded(t, 13), "--to", fmt.Sprintf("PULMONODE@127.0.0.1:%d", s.dicom))
	if err := third.Start(); err != nil {
		t.Fatal(err)
	}
	backup := documented(t, "tar --create", "/var/lib/pulmonode", filepath.Join(s.dir, "data"), "/backup/pulmonode.tar", archive)
	// 1: a folder grew meanwhile, which OPERATIONS.md says is no fault.
	var grew *exec.ExitError
	if out, err := exec.Command("sh", "-c", backup).CombinedOutput(); err != nil && !(errors.As(err, &grew) && grew.ExitCode() == 1) {
		t.Fatalf("%s: %v\n%s", backup, err, out)
	}
	third.Wait()
	s.kill()

	other := newServer(t, "", destination{"pacs", "PACS", p.port})
	other.stop()
	data := filepath.Join(other.dir, "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	restore := documented(t, "tar --extract", "/var/lib/pulmonode", data, "/backup/pulmonode.tar", archive)
	if out, err := exec.Command("sh", "-c", restore).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", restore, err, out)
	}
	before := len(p.seen())
	p.mu.Lock()
	p.hook = nil
	p.mu.Unlock()
	other.start()
	eventually(t, analysed, "both series are delivered", func() bool {
		n := 0
		for _, one := range other.series() {
			if one.State == admin.Delivered && (one.Series == delivered.Series || one.Series == waits.Series) {
				n++
			}
		}
		return n == 2
	})
	after := p.seen()[before:]
	for _, uid := range objects(t, data, delivered) {
		if slices.Contains(after, uid) || p.object(uid).times != 1 {
			t.Errorf("%s was delivered before the backup and sent again after it", uid)
		}
	}
	had := objects(t, filepath.Join(s.dir, "data"), waits)
	if has := objects(t, data, waits); !slices.Equal(has, had) {
		t.Errorf("after the restore the results are %v, they were %v", has, had)
	}
	for _, uid := range had {
		if n := len(slices.DeleteFunc(slices.Clone(after), func(one string) bool { return one != uid })); n != 1 || p.object(uid).times < 0 {
			t.Errorf("%s was sent %d times after the restore", uid, n)
		}
	}
}

// documented is the command of OPERATIONS.md that begins so, with other paths.
func documented(t *testing.T, begins string, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "OPERATIONS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "    "+begins)
	if !ok {
		t.Fatalf("OPERATIONS.md has no %q", begins)
	}
	command, _, _ := strings.Cut(rest, "\n\n")
	return strings.NewReplacer(replace...).Replace(begins + command)
}

// seeded is a phantom that no other seed gives.
func seeded(t *testing.T, seed int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprint(seed))
	out, err := command(t, "phantom", "--out", dir, "--slices", "80", "--spacing", "3", "--size", "128", "--nodules", "1", "--seed", fmt.Sprint(seed)).CombinedOutput()
	if err != nil {
		t.Fatalf("phantom: %v\n%s", err, out)
	}
	return dir
}

// objects lists the SOP Instance UIDs of a series' results.
func objects(t *testing.T, data string, one admin.Series) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(data, "series", one.Study, one.Series, "generation-1", "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m store.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	var uids []string
	for _, f := range m.Files {
		if f.SOPInstanceUID != "" {
			uids = append(uids, f.SOPInstanceUID)
		}
	}
	if len(uids) < 2 {
		t.Fatalf("the results of %s are %v", one.Series, uids)
	}
	return uids
}
