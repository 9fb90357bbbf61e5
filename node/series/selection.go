package series

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/store"
)

// Selection is the [select] section: which series are analysed. A zero number
// means its default.
type Selection struct {
	MaxSpacingMM  float64 // 3.0
	MinSlices     int     // 40
	MaxSlices     int     // 3000
	MaxObliqueDeg float64 // 10
	Derived       bool    // analyse DERIVED axial reconstructions too
}

func (s Selection) withDefaults() Selection {
	s.MaxSpacingMM = cmp.Or(s.MaxSpacingMM, 3)
	s.MinSlices = cmp.Or(s.MinSlices, 40)
	s.MaxSlices = cmp.Or(s.MaxSlices, 3000)
	s.MaxObliqueDeg = cmp.Or(s.MaxObliqueDeg, 10)
	return s
}

// Verdict says whether a series is analysed.
type Verdict struct {
	OK bool
	// Reason is a sentence in terms of the series, with what to ask for; empty
	// when OK.
	Reason    string
	Slices    int     // image planes
	SpacingMM float64 // the median distance of the planes; 0 when not known
}

// Select looks at the headers of all instances of a series, in any order.
func Select(headers []*dataset.Dataset, s Selection) Verdict {
	selector := NewSelector(s)
	for _, h := range headers {
		selector.Add(h)
	}
	return selector.Verdict()
}

// Selector is Select for headers that come one by one; it keeps a few numbers of
// each. It belongs to one goroutine.
type Selector struct {
	settings  Selection
	instances int
	frames    int
	notCT     []string // modality or SOP class of instances that are not CT
	unread    int      // instances without a header
	localizer int
	derived   []string // the image type of derived instances
	unplaced  int
	unspaced  int
	refs      map[string]int // Frames of Reference
	first     frame
	other     int // planes in another orientation than the first
	positions []float64
	resized   string // how a plane's grid differs from the first's
	rows      [2]int
}

// NewSelector returns a selector that has seen nothing.
func NewSelector(s Selection) *Selector {
	return &Selector{settings: s.withDefaults(), refs: make(map[string]int)}
}

// sopClasses are the images that the pipeline reads, by what people call them.
var sopClasses = map[string]string{
	dataset.CTImage:                   "CT image",
	dataset.EnhancedCT:                "enhanced CT image",
	dataset.LegacyConvertedEnhancedCT: "legacy converted enhanced CT image",
}

// derivedTypes are values of Image Type that name a picture made from a stack
// (PS3.3 C.8.2.1.1.1, C.8.16.1; the rest as vendors write them). Such a picture
// is not a reconstruction of the chest, whatever else it says.
var derivedTypes = []string{"MPR", "REFORMATTED", "MIP", "MINIP", "MAX_IP", "MIN_IP", "CPR", "PROJECTION IMAGE", "VRT", "3D",
	"CSA MPR", "CSA MIP", "CSA 3D", "SCREEN SAVE", "CURVED_MPR", "MAXIMUM", "MINIMUM", "VOLUME_RENDER"}

// Add takes the header of one instance, nil for one that cannot be read.
func (s *Selector) Add(h *dataset.Dataset) {
	s.instances++
	if h == nil {
		s.unread++
		return
	}
	_, known := sopClasses[h.Text(dataset.SOPClassUID)]
	if modality := h.Text(dataset.Modality); modality != "CT" || !known {
		what := modality
		if modality == "CT" || modality == "" {
			what = "SOP class " + h.Text(dataset.SOPClassUID)
		}
		s.notCT = addOnce(s.notCT, what)
		return
	}
	if ref := h.Text(dataset.FrameOfReferenceUID); len(s.refs) < 16 {
		s.refs[ref]++
	}
	rows, _ := h.Int(dataset.Rows)
	columns, _ := h.Int(dataset.Columns)
	for _, f := range framesOf(h) {
		s.addFrame(f, [2]int{rows, columns})
	}
}

func (s *Selector) addFrame(f frame, rows [2]int) {
	s.frames++
	if hasValue(f.imageType, "LOCALIZER") {
		s.localizer++
		return
	}
	if len(f.imageType) > 0 {
		original := strings.EqualFold(f.imageType[0], "ORIGINAL") || strings.EqualFold(f.imageType[0], "MIXED")
		made := slices.ContainsFunc(derivedTypes, func(t string) bool { return hasValue(f.imageType, t) })
		if made || !original && !s.settings.Derived {
			s.derived = addOnce(s.derived, printable(strings.Join(f.imageType, `\`)))
		}
	}
	if !f.placed || !f.oriented {
		s.unplaced++
		return
	}
	if !f.spaced {
		s.unspaced++
	}
	if len(s.positions) == 0 {
		s.first, s.rows = f, rows
	}
	switch {
	case !sameOrientation(s.first.orientation, f.orientation):
		s.other++
		return
	case rows != s.rows:
		s.resized = fmt.Sprintf("images of %d x %d and of %d x %d pixels", s.rows[0], s.rows[1], rows[0], rows[1])
	case f.spaced && s.first.spaced && (differs(f.spacing[0], s.first.spacing[0]) || differs(f.spacing[1], s.first.spacing[1])):
		s.resized = fmt.Sprintf("pixels of %.3f mm and of %.3f mm", s.first.spacing[0], f.spacing[0])
	}
	if len(s.positions) < maxPositions {
		s.positions = append(s.positions, along(normal(s.first.orientation), f.position))
	}
}

func differs(a, b float64) bool { return math.Abs(a-b) > 0.001*b }

// Verdict judges what was added.
func (s *Selector) Verdict() Verdict {
	slices.Sort(s.positions)
	v := Verdict{Slices: s.frames}
	median, odd, even := spacing(s.positions)
	v.SpacingMM = median
	v.Reason = s.reason(median, odd, even)
	v.OK = v.Reason == ""
	return v
}

func (s *Selector) reason(median float64, odd int, even bool) string {
	set := s.settings
	switch {
	case s.instances == 0:
		return "the series has no image"
	case s.unread > 0:
		return fmt.Sprintf("%d of %d files cannot be read as DICOM: send the series again", s.unread, s.instances)
	case len(s.notCT) > 0:
		return fmt.Sprintf("the series holds objects that are not CT images (%s): only CT is analysed", strings.Join(s.notCT, ", "))
	case s.localizer == s.frames:
		return "the series is a localizer (scout): send the axial reconstruction"
	case s.localizer > 0:
		return fmt.Sprintf("%d of %d images are localizers (scouts): send the axial stack as a series of its own", s.localizer, s.frames)
	case s.unplaced > 0:
		return fmt.Sprintf("%d of %d images do not say where they lie (Image Position and Orientation (Patient)): ask for the series as the scanner made it", s.unplaced, s.frames)
	case s.refs[""] > 0:
		return fmt.Sprintf("%d of %d images have no Frame of Reference UID, so no result could be laid over them: ask for the series as the scanner made it", s.refs[""], s.instances)
	case len(s.refs) > 1:
		return fmt.Sprintf("the slices lie in %d Frames of Reference, so their places cannot be compared: ask for each scan as a series of its own", len(s.refs))
	case s.other > 0:
		return fmt.Sprintf("the slices have two orientations or more (%d of %d differ from the first): ask for the axial stack as a series of its own", s.other, s.frames)
	}
	n := normal(s.first.orientation)
	if angle := math.Acos(min(math.Abs(n[2]), 1)) * 180 / math.Pi; angle > set.MaxObliqueDeg {
		return fmt.Sprintf("the slices are %s, %.0f degrees from axial; at most %g are analysed: ask for the axial reconstruction", planeName(n), angle, set.MaxObliqueDeg)
	}
	if len(s.derived) > 0 {
		end := "ask for the ORIGINAL axial reconstruction"
		if !set.Derived {
			end += ", or allow axial ones with [select] derived = true"
		}
		return fmt.Sprintf("the images are derived (Image Type %s): %s", strings.Join(s.derived, ", "), end)
	}
	switch {
	case s.unspaced > 0:
		return fmt.Sprintf("%d of %d images have no Pixel Spacing, so nothing in them can be measured: ask for the series as the scanner made it", s.unspaced, s.frames)
	case s.resized != "":
		return fmt.Sprintf("the series mixes %s: ask for each reconstruction as a series of its own", s.resized)
	case len(s.positions) > 1 && median > set.MaxSpacingMM+0.005:
		return fmt.Sprintf("slices are %s mm apart; at most %s mm are analysed: ask for the thin reconstruction", mm(median), mm(set.MaxSpacingMM))
	case odd >= 0 && (median < duplicateWithin || s.positions[odd+1]-s.positions[odd] < duplicateWithin):
		return fmt.Sprintf("positions are taken twice, %d in all, first at %s mm: ask for each reconstruction or phase as a series of its own", duplicates(s.positions), mm(s.positions[odd]))
	case odd >= 0 && s.positions[odd+1]-s.positions[odd] > 1.5*median:
		at, gap := s.positions[odd], s.positions[odd+1]-s.positions[odd]
		return fmt.Sprintf("slices are missing: %s mm lie between the slices at %s mm and %s mm, %s mm elsewhere: send the series again, completely", mm(gap), mm(at), mm(s.positions[odd+1]), mm(median))
	case s.frames == 1 && s.frames < set.MinSlices: // a scout
		return fmt.Sprintf("the series has one slice; at least %d are analysed: ask for the whole chest", set.MinSlices)
	case s.frames < set.MinSlices:
		return fmt.Sprintf("the series has %d slices; at least %d are analysed: ask for the whole chest", s.frames, set.MinSlices)
	case s.frames > set.MaxSlices:
		return fmt.Sprintf("the series has %d slices; at most %d are analysed: ask for a reconstruction with fewer", s.frames, set.MaxSlices)
	case !even:
		return fmt.Sprintf("the slices are unevenly spaced (%s mm after the slice at %s mm, %s mm elsewhere): ask for a reconstruction with one spacing", mm(s.positions[odd+1]-s.positions[odd]), mm(s.positions[odd]), mm(median))
	}
	return ""
}

// mm writes a length to the hundredth, 5.0 with one digit.
func mm(x float64) string {
	return strings.TrimSuffix(strconv.FormatFloat(x+0, 'f', 2, 64), "0")
}

func duplicates(sorted []float64) int {
	n := 0
	for i := 1; i < len(sorted); i++ {
		if sorted[i]-sorted[i-1] < duplicateWithin {
			n++
		}
	}
	return n
}

// planeName names the plane by its normal in LPS.
func planeName(n [3]float64) string {
	switch x, y, z := math.Abs(n[0]), math.Abs(n[1]), math.Abs(n[2]); {
	case x > 0.9:
		return "sagittal"
	case y > 0.9:
		return "coronal"
	case z > 0.9:
		return "tilted"
	}
	return "oblique"
}

func hasValue(values []string, want string) bool {
	return slices.ContainsFunc(values, func(v string) bool { return strings.EqualFold(strings.TrimSpace(v), want) })
}

// addOnce collects up to four different texts for a sentence.
func addOnce(list []string, text string) []string {
	if text = printable(text); slices.Contains(list, text) || len(list) >= 4 {
		return list
	}
	return append(list, text)
}

// printable keeps what a sender wrote from spoiling a line of the log.
func printable(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	if len(text) > 80 {
		text = text[:80] + "..."
	}
	return text
}

// Candidate is a series of a study that Select found fit.
type Candidate struct {
	store.Key
	Verdict
}

// Thinnest chooses one series of a study for one_per_study = "thinnest": the
// smallest slice spacing, then the most slices, then the smaller UID, so that
// every node chooses alike. It returns the sentence with which each other
// candidate that is OK is skipped, by key; candidates of other studies choose
// among themselves.
func Thinnest(candidates []Candidate) (skipped map[store.Key]string) {
	skipped = make(map[store.Key]string)
	chosen := make(map[string]Candidate)
	better := func(a, b Candidate) bool {
		return cmp.Or(cmp.Compare(math.Round(a.SpacingMM*100), math.Round(b.SpacingMM*100)),
			cmp.Compare(b.Slices, a.Slices), cmp.Compare(a.Series, b.Series)) < 0
	}
	for _, c := range candidates {
		if best, ok := chosen[c.Study]; c.OK && (!ok || better(c, best)) {
			chosen[c.Study] = c
		}
	}
	for _, c := range candidates {
		best := chosen[c.Study]
		if !c.OK || c.Key == best.Key {
			continue
		}
		skipped[c.Key] = fmt.Sprintf("another series of the study is analysed in its place (%s: %d slices %s mm apart; here %d, %s mm) because [select] one_per_study is \"thinnest\"",
			best.Series, best.Slices, mm(best.SpacingMM), c.Slices, mm(c.SpacingMM))
	}
	return skipped
}
