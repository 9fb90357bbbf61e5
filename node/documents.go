package node

import (
	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/keyimage"
	"github.com/pulmonode/pulmonode/sr/seg"
)

// Kinds of the UIDs that the documents of a generation get.
const (
	kindSeg        = "seg"
	kindSR         = "sr"
	kindKeyImage   = "keyimage"
	kindDimensions = "dimensions" // Dimension Organization of the segmentation
	kindDevice     = "device"     // of the installation, for all its results
)

// seriesOf is the kind of the UID of the series that a kind's objects are in.
func seriesOf(kind string) string { return kind + " series" }

// newDocuments writes what the configuration asks for:
//
//	nodules          SEG, a key image for each nodule and a summary page, SR
//	none             a summary page, SR
//	skipped, failed  SR that says so
func newDocuments(c *config.Config) documents {
	device := store.UIDs{Installation: c.InstallationName()}.UID("", 0, kindDevice, 0)
	return func(header *dataset.Dataset, r *result.Result, uid func(kind string, index int) string) ([]store.File, error) {
		var files []store.File
		report := sr.Options{
			Kind: c.Output.SR, SOPInstanceUID: uid(kindSR, 0), SeriesInstanceUID: uid(seriesOf(kindSR), 0),
			SeriesNumber: c.Output.SeriesNumberSR, DeviceUID: device,
		}
		if r.Predecessor != "" {
			report.Predecessor = &sr.Object{SOPInstanceUID: r.Predecessor, SeriesInstanceUID: r.PredecessorSeries}
		}
		if r.Outcome == result.OutcomeNodules {
			o := seg.Options{
				Kind: c.Output.SEG, SOPInstanceUID: uid(kindSeg, 0), SeriesInstanceUID: uid(seriesOf(kindSeg), 0), SeriesNumber: c.Output.SeriesNumberSEG,
				DimensionOrganizationUID: uid(kindDimensions, 0), DeviceUID: device,
			}
			b, err := seg.Write(header, r, o)
			if err != nil {
				return nil, err
			}
			files = append(files, store.File{Name: "seg.dcm", Kind: kindSeg, SOPClassUID: seg.SOPClass(o.Kind), SOPInstanceUID: o.SOPInstanceUID, Bytes: b})
			report.Segmentation = &sr.Object{SOPClassUID: seg.SOPClass(o.Kind), SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID}
		}
		var pictures []keyimage.Picture
		if r.Outcome == result.OutcomeNodules || r.Outcome == result.OutcomeNone {
			var err error
			if pictures, err = keyimage.Draw(r); err != nil {
				return nil, err
			}
		}
		for i, p := range pictures {
			o := keyimage.Options{
				SOPInstanceUID: uid(kindKeyImage, i), SeriesInstanceUID: uid(seriesOf(kindKeyImage), 0),
				SeriesNumber: c.Output.SeriesNumberKeyImage, InstanceNumber: i + 1, DeviceUID: device,
			}
			object, err := keyimage.Write(header, r, p, o)
			if err != nil {
				return nil, err
			}
			png, err := keyimage.PNG(p)
			if err != nil {
				return nil, err
			}
			files = append(files,
				store.File{Name: p.Name + ".dcm", Kind: kindKeyImage, SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: o.SOPInstanceUID, Bytes: object},
				store.File{Name: p.Name + ".png", Kind: "png", Bytes: png})
			report.KeyImages = append(report.KeyImages, sr.Object{SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID})
		}
		b, err := sr.Write(header, r, report)
		if err != nil {
			return nil, err
		}
		return append(files, store.File{Name: "sr.dcm", Kind: kindSR, SOPClassUID: sr.SOPClass(c.Output.SR), SOPInstanceUID: report.SOPInstanceUID, Bytes: b}), nil
	}
}
