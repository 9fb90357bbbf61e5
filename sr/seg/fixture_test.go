package seg

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// box is a nodule as corner and size of a box that it fills, but for its corners
// where it has more than two voxels a side.
type box struct{ x, y, z, nx, ny, nz int }

func (b box) mask() result.Mask {
	m := result.Mask{X0: b.x, Y0: b.y, Z0: b.z, NX: b.nx, NY: b.ny, NZ: b.nz, Bits: make([]bool, b.nx*b.ny*b.nz)}
	for i := range m.Bits {
		x, y := i%b.nx, i/b.nx%b.ny
		corner := (x == 0 || x == b.nx-1) && (y == 0 || y == b.ny-1)
		m.Bits[i] = !corner || b.nx < 3 || b.ny < 3
	}
	return m
}

// likely gives a nodule probabilities: from half upwards in its contour, with a
// rim of a voxel around it where the grid goes on. seed tells nodules apart.
func likely(g *result.Grid, n *result.Nodule, seed int) {
	m := &n.Mask
	p := result.Probabilities{X0: m.X0 - 1, Y0: m.Y0 - 1, Z0: m.Z0 - 1, NX: m.NX + 2, NY: m.NY + 2, NZ: m.NZ + 2}
	p.Values = make([]uint8, p.NX*p.NY*p.NZ)
	for i := range p.Values {
		x, y, z := p.X0+i%p.NX, p.Y0+i/p.NX%p.NY, p.Z0+i/(p.NX*p.NY)
		switch {
		case m.At(x, y, z):
			p.Values[i] = uint8(128 + (i*7+seed*31)%128)
		case x >= 0 && y >= 0 && z >= 0 && x < g.Columns && y < g.Rows && z < len(g.Instances):
			p.Values[i] = uint8((i*5 + seed*17) % 128)
		}
	}
	n.Probabilities = p
}

// series makes a result on a grid of the size, with slices 1.25 mm apart.
func series(rows, columns, depth int, boxes ...box) *result.Result {
	g := &result.Grid{
		Rows: rows, Columns: columns,
		Orientation: [6]float64{1, 0, 0, 0, 1, 0}, OrientationString: `1.000000\0\0\0\1.0\0 `,
		PixelSpacing: [2]float64{0.7, 0.7}, PixelSpacingString: `0.700\0.700`, SliceSpacing: 1.2500000000000142, SliceThickness: "2.5 ",
	}
	for z := range depth {
		p := result.Point{-180, -175.5, -300 + 1.25*float64(z)}
		g.Instances = append(g.Instances, result.Instance{
			SOPClassUID: dataset.CTImage, SOPInstanceUID: fmt.Sprintf("1.2.3.4.%d", z+1),
			Position: p, PositionString: fmt.Sprintf(`-180.000\-175.5\%.4f`, p[2]),
		})
	}
	r := &result.Result{
		Schema: result.Schema, Generation: 1, Outcome: result.OutcomeNodules, Grid: g,
		Series: result.Series{StudyInstanceUID: "1.2.3", SeriesInstanceUID: "1.2.3.4", FrameOfReferenceUID: "1.2.3.9", Instances: depth},
		Closed: result.Closed{Reason: "geometry", Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)},
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Provider: "cpu", Models: []result.Model{
			{Role: "localize", Version: "3", SHA256: strings.Repeat("ab", 32)}, {Role: "refine", Version: "4", SHA256: strings.Repeat("cd", 32)}}},
	}
	for i, b := range boxes {
		n := result.Nodule{
			ID: fmt.Sprintf("N%d", i+1), TrackingUID: fmt.Sprintf("2.25.77%d", i+1), Mask: b.mask(),
			Laterality: []string{"left", "right", ""}[i%3],
		}
		likely(g, &n, i)
		r.Nodules = append(r.Nodules, n)
	}
	return r
}

// enhanced makes multi-frame objects of the slices, dealt out to them in turn.
func enhanced(r *result.Result, objects int) *result.Result {
	for z := range r.Grid.Instances {
		in := &r.Grid.Instances[z]
		in.SOPClassUID, in.SOPInstanceUID, in.Frame = dataset.EnhancedCT, fmt.Sprintf("1.2.3.4.%d", z%objects+1), z/objects+1
	}
	return r
}

// placed gives the grid axes and puts the slices one step after the other. The
// strings are those of a scanner, with as many digits as it likes.
func placed(r *result.Result, row, column, step result.Point) *result.Result {
	g := r.Grid
	g.Orientation = [6]float64{row[0], row[1], row[2], column[0], column[1], column[2]}
	text := func(v []float64, format string) string {
		var parts []string
		for _, x := range v {
			parts = append(parts, fmt.Sprintf(format, x))
		}
		return strings.Join(parts, `\`)
	}
	g.OrientationString = text(g.Orientation[:], "%.9f")
	g.SliceSpacing = math.Sqrt(dot(step, step))
	for z := range g.Instances {
		in := &g.Instances[z]
		for a := range 3 {
			in.Position[a] = -100.25 + float64(z)*step[a]
		}
		in.PositionString = text(in.Position[:], "%.6f")
	}
	return r
}

// turned is a vector turned about the patient's x axis, then about z.
func turned(v result.Point, aboutX, aboutZ float64) result.Point {
	s, c := math.Sincos(aboutX)
	v = result.Point{v[0], c*v[1] - s*v[2], s*v[1] + c*v[2]}
	s, c = math.Sincos(aboutZ)
	return result.Point{c*v[0] - s*v[1], s*v[0] + c*v[1], v[2]}
}

// many are n nodules of four voxels a side, in rows, on three levels.
func many(n int) []box {
	var out []box
	for i := range n {
		out = append(out, box{1 + 6*(i%10), 1 + 6*(i/10), 1 + 4*(i%3), 4, 4, 3})
	}
	return out
}

func header() *dataset.Dataset {
	d := &dataset.Dataset{}
	d.SetText(dataset.SpecificCharacterSet, "CS", "ISO_IR 100")
	d.SetText(dataset.PatientName, "PN", "Buc^J\xe9r\xf4me")
	d.SetText(dataset.PatientID, "LO", "P-1")
	d.SetText(dataset.PatientSex, "CS", "M")
	d.SetText(dataset.PatientBirthDate, "DA", "19600102")
	d.SetText(dataset.StudyDate, "DA", "20260304")
	d.SetText(dataset.StudyTime, "TM", "040506")
	d.SetText(dataset.StudyID, "SH", "1")
	d.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
	d.SetText(dataset.SeriesInstanceUID, "UI", "1.2.3.4")
	d.SetText(dataset.FrameOfReferenceUID, "UI", "1.2.3.9")
	d.SetText(dataset.Manufacturer, "LO", "Maker of scanners")
	return d
}

func options() Options {
	return Options{SOPInstanceUID: "2.25.10", SeriesInstanceUID: "2.25.11", SeriesNumber: 8001, DimensionOrganizationUID: "2.25.12", DeviceUID: "2.25.13"}
}

// cases are results that a reader must get back voxel by voxel.
var cases = []struct {
	name   string
	result func() *result.Result
	volume bool // its frames make a volume without holes
}{
	{"one nodule", func() *result.Result { return series(64, 64, 12, box{10, 12, 3, 7, 6, 4}) }, true},
	{"two nodules", func() *result.Result { return series(64, 64, 12, box{10, 12, 3, 7, 6, 4}, box{40, 30, 4, 5, 5, 3}) }, true},
	{"eight nodules", func() *result.Result { return series(64, 64, 16, many(8)...) }, true},
	{"sixty nodules", func() *result.Result { return series(64, 64, 16, many(60)...) }, true},
	{"rows times columns not divisible by 8", func() *result.Result { return series(37, 51, 9, box{0, 0, 0, 5, 4, 3}, box{46, 33, 2, 5, 4, 3}) }, true},
	{"more rows than columns", func() *result.Result { return series(61, 23, 9, box{0, 50, 0, 5, 4, 3}, box{18, 57, 2, 5, 4, 3}) }, true},
	{"an odd number of bytes", func() *result.Result { return series(3, 8, 3, box{1, 1, 1, 2, 2, 1}) }, true},
	{"fewer bits than a byte in a frame", func() *result.Result { return series(2, 3, 5, box{0, 0, 0, 3, 2, 5}) }, true},
	{"a nodule in one slice", func() *result.Result { return series(33, 33, 7, box{16, 16, 3, 3, 3, 1}) }, true},
	{"the first and the last voxel", func() *result.Result { return series(19, 21, 4, box{0, 0, 0, 1, 1, 1}, box{20, 18, 3, 1, 1, 1}) }, false},
	{"nodules far from each other", func() *result.Result { return series(40, 40, 30, box{5, 5, 2, 4, 4, 2}, box{20, 20, 25, 4, 4, 3}) }, false},
	{"nodules that touch", func() *result.Result {
		return series(40, 40, 10, box{5, 5, 2, 6, 6, 4}, box{11, 5, 2, 6, 6, 4}, box{5, 5, 6, 6, 6, 2})
	}, true},
	{"nodules that share voxels", func() *result.Result {
		return series(40, 40, 10, box{5, 5, 2, 8, 8, 4}, box{9, 9, 3, 8, 8, 4}, box{10, 6, 3, 6, 6, 3})
	}, true},
	{"a box with empty rims", func() *result.Result {
		r := series(40, 40, 10, box{5, 5, 2, 8, 8, 5})
		m := &r.Nodules[0].Mask
		for _, z := range []int{0, 4} {
			clear(m.Bits[z*64 : (z+1)*64])
		}
		return r
	}, true},
	{"a nodule with a hole between slices", func() *result.Result {
		r := series(40, 40, 10, box{5, 5, 2, 8, 8, 5})
		clear(r.Nodules[0].Mask.Bits[2*64 : 3*64])
		p := &r.Nodules[0].Probabilities
		clear(p.Values[3*p.NX*p.NY : 4*p.NX*p.NY])
		return r
	}, false},
	{"slices that run to the feet", func() *result.Result {
		r := series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3})
		return placed(r, result.Point{1, 0, 0}, result.Point{0, -1, 0}, result.Point{0, 0, -1.25})
	}, true},
	{"oblique slices", func() *result.Result {
		r := series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3})
		at := func(v result.Point) result.Point { return turned(v, 0.15, -0.1) }
		return placed(r, at(result.Point{1, 0, 0}), at(result.Point{0, 1, 0}), at(result.Point{0, 0, 0.8}))
	}, true},
	{"voxels that are not cubes", func() *result.Result {
		r := series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3})
		r.Grid.PixelSpacing, r.Grid.PixelSpacingString = [2]float64{0.5, 0.9}, `0.50\0.9`
		return placed(r, result.Point{1, 0, 0}, result.Point{0, 1, 0}, result.Point{0, 0, 2.5})
	}, true},
	{"a tilted gantry", func() *result.Result { // slices are shifted along their columns
		r := series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3})
		return placed(r, result.Point{1, 0, 0}, turned(result.Point{0, 1, 0}, 0.3, 0), result.Point{0, 0, 1.25})
	}, false},
	{"one enhanced object", func() *result.Result {
		return enhanced(series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3}), 1)
	}, true},
	{"an enhanced object whose frames run downwards", func() *result.Result {
		r := enhanced(series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3}), 1)
		for z := range r.Grid.Instances {
			r.Grid.Instances[z].Frame = len(r.Grid.Instances) - z
		}
		return r
	}, true},
	{"two enhanced objects", func() *result.Result {
		return enhanced(series(37, 51, 9, box{3, 3, 2, 5, 4, 3}, box{20, 20, 3, 6, 6, 3}), 2)
	}, true},
}
