package sr

import (
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

func keyObjectOptions() KeyObjectOptions {
	return KeyObjectOptions{SOPInstanceUID: "2.25.31", SeriesInstanceUID: "2.25.32", SeriesNumber: 9004, DeviceUID: "2.25.13", KeyImages: options().KeyImages}
}

func keyObjects(t *testing.T, ct *dataset.Dataset, r *result.Result) []byte {
	t.Helper()
	b, err := WriteKeyObjects(ct, r, keyObjectOptions())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeyObjectsAreTheKeySlicesAndThePictures(t *testing.T) {
	r := found()
	r.Nodules[2].KeySlice = r.Nodules[0].KeySlice // two nodules on one slice
	r.Nodules[2].CenterLPS, r.Nodules[2].LongAxis = r.Nodules[0].CenterLPS, result.Axis{}
	r.Predecessor = "2.25.99" // which a selection does not name
	d := parsed(t, keyObjects(t, header(), r))
	want := []string{instance(20), instance(31), "2.25.16", "2.25.18", "2.25.19", "2.25.20"}
	if got := references(d); !slices.Equal(got, want) {
		t.Errorf("selected are %q, want %q", got, want)
	}
	var listed []string
	for _, s := range d.Items(dataset.CurrentRequestedProcedureEvidenceSequence) {
		for _, series := range s.Items(dataset.ReferencedSeriesSequence) {
			for _, sop := range series.Items(dataset.ReferencedSOPSequence) {
				listed = append(listed, sop.Text(dataset.ReferencedSOPInstanceUID))
			}
		}
	}
	if !slices.Equal(listed, want) {
		t.Errorf("evidence is %q, want %q", listed, want)
	}
	tree := strings.Join(outline(d, 0), "\n")
	if want := strings.TrimSpace(strings.TrimSuffix(context, "HAS CONCEPT MOD CODE 121058\n") + "CONTAINS TEXT 113012\nCONTAINS IMAGE"); tree != want {
		t.Errorf("the tree is\n%s\nwant\n%s", tree, want)
	}
	if d.Text(dataset.Modality) != "KO" || d.Text(dataset.SOPClassUID) != dataset.KeyObjectSelection || nameOf(d) != ofInterest {
		t.Errorf("it is a %s of class %s, titled %v", d.Text(dataset.Modality), d.Text(dataset.SOPClassUID), nameOf(d))
	}
}

func TestHighdicomReadsTheSelection(t *testing.T) {
	python(t)
	ask(t, "kos.py", map[string]any{
		"path": put(t, t.TempDir(), "key objects", keyObjects(t, header(), found())), "series": seriesUID,
		"instances": []string{instance(2), instance(20), instance(31), "2.25.16", "2.25.18", "2.25.19", "2.25.20"},
	})
}

func TestWithoutNodulesNothingIsOfInterest(t *testing.T) {
	for _, r := range []*result.Result{ended(result.OutcomeNone, ""), ended(result.OutcomeFailed, "x")} {
		o := keyObjectOptions()
		o.KeyImages = nil
		if b, err := WriteKeyObjects(header(), r, o); err == nil || b != nil || !strings.Contains(err.Error(), "no nodules") {
			t.Errorf("%s: %d bytes, %v", r.Outcome, len(b), err)
		}
	}
}
