package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/series"
	"github.com/pulmonode/pulmonode/node/store"
)

// OfflineOptions say how Offline works.
type OfflineOptions struct {
	Force        bool      // replace a result that lies there already
	ClosedAt     time.Time // stands in the documents
	ClosedReason string
}

// OfflineSeries is how one series of a folder ended.
type OfflineSeries struct {
	Study    string         `json:"study"`
	Series   string         `json:"series"`
	Outcome  result.Outcome `json:"outcome"`
	Sentence string         `json:"sentence"`
	Folder   string         `json:"folder"` // where its files were written
}

// Offline analyses the series in a folder and its subfolders without a node,
// and writes of each the files that a node would have written and sent: with
// the same installation, closing time and reason they are the same bytes. One
// series is written to out itself, several each to a folder below it.
func Offline(ctx context.Context, c *config.Config, dir, out string, o OfflineOptions, log *zap.Logger, progress func(stage string, done, total int)) ([]OfflineSeries, error) {
	found, err := seriesIn(dir)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no DICOM images: name the folder that holds the slices", dir)
	}
	folder := func(k store.Key) string {
		if len(found) == 1 {
			return out
		}
		return filepath.Join(out, k.Series)
	}
	candidates := make([]series.Candidate, len(found))
	for i, one := range found {
		if _, err := os.Stat(filepath.Join(folder(one.Key), resultName)); err == nil && !o.Force {
			return nil, fmt.Errorf("%s holds a result already: choose another --out, or replace it with --force", folder(one.Key))
		}
		v, header, err := judge(ctx, log, selection(c), one.paths)
		if err != nil {
			return nil, err
		}
		one.header = header
		candidates[i] = series.Candidate{Key: one.Key, Verdict: v}
	}
	if c.Select.OnePerStudy == "thinnest" {
		for k, reason := range series.Thinnest(candidates) {
			i := slices.IndexFunc(candidates, func(c series.Candidate) bool { return c.Key == k })
			candidates[i].OK, candidates[i].Reason = false, reason
		}
	}
	analyzer, err := openPipeline(c, log)
	if err != nil {
		return nil, err
	}
	defer analyzer.Close()
	w := offlineWriter{config: c, analyzer: analyzer, options: o, documents: newDocuments(c)}
	var ended []OfflineSeries
	for i, one := range found {
		r, err := w.series(ctx, one, candidates[i].Verdict, folder(one.Key), progress)
		if err != nil {
			return ended, fmt.Errorf("series %s: %w", one.Series, err)
		}
		ended = append(ended, OfflineSeries{one.Study, one.Series, r.Outcome, sentence(r), folder(one.Key)})
	}
	return ended, nil
}

func sentence(r *result.Result) string {
	switch r.Outcome {
	case result.OutcomeNodules:
		return fmt.Sprintf("analysed, nodules found: %d", len(r.Nodules))
	case result.OutcomeNone:
		return "analysed completely, no nodule found"
	default:
		return fmt.Sprintf("%s: %s", r.Outcome, r.Reason)
	}
}

// folderSeries is a series of a folder: its files by SOP Instance UID, as a
// closing lists them.
type folderSeries struct {
	store.Key
	uids, paths []string
	header      *dataset.Dataset // of the first, once it was judged
}

// seriesIn finds the series of a folder. Files that are no DICOM images are
// passed over, and of an instance that lies there twice one file is taken.
func seriesIn(dir string) ([]*folderSeries, error) {
	type instance struct{ uid, path string }
	all := map[store.Key][]instance{}
	var damaged []error
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := dataset.Open(path, dataset.Limits{})
		if disk := new(fs.PathError); errors.As(err, &disk) {
			return err
		}
		if err != nil && !errors.Is(err, dataset.ErrNotPart10) {
			damaged = append(damaged, err)
		}
		if err != nil || !f.HasPixels() {
			return nil
		}
		k := store.Key{Study: f.Header.Text(dataset.StudyInstanceUID), Series: f.Header.Text(dataset.SeriesInstanceUID)}
		if uid := f.Header.Text(dataset.SOPInstanceUID); k.Valid() == nil && dataset.ValidUID(uid) == nil {
			all[k] = append(all[k], instance{uid, path})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for series: %w", err)
	}
	if len(damaged) > 0 {
		// A node would have refused them, and its sender would know.
		return nil, fmt.Errorf("repair these or take them out of the folder: %w", errors.Join(damaged...))
	}
	var found []*folderSeries
	for k, instances := range all {
		slices.SortFunc(instances, func(a, b instance) int { return cmp.Or(strings.Compare(a.uid, b.uid), strings.Compare(a.path, b.path)) })
		one := &folderSeries{Key: k}
		for i, in := range instances {
			if i == 0 || in.uid != instances[i-1].uid {
				one.uids, one.paths = append(one.uids, in.uid), append(one.paths, in.path)
			}
		}
		found = append(found, one)
	}
	slices.SortFunc(found, func(a, b *folderSeries) int {
		return cmp.Or(strings.Compare(a.Study, b.Study), strings.Compare(a.Series, b.Series))
	})
	return found, nil
}

// offlineWriter analyses series of a folder.
type offlineWriter struct {
	config    *config.Config
	analyzer  Analyzer
	documents documents
	options   OfflineOptions
}

func (w *offlineWriter) series(ctx context.Context, one *folderSeries, v series.Verdict, folder string, progress func(stage string, done, total int)) (*result.Result, error) {
	uids := store.UIDs{Installation: w.config.InstallationName()}
	uid := func(kind string, index int) string { return uids.UID(one.Series, 1, kind, index) }
	closing := store.Closing{Key: one.Key, Generation: 1, Instances: one.uids,
		Closed: result.Closed{Reason: w.options.ClosedReason, Time: w.options.ClosedAt}}
	r := blank(closing, one.header, result.OutcomeSkipped, v.Reason)
	r.Algorithm = w.analyzer.Algorithm()
	var err error
	if v.OK {
		r, err = w.analyzer.Analyze(ctx, inference.Series{Paths: one.paths, Generation: 1, Closed: closing.Closed, UID: uid}, progress)
		if err != nil {
			return nil, err
		}
	}
	var files []store.File
	if r.Outcome != result.OutcomeSkipped || w.config.Output.ReportSkipped {
		if files, err = w.documents(one.header, r, uid); err != nil {
			return nil, fmt.Errorf("writing the documents: %w", err)
		}
	}
	text, err := resultFile(r)
	if err != nil {
		return nil, err
	}
	return r, writeFolder(folder, append(files, text))
}

// writeFolder puts files into a folder, result.json last, so that a folder that
// has one is complete. The files of an earlier result go first.
func writeFolder(folder string, files []store.File) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, pattern := range []string{resultName, "seg.dcm", "sr.dcm", "kos.dcm", "pdf.dcm", "report.pdf", "key-*.dcm", "key-*.png", "summary.*"} {
		old, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			return err
		}
		for _, path := range old {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		b, err := f.Content()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, f.Name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
