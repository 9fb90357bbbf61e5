package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/job"
	"github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

const (
	// maxAnalysis bounds one analysis: 3000 slices on two old cores take a
	// tenth of it.
	maxAnalysis = 2 * time.Hour
	// maxResult bounds result.json when a predecessor's is read back: sixty
	// nodules stay below a hundredth of it.
	maxResult = 16 << 20
	// waitForRoom and waitForModels are how long an analysis waits before it
	// looks again for what was missing.
	waitForRoom   = 30 * time.Second
	waitForModels = 5 * time.Minute // opening them wakes the analyses sooner
)

// errDocuments says that no document can be made of a result, with what must not
// be sent as the reason: nodules that lie nowhere, for one.
var errDocuments = errors.New("writing the documents")

// documents writes the DICOM objects and pictures of a result. The header is
// that of one instance of the series.
type documents func(header *dataset.Dataset, r *result.Result, uid func(kind string, index int) string) ([]store.File, error)

// analyst does the analysis jobs.
type analyst struct {
	store        *store.Store
	queue        *job.Queue
	models       *models
	documents    documents
	selection    series.Selection
	destinations []job.Destination
	thinnest     bool // of a study only the thinnest series
	reportSkip   bool
	reportFail   bool
	metrics      *admin.Metrics
	log          *zap.Logger

	streak streak // of failures

	mu       sync.Mutex
	progress map[store.Key]admin.Progress
}

// analyze does one attempt of an analysis job. It may be repeated at any point:
// what is durable is not done again.
func (a *analyst) analyze(ctx context.Context, j job.Analyze, try job.Attempt) error {
	k := store.Key{Study: j.Study, Series: j.Series}
	log := a.log.With(zap.String("study", k.Study), zap.String("series", k.Series), zap.Int("generation", j.Generation))
	closings, err := a.store.Closings(k)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(closings, func(c store.Closing) bool { return c.Generation == j.Generation })
	if i < 0 {
		log.Info("analysis_dropped", zap.String("reason", "the series is no longer here"))
		return nil
	}
	m, err := a.store.Generation(k, j.Generation)
	if errors.Is(err, store.ErrNotExist) {
		if i != len(closings)-1 {
			log.Info("analysis_dropped", zap.String("reason", "more instances came; the later generation is analysed"))
			return nil
		}
		m, err = a.make(ctx, log, k, closings[i], try)
	}
	if err != nil {
		return err
	}
	deliveries, err := a.queue.Deliveries(a.store, m)
	if err != nil {
		return err
	}
	return a.queue.EnqueueDeliver(ctx, deliveries...)
}

// make writes the generation's results and returns their manifest. An error
// means that there are none.
func (a *analyst) make(ctx context.Context, log *zap.Logger, k store.Key, c store.Closing, try job.Attempt) (*store.Manifest, error) {
	began := time.Now()
	r, header, err := a.examine(ctx, log, k, c, try)
	if ctx.Err() == nil && !job.IsWait(err) && !errors.Is(err, store.ErrFull) && (err != nil || r.Outcome != result.OutcomeSkipped) {
		a.streak.ended(k, err)
	}
	if err != nil && ctx.Err() == nil && !job.IsWait(err) {
		a.metrics.AnalysisFailures.Inc()
	}
	switch {
	case err == nil:
	case ctx.Err() != nil || job.IsWait(err):
		return nil, err
	case errors.Is(err, store.ErrFull):
		return nil, job.Wait(waitForRoom, err.Error())
	case !try.Last():
		log.Warn("analysis_attempt_failed", zap.Int("attempt", try.Number), zap.Int("of", try.Max), zap.Error(err))
		return nil, err
	default:
		// The attempts are used up. The failure is the result, so that no one
		// takes silence for "no nodules".
		r = a.blank(c, header, result.OutcomeFailed, err.Error())
	}
	// Where that cannot be told the result is written: there is one, whoever does.
	if err := try.Held(ctx); errors.Is(err, job.ErrLost) {
		return nil, err
	}
	err = a.write(k, c, r, header)
	if errors.Is(err, errDocuments) {
		// They are made of the result alone, so another attempt would end the same.
		r = a.blank(c, header, result.OutcomeFailed, err.Error())
		err = a.write(k, c, r, header)
	}
	if errors.Is(err, store.ErrFull) {
		return nil, job.Wait(waitForRoom, err.Error())
	}
	if errors.Is(err, store.ErrOther) {
		return nil, job.Wait(time.Second, err.Error())
	}
	if err != nil {
		return nil, err
	}
	a.metrics.Analyses.WithLabelValues(string(r.Outcome)).Inc()
	for stage, seconds := range r.TimingsS {
		a.metrics.AnalysisSeconds.WithLabelValues(stage).Observe(seconds)
	}
	fields := []zap.Field{zap.String("outcome", string(r.Outcome)), zap.String("reason", r.Reason), zap.Int("nodules", len(r.Nodules)),
		zap.Int("attempt", try.Number), zap.Duration("took", time.Since(began))}
	if r.Outcome == result.OutcomeFailed {
		log.Error("analysis_ended", fields...)
	} else {
		log.Info("analysis_ended", fields...)
	}
	return a.store.Generation(k, c.Generation)
}

// examine selects and analyses. The header is that of the first readable
// instance, nil when there was none.
func (a *analyst) examine(ctx context.Context, log *zap.Logger, k store.Key, c store.Closing, try job.Attempt) (r *result.Result, header *dataset.Dataset, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, maxAnalysis, fmt.Errorf("the analysis took longer than %v", maxAnalysis))
	defer cancel()
	v, header, paths, err := a.inspect(ctx, log, k, c)
	if err != nil {
		return nil, header, err
	}
	if try.Number > try.Max {
		return nil, header, fmt.Errorf("the node ended %d times while it analysed this series: look for \"out of memory\" in the system's log, then retry", try.Max)
	}
	if v.OK && a.thinnest {
		if v.Reason, err = a.passedOver(ctx, log, k, v); err != nil {
			return nil, header, err
		}
		v.OK = v.Reason == ""
	}
	analyzer, missing := a.models.get()
	if !v.OK {
		if missing != nil && a.reportSkip {
			return nil, header, job.Wait(waitForModels, missing.Error()) // the report names the algorithm
		}
		return a.blank(c, header, result.OutcomeSkipped, v.Reason), header, nil
	}
	if missing != nil {
		return nil, header, job.Wait(waitForModels, missing.Error())
	}
	before, earlier, err := a.predecessor(k, c.Generation)
	if err != nil {
		return nil, header, err
	}
	log.Info("analysis_begins", zap.Int("instances", len(paths)), zap.Int("attempt", try.Number))
	a.setProgress(k, &admin.Progress{Stage: "reading"})
	defer a.setProgress(k, nil)
	uid, err := a.uids(k, c.Generation)
	if err != nil {
		return nil, header, err
	}
	r, err = analyzer.Analyze(ctx, inference.Series{
		Paths: paths, Generation: c.Generation, Closed: c.Closed, UID: uid, Predecessor: before,
	}, func(stage string, done, total int) {
		a.setProgress(k, &admin.Progress{Stage: stage, Done: done, Total: total})
	})
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, header, err
	}
	r.PredecessorClass, r.Predecessor, r.PredecessorSeries = earlier.class, earlier.instance, earlier.series
	return r, header, nil
}

// inspect reads the headers of a closed series and judges them. The header that
// it returns is that of the first readable instance, nil when there is none.
func (a *analyst) inspect(ctx context.Context, log *zap.Logger, k store.Key, c store.Closing) (v series.Verdict, header *dataset.Dataset, paths []string, err error) {
	for _, uid := range c.Instances {
		path, err := a.store.InstancePath(k, uid)
		if err != nil {
			return v, nil, nil, err
		}
		paths = append(paths, path)
	}
	v, header, err = judge(ctx, log, a.selection, paths)
	return v, header, paths, err
}

// judge reads the headers of a series' files and selects.
func judge(ctx context.Context, log *zap.Logger, s series.Selection, paths []string) (v series.Verdict, header *dataset.Dataset, err error) {
	selector := series.NewSelector(s)
	for _, path := range paths {
		if ctx.Err() != nil {
			return v, header, context.Cause(ctx)
		}
		f, err := dataset.Open(path, dataset.Limits{})
		var disk *fs.PathError
		switch {
		case err == nil:
			if header == nil {
				header = f.Header
			}
			selector.Add(f.Header)
		case errors.As(err, &disk):
			return v, header, fmt.Errorf("reading an instance: %w", err)
		default:
			log.Warn("instance_unreadable", zap.String("file", filepath.Base(path)), zap.Error(err))
			selector.Add(nil)
		}
	}
	return selector.Verdict(), header, nil
}

// selection is the [select] section.
func selection(c *config.Config) series.Selection {
	return series.Selection{
		MaxSpacingMM: c.Select.MaxSpacingMM, MinSlices: c.Select.MinSlices, MaxSlices: c.Select.MaxSlices,
		MaxObliqueDeg: c.Select.MaxObliqueDeg, Derived: c.Select.Derived,
	}
}

// waitForStudy is how often a series looks whether the others of its study are
// complete.
const waitForStudy = 5 * time.Second

// passedOver says why another series of the study is analysed in place of this
// one, "" when none is. While one of them is still coming in the analysis waits.
func (a *analyst) passedOver(ctx context.Context, log *zap.Logger, k store.Key, v series.Verdict) (string, error) {
	keys, err := a.store.Series()
	if err != nil {
		return "", err
	}
	candidates := []series.Candidate{{Key: k, Verdict: v}}
	for _, other := range keys {
		if other.Study != k.Study || other == k {
			continue
		}
		c, err := a.store.LastClosing(other)
		if err != nil {
			return "", err
		}
		// At whichever node it comes in: the files say so.
		uids, err := a.store.InstanceUIDs(other)
		if err != nil {
			return "", err
		}
		if len(uids) > 0 && (c == nil || !slices.Equal(uids, c.Instances)) {
			return "", job.Wait(waitForStudy, "another series of the study is still being received, and only the thinnest is analysed")
		}
		if c == nil {
			continue
		}
		verdict, _, _, err := a.inspect(ctx, log, other, *c)
		if err != nil {
			return "", err
		}
		candidates = append(candidates, series.Candidate{Key: other, Verdict: verdict})
	}
	return series.Thinnest(candidates)[k], nil
}

func (a *analyst) setProgress(k store.Key, p *admin.Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p == nil {
		delete(a.progress, k)
		return
	}
	if a.progress == nil {
		a.progress = make(map[store.Key]admin.Progress)
	}
	a.progress[k] = *p
}

// progressOf is how far the analysis of a series is, nil when none runs.
func (a *analyst) progressOf(k store.Key) *admin.Progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p, ok := a.progress[k]; ok {
		return &p
	}
	return nil
}

// uids makes the identifiers of a generation's objects. A repetition after a
// failure has other ones: the failed report may have been delivered.
func (a *analyst) uids(k store.Key, generation int) (func(kind string, index int) string, error) {
	attempts, err := a.store.Attempts(k, generation)
	if err != nil {
		return nil, err
	}
	return func(kind string, index int) string {
		return a.store.UID(k, generation, store.AttemptKind(kind, attempts), index)
	}, nil
}

// earlierReport is the report of the generation before.
type earlierReport struct{ class, instance, series string }

// predecessor returns the result of the latest earlier generation that was
// analysed, and its report; nil when there is none.
func (a *analyst) predecessor(k store.Key, generation int) (*result.Result, earlierReport, error) {
	numbers, err := a.store.Generations(k)
	if err != nil {
		return nil, earlierReport{}, err
	}
	for _, n := range slices.Backward(numbers) {
		if n >= generation {
			continue
		}
		m, err := a.store.Generation(k, n)
		if err != nil {
			return nil, earlierReport{}, err
		}
		if m.Outcome != result.OutcomeNodules && m.Outcome != result.OutcomeNone {
			continue
		}
		r, err := a.readResult(k, n)
		if err != nil {
			return nil, earlierReport{}, err
		}
		for _, f := range m.Files {
			if f.Kind == kindSR {
				return r, earlierReport{f.SOPClassUID, f.SOPInstanceUID, a.store.UID(k, n, store.AttemptKind(seriesOf(kindSR), m.Attempt), 0)}, nil
			}
		}
		return r, earlierReport{}, nil
	}
	return nil, earlierReport{}, nil
}

func (a *analyst) readResult(k store.Key, n int) (*result.Result, error) {
	folder, err := a.store.GenerationFolder(k, n)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(folder, resultName)
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the result of generation %d: %w", n, err)
	}
	if info.Size() > maxResult {
		return nil, fmt.Errorf("reading the result of generation %d: the file has %d bytes", n, info.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the result of generation %d: %w", n, err)
	}
	r := &result.Result{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("reading the result of generation %d: %w", n, err)
	}
	return r, nil
}

// blank is the result of a series that was not analysed.
func (a *analyst) blank(c store.Closing, header *dataset.Dataset, o result.Outcome, reason string) *result.Result {
	r := blank(c, header, o, reason)
	if analyzer, err := a.models.get(); err == nil {
		r.Algorithm = analyzer.Algorithm()
	}
	return r
}

func blank(c store.Closing, header *dataset.Dataset, o result.Outcome, reason string) *result.Result {
	r := &result.Result{
		Schema:     result.Schema,
		Series:     result.Series{StudyInstanceUID: c.Study, SeriesInstanceUID: c.Series, Instances: len(c.Instances)},
		Generation: c.Generation, Closed: c.Closed, Outcome: o, Reason: reason,
		TimingsS: map[string]float64{}, Nodules: []result.Nodule{},
	}
	if header != nil {
		r.Series.FrameOfReferenceUID = header.Text(dataset.FrameOfReferenceUID)
	}
	return r
}

// resultName is the file of a generation with the machine-readable result.
const resultName = "result.json"

// resultFile is result.json.
func resultFile(r *result.Result) (store.File, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "\t")
	if err := encoder.Encode(r); err != nil {
		return store.File{}, fmt.Errorf("writing %s: %w", resultName, err)
	}
	return store.File{Name: resultName, Kind: "json", Bytes: b.Bytes()}, nil
}

// write makes a result durable with everything that is delivered of it.
func (a *analyst) write(k store.Key, c store.Closing, r *result.Result, header *dataset.Dataset) error {
	uid, err := a.uids(k, c.Generation)
	if err != nil {
		return err
	}
	var files []store.File
	wanted := true
	switch r.Outcome {
	case result.OutcomeSkipped:
		wanted = a.reportSkip
	case result.OutcomeFailed:
		wanted = a.reportFail && header != nil
	}
	if wanted {
		files, err = a.documents(header, r, uid)
		if err != nil && r.Outcome == result.OutcomeFailed {
			// A header that no document can be made of must not keep the series
			// from its end; the state and the page still say what happened.
			a.log.Error("report_failed", zap.String("series", k.Series), zap.Error(err))
			files, err = nil, nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errDocuments, err)
		}
	}
	text, err := resultFile(r)
	if err != nil {
		return err
	}
	plan, err := job.PlanFile(a.destinations)
	if err != nil {
		return err
	}
	files = append(files, text, plan)
	err = a.store.WriteGeneration(k, c.Generation, files, store.Manifest{
		Closed: c.Closed, Outcome: r.Outcome, Reason: r.Reason, Nodules: len(r.Nodules), Warnings: r.Warnings,
	})
	if errors.Is(err, store.ErrExist) {
		a.metrics.LostResults.Inc()
		return nil
	}
	return err
}
