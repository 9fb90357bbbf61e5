// Package debian tries the Debian package on a machine that is thrown away
// afterwards, under a systemd of its own: `make package`.
package debian

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node"
)

// analysed is how long a small phantom may take on a slow machine.
const analysed = 5 * time.Minute

const config = "/etc/pulmonode/node.toml"

// TestLife is the life of the package on a machine: installed, configured, used,
// upgraded while work waits, taken back, removed and purged.
func TestLife(t *testing.T) {
	if os.Getenv("SCRATCH") == "" {
		t.Skip("this installs packages: `make package` runs it on a scratch copy of the machine")
	}
	first, second := deb(t, "/mnt"), deb(t, "/mnt/test")
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said("journalctl", "--no-pager", "-u", "pulmonode"))
		}
	})

	// Installed, it runs as its own user, and receives from nobody.
	t.Log(run(t, "dpkg", "-i", first))
	wait(t, "the new node is ready", func() bool { return show("StatusText") == "PULMONODE receives on [::]:11112" })
	owned(t, config, "root:pulmonode 640")
	owned(t, "/var/lib/pulmonode", "pulmonode:pulmonode 700")
	if user := run(t, "ps", "-o", "user=", "-p", show("MainPID")); strings.TrimSpace(user) != "pulmonode" {
		t.Errorf("it runs as %q", user)
	}
	if out := said("pulmonode", "echo", "PULMONODE@127.0.0.1:11112"); !strings.Contains(out, "reject") {
		t.Errorf("a node without sources answers %q", out)
	}
	if score := run(t, "systemd-analyze", "security", "--no-pager", "pulmonode"); true {
		t.Log(score[strings.LastIndex(strings.TrimSpace(score), "\n")+1:])
	}

	// Configured by hand.
	shipped := read(t, config)
	settings := strings.NewReplacer(`stop_receiving_below = "5 GiB"`, `stop_receiving_below = "10 MiB"`, `quiet = "5s" `, `quiet = "1s" `).Replace(shipped) + `
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[[destination]]
name = "pacs"
ae_title = "PACS"
address = "127.0.0.1:11113"
`
	write(t, config, settings)
	run(t, "systemctl", "restart", "pulmonode")
	if out := said("setpriv", "--reuid=pulmonode", "--regid=pulmonode", "--clear-groups", "pulmonode", "jobs", "list", "--config", config); !strings.Contains(out, "SERIES") {
		t.Errorf("jobs, as the node's user: %s", out)
	}

	// Two series while the PACS is down: one is analysed and waits for it, the other
	// has only just come when the upgrade begins.
	one, two := phantom(t, 1), phantom(t, 2)
	send(t, one)
	wait(t, "a delivery waits", func() bool { return states(t)["delivering"] == 1 })
	send(t, two)
	before := show("MainPID")
	t.Log(run(t, "dpkg", "--force-confdef", "--force-confold", "-i", second))
	if after := show("MainPID"); after == before {
		t.Error("the upgrade restarted nothing")
	}
	if read(t, config) != settings {
		t.Error("the upgrade changed node.toml")
	}
	if !strings.Contains(read(t, config+".dpkg-dist"), "# of the next version") {
		t.Error("the next version's node.toml is not beside it")
	}
	owned(t, config, "root:pulmonode 640")
	next := version(t, second)
	if by := read(t, "/var/lib/pulmonode/layout.json"); !strings.Contains(by, next) {
		t.Errorf("%s runs after the upgrade to %s", by, next)
	}
	if !strings.Contains(said("journalctl", "--no-pager", "-u", "pulmonode", "_PID="+before), "stopped") {
		t.Error("the old node did not end by itself")
	}
	pacs := newPACS(t, "127.0.0.1:11113")
	wait(t, "both series are delivered", func() bool { return states(t)["delivered"] == 2 })
	pacs.check(t, 2)

	// What stops turning is replaced; so is what is killed.
	override := "/run/systemd/system/pulmonode.service.d/watchdog.conf"
	if err := os.MkdirAll(filepath.Dir(override), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, override, "[Service]\nWatchdogSec=3\nRestartSec=100ms\n")
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "restart", "pulmonode")
	run(t, "kill", "-STOP", show("MainPID"))
	wait(t, "the watchdog replaces a node that hangs", func() bool { return show("NRestarts") == "1" && show("ActiveState") == "active" })
	run(t, "kill", "-KILL", show("MainPID"))
	wait(t, "a killed node is replaced", func() bool { return show("NRestarts") == "2" && show("ActiveState") == "active" })
	if states(t)["delivered"] != 2 {
		t.Errorf("after a restart: %v", states(t))
	}

	// Back to the version before, on a folder that a still newer one has upgraded:
	// the package installs, the node refuses with a sentence and touches nothing.
	run(t, "systemctl", "stop", "pulmonode")
	layout := read(t, "/var/lib/pulmonode/layout.json")
	write(t, "/var/lib/pulmonode/layout.json", `{"layout":99,"opened_by":"9.9.9"}`)
	if out := run(t, "dpkg", "--force-confold", "-i", first); !strings.Contains(out, "pulmonode does not start") {
		t.Errorf("dpkg said nothing of a node that does not start: %s", out)
	}
	wait(t, "the refusal is in the journal", func() bool {
		return strings.Contains(said("journalctl", "--no-pager", "-u", "pulmonode"), "version 9.9.9, layout 99; this one knows layouts up to 1")
	})
	write(t, "/var/lib/pulmonode/layout.json", layout)
	run(t, "systemctl", "start", "pulmonode")
	if states(t)["delivered"] != 2 {
		t.Errorf("after going back: %v", states(t))
	}

	// Removed, everything that is the hospital's stays; purged, nothing does.
	run(t, "dpkg", "-r", "pulmonode")
	if show("ActiveState") == "active" || !there(config) || !there("/var/lib/pulmonode/series") || there("/usr/bin/pulmonode") {
		t.Errorf("removed: %s, node.toml %v, data %v, program %v", show("ActiveState"), there(config), there("/var/lib/pulmonode/series"), there("/usr/bin/pulmonode"))
	}
	if out := run(t, "dpkg", "-P", "pulmonode"); !strings.Contains(out, "removing /var/lib/pulmonode with 2 series") {
		t.Errorf("purge did not say what it removes: %s", out)
	}
	for _, path := range []string{"/etc/pulmonode", "/var/lib/pulmonode"} {
		if there(path) {
			t.Errorf("purged, and %s is there", path)
		}
	}
}

func deb(t *testing.T, folder string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "pulmonode_*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("packages in %s: %v, %v", folder, found, err)
	}
	return found[0]
}

func version(t *testing.T, deb string) string {
	t.Helper()
	return strings.TrimSpace(run(t, "dpkg-deb", "-f", deb, "Version"))
}

// command runs in the environment of a terminal of nobody's.
func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8")
	return c
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func said(name string, args ...string) string {
	out, _ := command(name, args...).CombinedOutput()
	return string(out)
}

// show is a property of the service.
func show(property string) string {
	return strings.TrimSpace(said("systemctl", "show", "--value", "-p", property, "pulmonode"))
}

func wait(t *testing.T, what string, yes func() bool) {
	t.Helper()
	deadline := time.NewTimer(analysed)
	defer deadline.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !yes() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", analysed, what)
		case <-tick.C:
		}
	}
}

func owned(t *testing.T, path, want string) {
	t.Helper()
	if got := strings.TrimSpace(run(t, "stat", "-c", "%U:%G %a", path)); got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// write keeps the owner and mode of a file that is there.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func there(path string) bool { _, err := os.Lstat(path); return err == nil }

func phantom(t *testing.T, seed int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprint(seed))
	run(t, "pulmonode", "phantom", "--out", dir, "--slices", "100", "--spacing", "3", "--size", "256", "--nodules", "2", "--seed", fmt.Sprint(seed))
	return dir
}

func send(t *testing.T, dir string) {
	t.Helper()
	run(t, "pulmonode", "send", dir, "--to", "PULMONODE@127.0.0.1:11112")
}

// states counts the series by state.
func states(t *testing.T) map[string]int {
	t.Helper()
	var list struct {
		Series []struct{ State string } `json:"series"`
	}
	text := run(t, "pulmonode", "jobs", "list", "--json", "--config", config)
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	n := map[string]int{}
	for _, s := range list.Series {
		n[s.State]++
	}
	return n
}

// pacs is where results go.
type pacs struct {
	mu      sync.Mutex
	classes map[string]string // by SOP Instance UID
	bytes   map[string][]byte
}

func newPACS(t *testing.T, address string) *pacs {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := &pacs{classes: map[string]string{}, bytes: map[string][]byte{}}
	s := &dimse.Server{Handler: p}
	go s.Serve(l)
	t.Cleanup(func() { l.Close() })
	return p
}

func (p *pacs) Associate(context.Context, *dimse.Association) (dimse.Session, error) { return p, nil }

func (p *pacs) End(dimse.End) {}

func (p *pacs) Store(_ context.Context, r *dimse.StoreRequest) dimse.Status {
	data, err := io.ReadAll(r.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if before, again := p.bytes[r.SOPInstanceUID]; again && !bytes.Equal(before, data) {
		return dimse.CannotUnderstand // seen by the test: it is never delivered
	}
	p.classes[r.SOPInstanceUID], p.bytes[r.SOPInstanceUID] = r.SOPClassUID, data
	return dimse.Success
}

// check holds what arrived against one result set a series.
func (p *pacs) check(t *testing.T, series int) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int{}
	for _, class := range p.classes {
		n[class]++
	}
	if n[dataset.SegmentationStorage] != series || n[dataset.Comprehensive3DSR] != series || n[dataset.SecondaryCapture] < 2*series {
		t.Errorf("%d SEG, %d SR, %d key images for %d series", n[dataset.SegmentationStorage], n[dataset.Comprehensive3DSR], n[dataset.SecondaryCapture], series)
	}
}

// The scripts are what dash takes, and the unit is what systemd takes.
func TestScriptsAndUnits(t *testing.T) {
	for _, script := range []string{"postinst", "prerm", "postrm", "version"} {
		if out, err := exec.Command("sh", "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed here")
	}
	// With each drop-in, as a machine would have it: the program and the manual are
	// what the package brings.
	unit := regexp.MustCompile(`(?m)^(ExecStart=)\S+|^Documentation=.*$`).ReplaceAllString(read(t, "../systemd/pulmonode.service"), "${1}/bin/true")
	unit = strings.ReplaceAll(unit, "\n/bin/true\n", "\n")
	dropIns, err := filepath.Glob("../systemd/*.conf")
	if err != nil || len(dropIns) < 4 {
		t.Fatalf("the drop-ins: %v, %v", dropIns, err)
	}
	for _, dropIn := range append(dropIns, "") {
		root := t.TempDir()
		path := filepath.Join(root, "pulmonode.service")
		write(t, path, unit)
		if dropIn != "" {
			if err := os.Mkdir(path+".d", 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(path+".d", filepath.Base(dropIn)), read(t, dropIn))
		}
		out, err := exec.Command("systemd-analyze", "verify", "--man=no", path).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte(root)) {
			t.Errorf("with %q: %v\n%s", dropIn, err, out)
		}
	}
}

// The unit waits longer than the node takes to stop.
func TestUnitLetsTheNodeStop(t *testing.T) {
	m := regexp.MustCompile(`(?m)^TimeoutStopSec=(.*)$`).FindStringSubmatch(read(t, "../systemd/pulmonode.service"))
	if m == nil {
		t.Fatal("the unit has no TimeoutStopSec")
	}
	within, err := time.ParseDuration(m[1])
	if err != nil || within < 2*node.StopsWithin {
		t.Errorf("the unit kills after %v, %v; the node takes up to %v", within, err, node.StopsWithin)
	}
}
