package sr

import (
	"fmt"
	"strings"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/sr/study"
)

// root is TID 1500 (Measurement Report).
func (w *writer) root(images []sourceImage) (*item, error) {
	root := container(imagingMeasurementReport, "1500").
		add(hasConceptMod, code(language, english)).
		add(hasObsContext, w.observer()...).
		add(hasConceptMod, w.procedures()...).
		add(contains, library(images, w.r.Grid, w.frameOfReference))
	if len(w.r.Nodules) > 0 {
		measurements := container(imagingMeasurements, "")
		for i := range w.r.Nodules {
			g, err := w.group(i)
			if err != nil {
				return nil, err
			}
			measurements.add(contains, g)
		}
		root.add(contains, measurements)
	}
	return root.add(contains, w.evaluation()), nil
}

// procedures are what the images say was done.
func (w *writer) procedures() []*item {
	var out []*item
	for _, p := range w.ct.Items(dataset.ProcedureCodeSequence) {
		if c := w.repertoire.Coded(p); c != nil {
			out = append(out, &item{valueType: "CODE", name: procedureReported,
				value: study.Item(study.Sequence(tag.ConceptCodeSequence, c))})
		}
	}
	if len(out) == 0 {
		out = append(out, code(procedureReported, ctOfAnyRegion))
	}
	return out
}

// evaluation is the last part of TID 1500, which says of the whole what is not
// about one nodule: how the analysis ended, in codes and in words.
func (w *writer) evaluation() *item {
	e := container(qualitativeEvaluations, "")
	if w.r.Algorithm.Name != "" && w.r.Algorithm.Version != "" {
		e.add(contains, algorithmIdentification(w.r.Algorithm)...) // as all of this container is
	}
	if w.ending.summary != (study.Code{}) {
		e.add(contains, code(findingsSummary, w.ending.summary))
	}
	e.add(contains,
		code(summaryOfDetections, w.ending.detections),
		code(summaryOfAnalyses, w.ending.analyses),
		text(comment, statement(w.r.Outcome, len(w.r.Nodules), w.r.Partial)),
		textIf(reason, w.why()),
		textIf(comment, w.searched()),
	)
	for _, s := range w.r.Warnings {
		e.add(contains, textIf(warning, strings.TrimSpace(s)))
	}
	for i := len(w.r.Nodules); i < len(w.o.KeyImages); i++ {
		e.add(contains, w.picture(i))
	}
	return e.add(contains, text(notVerified, notice))
}

// searched says what was looked at, without which "no nodule" means little.
func (w *writer) searched() string {
	if !w.analysed() {
		return ""
	}
	g := w.r.Grid
	s := fmt.Sprintf("Searched were %d slices", len(g.Instances))
	if mm := g.SliceDistance(); mm > 0 {
		s += fmt.Sprintf(", %.2f mm apart", mm)
	}
	s += fmt.Sprintf(", of %d x %d pixels of %.2f x %.2f mm, by %s %s",
		g.Columns, g.Rows, g.PixelSpacing[1], g.PixelSpacing[0], w.r.Algorithm.Name, w.r.Algorithm.Version)
	if mm := w.r.Algorithm.SmallestMM; mm > 0 {
		s += fmt.Sprintf(", which was evaluated for nodules of %g mm and more", mm)
	}
	return s + "."
}
