package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/inference/models"
	"github.com/pulmonode/pulmonode/inference/onnx"
)

// stage is a network as the pipeline runs it on a CPU.
type stage struct {
	name    string
	role    onnx.Role
	shipped func() ([]byte, error)
	batch   int     // samples a call
	dims    []int64 // of a sample
	outputs []int   // values of a sample, of each output
	what    string
}

const (
	cube = 64 * 64 * 64
	slab = onnx.Planes * onnx.Side * onnx.Side
)

var stages = []stage{
	{"stage 1", onnx.Localize, models.Localize, 1, []int64{1, 64, 64, 64}, []int{cube}, "cubes of 64x64x64, one at a time"},
	{"stage 2", onnx.Refine, models.Refine, 4, []int64{onnx.Planes, onnx.Side, onnx.Side}, []int{slab, 4, 1}, "batches of 4 slabs of 4x64x64"},
}

// parity is how far outputs of the same weights may lie apart; of a logit above
// 1, which is no probability, it is a share.
const parity = 1e-4

// infer times both stages from Go beside Python, on the same inputs and threads:
// the shipped models in ONNX Runtime, and their networks in PyTorch.
func (b *bench) infer() []row {
	var rows []row
	for _, s := range stages {
		rows = append(rows, b.inferPyTorch(&s), b.inferPython(&s))
	}
	return rows
}

func (b *bench) inferPyTorch(s *stage) row {
	r := row{Peer: "PyTorch eager, " + s.name}
	python := b.trainingPython()
	if python == "" {
		r.Skipped = "PyTorch is not installed (make .venv-train/done)"
		return r
	}
	timing := s.in(b)
	if err := timing.prepare(); err != nil {
		r.Skipped = err.Error()
		return r
	}
	run := func(args ...string) ([]byte, error) {
		c := b.command(python, append([]string{filepath.Join("testdata", "bench", "torch_infer.py")}, args...)...)
		var fault bytes.Buffer
		c.Stderr = &fault
		out, err := c.Output()
		if err != nil {
			lines := strings.Split(strings.TrimSpace(fault.String()), "\n")
			return nil, fmt.Errorf("%s %s: %w: %s", filepath.Base(c.Args[1]), args[0], err, lines[len(lines)-1])
		}
		return out, nil
	}
	if _, err := run("export", string(s.role), timing.file("shipped"), b.dir); err != nil {
		r.Skipped = err.Error()
		return r
	}
	model, err := os.ReadFile(timing.file("onnx"))
	if err != nil {
		r.Skipped = err.Error()
		return r
	}
	session, err := timing.open(model)
	if err != nil {
		r.Skipped = err.Error()
		return r
	}
	defer session.Close()
	apart := 0.0
	layouts := map[string]bool{}
	r.Unit = "s"
	r = b.inTurn(r, false,
		func() (float64, error) { return timing.ours(b, session) },
		func() (float64, error) {
			out, err := run("time", string(s.role), timing.file("shipped"), b.dir, timing.shape(), fmt.Sprint(b.calls), fmt.Sprint(timing.threads))
			if err != nil {
				return 0, err
			}
			var said struct {
				Seconds float64
				Layout  string
			}
			if err := json.Unmarshal(out, &said); err != nil {
				return 0, err
			}
			layouts[said.Layout] = true
			d, err := timing.apart()
			if err == nil && !(d <= parity) {
				err = fmt.Errorf("its outputs lie %.2g from ours, where %g is allowed", d, parity)
			}
			apart = max(apart, d)
			return said.Seconds, err
		})
	names := make([]string, 0, len(layouts))
	for name := range layouts {
		names = append(names, name)
	}
	slices.Sort(names)
	r.Command = fmt.Sprintf("%s: the shipped network, %d %s, %d threads, batch norms folded on both sides, PyTorch's faster layout (%s); outputs at most %.1g apart",
		s.name, b.calls, s.what, timing.threads, strings.Join(names, ", "), apart)
	return r
}

func (b *bench) inferPython(s *stage) row {
	r := row{Peer: "onnxruntime for Python, " + s.name}
	if b.noPython() {
		r.Skipped = "onnxruntime for Python is not installed (make bench installs it)"
		return r
	}
	timing := s.in(b)
	if err := timing.prepare(); err != nil {
		r.Skipped = err.Error()
		return r
	}
	model, err := s.shipped()
	if err != nil {
		r.Skipped = err.Error()
		return r
	}
	session, err := timing.open(model)
	if err != nil {
		r.Skipped = err.Error()
		return r
	}
	defer session.Close()
	r.Unit, r.Command = "s", fmt.Sprintf("%s: %d %s, %d threads", s.name, b.calls, s.what, timing.threads)
	return b.inTurn(r, false,
		func() (float64, error) { return timing.ours(b, session) },
		func() (float64, error) {
			return b.peer("infer.py", timing.file("shipped"), timing.file("in"), timing.shape(), fmt.Sprint(b.calls), fmt.Sprint(timing.threads))
		})
}

// trainingPython is the Python that has PyTorch: $PULMONODE_TRAINING_PYTHON, or
// that of the training targets; "" where there is none.
func (b *bench) trainingPython() string {
	for _, path := range []string{os.Getenv("PULMONODE_TRAINING_PYTHON"), ".venv-train/bin/python", ".venv-train-cuda/bin/python"} {
		if path != "" && b.command(path, "-c", "import torch, onnx").Run() == nil {
			return path
		}
	}
	return ""
}

// timing is a stage with its files in the temporary folder.
type timing struct {
	*stage
	dir     string
	calls   int // a run
	threads int
	input   []float32
	output  [][]float32
}

func (s *stage) in(b *bench) *timing {
	t := &timing{stage: s, dir: b.dir, calls: b.calls, threads: runtime.NumCPU()}
	n := s.batch
	for _, d := range s.dims {
		n *= int(d)
	}
	// Noise over the whole range: what is the same on both sides is seen to be.
	rng := rand.New(rand.NewPCG(1, 2))
	t.input = make([]float32, n)
	for i := range t.input {
		t.input[i] = rng.Float32()
	}
	for _, size := range s.outputs {
		t.output = append(t.output, make([]float32, s.batch*size))
	}
	return t
}

func (t *timing) file(kind string) string { return filepath.Join(t.dir, string(t.role)+"."+kind) }

// shape of the input, as the Python peers read it.
func (t *timing) shape() string {
	text := fmt.Sprint(t.batch)
	for _, d := range t.dims {
		text += fmt.Sprintf(",%d", d)
	}
	return text
}

// prepare writes the shipped model and the input.
func (t *timing) prepare() error {
	model, err := t.shipped()
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, t.input); err != nil {
		return err
	}
	return cmp.Or(os.WriteFile(t.file("shipped"), model, 0o600), os.WriteFile(t.file("in"), b.Bytes(), 0o600))
}

func (t *timing) open(model []byte) (*onnx.Session, error) {
	return onnx.Open(model, t.role, onnx.Options{Library: os.Getenv("PULMONODE_RUNTIME_LIBRARY"), Provider: "cpu", Threads: t.threads})
}

// ours is how long the calls take, in seconds, after one that is not counted.
func (t *timing) ours(b *bench, session *onnx.Session) (float64, error) {
	run := func() error { return session.Run(b.ctx, t.batch, t.dims, t.input, t.output...) }
	if err := run(); err != nil {
		return 0, err
	}
	begin := time.Now()
	for range t.calls {
		if err := run(); err != nil {
			return 0, err
		}
	}
	return time.Since(begin).Seconds(), nil
}

// apart is the largest distance of our outputs from the peer's.
func (t *timing) apart() (float64, error) {
	text, err := os.ReadFile(t.file("out"))
	if err != nil {
		return 0, err
	}
	theirs := make([]float32, len(text)/4)
	if err := binary.Read(bytes.NewReader(text), binary.LittleEndian, theirs); err != nil {
		return 0, err
	}
	return farthest(slices.Concat(t.output...), theirs)
}

func farthest(ours, theirs []float32) (float64, error) {
	if len(ours) != len(theirs) {
		return 0, fmt.Errorf("it gave %d values, ours are %d", len(theirs), len(ours))
	}
	most := 0.0
	for i, v := range ours {
		d := math.Abs(float64(v)-float64(theirs[i])) / max(1, math.Abs(float64(v)))
		if math.IsNaN(d) {
			return 0, fmt.Errorf("value %d is no number", i)
		}
		most = max(most, d)
	}
	return most, nil
}
