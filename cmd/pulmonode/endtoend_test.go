package main_test

// The built command between real peers: DCMTK and Orthanc where they are
// installed, and a PACS of the test's own that can kill the node at a chosen
// moment. Each test says so when it skips for want of a peer or of the scans.

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
)

// built is the command under test: PULMONODE_BINARY, or built here once.
var built = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("PULMONODE_BINARY"); b != "" {
		return b, nil
	}
	dir, err := os.MkdirTemp("", "pulmonode-test-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "pulmonode")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return exec.Command(path, args...)
}

// needRuntime skips a test that analyses where ONNX Runtime is not installed.
func needRuntime(t *testing.T) {
	t.Helper()
	if lib := os.Getenv("PULMONODE_RUNTIME_LIBRARY"); lib == "" || !exists(lib) {
		t.Skip("ONNX Runtime is not installed here (make runtime), so nothing is analysed")
	}
}

func needProgram(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed here (make peers)", name)
	}
	return path
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// eventually asks until the answer is yes; what it waits for is another process.
func eventually(t *testing.T, within time.Duration, what string, yes func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// destination is a row of the configuration.
type destination struct {
	name, aeTitle string
	port          int
}

// server is a running `pulmonode serve`, which can be killed and started again
// on the same folder.
type server struct {
	t           *testing.T
	dir         string
	dicom, http int
	process     *exec.Cmd
	log         bytes.Buffer
}

// extra is further settings of [node].
func newServer(t *testing.T, extra string, to ...destination) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), dicom: freePort(t), http: freePort(t)}
	var toml strings.Builder
	fmt.Fprintf(&toml, "[node]\nlisten = \"127.0.0.1:%d\"\n%s[storage]\ndata_dir = %q\nstop_receiving_below = \"10 MiB\"\n", s.dicom, extra, filepath.Join(s.dir, "data"))
	fmt.Fprintf(&toml, "[[source]]\nae_title = \"*\"\nfrom = [\"127.0.0.0/8\"]\n[admin]\nlisten = \"127.0.0.1:%d\"\n", s.http)
	fmt.Fprintf(&toml, "[complete]\nquiet = \"1s\"\nidle = \"10s\"\n")
	for _, d := range to {
		fmt.Fprintf(&toml, "[[destination]]\nname = %q\nae_title = %q\naddress = \"127.0.0.1:%d\"\n", d.name, d.aeTitle, d.port)
	}
	if err := os.WriteFile(s.config(), []byte(toml.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("the node's log:\n%s", s.log.Bytes())
		}
	})
	return s
}

func (s *server) config() string { return filepath.Join(s.dir, "node.toml") }

// start starts the node and waits until it is ready.
func (s *server) start() {
	s.t.Helper()
	s.launch()
	eventually(s.t, 60*time.Second, "the node is ready", func() bool {
		r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", s.http))
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

func (s *server) launch() {
	s.t.Helper()
	s.process = command(s.t, "serve", "--config", s.config())
	s.process.Stdout, s.process.Stderr = &s.log, &s.log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
}

// kill is kill -9: nothing is flushed, nothing is said.
func (s *server) kill() {
	if s.process != nil {
		s.process.Process.Kill()
		s.process.Wait()
		s.process = nil
	}
}

// stop is SIGTERM: the node drains and ends by itself.
func (s *server) stop() {
	s.t.Helper()
	s.process.Process.Signal(syscall.SIGTERM)
	if err := s.process.Wait(); err != nil {
		s.t.Errorf("serve ended with %v after SIGTERM", err)
	}
	s.process = nil
}

// series asks the admin API.
func (s *server) series() []admin.Series {
	s.t.Helper()
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/series", s.http))
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var list admin.List
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		s.t.Fatal(err)
	}
	return list.Series
}

// ends waits until n series have ended and returns them.
func (s *server) ends(n int, within time.Duration) []admin.Series {
	s.t.Helper()
	var all []admin.Series
	eventually(s.t, within, fmt.Sprintf("%d series ended", n), func() bool {
		all = s.series()
		ended := 0
		for _, one := range all {
			switch one.State {
			case admin.Delivered, admin.Skipped, admin.Failed:
				ended++
			}
		}
		return ended >= n
	})
	return all
}

// pacs is a destination of the test's own. Before it answers an object, hook
// may do something to the node.
type pacs struct {
	mu      sync.Mutex
	objects map[string]received // by SOP Instance UID
	order   []string
	hook    func(n int, o received) dimse.Status
	port    int
}

type received struct {
	class string
	hash  [32]byte
	data  []byte
	times int
}

func newPACS(t *testing.T) *pacs {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pacs{objects: map[string]received{}, port: l.Addr().(*net.TCPAddr).Port}
	s := &dimse.Server{Handler: p}
	go s.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	})
	return p
}

func (p *pacs) Associate(context.Context, *dimse.Association) (dimse.Session, error) { return p, nil }

func (p *pacs) Store(_ context.Context, r *dimse.StoreRequest) dimse.Status {
	data, err := io.ReadAll(r.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	o := received{class: r.SOPClassUID, hash: sha256.Sum256(data), data: data, times: p.objects[r.SOPInstanceUID].times + 1}
	if before, again := p.objects[r.SOPInstanceUID]; again && before.hash != o.hash {
		o.times = -1000 // the same UID with other bytes: seen by check
	}
	p.objects[r.SOPInstanceUID] = o
	p.order = append(p.order, r.SOPInstanceUID)
	if p.hook != nil {
		return p.hook(len(p.order), o)
	}
	return dimse.Success
}

func (p *pacs) End(dimse.End) {}

// seen lists the SOP Instance UIDs in the order in which they came.
func (p *pacs) seen() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.order)
}

func (p *pacs) object(uid string) received {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.objects[uid]
}

// check holds what arrived against one result set: one SEG, one SR and the
// key images, each with one content however often it was sent.
func (p *pacs) check(t *testing.T, wantSets int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int{}
	for uid, o := range p.objects {
		n[o.class]++
		if o.times < 0 {
			t.Errorf("%s was sent twice with different bytes", uid)
		}
	}
	if n[dataset.SegmentationStorage] != wantSets || n[dataset.Comprehensive3DSR] != wantSets || n[dataset.SecondaryCapture] < 2*wantSets {
		t.Errorf("%d SEG, %d SR, %d key images; want %d sets", n[dataset.SegmentationStorage], n[dataset.Comprehensive3DSR], n[dataset.SecondaryCapture], wantSets)
	}
}

// phantomSeries is a small phantom chest CT with nodules, made once.
var phantomSeries = sync.OnceValues(func() (string, error) {
	path, err := built()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "pulmonode-phantom-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command(path, "phantom", "--out", dir, "--slices", "100", "--spacing", "3", "--size", "256", "--nodules", "2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("phantom: %w\n%s", err, out)
	}
	return dir, nil
})

func phantom(t *testing.T) string {
	t.Helper()
	dir, err := phantomSeries()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func (s *server) send(dir string) {
	s.t.Helper()
	out, err := command(s.t, "send", dir, "--to", fmt.Sprintf("PULMONODE@127.0.0.1:%d", s.dicom)).CombinedOutput()
	if err != nil {
		s.t.Fatalf("send: %v\n%s", err, out)
	}
}

// scans finds the two whole CT series, unpacked once.
var scansFolder = sync.OnceValues(func() (string, error) {
	data := os.Getenv("PULMONODE_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	archives, _ := filepath.Glob(filepath.Join(data, "scans", "*.tar.xz"))
	if len(archives) == 0 {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "pulmonode-scans-")
	if err != nil {
		return "", err
	}
	for _, a := range archives {
		if out, err := exec.Command("tar", "-xJf", a, "-C", dir).CombinedOutput(); err != nil {
			return "", fmt.Errorf("tar: %w\n%s", err, out)
		}
	}
	return dir, nil
})

func scan(t *testing.T, name string) string {
	t.Helper()
	dir, err := scansFolder()
	if err != nil {
		t.Fatal(err)
	}
	if dir == "" {
		t.Skip("the LIDC-IDRI scans are not here (PULMONODE_DATA names their folder)")
	}
	return filepath.Join(dir, name)
}

func dicomFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".dcm") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
