package onnx

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	ort "github.com/yalue/onnxruntime_go"
)

// Options say how a model is run. The zero value is right for most machines.
type Options struct {
	Library  string // path of the shared library; "" searches, see FindLibrary
	Provider string // "auto" (also ""), "cuda" or "cpu"
	Threads  int    // threads within an operator on the CPU; 0: one per core

	// LibrarySHA256 names the library files that may be loaded, hexadecimal; none:
	// those of KnownLibraries.
	LibrarySHA256 []string
}

// Session is a loaded model. It is safe for use by several goroutines, which
// take turns.
type Session struct {
	Graph    *Graph
	Metadata *Metadata
	Provider string // "cuda" or "cpu": what it runs on
	Warning  string // why the CPU is used where the GPU was hoped for; else ""
	Runtime  string // version of ONNX Runtime

	mu      sync.Mutex
	session *ort.DynamicAdvancedSession
	sizes   func(dims []int64) [][]int64 // output dimensions of one sample
	limit   int                          // largest batch that fitted; 0: not met yet
}

// Open checks a model against the contract of its role and loads it. With the
// provider "cuda" a GPU that cannot be had is an error; with "auto" the CPU is
// used instead and Warning says so where a GPU could have been expected.
func Open(model []byte, role Role, o Options) (*Session, error) {
	g, err := Parse(model)
	if err != nil {
		return nil, err
	}
	m, err := g.Check(role)
	if err != nil {
		return nil, err
	}
	library, err := FindLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	version, err := load(library, o.LibrarySHA256)
	if err != nil {
		return nil, err
	}
	s := &Session{Graph: g, Metadata: m, Runtime: version, sizes: outputDims[role]}
	switch o.Provider {
	case "cpu":
		s.Provider = "cpu"
		err = s.open(model, role, o.Threads)
	case "cuda":
		s.Provider = "cuda"
		if err = s.open(model, role, o.Threads); err != nil {
			err = fmt.Errorf("provider \"cuda\" cannot be used: %w; install the CUDA build of ONNX Runtime and its CUDA and cuDNN libraries, or set provider = \"auto\" or \"cpu\"", err)
		}
	case "auto", "":
		s.Provider = "cpu"
		if hasCUDA(library) {
			s.Provider = "cuda"
			if cudaErr := s.open(model, role, o.Threads); cudaErr != nil {
				s.Provider = "cpu"
				s.Warning = "the GPU could not be used and the CPU was used instead: " + oneLine(cudaErr)
				err = s.open(model, role, o.Threads)
			}
		} else {
			if hasNVIDIA() {
				s.Warning = "this machine has an NVIDIA GPU, but the installed ONNX Runtime is the CPU build: the CPU was used instead"
			}
			err = s.open(model, role, o.Threads)
		}
	default:
		return nil, fmt.Errorf("provider %q is not known: use \"auto\", \"cuda\" or \"cpu\"", o.Provider)
	}
	if err != nil {
		return nil, fmt.Errorf("open the %s model: %w", role, err)
	}
	return s, nil
}

// outputDims gives the dimensions of one sample's outputs from those of its
// input, in the order of the signature.
var outputDims = map[Role]func(in []int64) [][]int64{
	Localize: func(in []int64) [][]int64 { return [][]int64{in} },
	Refine:   func(in []int64) [][]int64 { return [][]int64{in, {4}, {1}} },
}

func (s *Session) open(model []byte, role Role, threads int) error {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return err
	}
	defer o.Destroy()
	if threads > 0 {
		if err := o.SetIntraOpNumThreads(threads); err != nil {
			return err
		}
	}
	// Spinning threads would take the cores from decoding and from the network's
	// own next operator; results do not depend on it.
	if err := o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"); err != nil {
		return err
	}
	if s.Provider == "cuda" {
		cuda, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return err
		}
		defer cuda.Destroy()
		if err := cuda.Update(map[string]string{
			"device_id": "0",
			// The exhaustive search picks algorithms by timing them, so that two
			// runs may differ in their last bits.
			"cudnn_conv_algo_search": "HEURISTIC",
		}); err != nil {
			return err
		}
		if err := o.AppendExecutionProviderCUDA(cuda); err != nil {
			return err
		}
	}
	sig := signature[role]
	var inputs, outputs []string
	for _, v := range sig.inputs {
		inputs = append(inputs, v.Name)
	}
	for _, v := range sig.outputs {
		outputs = append(outputs, v.Name)
	}
	s.session, err = ort.NewDynamicAdvancedSessionWithONNXData(model, inputs, outputs, o)
	return err
}

// Close releases the model. The runtime's library stays loaded.
func (s *Session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil
	}
	err := s.session.Destroy()
	s.session = nil
	return err
}

// Run evaluates n samples of dimensions dims (without the batch dimension).
// input holds n samples one after another; out has one slice for each output of
// the role, in the order of the contract, each with room for n samples.
// A batch that does not fit into memory is halved and tried again, down to one
// sample. The context is looked at between batches.
func (s *Session) Run(ctx context.Context, n int, dims []int64, input []float32, out ...[]float32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return errors.New("the model is closed")
	}
	sizes := s.sizes(dims)
	if len(out) != len(sizes) {
		return fmt.Errorf("the model has %d outputs, %d were asked for", len(sizes), len(out))
	}
	one := product(dims)
	if len(input) < n*one {
		return fmt.Errorf("%d samples of %v need %d values, there are %d", n, dims, n*one, len(input))
	}
	for i, size := range sizes {
		if len(out[i]) < n*product(size) {
			return fmt.Errorf("output %d has no room for %d samples of %v", i, n, size)
		}
	}
	batch := n
	if s.limit > 0 {
		batch = min(batch, s.limit)
	}
	for done := 0; done < n; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := min(batch, n-done)
		part := make([][]float32, len(out))
		for i, size := range sizes {
			p := product(size)
			part[i] = out[i][done*p : (done+b)*p]
		}
		err := s.run(b, dims, sizes, input[done*one:(done+b)*one], part)
		if err != nil && outOfMemory(err) && b > 1 {
			batch = b / 2
			s.limit = batch
			continue
		}
		if err != nil {
			return fmt.Errorf("run the %s on %s: %w", s.Metadata.Name, s.Provider, err)
		}
		done += b
	}
	return nil
}

func (s *Session) run(n int, dims []int64, sizes [][]int64, input []float32, out [][]float32) error {
	in, err := ort.NewTensor(shape(n, dims), input)
	if err != nil {
		return err
	}
	defer in.Destroy()
	outputs := make([]ort.Value, len(out))
	for i, size := range sizes {
		t, err := ort.NewTensor(shape(n, size), out[i])
		if err != nil {
			return err
		}
		defer t.Destroy()
		outputs[i] = t
	}
	return s.session.Run([]ort.Value{in}, outputs)
}

func shape(n int, dims []int64) ort.Shape {
	return append(ort.Shape{int64(n)}, dims...)
}

func product(dims []int64) int {
	p := 1
	for _, d := range dims {
		p *= int(d)
	}
	return p
}

// outOfMemory recognises the runtime's messages for memory that could not be
// had; onnxruntime_go hands on the text only.
func outOfMemory(err error) bool {
	text := strings.ToLower(err.Error())
	for _, sign := range []string{"out of memory", "failed to allocate memory", "bad_alloc", "cuda failure 2", "alloc_failed"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// hasCUDA reports whether the library is the CUDA build: its provider lies
// beside it.
func hasCUDA(library string) bool {
	if real, err := filepath.EvalSymlinks(library); err == nil {
		library = real
	}
	return isFile(filepath.Join(filepath.Dir(library), "libonnxruntime_providers_cuda.so"))
}

func hasNVIDIA() bool {
	for i := range 8 {
		if _, err := os.Stat("/dev/nvidia" + strconv.Itoa(i)); err == nil {
			return true
		}
	}
	return false
}

func oneLine(err error) string {
	return strings.Join(strings.Fields(err.Error()), " ")
}
