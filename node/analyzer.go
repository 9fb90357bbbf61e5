package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
)

// Analyzer is what the node asks of the pipeline.
type Analyzer interface {
	// Analyze says what a series shows. An error is worth another attempt; what
	// can't be analysed by its nature is the outcome "skipped".
	Analyze(ctx context.Context, s inference.Series, progress func(stage string, done, total int)) (*result.Result, error)
	Algorithm() result.Algorithm
	Close() error
}

// reopenAfter is how often a pipeline that could not be opened is tried again:
// a model that was missing may be put in its place while the node runs.
const reopenAfter = 15 * time.Second

// models opens the pipeline and holds it. While it is not open, reception goes
// on and analyses wait.
type models struct {
	open     func() (Analyzer, error)
	again    time.Duration
	onOpened func()
	log      *zap.Logger

	mu       sync.Mutex
	analyzer Analyzer
	err      error
}

// errLoading is what get says before the first attempt has ended.
var errLoading = errors.New("the models are being loaded")

// run opens the pipeline, as often as it takes, until ctx ends.
func (m *models) run(ctx context.Context) {
	last := ""
	for {
		a, err := m.tryOpen()
		m.mu.Lock()
		m.analyzer, m.err = a, err
		m.mu.Unlock()
		if err == nil {
			m.log.Info("models_loaded", zap.String("provider", a.Algorithm().Provider), zap.Any("models", a.Algorithm().Models))
			m.onOpened()
			return
		}
		if err.Error() != last { // once for each reason, not every time
			last = err.Error()
			m.log.Error("models_missing", zap.Error(err), zap.String("do", "reception goes on, analyses wait; mend it and they go on by themselves"))
		}
		timer := time.NewTimer(m.again)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

func (m *models) tryOpen() (a Analyzer, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("opening the models broke off (%v): the model files may be damaged, put the shipped ones in their place", p)
		}
	}()
	return m.open()
}

// get returns the pipeline, or why there is none.
func (m *models) get() (Analyzer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.analyzer == nil && m.err == nil {
		return nil, errLoading
	}
	return m.analyzer, m.err
}

// close closes the pipeline; nothing uses it any more.
func (m *models) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.analyzer != nil {
		if err := m.analyzer.Close(); err != nil {
			m.log.Warn("models_not_closed", zap.Error(err))
		}
		m.analyzer = nil
	}
}

// openPipeline opens the pipeline of the configuration.
func openPipeline(c *config.Config, log *zap.Logger) (Analyzer, error) {
	p, err := inference.Open(inference.Options{
		RuntimeLibrary: c.Inference.RuntimeLibrary, Provider: c.Inference.Provider,
		Localize: c.Inference.Localize, Refine: c.Inference.Refine, Threads: c.Inference.Threads,
		RuntimeSHA256: c.Inference.RuntimeSHA256, LocalizeSHA256: c.Inference.LocalizeSHA256, RefineSHA256: c.Inference.RefineSHA256,
		Log: func(msg string) { log.Warn("inference", zap.String("note", msg)) },
	})
	if err != nil {
		return nil, err // a nil *Pipeline would be an Analyzer that is not nil
	}
	return p, nil
}
