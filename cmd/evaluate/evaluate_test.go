package main

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sbinet/npyio/npz"

	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
)

func rated(p float64, label bool, patient string) score {
	s := score{nodule: &nodule{patient: patient, diameterMM: 8}, drawn: true, believed: 1}
	s.rated[0], s.label[0] = p, label
	return s
}

func TestAUCCountsPairsInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		scores []score
		want   float64
	}{
		"perfect": {[]score{rated(0.1, false, "a"), rated(0.9, true, "b")}, 1},
		"wrong":   {[]score{rated(0.9, false, "a"), rated(0.1, true, "b")}, 0},
		"ties":    {[]score{rated(0.5, false, "a"), rated(0.5, true, "b")}, 0.5},
		// Ones at 0.3 and 0.8, zeros at 0.2, 0.3, 0.5: (1 + 0.5 + 0 + 3) of 6.
		"mixed": {[]score{rated(0.8, true, "a"), rated(0.2, false, "a"), rated(0.3, true, "b"), rated(0.5, false, "c"), rated(0.3, false, "c")}, 4.5 / 6},
	} {
		if got := auc(c.scores, 0); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: %g, want %g", name, got, c.want)
		}
		area, curve := 0.0, roc(c.scores, 0)
		for i := 1; i < len(curve); i++ {
			area += (curve[i].X - curve[i-1].X) * (curve[i].Y + curve[i-1].Y) / 2
		}
		if math.Abs(area-c.want) > 1e-12 {
			t.Errorf("%s: the curve has %g under it, want %g", name, area, c.want)
		}
	}
	if _, ok := figure([]score{rated(0.5, true, "a")}, nil)["auc.malignancy"]; ok {
		t.Error("an AUC of one class")
	}
}

func TestOverlapOnSlicesWithTruth(t *testing.T) {
	// Two planes of four voxels; the truth is on the first alone.
	truth := []bool{true, true, false, false, false, false, false, false}
	drawn := []bool{true, false, true, false, true, false, false, false}
	o := compare(drawn, truth, 4)
	if o.dice != 0.5 || math.Abs(o.diceAll-2.0/5) > 1e-12 || math.Abs(o.overlapError-2.0/3) > 1e-12 {
		t.Errorf("%+v", o)
	}
	if d := dice(drawn, truth); math.Abs(d-2.0/5) > 1e-12 {
		t.Errorf("Dice %g", d)
	}
}

// TestIntervalsDrawPatients gives one patient most of the nodules: drawn one by
// one they would be sure of the mean, drawn with their patient they are not.
func TestIntervalsDrawPatients(t *testing.T) {
	var scores []score
	for range 50 {
		s := rated(0.9, true, "many")
		s.refined.dice = 1
		scores = append(scores, s)
	}
	scores = append(scores, rated(0.2, false, "one"))
	first, again := bootstrap(scores, nil, 200)["dice_mean"], bootstrap(scores, nil, 200)["dice_mean"]
	if first != again {
		t.Errorf("two runs: %v and %v", first, again)
	}
	if first[0] != 0 || first[1] != 1 {
		t.Errorf("the interval of two patients is %v", first)
	}
}

func TestFiguresAreNested(t *testing.T) {
	r := &report{Thresholds: map[string]float64{"malignancy": 0.5}}
	r.summarise([]score{rated(0.2, false, "a"), rated(0.9, true, "b")}, 50)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Nodules     int
		AUC         map[string]float64
		Sensitivity map[string]float64
		Brier       map[string]float64
		Interval    struct {
			Brier map[string][2]float64
		} `json:"interval_95"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if got.Nodules != 2 || got.AUC["malignancy"] != 1 || got.Sensitivity["malignancy"] != 1 || got.Brier["malignancy"] != 0.025 || got.Interval.Brier["malignancy"] != [2]float64{0.01, 0.04} {
		t.Errorf("%s", b)
	}
}

const header = "key,patient,offset,nz,ny,nx,dz,dy,dx,readers,diameter_mm,malignancy,margin,texture,calcification\n"

func folder(t *testing.T, hu []int16, readers []uint8, rows string) string {
	t.Helper()
	dir := t.TempDir()
	w, err := npz.Create(filepath.Join(dir, "nodules.npz"))
	if err != nil {
		t.Fatal(err)
	}
	for name, array := range map[string]any{"hu.npy": hu, "readers.npy": readers} {
		if err := w.Write(name, array); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "index.csv"), []byte(header+rows), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadFolder(t *testing.T) {
	hu := []int16{-2000, 40, -800, 30, 7, 8, 9, 10}
	outlines := []uint8{0, 3, 1, 0, 0, 0, 0, 0}
	nodules, err := readFolder(folder(t, hu, outlines, "a_1,a,0,2,2,2,2.5,0.7,0.6,3,8.5,4;4;3,5;5;4,5;5;5,6;5;6\n"))
	if err != nil {
		t.Fatal(err)
	}
	n := nodules[0]
	if n.ct.HU[0] != -1000 || n.ct.HU[1] != 40 {
		t.Errorf("HU %v", n.ct.HU)
	}
	if n.consensus(0) || !n.consensus(1) || n.consensus(2) {
		t.Error("consensus is not half of the readers")
	}
	if n.label != [4]bool{false, true, true, true} {
		t.Errorf("labels %v of means 3.67, 4.67, 5, 5.67", n.label)
	}
	c, truth := n.candidate()
	if c.Center != [3]float64{1, 0, 0} || c.Min != [3]float64{0.5, -0.5, -0.5} || !truth[1] {
		t.Errorf("candidate %+v of %v", c, truth)
	}
	for name, row := range map[string]string{
		"beyond the arrays": "a_1,a,1,2,2,2,2.5,0.7,0.6,3,8.5,4,5,5,6\n",
		"negative":          "a_1,a,-1,2,2,2,2.5,0.7,0.6,3,8.5,4,5,5,6\n",
		"huge":              "a_1,a,0,2000000000,2000000000,2000000000,2.5,0.7,0.6,3,8.5,4,5,5,6\n",
		"no spacing":        "a_1,a,0,2,2,2,0,0.7,0.6,3,8.5,4,5,5,6\n",
		"no number":         "a_1,a,0,2,2,2,x,0.7,0.6,3,8.5,4,5,5,6\n",
		"nobody outlined":   "a_1,a,0,1,1,1,2.5,0.7,0.6,3,8.5,4,5,5,6\n",
		"no row":            "",
	} {
		if _, err := readFolder(folder(t, hu, outlines, row)); err == nil || !strings.Contains(err.Error(), "index.csv") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPatientsCrossNoFold(t *testing.T) {
	nodules := []nodule{{key: "a_1", patient: "a"}, {key: "a_2", patient: "a"}, {key: "b_1", patient: "b"}}
	folds := t.TempDir()
	write := func(fold, keys string) {
		dir := filepath.Join(folds, fold)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "keys.txt"), []byte(keys), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("fold-0", "a_1\na_2\n")
	write("fold-1", "b_1\n")
	tests, err := options{folds: folds}.tests(nodules)
	if err != nil || len(tests) != 2 || len(tests[0].nodules) != 2 || tests[1].models.Refine != filepath.Join(folds, "fold-1", "refine.onnx") {
		t.Fatalf("%+v, %v", tests, err)
	}
	write("fold-1", "b_1\na_2\n")
	if _, err := (options{folds: folds}).tests(nodules); err == nil || !strings.Contains(err.Error(), "patient a") {
		t.Errorf("a patient of two folds: %v", err)
	}
	write("fold-1", "b_1\nc_1\n")
	if _, err := (options{folds: folds}).tests(nodules); err == nil || !strings.Contains(err.Error(), "c_1") {
		t.Errorf("an unknown nodule: %v", err)
	}
}

func TestFoldsHaveARange(t *testing.T) {
	var scores []score
	for i, d := range []float64{0.8, 0.6, 0.9, 0.7, 0.5} { // folds of 2, 2, 1
		s := rated(float64(i)/10, i%2 == 0, string(rune('a'+i)))
		s.fold, s.refined.dice = i/2, d
		scores = append(scores, s)
	}
	r := &report{Folds: 3, sharedStage1: true}
	r.summarise(scores, 20)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Folds int
		Range struct {
			Dice [2]float64 `json:"dice_mean"`
			AUC  map[string][2]float64
		} `json:"folds_min_max"`
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	// The AUC of the third fold is that of one class: there is none.
	if got.Folds != 3 || got.Range.Dice != [2]float64{0.5, 0.8} || got.Range.AUC["malignancy"] != [2]float64{0, 0} {
		t.Errorf("%s", b)
	}
	var text strings.Builder
	write(&text, r, scores)
	for _, part := range []string{"the one network of stage 2 that never saw its patient", "table 4 is not cross-validated", "[folds 0.500 to 0.800]"} {
		if !strings.Contains(text.String(), part) {
			t.Errorf("the tables lack %q:\n%s", part, text.String())
		}
	}
	one := &report{}
	one.summarise(scores, 20)
	text.Reset()
	write(&text, one, scores)
	if b, err := json.Marshal(one); err != nil || strings.Contains(string(b), "folds") || strings.Contains(text.String(), "never saw") {
		t.Errorf("what is no cross-validation says it is: %s, %v", b, err)
	}
}

func TestFROC(t *testing.T) {
	solid := map[string][]int{"texture": {5, 4}}
	scans := []scan{
		{places: []place{{Diameter: 8, Ratings: solid}, {Diameter: 20, Ratings: map[string][]int{"texture": {1, 2}}}},
			found: []found{{believed: 0.9}, {believed: 0.8, place: -1}, {believed: 0.7}, {believed: 0.3, place: 1}}},
		{found: []found{{believed: 0.6, place: -1}, {believed: 0.2, place: -1}}},
	}
	points := froc(scans, func(place) bool { return true })
	for perScan, want := range map[float64]float64{0: 0.5, 0.5: 0.5, 1: 1, 8: 1} {
		if got := sensitivity(points, perScan); got != want {
			t.Errorf("at %g false positives a scan: %g, want %g", perScan, got, want)
		}
	}
	if got := sensitivity(froc(scans, place.solid), 0); got != 1 {
		t.Errorf("the solid one: %g", got)
	}
	s := scan{places: []place{{Center: [3]float64{0, 0, 0}, Diameter: 4}, {Center: [3]float64{20, 0, 0}, Diameter: 30}}}
	for at, want := range map[float64]int{0: 0, 4.9: 0, 5.1: 1, 34: 1, 36: -1, -6: -1} {
		if got := s.nearest(result.Point{at}); got != want {
			t.Errorf("a finding at %g: nodule %d, want %d", at, got, want)
		}
	}
}

func TestScoresMeasureWhatWasDrawn(t *testing.T) {
	drawn := rated(0.9, true, "a")
	drawn.measured = refine.Measures{VolumeMM3: math.Pi / 6 * 1000, MeanHU: -320.5}
	not := rated(0.5, false, "b")
	not.drawn = false
	path := filepath.Join(t.TempDir(), "scores.csv")
	if err := list(path, []score{drawn, not}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) != 3 {
		t.Fatalf("%q, %v", rows, err)
	}
	for name, want := range map[string][2]string{"predicted_diameter_mm": {"10.0000", ""}, "predicted_mean_hu": {"-320.5000", ""}} {
		k := slices.Index(rows[0], name)
		if k < 0 || rows[1][k] != want[0] || rows[2][k] != want[1] {
			t.Errorf("%s in column %d of %q, want %q", name, k, rows, want)
		}
	}
}

// TestWhoLostANodule has one that is found twice, one that stage 2 turned down,
// one that it drew nothing of, and one that stage 1 passed over.
func TestWhoLostANodule(t *testing.T) {
	solid := map[string][]int{"texture": {5}}
	scans := []scan{
		{name: "a", places: []place{{Diameter: 8, Ratings: solid}, {Diameter: 5, Ratings: solid}, {Diameter: 7, Ratings: solid}, {Diameter: 20, Ratings: solid}},
			candidates: []int{0, 1, 2, -1},
			found:      []found{{believed: 0.2}, {believed: 0.9}, {believed: 0.3, place: 1}, {believed: 0.6, place: -1}}},
		{name: "b", found: []found{{believed: 0.1, place: -1}}},
	}
	for threshold, want := range map[float64][]loser{0.5: {nobody, stage2, stage2, stage1}, 0.25: {nobody, nobody, stage2, stage1}, 0.95: {stage2, stage2, stage2, stage1}} {
		if got := scans[0].lost(threshold); !slices.Equal(got, want) {
			t.Errorf("at %g: %v, want %v", threshold, got, want)
		}
	}
	if !scans[0].isWrong(0.5) || scans[1].isWrong(0.5) || !scans[1].isWrong(0.05) {
		t.Error("a scan without fault is wrong, or the other way round")
	}
	r := summariseScans(scans, result.Algorithm{}, 0.5)
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Scans, Nodules int
		Shipped        struct {
			Threshold, Sensitivity float64
			PerScan                float64 `json:"false_positives_per_scan"`
			Lost                   struct{ Stage1, Stage2 int }
		} `json:"at_shipped_threshold"`
		At   []json.RawMessage `json:"at_thresholds"`
		FROC map[string]map[string]float64
	}
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	s := got.Shipped
	if got.Scans != 2 || got.Nodules != 4 || s.Threshold != 0.5 || s.Sensitivity != 0.25 || s.PerScan != 0.5 || s.Lost.Stage1 != 1 || s.Lost.Stage2 != 2 || len(got.At) != len(thresholds) {
		t.Errorf("%s", b)
	}
	if all := got.FROC["all"]; all["nodules"] != 4 || all["0.5"] != 0.5 || all["8"] != 0.5 {
		t.Errorf("FROC %v", got.FROC)
	}
	if _, ok := got.FROC["subsolid"]; ok {
		t.Error("a row without nodules")
	}
	var text strings.Builder
	r.write(&text, scans)
	for _, line := range []string{"1 of 4 nodules, 1 false positives", "missed: 1 had no candidate of stage 1, 2 were turned down by stage 2"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("the report lacks %q:\n%s", line, text.String())
		}
	}
}
