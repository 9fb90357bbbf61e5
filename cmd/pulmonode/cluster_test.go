package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job/postgrestest"
)

// Several nodes behind a TCP load balancer, on one folder and one PostgreSQL,
// all of them real processes that are killed and paused. `make test` runs the
// shortest of it; `make cluster-test` sets PULMONODE_CLUSTER and runs all.

// cluster is the nodes with what they share.
type cluster struct {
	t        *testing.T
	dir      string
	database *postgrestest.Server
	url      string
	lease    time.Duration
	pacs     *pacs
	nodes    []*server
	balancer *balancer
	sent     map[string][]byte // data sets of the slices that were confirmed, by SOP Instance UID
	series   int
}

func newCluster(t *testing.T, nodes int, lease time.Duration) *cluster {
	t.Helper()
	needRuntime(t)
	database, err := postgrestest.Start()
	if missing := new(postgrestest.Missing); errors.As(err, &missing) {
		t.Skip(missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := database.Stop(); err != nil {
			t.Error(err)
		}
	})
	url, err := database.Database("pulmonode")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: t.TempDir(), database: database, url: url, lease: lease, pacs: newPACS(t), sent: map[string][]byte{}}
	c.balancer = newBalancer(t)
	for i := range nodes {
		c.nodes = append(c.nodes, c.member(i+1))
	}
	c.balancer.to(c.nodes...)
	return c
}

// member starts one node.
func (c *cluster) member(i int) *server {
	c.t.Helper()
	s := &server{t: c.t, dir: filepath.Join(c.dir, fmt.Sprintf("node%d", i)), dicom: freePort(c.t), http: freePort(c.t)}
	toml := fmt.Sprintf(`[node]
name = "node%d"
listen = "127.0.0.1:%d"
[storage]
data_dir = %q
stop_receiving_below = "10 MiB"
[queue]
url = %q
lease = %q
[[source]]
ae_title = "*"
from = ["127.0.0.0/8"]
[admin]
listen = "127.0.0.1:%d"
[complete]
quiet = "5s"
idle = "30s"
[inference]
threads = 1
[[destination]]
name = "pacs"
ae_title = "PACS"
address = "127.0.0.1:%d"
`, i, s.dicom, filepath.Join(c.dir, "data"), c.url, c.lease, s.http, c.pacs.port)
	if err := errors.Join(os.MkdirAll(s.dir, 0o700), os.WriteFile(s.config(), []byte(toml), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	s.start()
	c.t.Cleanup(func() {
		s.kill()
		if c.t.Failed() {
			c.t.Logf("the log of node%d:\n%s", i, s.log.Bytes())
		}
	})
	return s
}

// named is the node of a name.
func (c *cluster) named(name string) *server {
	var i int
	if _, err := fmt.Sscanf(name, "node%d", &i); err != nil || i < 1 || i > len(c.nodes) {
		return nil
	}
	return c.nodes[i-1]
}

// detail asks the node of that number about a series; nil while it says nothing.
func (c *cluster) detail(node int, k ctSeries) *admin.Detail {
	client := http.Client{Timeout: 5 * time.Second}
	r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/api/v1/series/%s/%s", c.nodes[node].http, k.study, k.series))
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var d admin.Detail
	if r.StatusCode != http.StatusOK || json.NewDecoder(r.Body).Decode(&d) != nil {
		return nil
	}
	return &d
}

// analyses waits until a node analyses the series, and says which.
func (c *cluster) analyses(k ctSeries, asked int) *server {
	c.t.Helper()
	var s *server
	eventually(c.t, analysed, "a node analyses", func() bool {
		if d := c.detail(asked, k); d != nil && d.Analysis != nil && d.Analysis.State == "running" {
			s = c.named(d.Analysis.Node)
		}
		return s != nil
	})
	return s
}

// delivers says which node delivers the series now.
func (c *cluster) delivers(k ctSeries) *server {
	for i, n := range c.nodes {
		if n.process == nil {
			continue
		}
		if d := c.detail(i, k); d != nil {
			for _, one := range d.Deliveries {
				if one.Job != nil && one.Job.State == "running" {
					return c.named(one.Job.Node)
				}
			}
		}
	}
	return nil
}

// ends waits until a series is delivered, as every node that runs says.
func (c *cluster) ends(k ctSeries) {
	c.t.Helper()
	for i, n := range c.nodes {
		if n.process == nil {
			continue
		}
		var last *admin.Detail
		waited := time.NewTimer(analysed)
		for last == nil || last.State != admin.Delivered || last.Sentence == "" {
			select {
			case <-waited.C:
				c.t.Fatalf("node%d says of series %s: %+v", i+1, k.series, last)
			case <-time.After(200 * time.Millisecond):
			}
			if d := c.detail(i, k); d != nil {
				last = d
			}
		}
		waited.Stop()
	}
}

// ctSeries is a phantom.
type ctSeries struct {
	study, series string
	slices        []ctSlice
}

type ctSlice struct {
	sop, class, syntax string
	data               []byte
}

// phantom makes one that no other is like.
func (c *cluster) phantom(slices_ int) ctSeries {
	c.t.Helper()
	c.series++
	dir := c.t.TempDir()
	if out, err := command(c.t, "phantom", "--out", dir, "--slices", fmt.Sprint(slices_), "--spacing", "3", "--size", "128", "--nodules", "2", "--seed", fmt.Sprint(c.series)).CombinedOutput(); err != nil {
		c.t.Fatalf("phantom: %v\n%s", err, out)
	}
	files := dicomFiles(c.t, dir)
	slices.Sort(files)
	var k ctSeries
	for _, path := range files {
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			c.t.Fatal(err)
		}
		r, err := f.DataSet()
		if err != nil {
			c.t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			c.t.Fatal(err)
		}
		k.study, k.series = f.Header.Text(dataset.StudyInstanceUID), f.Header.Text(dataset.SeriesInstanceUID)
		k.slices = append(k.slices, ctSlice{f.Header.Text(dataset.SOPInstanceUID), f.Header.Text(dataset.SOPClassUID), f.TransferSyntax, data})
	}
	return k
}

// send sends a series through the balancer, one association a slice, three at a
// time, each again until it is confirmed.
func (c *cluster) send(k ctSeries) {
	c.t.Helper()
	work := make(chan ctSlice)
	var senders sync.WaitGroup
	failed := make(chan error, 1)
	for range 3 {
		senders.Go(func() {
			for s := range work {
				var err error
				for range 60 {
					if err = c.store(s); err == nil {
						break
					}
					time.Sleep(time.Second) // as a scanner does that was refused
				}
				if err != nil {
					select {
					case failed <- err:
					default:
					}
				}
			}
		})
	}
	for _, s := range k.slices {
		work <- s
	}
	close(work)
	senders.Wait()
	select {
	case err := <-failed:
		c.t.Fatalf("a slice could not be sent for a minute: %v", err)
	default:
	}
	for _, s := range k.slices {
		c.sent[s.sop] = s.data
	}
}

func (c *cluster) store(s ctSlice) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := dimse.Client{CallingAE: "CT1", CalledAE: "PULMONODE", Address: c.balancer.listener.Addr().String()}
	conn, err := client.Dial(ctx, []dimse.Context{{SOPClassUID: s.class, TransferSyntaxUIDs: []string{s.syntax}}})
	if err != nil {
		return err
	}
	status, err := conn.Store(ctx, dimse.StoreObject{SOPClassUID: s.class, SOPInstanceUID: s.sop, TransferSyntaxUID: s.syntax, Data: bytes.NewReader(s.data)})
	if err == nil && status != dimse.Success {
		err = fmt.Errorf("status %v", status)
	}
	if err != nil {
		conn.Abort()
		return err
	}
	return conn.Release(ctx)
}

// kept holds the folder against what was confirmed: each slice is there, whole.
func (c *cluster) kept() {
	c.t.Helper()
	found, _ := filepath.Glob(filepath.Join(c.dir, "data", "series", "*", "*", "instances", "*.dcm"))
	if len(found) != len(c.sent) {
		c.t.Errorf("%d slices are kept, %d were confirmed", len(found), len(c.sent))
	}
	for _, path := range found {
		b, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		if data, ok := c.sent[strings.TrimSuffix(filepath.Base(path), ".dcm")]; !ok || !bytes.HasSuffix(b, data) {
			c.t.Errorf("%s holds what was not sent", path)
		}
	}
	closings, _ := filepath.Glob(filepath.Join(c.dir, "data", "series", "*", "*", "closed-*.json"))
	if len(closings) != c.series {
		c.t.Errorf("%d series were closed %d times", c.series, len(closings))
	}
}

// atDelivery has something done to the node that delivers a series while the
// destination has its n-th object of it and has not answered.
func (c *cluster) atDelivery(k ctSeries, n int, do func(*server)) <-chan struct{} {
	done := make(chan struct{})
	came := 0
	c.pacs.mu.Lock()
	defer c.pacs.mu.Unlock()
	c.pacs.hook = func(_ int, o received) dimse.Status {
		if !bytes.Contains(o.data, []byte(k.study)) {
			return dimse.Success
		}
		if came++; came == n {
			if s := c.delivers(k); s != nil {
				do(s)
				close(done)
			} else {
				came-- // the queue did not answer: the next will do
			}
		}
		return dimse.Success
	}
	return done
}

// balancer hands each connection to the next node that takes it.
type balancer struct {
	listener net.Listener
	targets  atomic.Pointer[[]int]
	next     atomic.Uint64
	used     [8]atomic.Int64 // connections, by node
}

func newBalancer(t *testing.T) *balancer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: l}
	b.to()
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *balancer) to(nodes ...*server) {
	ports := []int{}
	for _, n := range nodes {
		ports = append(ports, n.dicom)
	}
	b.targets.Store(&ports)
}

func (b *balancer) serve(conn net.Conn) {
	defer conn.Close()
	ports := *b.targets.Load()
	for range ports {
		i := int(b.next.Add(1)) % len(ports)
		to, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", ports[i]), time.Second)
		if err != nil {
			continue
		}
		b.used[i].Add(1)
		go func() {
			io.Copy(to, conn)
			to.(*net.TCPConn).CloseWrite()
		}()
		io.Copy(conn, to)
		to.Close()
		return
	}
}

// One series over three nodes, and the node that analyses it is killed.
func TestClusterLosesTheNodeThatAnalyses(t *testing.T) {
	c := newCluster(t, 3, 5*time.Second)
	k := c.phantom(60)
	c.send(k)
	for i := range c.nodes {
		if c.balancer.used[i].Load() == 0 {
			t.Errorf("node%d received nothing", i+1)
		}
	}
	c.analyses(k, 0).kill()
	c.ends(k)
	c.pacs.check(t, 1)
	c.kept()
}

// All that may happen to a cluster, one after the other. Each series ends as one
// result set.
func TestCluster(t *testing.T) {
	if os.Getenv("PULMONODE_CLUSTER") == "" {
		t.Skip("minutes long: make cluster-test")
	}
	c := newCluster(t, 3, 30*time.Second)
	revive := func() {
		for _, n := range c.nodes {
			if n.process == nil {
				n.start()
			}
		}
	}
	sets := 0
	step := func(what string, do func(k ctSeries)) {
		began := time.Now()
		k := c.phantom(60)
		c.send(k)
		do(k)
		c.ends(k)
		sets++
		c.pacs.check(t, sets)
		revive()
		c.pacs.mu.Lock()
		c.pacs.hook = nil
		again := 0
		for _, o := range c.pacs.objects {
			again += max(o.times-1, 0)
		}
		c.pacs.mu.Unlock()
		t.Logf("%-60s delivered after %5.1f s; %d objects so far sent more than once, with the same bytes", what, time.Since(began).Seconds(), again)
	}
	waited := func(done <-chan struct{}) {
		t.Helper()
		waitKilled(t, done)
	}
	step("nothing happens", func(ctSeries) {})
	step("kill -9 of the node that analyses", func(k ctSeries) { c.analyses(k, 0).kill() })
	step("kill -9 of the node that delivers", func(k ctSeries) {
		waited(c.atDelivery(k, 2, func(s *server) { s.kill() }))
	})
	step("kill -9 of the database during an analysis, back after 10 s", func(k ctSeries) {
		c.analyses(k, 0)
		c.database.Kill()
		late := c.phantom(60)
		c.send(late) // reception goes on
		if r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", c.nodes[0].http)); err != nil || r.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("ready without a database: %v, %v", r, err)
		} else {
			r.Body.Close()
		}
		time.Sleep(10 * time.Second)
		if err := c.database.Restart(); err != nil {
			t.Fatal(err)
		}
		c.ends(late)
		sets++
	})
	step("the node that delivers is paused for a minute and goes on", func(k ctSeries) {
		var s *server
		waited(c.atDelivery(k, 2, func(n *server) { s = n; n.process.Process.Signal(syscall.SIGSTOP) }))
		time.Sleep(time.Minute)
		s.process.Process.Signal(syscall.SIGCONT)
	})
	step("the node that analyses is paused for a minute and goes on", func(k ctSeries) {
		s := c.analyses(k, 0)
		s.process.Process.Signal(syscall.SIGSTOP)
		time.Sleep(time.Minute)
		s.process.Process.Signal(syscall.SIGCONT)
	})
	c.kept()
}

// Series an hour with one, two and three nodes. On one machine the nodes share its
// cores: what is shown is that sharing the work costs nothing, not that it is faster.
func TestClusterThroughput(t *testing.T) {
	if os.Getenv("PULMONODE_CLUSTER") == "" {
		t.Skip("minutes long: make cluster-test")
	}
	const burst = 4
	for nodes := 1; nodes <= 3; nodes++ {
		t.Run(fmt.Sprintf("%d nodes", nodes), func(t *testing.T) {
			c := newCluster(t, nodes, 30*time.Second)
			var all []ctSeries
			for range burst {
				all = append(all, c.phantom(60))
			}
			began := time.Now()
			for _, k := range all {
				c.send(k)
			}
			received := time.Since(began)
			for _, k := range all {
				c.ends(k)
			}
			took := time.Since(began)
			c.pacs.check(t, burst)
			c.kept()
			working, waiting := 0.0, 0.0
			for _, k := range all {
				d := c.detail(0, k)
				closed, written := d.Closings[0].Time, d.Generations[0].Written
				of := written.Sub(closed).Seconds()
				work := timings(t, c, k)
				working += work
				waiting += max(of-work, 0)
			}
			t.Logf("%d nodes, 1 thread each, %d series of %d slices: received in %.1f s, all delivered after %.1f s: %.0f series an hour; of the time from complete to analysed %.0f %% was waiting for a turn",
				nodes, burst, len(all[0].slices), received.Seconds(), took.Seconds(), burst/took.Hours(), 100*waiting/(waiting+working))
		})
	}
}

// timings is how long the analysis of a series took, as its result says.
func timings(t *testing.T, c *cluster, k ctSeries) (seconds float64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.dir, "data", "series", k.study, k.series, "generation-1", "result.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Timings map[string]float64 `json:"timings_s"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if total, ok := r.Timings["total"]; ok {
		return total
	}
	for _, s := range r.Timings {
		seconds += s
	}
	return seconds
}
