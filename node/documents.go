package node

import (
	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/keyimage"
	"github.com/pulmonode/pulmonode/sr/pdf"
	"github.com/pulmonode/pulmonode/sr/seg"
)

// Kinds of the UIDs that the documents of a generation get.
const (
	kindSeg        = "seg"
	kindSR         = "sr"
	kindKeyImage   = "keyimage"
	kindKOS        = "kos"
	kindPDF        = "pdf"
	kindDimensions = "dimensions" // Dimension Organization of the segmentation
	kindDevice     = "device"     // of the installation, for all its results
)

// seriesOf is the kind of the UID of the series that a kind's objects are in.
func seriesOf(kind string) string { return kind + " series" }

// newDocuments writes what the configuration asks for:
//
//	nodules          SEG, a key image for each nodule and a summary, SR, KOS
//	none             a summary, SR
//	skipped, failed  SR that says so
//
// KOS and, of all outcomes, PDF are written where a destination is sent them.
// Key images are drawn when they are written, one at a time.
func newDocuments(c *config.Config) documents {
	device := store.UIDs{Installation: c.InstallationName()}.UID("", 0, kindDevice, 0)
	return func(header *dataset.Dataset, r *result.Result, uid func(kind string, index int) string) ([]store.File, error) {
		w := documentWriter{Config: c, header: header, r: r, uid: uid, device: device, asReceived: c.Output.CharacterSet == config.AsReceived}
		for _, write := range []func() error{w.segmentation, w.keyImages, w.report, w.keyObjects, w.document} {
			if err := write(); err != nil {
				return nil, err
			}
		}
		return w.files, nil
	}
}

// documentWriter writes the documents of one generation. Those that refer to
// others come after them.
type documentWriter struct {
	*config.Config
	header     *dataset.Dataset
	r          *result.Result
	uid        func(kind string, index int) string
	device     string
	asReceived bool

	files    []store.File
	seg      *sr.Object
	pictures []sr.Object
	sr       []byte
}

func (w *documentWriter) add(name, kind, class, instance string, b []byte) {
	w.files = append(w.files, store.File{Name: name, Kind: kind, SOPClassUID: class, SOPInstanceUID: instance, Bytes: b})
}

func (w *documentWriter) segmentation() error {
	if w.r.Outcome != result.OutcomeNodules {
		return nil
	}
	o := seg.Options{
		Kind: w.Output.SEG, SOPInstanceUID: w.uid(kindSeg, 0), SeriesInstanceUID: w.uid(seriesOf(kindSeg), 0), SeriesNumber: w.Output.SeriesNumberSEG,
		DimensionOrganizationUID: w.uid(kindDimensions, 0), DeviceUID: w.device,
		SeriesDescription: w.Output.SeriesDescriptionSEG, AsReceived: w.asReceived,
	}
	b, err := seg.Write(w.header, w.r, o)
	if err != nil {
		return err
	}
	w.add("seg.dcm", kindSeg, seg.SOPClass(o.Kind), o.SOPInstanceUID, b)
	w.seg = &sr.Object{SOPClassUID: seg.SOPClass(o.Kind), SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID}
	return nil
}

func (w *documentWriter) keyImages() error {
	pages, err := keyimage.Pages(w.r)
	if err != nil {
		return err
	}
	var last keyimage.Picture // of which the other file is to be written too
	for i, p := range pages {
		picture := func() (keyimage.Picture, error) {
			if last.Name == p.Name {
				return last, nil
			}
			drawn, err := p.Draw()
			last = drawn
			return drawn, err
		}
		o := keyimage.Options{
			SOPInstanceUID: w.uid(kindKeyImage, i), SeriesInstanceUID: w.uid(seriesOf(kindKeyImage), 0),
			SeriesNumber: w.Output.SeriesNumberKeyImage, InstanceNumber: i + 1, DeviceUID: w.device,
			SeriesDescription: w.Output.SeriesDescriptionKeyImage, AsReceived: w.asReceived,
		}
		w.files = append(w.files,
			store.File{Name: p.Name + ".dcm", Kind: kindKeyImage, SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: o.SOPInstanceUID, Make: func() ([]byte, error) {
				drawn, err := picture()
				if err != nil {
					return nil, err
				}
				return keyimage.Write(w.header, w.r, drawn, o)
			}},
			store.File{Name: p.Name + ".png", Kind: "png", Make: func() ([]byte, error) {
				drawn, err := picture()
				if err != nil {
					return nil, err
				}
				return keyimage.PNG(drawn)
			}})
		w.pictures = append(w.pictures, sr.Object{SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID})
	}
	return nil
}

func (w *documentWriter) report() error {
	o := sr.Options{
		Kind: w.Output.SR, SOPInstanceUID: w.uid(kindSR, 0), SeriesInstanceUID: w.uid(seriesOf(kindSR), 0),
		SeriesNumber: w.Output.SeriesNumberSR, SeriesName: w.Output.SeriesDescriptionSR, AsReceived: w.asReceived, DeviceUID: w.device,
		Segmentation: w.seg, KeyImages: w.pictures,
	}
	if w.r.Predecessor != "" {
		o.Predecessor = &sr.Object{SOPClassUID: w.r.PredecessorClass, SOPInstanceUID: w.r.Predecessor, SeriesInstanceUID: w.r.PredecessorSeries}
	}
	b, err := sr.Write(w.header, w.r, o)
	if err != nil {
		return err
	}
	w.sr = b
	w.add("sr.dcm", kindSR, sr.SOPClass(o.Kind), o.SOPInstanceUID, b)
	return nil
}

func (w *documentWriter) keyObjects() error {
	if w.r.Outcome != result.OutcomeNodules || !w.Sends(kindKOS) {
		return nil
	}
	o := sr.KeyObjectOptions{
		SOPInstanceUID: w.uid(kindKOS, 0), SeriesInstanceUID: w.uid(seriesOf(kindKOS), 0), SeriesNumber: w.Output.SeriesNumberKOS,
		SeriesDescription: w.Output.SeriesDescriptionKOS, AsReceived: w.asReceived, DeviceUID: w.device, KeyImages: w.pictures,
	}
	b, err := sr.WriteKeyObjects(w.header, w.r, o)
	if err != nil {
		return err
	}
	w.add("kos.dcm", kindKOS, dataset.KeyObjectSelection, o.SOPInstanceUID, b)
	return nil
}

// document is made of the report as it is read back: they cannot say two things.
func (w *documentWriter) document() error {
	if !w.Sends(kindPDF) {
		return nil
	}
	report, err := sr.Read(w.sr)
	if err != nil {
		return err
	}
	document, err := pdf.Document(w.header, w.r, report)
	if err != nil {
		return err
	}
	o := pdf.Options{
		SOPInstanceUID: w.uid(kindPDF, 0), SeriesInstanceUID: w.uid(seriesOf(kindPDF), 0), SeriesNumber: w.Output.SeriesNumberPDF,
		SeriesDescription: w.Output.SeriesDescriptionPDF, AsReceived: w.asReceived, DeviceUID: w.device,
	}
	b, err := pdf.Write(w.header, w.r, report, document, o)
	if err != nil {
		return err
	}
	w.add("pdf.dcm", kindPDF, dataset.EncapsulatedPDF, o.SOPInstanceUID, b)
	w.add("report.pdf", "document", "", "", document)
	return nil
}
