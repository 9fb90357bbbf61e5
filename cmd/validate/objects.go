package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/keyimage"
	"github.com/pulmonode/pulmonode/sr/pdf"
	"github.com/pulmonode/pulmonode/sr/seg"
	"github.com/pulmonode/pulmonode/sr/study"
)

// object is a file that readers are given: "<kind>/<case>.<variant>.dcm", with
// what it must say in a JSON file beside it.
type object struct {
	Case    string
	Kind    string // "seg", "sr", "key", "kos", "pdf"
	Variant string
	Path    string
}

func (o object) String() string { return o.Kind + " " + o.Variant }

// slug is a case's name in file names.
func slug(name string) string { return strings.ReplaceAll(name, " ", "-") }

// segVariants are the encodings of a segmentation that are written.
var segVariants = []string{"binary", "fractional", "labelmap"}

// srVariants are the storage classes of a report.
var srVariants = []string{"comprehensive3d", "comprehensive", "enhanced"}

// ctDir is where a case's CT lies.
func (c *specimen) ctDir(dir string) string { return filepath.Join(dir, "ct", slug(c.name)) }

// objects writes the CT of a case and everything that is made of it into dir.
func (c *specimen) objects(ctx context.Context, dir string) ([]object, error) {
	if err := c.write(ctx, c.ctDir(dir)); err != nil {
		return nil, err
	}
	r, ct, err := c.result(ctx, c.ctDir(dir))
	if err != nil {
		return nil, err
	}
	var out []object
	put := func(kind, variant string, b []byte, truth any) error {
		o := object{c.name, kind, variant, filepath.Join(dir, kind, slug(c.name)+"."+variant+".dcm")}
		if err := os.MkdirAll(filepath.Dir(o.Path), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(o.Path, b, 0o666); err != nil {
			return err
		}
		text, err := json.Marshal(truth)
		if err != nil {
			return err
		}
		out = append(out, o)
		return os.WriteFile(strings.TrimSuffix(o.Path, ".dcm")+".json", text, 0o666)
	}

	series := r.Series.SeriesInstanceUID
	var segmentation *sr.Object
	if len(r.Nodules) > 0 {
		for i, v := range segVariants {
			o := seg.Options{
				Kind: v, SOPInstanceUID: uid(series, "seg", i), SeriesInstanceUID: uid(series, "seg series", i), SeriesNumber: 8001 + i,
				DimensionOrganizationUID: uid(series, "dimensions", i), DeviceUID: uid("", "device", 0),
			}
			b, err := seg.Write(ct, r, o)
			if err != nil {
				return nil, err
			}
			if err := put("seg", v, b, c.truth(v, o.SeriesNumber, r)); err != nil {
				return nil, err
			}
			if segmentation == nil {
				segmentation = &sr.Object{SOPClassUID: seg.SOPClass(v), SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID}
			}
		}
	}
	pages, err := keyimage.Pages(r)
	if err != nil {
		return nil, err
	}
	var keys []sr.Object
	for i, page := range pages {
		p, err := page.Draw()
		if err != nil {
			return nil, err
		}
		o := keyimage.Options{
			SOPInstanceUID: uid(series, "key", i), SeriesInstanceUID: uid(series, "key series", 0),
			SeriesNumber: 7001, InstanceNumber: i + 1, DeviceUID: uid("", "device", 0),
		}
		b, err := keyimage.Write(ct, r, p, o)
		if err != nil {
			return nil, err
		}
		if err := put("key", strconv.Itoa(i+1), b, map[string]string{"patient_name": c.person.utf8}); err != nil {
			return nil, err
		}
		keys = append(keys, sr.Object{SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: o.SOPInstanceUID, SeriesInstanceUID: o.SeriesInstanceUID})
	}
	for i, kind := range srVariants {
		o := sr.Options{
			Kind: kind, SOPInstanceUID: uid(series, "sr", 10+i), SeriesInstanceUID: uid(series, "sr series", 10+i), SeriesNumber: 9001 + i,
			DeviceUID: uid("", "device", 0), Segmentation: segmentation, KeyImages: keys,
		}
		if r.Predecessor != "" {
			o.Predecessor = &sr.Object{SOPInstanceUID: r.Predecessor, SeriesInstanceUID: r.PredecessorSeries}
		}
		b, err := sr.Write(ct, r, o)
		if err != nil {
			return nil, err
		}
		truth := map[string]any{"result": r, "segmentation": "", "without_segment": segmentation == nil, "patient_name": c.person.utf8}
		if segmentation != nil {
			truth["segmentation"] = segmentation.SOPInstanceUID
		}
		if err := put("sr", kind, b, truth); err != nil {
			return nil, err
		}
		if i > 0 {
			continue
		}
		report, err := sr.Read(b)
		if err != nil {
			return nil, err
		}
		document, err := pdf.Document(ct, r, report)
		if err != nil {
			return nil, err
		}
		if b, err = pdf.Write(ct, r, report, document, pdf.Options{
			SOPInstanceUID: uid(series, "pdf", 0), SeriesInstanceUID: uid(series, "pdf series", 0), SeriesNumber: 6001, DeviceUID: uid("", "device", 0),
		}); err != nil {
			return nil, err
		}
		if err := put("pdf", "document", b, map[string]string{"patient_name": c.person.utf8}); err != nil {
			return nil, err
		}
	}
	if len(r.Nodules) == 0 {
		return out, nil
	}
	b, err := sr.WriteKeyObjects(ct, r, sr.KeyObjectOptions{
		SOPInstanceUID: uid(series, "kos", 0), SeriesInstanceUID: uid(series, "kos series", 0), SeriesNumber: 5001, DeviceUID: uid("", "device", 0), KeyImages: keys,
	})
	if err != nil {
		return nil, err
	}
	return out, put("kos", "selection", b, map[string]any{"patient_name": c.person.utf8})
}

// result is what the analysis of the CT in dir would have said. The geometry is
// read from the files, the nodules are known.
func (c *specimen) result(ctx context.Context, dir string) (*result.Result, *dataset.Dataset, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.dcm"))
	if err != nil {
		return nil, nil, err
	}
	files := make([]*dataset.File, len(paths))
	for i, path := range paths {
		if files[i], err = dataset.Open(path, dataset.Limits{}); err != nil {
			return nil, nil, err
		}
	}
	geometry, err := volume.Stack(files)
	if err != nil {
		return nil, nil, err
	}
	v, err := volume.Load(ctx, geometry, 0, nil)
	if err != nil {
		return nil, nil, err
	}
	r := &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNodules, Grid: geometry.Grid, Slices: map[int]*result.Pixels{},
		Series: result.Series{
			StudyInstanceUID: geometry.StudyInstanceUID, SeriesInstanceUID: geometry.SeriesInstanceUID,
			FrameOfReferenceUID: geometry.FrameOfReferenceUID, Instances: len(files),
		},
		Closed: result.Closed{Reason: result.ClosedGeometry, Time: time.Date(2026, 1, 2, 11, 0, 5, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Provider: "cpu", Models: []result.Model{
			{Role: "localize", Version: "0.9", SHA256: strings.Repeat("6b", 32)}, {Role: "refine", Version: "0.8", SHA256: strings.Repeat("d4", 32)},
		}},
		TimingsS: map[string]float64{}, Nodules: []result.Nodule{},
	}
	masks, err := c.masks(ctx, v)
	if err != nil {
		return nil, nil, err
	}
	for i, m := range masks {
		find(r, v, i, m)
	}
	if c.ending != nil {
		c.ending(r)
	}
	return r, files[0].Header, nil
}

// find adds a nodule with its measures. Probabilities run through their bands.
func find(r *result.Result, v *volume.Volume, i int, mask result.Mask) {
	m := refine.Measure(v.Grid, &mask, func(x, y, z int) int16 { return v.HU[(z*v.NY+y)*v.NX+x] })
	n := result.Nodule{
		ID: "N" + strconv.Itoa(i+1), TrackingUID: uid(r.Series.SeriesInstanceUID, "tracking", i),
		CenterLPS: m.Center, VolumeMM3: m.VolumeMM3, LongAxisMM: m.LongMM, ShortAxisMM: m.ShortMM, MaxDiam3DMM: m.MaxDiam3DMM,
		MeanHU: m.MeanHU, SDHU: m.SDHU, Score: 0.93, NoduleProb: 0.97 - float64(i%7)/10, LongAxis: m.Long, ShortAxis: m.Short,
		KeySlice: v.Grid.Instances[m.Key].SOPInstanceUID, Laterality: []string{"right", "left", ""}[i%3],
		Characteristics: map[string]result.Characteristic{}, Mask: mask, Probabilities: probabilities(&mask),
	}
	for z := m.FirstZ; z <= m.LastZ; z++ {
		n.Slices = append(n.Slices, v.Grid.Instances[z].SOPInstanceUID)
	}
	for k, name := range result.Characteristics {
		n.Characteristics[name] = refine.Label(name, float64((7*i+3*k)%10)/10+0.05, 0.5)
	}
	r.Nodules = append(r.Nodules, n)
	size := v.NX * v.NY
	r.Slices[m.Key] = &result.Pixels{Rows: v.NY, Columns: v.NX, HU: v.HU[m.Key*size:][:size]}
}

// masks are the nodules of the case in the volume.
func (c *specimen) masks(ctx context.Context, v *volume.Volume) (out []result.Mask, err error) {
	var list [][]int // indices into HU
	if c.chest != nil {
		_, truth, err := phantom.Generate(ctx, *c.chest, nil)
		if err != nil {
			return nil, err
		}
		for _, n := range truth.Nodules {
			list = append(list, n.Voxels)
		}
	}
	taken := map[int]bool{}
	for _, n := range c.nodules {
		var voxels []int
		for z := range v.NZ {
			for y := range v.NY {
				for x := range v.NX {
					if at := (z*v.NY+y)*v.NX + x; n.holds(x, y, z) && !taken[at] {
						taken[at] = true
						voxels = append(voxels, at)
					}
				}
			}
		}
		list = append(list, voxels)
	}
	for _, voxels := range list {
		out = append(out, maskOf(v, voxels))
	}
	return out, nil
}

// maskOf is the smallest mask that holds the voxels.
func maskOf(v *volume.Volume, voxels []int) result.Mask {
	place := func(at int) [3]int { return [3]int{at % v.NX, at / v.NX % v.NY, at / (v.NX * v.NY)} }
	lo, hi := place(voxels[0]), place(voxels[0])
	for _, at := range voxels {
		for a, p := range place(at) {
			lo[a], hi[a] = min(lo[a], p), max(hi[a], p)
		}
	}
	m := result.Mask{X0: lo[0], Y0: lo[1], Z0: lo[2], NX: hi[0] - lo[0] + 1, NY: hi[1] - lo[1] + 1, NZ: hi[2] - lo[2] + 1}
	m.Bits = make([]bool, m.NX*m.NY*m.NZ)
	for _, at := range voxels {
		p := place(at)
		m.Bits[((p[2]-m.Z0)*m.NY+p[1]-m.Y0)*m.NX+p[0]-m.X0] = true
	}
	return m
}

// probabilities are high in a mask, with a grain, and 0 beside it.
func probabilities(m *result.Mask) result.Probabilities {
	p := result.Probabilities{X0: m.X0, Y0: m.Y0, Z0: m.Z0, NX: m.NX, NY: m.NY, NZ: m.NZ, Values: make([]uint8, len(m.Bits))}
	for i, in := range m.Bits {
		if in {
			p.Values[i] = uint8(result.MostProbable - i%100)
		}
	}
	return p
}

// truth is what a reader must find in a segmentation: of each nodule its voxels
// with their stored values.
func (c *specimen) truth(variant string, seriesNumber int, r *result.Result) map[string]any {
	var slices, nodules []map[string]any
	for _, in := range r.Grid.Instances {
		slices = append(slices, map[string]any{"sop_instance_uid": in.SOPInstanceUID, "frame": in.Frame, "position": in.PositionString})
	}
	for i := range r.Nodules {
		n := &r.Nodules[i]
		var voxels [][4]int
		var lps []result.Point
		for j, in := range n.Mask.Bits {
			if in {
				x, y, z := n.Mask.X0+j%n.Mask.NX, n.Mask.Y0+j/n.Mask.NX%n.Mask.NY, n.Mask.Z0+j/(n.Mask.NX*n.Mask.NY)
				value := map[string]int{"binary": 1, "fractional": int(n.Probabilities.Values[j]), "labelmap": i + 1}[variant]
				voxels = append(voxels, [4]int{x, y, z, value})
				lps = append(lps, r.Grid.LPS(float64(x), float64(y), z))
			}
		}
		rgb := study.ColorOf(n).RGB
		nodules = append(nodules, map[string]any{
			"id": n.ID, "tracking_uid": n.TrackingUID, "rgb": []int{int(rgb.R), int(rgb.G), int(rgb.B)}, "voxels": voxels, "lps": lps,
		})
	}
	return map[string]any{
		"kind": strings.ToUpper(variant), "rows": r.Grid.Rows, "columns": r.Grid.Columns, "slices": slices, "nodules": nodules,
		"volume": c.scan.tilt == 0, "frame_of_reference_uid": r.Series.FrameOfReferenceUID, "algorithm": r.Algorithm.Name,
		"orientation": r.Grid.OrientationString, "pixel_spacing": r.Grid.PixelSpacing, "patient_name": c.person.utf8,
		"affine": affine(r.Grid), "study": r.Series.StudyInstanceUID, "series_number": seriesNumber,
	}
}

// affine is the LPS position of voxel (0, 0, 0) and the steps along x, y and z.
func affine(g *result.Grid) [4]result.Point {
	out := [4]result.Point{g.LPS(0, 0, 0), g.LPS(1, 0, 0), g.LPS(0, 1, 0), g.LPS(0, 0, 1)}
	for i := 1; i < len(out); i++ {
		for a := range out[i] {
			out[i][a] -= out[0][a]
		}
	}
	return out
}
