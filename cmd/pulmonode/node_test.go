package main_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
)

// `analyze` on the folder writes the bytes that the network path wrote.
func TestOfflineGivesTheSameBytes(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.send(phantom(t))
	one := s.ends(1, analysed)[0]
	generation := filepath.Join(s.dir, "data", "series", one.Study, one.Series, "generation-1")
	text, err := os.ReadFile(filepath.Join(generation, "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r result.Result
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out")
	said, err := command(t, "analyze", phantom(t), "--out", out, "--config", s.config(),
		"--closed-at", r.Closed.Time.Format(time.RFC3339Nano), "--closed-reason", r.Closed.Reason).CombinedOutput()
	if err != nil {
		t.Fatalf("analyze: %v\n%s", err, said)
	}
	same := 0
	for _, pattern := range []string{"*.dcm", "*.png"} {
		files, _ := filepath.Glob(filepath.Join(generation, pattern))
		for _, f := range files {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(out, filepath.Base(f)))
			if err != nil {
				t.Error(err)
			} else if !bytes.Equal(got, want) {
				t.Errorf("%s differs from the network path's", filepath.Base(f))
			} else {
				same++
			}
		}
	}
	if same < 4 {
		t.Errorf("only %d files were compared", same)
	}
}

// The same instances again change nothing; a late slice opens generation 2,
// whose report names its predecessor.
func TestResendAndLateSlice(t *testing.T) {
	needRuntime(t)
	storescu := needProgram(t, "storescu")
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	files := dicomFiles(t, phantom(t))
	slices.Sort(files)
	early := t.TempDir()
	for _, f := range files[:len(files)-1] {
		if err := os.Link(f, filepath.Join(early, filepath.Base(f))); err != nil {
			t.Fatal(err)
		}
	}
	s.send(early)
	s.ends(1, analysed)
	p.check(t, 1)
	first := p.latest(t, dataset.Comprehensive3DSR)

	sent := len(p.seen())
	s.send(early)
	if out, err := exec.Command(storescu, "-aec", "PULMONODE", "127.0.0.1", strconv.Itoa(s.dicom), files[0]).CombinedOutput(); err != nil {
		t.Fatalf("storescu: %v\n%s", err, out)
	}
	if all := s.series(); len(all) != 1 || all[0].State != admin.Delivered || all[0].Generation != 1 {
		t.Errorf("after sending the same again: %+v", all)
	}
	if again := len(p.seen()) - sent; again != 0 {
		t.Errorf("sending the same again delivered %d objects", again)
	}

	if out, err := exec.Command(storescu, "-aec", "PULMONODE", "127.0.0.1", strconv.Itoa(s.dicom), files[len(files)-1]).CombinedOutput(); err != nil {
		t.Fatalf("storescu: %v\n%s", err, out)
	}
	eventually(t, analysed, "generation 2 is delivered", func() bool {
		all := s.series()
		return len(all) == 1 && all[0].Generation == 2 && all[0].State == admin.Delivered
	})
	p.check(t, 2)
	second := p.latest(t, dataset.Comprehensive3DSR)
	if second == first {
		t.Fatal("no second report arrived")
	}
	if !bytes.Contains(p.object(second).data, []byte(first)) {
		t.Error("the second report does not name its predecessor")
	}
}

// latest is the SOP Instance UID of the last object of a class.
func (p *pacs) latest(t *testing.T, class string) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, uid := range slices.Backward(p.order) {
		if p.objects[uid].class == class {
			return uid
		}
	}
	t.Fatalf("no object of %s arrived", class)
	return ""
}

// A model that is missing stops no reception: the series is kept, its job
// waits, check and readyz say why; with the model back the work goes on.
func TestMissingModel(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.stop()
	good, err := os.ReadFile(s.config())
	if err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(s.dir, "missing.onnx")
	if err := os.WriteFile(s.config(), append(slices.Clone(good), []byte("[inference]\nrefine = \""+missing+"\"\n")...), 0o600); err != nil {
		t.Fatal(err)
	}
	said, err := command(t, "check", "--config", s.config()).CombinedOutput()
	if err == nil || !strings.Contains(string(said), "missing.onnx") {
		t.Errorf("check does not name the missing model:\n%s", said)
	}
	s.launch()
	eventually(t, time.Minute, "the node receives", func() bool {
		return command(t, "echo", "PULMONODE@127.0.0.1:"+strconv.Itoa(s.dicom)).Run() == nil
	})
	s.send(phantom(t))
	eventually(t, time.Minute, "the series waits", func() bool {
		all := s.series()
		return len(all) == 1 && all[0].State == admin.Waiting && strings.Contains(all[0].Sentence, "model")
	})
	s.stop()
	if err := os.WriteFile(s.config(), good, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.ends(1, analysed)
	p.check(t, 1)
}

// A destination that refuses for now is retried and seen by jobs; a person can
// give it up, and have it tried again.
func TestRetryAndCancel(t *testing.T) {
	needRuntime(t)
	p := newPACS(t)
	p.mu.Lock()
	p.hook = func(int, received) dimse.Status { return dimse.OutOfResources }
	p.mu.Unlock()
	s := newServer(t, "", destination{"pacs", "PACS", p.port})
	s.send(phantom(t))
	eventually(t, analysed, "the delivery is tried", func() bool { return len(p.seen()) > 0 })
	uid := s.series()[0].Series
	jobs := func(args ...string) string {
		out, err := command(t, append(append([]string{"jobs"}, args...), "--config", s.config())...).CombinedOutput()
		if err != nil {
			t.Fatalf("jobs %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	eventually(t, time.Minute, "jobs show names the destination and its status", func() bool {
		out := jobs("show", uid)
		return strings.Contains(out, "to pacs") && strings.Contains(out, "A700") && strings.Contains(out, "next attempt")
	})
	jobs("cancel", uid, "--destination", "pacs")
	eventually(t, time.Minute, "the delivery is given up", func() bool { return strings.Contains(jobs("show", uid), "cancelled") })
	p.mu.Lock()
	p.hook = nil
	p.mu.Unlock()
	jobs("retry", uid, "--destination", "pacs")
	s.ends(1, time.Minute)
	p.check(t, 1)
}

// The stranger's mistakes: each ends with a sentence and the right exit code.
func TestMistakes(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.toml")
	if err := os.WriteFile(bad, []byte("[node]\nlisen = \":1\"\n[storage]\nkeep = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"sevre"}, 2, `did you mean "serve"`},
		{[]string{"serve", "--confg", "x"}, 2, "unknown flag"},
		{[]string{"serve", "--config", filepath.Join(dir, "none.toml")}, 1, "--config FILE"},
		{[]string{"serve", "--config", bad}, 1, "node.listen"},
		{[]string{"check", "--config", bad}, 1, "[storage] keep"},
		{[]string{"echo"}, 2, "AE@HOST:PORT"},
		{[]string{"echo", "nobody"}, 2, "AE@host:port"},
		{[]string{"echo", "NOBODY@127.0.0.1:1"}, 1, "refused"},
		{[]string{"send", filepath.Join(dir, "none"), "--to", "A@127.0.0.1:1"}, 1, "none"},
		{[]string{"analyze", dir, "--out", filepath.Join(dir, "out")}, 1, "no DICOM"},
		{[]string{"sr", filepath.Join(dir, "none.dcm")}, 1, "none.dcm"},
		{[]string{"sr", bad}, 1, "bad.toml"},
		{[]string{"jobs", "list", "--admin", "127.0.0.1:1"}, 1, "pulmonode serve"},
		{[]string{"jobs", "shwo"}, 2, "show"},
	} {
		out, err := command(t, c.args...).CombinedOutput()
		code := 0
		if e, ok := err.(*exec.ExitError); ok {
			code = e.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: exit code %d, want %d and %q:\n%s", c.args, code, c.code, c.says, out)
		}
	}
	for _, name := range []string{"serve", "check", "analyze", "send", "echo", "jobs", "sr", "phantom", "version", "completion"} {
		out, err := command(t, name, "--help").CombinedOutput()
		if err != nil || (name != "completion" && !strings.Contains(string(out), "Examples:")) {
			t.Errorf("%s --help shows no example: %v\n%s", name, err, out)
		}
	}
}
