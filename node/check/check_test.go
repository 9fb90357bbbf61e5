package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/onnx/onnxtest"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/node/secure/securetest"
	"github.com/pulmonode/pulmonode/node/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// good is a configuration without fault, as far as this machine allows.
func good(t *testing.T) *config.Config {
	t.Helper()
	c := config.Default()
	c.Node.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	c.Storage.DataDir = filepath.Join(t.TempDir(), "not", "there", "yet")
	c.Storage.StopReceivingBelow = 0
	c.Inference.Provider = "cpu"
	c.Inference.RuntimeLibrary = onnxtest.Library(t)
	return c
}

// plenty is a machine with a fast disk on which time stands still, so that no
// test depends on the disk under it.
func plenty() surroundings {
	s := real
	noon := time.Now()
	s.now = func() time.Time { return noon }
	s.free = func(string) (config.Size, error) { return config.TiB, nil }
	return s
}

// must holds the faults against what is expected of the only one.
func must(t *testing.T, faults []config.Fault, warning bool, where string, says ...string) {
	t.Helper()
	if len(faults) != 1 {
		t.Fatalf("%d faults, not one: %v", len(faults), faults)
	}
	f := faults[0]
	if f.Warning != warning || f.Where != where {
		t.Errorf("warning %v at %q, not warning %v at %q: %v", f.Warning, f.Where, warning, where, f)
	}
	for _, s := range says {
		if !strings.Contains(f.String(), s) {
			t.Errorf("%q is not in: %v", s, f)
		}
	}
	readable(t, f)
}

// readable is what every sentence must be: both halves there, a line each, and
// the remedy more than a word.
func readable(t *testing.T, f config.Fault) {
	t.Helper()
	if f.Where == "" || f.Problem == "" || len(strings.Fields(f.Remedy)) < 3 || strings.Contains(f.Problem+f.Remedy, "\n") {
		t.Errorf("nobody can act on this: %v", f)
	}
}

func TestNothingIsWrongWithAGoodConfiguration(t *testing.T) {
	c := good(t)
	c.TLS = securetest.NewAuthority(t).Settings(t, "node")
	c.TLS.Listen = "127.0.0.1:0"
	c.Destination = []config.Destination{{Name: "pacs", AETitle: "PACS", Address: serve(t, &dimse.Server{AETitle: "PACS", Handler: welcome{}})}}
	c.Inference.Localize, c.Inference.Refine = file(t, onnxtest.Localizer(nil)), file(t, onnxtest.Refiner(nil))
	if faults := plenty().run(t.Context(), c); len(faults) != 0 {
		t.Errorf("%v", faults)
	}
	// The shipped models too, and the disk and clock of this machine: at most it
	// warns of a slow disk.
	c.Inference.Localize, c.Inference.Refine = "", ""
	if faults := Run(t.Context(), c); config.Fatal(faults) {
		t.Errorf("%v", faults)
	}
}

func TestListeners(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	forbidden := func(context.Context, string, string) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", syscall.EACCES)}
	}
	for _, c := range []struct {
		name, address string
		listen        func(context.Context, string, string) (net.Listener, error)
		warning       bool
		says          string // "": nothing
	}{
		{"a free port", "127.0.0.1:0", nil, false, ""},
		{"no such listener", "", nil, false, ""},
		{"a port that this node or another program holds", taken.Addr().String(), nil, true, "that is right if this node is running"},
		{"a port below 1024 without the right to it", ":104", forbidden, false, "CAP_NET_BIND_SERVICE"},
		{"another machine's address", "192.0.2.1:11112", nil, false, "192.0.2.1:11112 is no address of this machine"},
		{"a port that is no number", "127.0.0.1:dicom-port", nil, false, `write "host:port"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := plenty()
			if c.listen != nil {
				s.listen = c.listen
			}
			faults := s.listener(t.Context(), "[node] listen", c.address)
			if c.says == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, "[node] listen", c.says)
		})
	}
}

func TestDisk(t *testing.T) {
	const dataDir, mark, room = "[storage] data_dir", "[storage] stop_receiving_below", "[storage] delete_delivered_below"
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	slow := func(s *surroundings) { // each look at the clock finds it 100 ms on
		at := time.Now()
		s.now = func() time.Time { at = at.Add(100 * time.Millisecond); return at }
	}
	for _, c := range []struct {
		name, dir string
		machine   func(s *surroundings)
		where     string // "": nothing
		warning   bool
		says      string
	}{
		{"a folder that is there", t.TempDir(), nil, "", false, ""},
		{"a folder yet to be made", filepath.Join(t.TempDir(), "a", "b"), nil, "", false, ""},
		{"a file", plain, nil, dataDir, false, plain + " is a file"},
		{"a folder within a file", filepath.Join(plain, "a", "b"), nil, dataDir, false, "leads through one"},
		{"a folder where nobody may write", "/proc/pulmonode", nil, dataDir, false, "make the folder for it: install -d -o USER /proc/pulmonode"},
		{"a folder where this user may not write", locked, nil, dataDir, false, "nothing can be written in " + locked + ": permission denied"},
		{"less room than the mark", t.TempDir(), func(s *surroundings) {
			s.free = func(string) (config.Size, error) { return 2 * config.GiB, nil }
		}, mark, false, `2.0 GiB are free`},
		{"less room than delivered series are kept for", t.TempDir(), func(s *surroundings) {
			s.free = func(string) (config.Size, error) { return 7 * config.GiB, nil }
		}, room, true, `7.0 GiB are free`},
		{"a disk that does not say", t.TempDir(), func(s *surroundings) {
			s.free = func(string) (config.Size, error) { return 0, errors.New("function not implemented") }
		}, dataDir, false, "function not implemented"},
		{"a disk that keeps a scanner waiting", t.TempDir(), slow, dataDir, true, "the disk keeps 7 slices a second"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.dir == locked && os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			s := plenty()
			if c.machine != nil {
				c.machine(&s)
			}
			faults := s.disk(config.Storage{DataDir: c.dir, StopReceivingBelow: 5 * config.GiB})
			if c.where == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, c.where, c.says)
			if strings.Contains(faults[0].String(), ".pulmonode-check") {
				t.Errorf("it speaks of a file that nobody knows: %v", faults[0])
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	const certificate, key, ca = "[tls] certificate", "[tls] key", "[tls] client_ca"
	hospital := securetest.NewAuthority(t)
	now := time.Now()
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		change  func(s *config.TLS)
		where   string // "": nothing
		warning bool
		says    string
	}{
		{"good for another year", func(*config.TLS) {}, "", false, ""},
		{"none at all", func(s *config.TLS) { *s = config.TLS{} }, "", false, ""},
		{"ended yesterday", func(s *config.TLS) {
			hospital.Sign(t, s.Certificate, s.Key, "node", now.Add(-365*day), now.Add(-day))
		}, certificate, false, "ended on " + now.Add(-day).UTC().Format(time.DateOnly)},
		{"ends next week", func(s *config.TLS) {
			hospital.Sign(t, s.Certificate, s.Key, "node", now.Add(-365*day), now.Add(7*day))
		}, certificate, true, "ends on " + now.Add(7*day).UTC().Format(time.DateOnly)},
		{"begins tomorrow", func(s *config.TLS) {
			hospital.Sign(t, s.Certificate, s.Key, "node", now.Add(day), now.Add(365*day))
		}, certificate, false, "clock"},
		{"no such certificate", func(s *config.TLS) { s.Certificate = "/nowhere.pem" }, certificate, false, "/nowhere.pem: no such file"},
		{"no such key", func(s *config.TLS) { s.Key = "/nowhere.key" }, key, false, "/nowhere.key: no such file"},
		{"another's key", func(s *config.TLS) { s.Key = hospital.Settings(t, "other").Key }, certificate, false, "the private key that belongs to it"},
		{"no such authority", func(s *config.TLS) { s.ClientCA = "/nowhere.pem" }, ca, false, "/nowhere.pem: no such file"},
		{"a key for an authority", func(s *config.TLS) { s.ClientCA = s.Key }, ca, false, "holds no PEM certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := hospital.Settings(t, "node")
			c.change(&s)
			faults := plenty().certificates("[tls]", s)
			if c.where == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, c.warning, c.where, c.says)
		})
	}
}

// welcome lets every peer in, refuse none.
type welcome struct{}

func (welcome) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return session{}, nil
}

type refuse struct{ why *dimse.Reject }

func (r refuse) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return nil, r.why
}

type session struct{}

func (session) Store(context.Context, *dimse.StoreRequest) dimse.Status { return dimse.Success }
func (session) End(dimse.End)                                           {}

func serve(t *testing.T, s *dimse.Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { s.Serve(l); close(done) }()
	t.Cleanup(func() { s.Shutdown(context.Background()); <-done })
	return l.Addr().String()
}

// silent accepts connections and says nothing.
func silent(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String() // the system accepts for it
}

// A destination that would refuse what it is to be sent is found before the first
// patient's results.
func TestDestinationsThatWouldNotTakeTheResults(t *testing.T) {
	c := config.Default()
	c.Destination = []config.Destination{{Name: "pacs", AETitle: "PACS", Send: []string{"seg", "sr", "keyimage"},
		Address: serve(t, &dimse.Server{Handler: welcome{}, AbstractSyntaxes: []string{dataset.Comprehensive3DSR, dataset.SecondaryCapture}})}}
	must(t, plenty().destinations(t.Context(), c), false, `[[destination]] "pacs"`, "Segmentation Storage ("+dataset.SegmentationStorage+")", `take "seg" out`)
	c.Destination[0].Send, c.Destination[0].Commit = []string{"sr"}, true
	must(t, plenty().destinations(t.Context(), c), false, `[[destination]] "pacs"`, dataset.StorageCommitmentPush, "commit = false")
}

func TestDestinations(t *testing.T) {
	hospital, stranger := securetest.NewAuthority(t), securetest.NewAuthority(t)
	own := hospital.Settings(t, "node")
	overTLS := func(s config.TLS) string {
		profile, err := secure.New(&config.Config{TLS: s}, zap.NewNop()).Server()
		if err != nil {
			t.Fatal(err)
		}
		return serve(t, &dimse.Server{AETitle: "PACS", Handler: welcome{}, TLS: profile})
	}
	nobody := silent(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain := serve(t, &dimse.Server{AETitle: "PACS", Handler: welcome{}})
	reject := func(result, source, reason byte) string {
		return serve(t, &dimse.Server{Handler: refuse{&dimse.Reject{Result: result, Source: source, Reason: reason}}})
	}
	distrusts := hospital.Settings(t, "pacs")
	distrusts.ClientCA = stranger.File
	older := func(c *tls.Config) string { // a server of other TLS than ours
		pair, err := tls.LoadX509KeyPair(own.Certificate, own.Key)
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
		return serve(t, &dimse.Server{Handler: welcome{}, TLS: c})
	}
	for _, c := range []struct {
		name, address string
		tls           bool
		says          []string // nil: nothing
	}{
		{"answers", plain, false, nil},
		{"answers over TLS", overTLS(hospital.Settings(t, "pacs")), true, nil},
		{"nothing listens there", closed.Addr().String(), false, []string{"PACS at " + closed.Addr().String(), "nothing listens there", "start the peer"}},
		{"accepts connections and is silent", nobody, false, []string{"PACS at " + nobody, "gives no answer within", "firewall"}},
		{"a name that nobody knows", "pacs.invalid:104", false, []string{"PACS at pacs.invalid:104", "can't be found", "DNS"}},
		{"does not know our AE title", reject(1, 1, 3), false, []string{"does not know the AE title PULMONODE", "enter PULMONODE with this machine's address in the list of nodes that PACS accepts"}},
		{"is called otherwise", serve(t, &dimse.Server{AETitle: "ARCHIVE", Handler: welcome{}}), false, []string{"not called so", "ae_title"}},
		{"is full", reject(2, 3, 2), false, []string{"too many associations", "try again"}},
		{"rejects without a reason", reject(1, 1, 1), false, []string{"result 1, source 1, reason 1", "the peer's log"}},
		{"speaks no TLS", plain, true, []string{"PACS at " + plain, "does not speak TLS", "tls = false"}},
		{"speaks only TLS 1.1", older(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), true, []string{"TLS 1.2 or 1.3"}},
		{"speaks TLS 1.2, but none of its ciphers that the node allows",
			older(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}), true, []string{"TLS 1.2 or 1.3"}},
		{"shows a stranger's certificate", overTLS(stranger.Settings(t, "pacs")), true, []string{"a certificate that is not trusted", "client_ca"}},
		{"does not trust our certificate", overTLS(distrusts), true, []string{"the authority that signed [tls] certificate"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := plenty()
			if c.address == nobody {
				s.echoWithin, s.closeWithin = 50*time.Millisecond, 50*time.Millisecond
			}
			cfg := config.Default()
			cfg.TLS = own
			cfg.Destination = []config.Destination{{Name: "pacs", AETitle: "PACS", Address: c.address, TLS: c.tls}}
			faults := s.destinations(t.Context(), cfg)
			if c.says == nil {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, false, `[[destination]] "pacs"`, c.says...)
		})
	}
}

func file(t *testing.T, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPipeline(t *testing.T) {
	library := onnxtest.Library(t)
	noGPU := func(t *testing.T) {
		if gpus, _ := filepath.Glob("/dev/nvidia[0-9]*"); len(gpus) > 0 {
			t.Skip("this machine has a GPU")
		}
	}
	damaged := onnxtest.Refiner(nil)
	damaged = damaged[:len(damaged)/2]
	for _, c := range []struct {
		name   string
		needs  func(t *testing.T)
		change func(c *config.Inference)
		where  string // "": nothing
		says   []string
	}{
		{"models of one's own", nil, func(c *config.Inference) {}, "", nil},
		{"no runtime library", nil, func(c *config.Inference) { c.RuntimeLibrary = "/nowhere/libonnxruntime.so" },
			"[inference] runtime_library", []string{"/nowhere/libonnxruntime.so", "make runtime", "series are received, but wait"}},
		{"a runtime library that nobody knows", nil, func(c *config.Inference) { c.RuntimeLibrary = file(t, []byte("a library with a change")) },
			"[inference] runtime_sha256", []string{"SHA-256 is ", "`make runtime`", "series are received, but wait"}},
		{"another runtime library than the one that is named", nil, func(c *config.Inference) { c.RuntimeSHA256 = []string{strings.Repeat("00", 32)} },
			"[inference] runtime_sha256", []string{"SHA-256 is ", "does not name"}},
		{"another model than the one that is named", nil, func(c *config.Inference) { c.LocalizeSHA256 = strings.Repeat("00", 32) },
			"[inference] localize", []string{"localize_sha256"}},
		{"no localize model", nil, func(c *config.Inference) { c.Localize = "/nowhere.onnx" },
			"[inference] localize", []string{"/nowhere.onnx: no such file", "leave this setting empty for the shipped model"}},
		{"a damaged refine model", nil, func(c *config.Inference) { c.Refine = file(t, damaged) },
			"[inference] refine", []string{"model.onnx: "}},
		{"a text for a model", nil, func(c *config.Inference) { c.Refine = file(t, []byte("not found\n")) },
			"[inference] refine", nil},
		{"an empty model", nil, func(c *config.Inference) { c.Localize = file(t, nil) },
			"[inference] localize", []string{"is empty"}},
		{"the models in each other's place", nil, func(c *config.Inference) { c.Localize = c.Refine },
			"[inference] localize", []string{"does not fit the localize stage", "export it with this version"}},
		{"cuda demanded without a GPU", noGPU, func(c *config.Inference) { c.Provider = "cuda" },
			"[inference] provider", []string{`provider "cuda" cannot be used`, `set provider = "auto" or "cpu"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != nil {
				c.needs(t)
			}
			i := config.Inference{Provider: "cpu", RuntimeLibrary: library, Localize: file(t, onnxtest.Localizer(nil)), Refine: file(t, onnxtest.Refiner(nil))}
			c.change(&i)
			faults := pipeline(i)
			if c.where == "" {
				if len(faults) != 0 {
					t.Errorf("%v", faults)
				}
				return
			}
			must(t, faults, false, c.where, c.says...)
		})
	}
}

func TestWhoMayComeInToThePage(t *testing.T) {
	good := securetest.NewAuthority(t).Settings(t, "node")
	passwords := filepath.Join(t.TempDir(), "passwords")
	if err := admin.SetPassword(passwords, "ann", "correct horse battery", admin.Operate); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(c *config.Admin)
		where  string // "": nothing
		says   []string
	}{
		{"everything is whole", func(*config.Admin) {}, "", nil},
		{"no certificate", func(c *config.Admin) { c.Certificate = "/nowhere.pem" }, "[admin] certificate", []string{"/nowhere.pem", "[admin] key"}},
		{"no key", func(c *config.Admin) { c.Key = "/nowhere.key" }, "[admin] key", []string{"/nowhere.key"}},
		{"no password file", func(c *config.Admin) { c.PasswordFile = "/nowhere" }, "[admin] password_file", []string{"/nowhere", "pulmonode password --file /nowhere"}},
		{"a password file for everybody", func(*config.Admin) {
			if err := os.Chmod(passwords, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "[admin] password_file", []string{"mode 0644", "chmod 600"}},
	} {
		a := config.Admin{Certificate: good.Certificate, Key: good.Key, ClientCA: good.ClientCA, PasswordFile: passwords}
		c.change(&a)
		faults := plenty().admin(a)
		if c.where == "" {
			if len(faults) != 0 {
				t.Errorf("%s: %v", c.name, faults)
			}
			continue
		}
		must(t, faults, false, c.where, c.says...)
	}
}

func TestEverythingAtOnceIsReportedInTheOrderOfTheFile(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	busy := taken.Addr().String()
	c := config.Default()
	c.Node.Listen, c.TLS.Listen, c.Admin.Listen = busy, busy, busy
	c.Storage.DataDir = "/proc/pulmonode"
	c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA = "/nowhere.pem", "/nowhere.key", "/nowhere.ca"
	c.Admin.Certificate, c.Admin.Key, c.Admin.ClientCA, c.Admin.PasswordFile = "/nowhere.pem", "/nowhere.key", "/nowhere.ca", "/nowhere"
	for _, name := range []string{"first", "second", "third"} {
		c.Destination = append(c.Destination, config.Destination{Name: name, AETitle: strings.ToUpper(name), Address: closed.Addr().String()})
	}
	c.Inference = config.Inference{Provider: "cuda", RuntimeLibrary: "/nowhere.so", Localize: "/nowhere.onnx", Refine: "/nowhere.onnx"}

	var got []string
	faults := plenty().run(t.Context(), c)
	for _, f := range faults {
		got = append(got, f.Where)
		readable(t, f)
	}
	want := []string{
		"[node] listen", "[storage] data_dir", "[tls] listen", "[tls] certificate", "[tls] client_ca",
		`[[destination]] "first"`, `[[destination]] "second"`, `[[destination]] "third"`,
		"[inference] runtime_library", "[inference] localize", "[inference] refine", "[admin] listen",
		"[admin] certificate", "[admin] client_ca", "[admin] password_file",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("faults at\n%q, not at\n%q", got, want)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{root, filepath.Join(root, "not", "there", "yet")} {
		c := config.Default()
		c.Node.Listen, c.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
		c.Storage = config.Storage{DataDir: dir}
		c.Inference.RuntimeLibrary = "/nowhere.so"
		Run(t.Context(), c)
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if path != root {
				t.Errorf("check of %s left %s", dir, path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	c := good(t) // and its listeners are closed again
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Node.Listen = l.Addr().String()
	l.Close()
	for range 2 {
		if faults := plenty().listener(t.Context(), "[node] listen", c.Node.Listen); len(faults) != 0 {
			t.Errorf("%v", faults)
		}
	}
}

func TestAnInterruptedCheckEndsAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := config.Default()
	c.Destination = []config.Destination{{Name: "pacs", AETitle: "PACS", Address: silent(t)}}
	begin := time.Now()
	real.destinations(ctx, c)
	if took := time.Since(begin); took > real.echoWithin/2 {
		t.Errorf("it took %v", took)
	}
}

func TestFolderThatANodeWorksOnIsTold(t *testing.T) {
	dir := t.TempDir()
	if found := inUse(config.Storage{DataDir: dir}); len(found) != 0 {
		t.Errorf("before a node works there: %v", found)
	}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	found := inUse(config.Storage{DataDir: dir})
	if len(found) != 1 || !found[0].Warning {
		t.Fatalf("while a node works there: %v", found)
	}
	readable(t, found[0])
}
