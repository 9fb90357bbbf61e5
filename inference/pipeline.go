package inference

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/inference/models"
	"github.com/pulmonode/pulmonode/inference/onnx"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Version of the analysis: it changes whenever the same series and models may
// give other findings.
const Version = "0.1.0"

// Options of a pipeline. The zero value runs the shipped models on what the
// machine has.
type Options struct {
	RuntimeLibrary string // ONNX Runtime's shared library; "" searches for it
	Provider       string // "auto" (also ""), "cuda" or "cpu"
	Localize       string // model file of stage 1; "": the shipped one
	Refine         string // model file of stage 2; "": the shipped one
	Threads        int    // CPU threads of an analysis; 0: one per core
	// KeepAll keeps what stage 2 does not believe to be a nodule, with its
	// probability. For evaluations: no such result may reach a report.
	KeepAll bool
	Log     func(msg string)

	// The SHA-256, hexadecimal, that files must have; empty: a known library, any model.
	RuntimeSHA256                []string
	LocalizeSHA256, RefineSHA256 string
}

// Pipeline is a pair of loaded models. It may be used by several goroutines; the
// networks are run by one of them at a time.
type Pipeline struct {
	o                Options
	localize, refine *onnx.Session
	algorithm        result.Algorithm
	warnings         []string
}

// batches says how much is given to the networks at once. On a CPU larger
// batches only leave the cache; a GPU wants its many lanes filled.
var batches = map[string]struct{ cubes, slabs int }{
	"cpu":  {1, 4},
	"cuda": {16, 128},
}

// Open loads and checks the models and runs each once, so that whatever is wrong
// with them or the runtime shows now and not with the first series.
func Open(o Options) (*Pipeline, error) {
	if o.Log == nil {
		o.Log = func(string) {}
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	p := &Pipeline{o: o}
	var err error
	if p.localize, err = p.open(onnx.Localize, o.Localize, o.LocalizeSHA256, models.Localize); err != nil {
		return nil, err
	}
	if p.refine, err = p.open(onnx.Refine, o.Refine, o.RefineSHA256, models.Refine); err != nil {
		p.Close()
		return nil, err
	}
	p.algorithm = result.Algorithm{Name: "pulmonode", Version: Version, Provider: p.localize.Provider}
	if p.refine.Provider != p.localize.Provider {
		p.algorithm.Provider = "cpu" // what the whole can be relied on to give
	}
	for _, s := range []struct {
		role    onnx.Role
		session *onnx.Session
	}{{onnx.Localize, p.localize}, {onnx.Refine, p.refine}} {
		p.algorithm.Models = append(p.algorithm.Models, result.Model{
			Role: string(s.role), SHA256: s.session.Graph.SHA256, Version: s.session.Metadata.Version,
		})
		// What one stage was not evaluated for the whole was not.
		p.algorithm.SmallestMM = max(p.algorithm.SmallestMM, s.session.Metadata.SmallestMM)
		if w := s.session.Warning; w != "" && !slices.Contains(p.warnings, w) {
			p.warnings = append(p.warnings, w)
			o.Log(w)
		}
	}
	if err := p.warmUp(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pipeline) open(role onnx.Role, path, pinned string, shipped func() ([]byte, error)) (*onnx.Session, error) {
	read := shipped
	if path != "" {
		read = func() ([]byte, error) { return os.ReadFile(path) }
	}
	model, err := read()
	if err != nil {
		return nil, fmt.Errorf("read the %s model: %w", role, err)
	}
	if err := Pinned(model, role, pinned); err != nil {
		if path != "" {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return nil, err
	}
	s, err := onnx.Open(model, role, onnx.Options{
		Library: p.o.RuntimeLibrary, LibrarySHA256: p.o.RuntimeSHA256, Provider: p.o.Provider, Threads: p.o.Threads,
	})
	if err != nil {
		if path != "" {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return nil, err
	}
	return s, nil
}

// Pinned says whether a model is the one that a SHA-256 names; "" names any.
func Pinned(model []byte, role onnx.Role, pinned string) error {
	if pinned == "" {
		return nil
	}
	if sum := sha256.Sum256(model); !strings.EqualFold(hex.EncodeToString(sum[:]), pinned) {
		return fmt.Errorf("the %s model has the SHA-256 %x, which is not the one that [inference] %[1]s_sha256 names; put the right file in its place, or mend the setting", role, sum)
	}
	return nil
}

// warmUp runs each network once over air.
func (p *Pipeline) warmUp() error {
	const cube, slab = 64 * 64 * 64, onnx.Planes * onnx.Side * onnx.Side
	b := batches[p.algorithm.Provider]
	out := make([]float32, b.cubes*cube)
	if err := p.localize.Run(context.Background(), b.cubes, []int64{1, 64, 64, 64}, make([]float32, b.cubes*cube), out); err != nil {
		return fmt.Errorf("try the localize model: %w", err)
	}
	mask, traits, nodule := make([]float32, b.slabs*slab), make([]float32, b.slabs*4), make([]float32, b.slabs)
	if err := p.refine.Run(context.Background(), b.slabs, []int64{onnx.Planes, onnx.Side, onnx.Side}, make([]float32, b.slabs*slab), mask, traits, nodule); err != nil {
		return fmt.Errorf("try the refine model: %w", err)
	}
	return nil
}

// Close releases the models.
func (p *Pipeline) Close() error {
	var first error
	for _, s := range []*onnx.Session{p.localize, p.refine} {
		if s == nil {
			continue
		}
		if err := s.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Algorithm names the program, its models by hash, and what they run on.
func (p *Pipeline) Algorithm() result.Algorithm {
	a := p.algorithm
	a.Models = slices.Clone(a.Models)
	return a
}

// Warnings are sentences on how the models are run; they stand in every result.
func (p *Pipeline) Warnings() []string { return slices.Clone(p.warnings) }
