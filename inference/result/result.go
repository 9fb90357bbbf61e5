// Package result holds what an analysis says of one CT series: the types that
// the pipeline fills, that result.json stores, and that the DICOM documents are
// written from. It imports nothing of the pipeline, so a reader of results needs
// neither ONNX Runtime nor cgo.
//
// All coordinates are in the patient's coordinate system of DICOM (LPS,
// PS3.3 C.7.6.2.1.1), in millimetres. Voxel indices are column, row, slice
// (x, y, z); slices ascend along the normal of the image plane.
package result

import (
	"math"
	"time"
)

// Schema is the version of result.json that this package writes.
const Schema = 1

// Outcome says how the analysis of a series ended.
type Outcome string

// The four outcomes. Only OutcomeNone may ever be read as "no nodules".
const (
	OutcomeNodules Outcome = "nodules" // analysed, at least one nodule
	OutcomeNone    Outcome = "none"    // analysed completely, no nodule
	OutcomeSkipped Outcome = "skipped" // not analysed by rule; Reason says which
	OutcomeFailed  Outcome = "failed"  // could not be analysed; Reason says why and what to do
)

// Result is the analysis of one generation of one series.
type Result struct {
	Schema     int                `json:"schema"`
	Series     Series             `json:"series"`
	Generation int                `json:"generation"`
	Closed     Closed             `json:"closed"`
	Outcome    Outcome            `json:"outcome"`
	Reason     string             `json:"reason"`             // a sentence; empty when analysed
	Warnings   []string           `json:"warnings,omitempty"` // sentences that also stand in the report
	Partial    bool               `json:"partial,omitempty"`  // what was searched is not, or may not be, the whole: Warnings say why
	Algorithm  Algorithm          `json:"algorithm"`
	TimingsS   map[string]float64 `json:"timings_s"` // seconds per stage; differs from run to run
	Nodules    []Nodule           `json:"nodules"`   // by malignancy, then volume, both descending
	// The report of the generation before, empty when there is none.
	Predecessor       string `json:"predecessor_sr_uid,omitempty"`
	PredecessorClass  string `json:"predecessor_sr_class_uid,omitempty"`
	PredecessorSeries string `json:"predecessor_sr_series_uid,omitempty"`

	Grid   *Grid           `json:"-"` // the CT's own grid; nil unless analysed
	Slices map[int]*Pixels `json:"-"` // HU of the slices that pictures are drawn from, by slice index
}

// Series identifies the analysed series.
type Series struct {
	StudyInstanceUID    string `json:"study_instance_uid"`
	SeriesInstanceUID   string `json:"series_instance_uid"`
	FrameOfReferenceUID string `json:"frame_of_reference_uid"`
	Instances           int    `json:"instances"`
}

// Closed says why and when the series counted as complete. The time stands in
// the documents, so a repeated run writes the same bytes.
type Closed struct {
	Reason string    `json:"reason"` // one of those below, or "offline"
	Time   time.Time `json:"time"`
}

// Reasons for which a series counts as complete.
const (
	ClosedGeometry = "geometry" // a closed stack, its transfer ended in order, quiet
	ClosedIdle     = "idle"     // nothing came for a while
	ClosedMaxAge   = "max age"  // it kept coming for too long
)

// Algorithm names what produced the result.
type Algorithm struct {
	Name     string  `json:"name"`
	Version  string  `json:"version"`
	Models   []Model `json:"models"`
	Provider string  `json:"provider"` // "cpu" or "cuda"
	// SmallestMM is the diameter of the smallest nodules that the models were
	// evaluated for; 0 where they do not say.
	SmallestMM float64 `json:"smallest_mm,omitempty"`
}

// Model is one network file.
type Model struct {
	Role    string `json:"role"` // "localize" or "refine"
	SHA256  string `json:"sha256"`
	Version string `json:"version"`
}

// Names of the four characteristics, in the order of the networks' outputs.
var Characteristics = [...]string{"malignancy", "margin", "texture", "calcification"}

// Bands of malignancy (Ni et al. 2022): below the one low, above the other high,
// between them indeterminate.
const (
	MalignancyLow  = 0.35
	MalignancyHigh = 0.65
)

// Characteristic is a calibrated probability and what it is called.
//
// The probability is that of: malignant, clear (circumscribed) margin, solid
// texture, calcification absent.
type Characteristic struct {
	Probability float64 `json:"probability"`
	// Label is "low", "indeterminate" or "high" for malignancy, by the bands
	// above; "clear" or "unclear" for margin;
	// "solid" or "subsolid" for texture; "absent" or "present" for calcification.
	Label     string  `json:"label"`
	Threshold float64 `json:"threshold"`
}

// Point is a position in LPS millimetres.
type Point [3]float64

// Axis is a diameter drawn on the key slice, in LPS millimetres.
type Axis struct {
	From Point `json:"from_lps_mm"`
	To   Point `json:"to_lps_mm"`
}

// Nodule is one finding.
type Nodule struct {
	ID          string   `json:"id"` // "N1", "N2", ...
	TrackingUID string   `json:"tracking_uid"`
	CenterLPS   Point    `json:"center_lps_mm"`
	Slices      []string `json:"slices"` // SOP Instance UIDs that the contour touches, along the normal
	KeySlice    string   `json:"key_slice"`
	VolumeMM3   float64  `json:"volume_mm3"`
	LongAxisMM  float64  `json:"long_axis_mm"`
	ShortAxisMM float64  `json:"short_axis_mm"`
	MaxDiam3DMM float64  `json:"max_diameter_3d_mm"`
	MeanHU      float64  `json:"mean_hu"`
	SDHU        float64  `json:"sd_hu"`
	Score       float64  `json:"score"`       // stage 1, 0..1
	NoduleProb  float64  `json:"nodule_prob"` // stage 2, 0..1
	Laterality  string   `json:"laterality"`  // "left", "right" or "" when not known
	LongAxis    Axis     `json:"long_axis"`
	ShortAxis   Axis     `json:"short_axis"`

	Characteristics map[string]Characteristic `json:"characteristics"`

	Mask          Mask          `json:"-"`
	Probabilities Probabilities `json:"-"`
}

// Mask is a nodule's contour: voxels of the CT's own grid in a box.
type Mask struct {
	X0, Y0, Z0 int    // first voxel of the box in the grid
	NX, NY, NZ int    // size of the box
	Bits       []bool // NZ*NY*NX, x fastest
}

// At reports whether voxel (x, y, z) of the grid belongs to the nodule.
func (m *Mask) At(x, y, z int) bool {
	x, y, z = x-m.X0, y-m.Y0, z-m.Z0
	if x < 0 || y < 0 || z < 0 || x >= m.NX || y >= m.NY || z >= m.NZ {
		return false
	}
	return m.Bits[(z*m.NY+y)*m.NX+x]
}

// Probabilities tell how likely a voxel of the CT's own grid belongs to a nodule,
// in a box that holds its contour and the rim around it. A voxel belongs to the
// contour where its value reaches the network's threshold; those of other
// structures in the box are 0.
type Probabilities struct {
	X0, Y0, Z0 int     // first voxel of the box in the grid
	NX, NY, NZ int     // size of the box
	Values     []uint8 // NZ*NY*NX, x fastest, in parts of MostProbable; nil when not known
}

// MostProbable is the value of a probability of 1.
const MostProbable = 255

// Grid is the CT's own voxel grid and the instances that carry its slices.
// Strings are those of the CT, byte for byte, so that what is written beside
// the CT compares equal.
type Grid struct {
	Rows, Columns int
	Instances     []Instance // ascending along the normal
	Orientation   [6]float64 // Image Orientation (Patient): row, then column cosines
	PixelSpacing  [2]float64 // mm between rows, mm between columns
	SliceSpacing  float64    // mm from slice position to slice position, along the tilt of the gantry if there is one

	OrientationString  string // Image Orientation (Patient) as received
	PixelSpacingString string // Pixel Spacing as received
	SliceThickness     string // as received, may be empty
}

// SliceDistance is how far slices lie apart along their normal, in mm (Spacing
// Between Slices, PS3.3 C.8.15.3.10), to a nanometre: positions have no more
// digits that mean something, and 1.2499999999997 would look like another series.
// It is 0 with fewer than two slices.
func (g *Grid) SliceDistance() float64 {
	n := len(g.Instances) - 1
	if n < 1 {
		return 0
	}
	first, last, normal := g.Instances[0].Position, g.Instances[n].Position, g.Normal()
	along := 0.0
	for i := range normal {
		along += normal[i] * (last[i] - first[i])
	}
	return math.Round(1e6*math.Abs(along)/float64(n)) / 1e6
}

// Normal is the direction that slices ascend in, of length 1 (PS3.3
// C.7.6.2.1.1): the cross product of rows and columns. It is 0 where these are
// not two directions.
func (g *Grid) Normal() Point {
	o := g.Orientation
	n := Point{o[1]*o[5] - o[2]*o[4], o[2]*o[3] - o[0]*o[5], o[0]*o[4] - o[1]*o[3]}
	length := math.Sqrt(n[0]*n[0] + n[1]*n[1] + n[2]*n[2])
	if length == 0 {
		return Point{}
	}
	return Point{n[0] / length, n[1] / length, n[2] / length}
}

// Instance is one slice's source image.
type Instance struct {
	SOPClassUID    string
	SOPInstanceUID string
	Frame          int // 1-based in an enhanced object, else 0
	Position       Point
	PositionString string // Image Position (Patient) as received
}

// LPS returns the position of voxel (x, y) of slice z; x and y may be fractions.
func (g *Grid) LPS(x, y float64, z int) Point {
	p := g.Instances[z].Position
	for i := range p {
		p[i] += x*g.PixelSpacing[1]*g.Orientation[i] + y*g.PixelSpacing[0]*g.Orientation[3+i]
	}
	return p
}

// Pixels is one slice in Hounsfield units.
type Pixels struct {
	Rows, Columns int
	HU            []int16 // Rows*Columns, row by row
}
