package main

import "testing"

// An excuse holds for one version of a reader, whatever browser it runs in.
func TestExcusesHoldForOneVersion(t *testing.T) {
	k := excuse{Reader: "OHIF", Version: "3.13.2", Case: "^odd", Message: "not shown"}
	f := finding{Reader: "OHIF", Case: "odd matrix", Message: "the segmentation is not shown"}
	other := f
	other.Message = "it is shown upside down"
	for _, c := range []struct {
		f       finding
		version string
		want    bool
	}{
		{f, "3.13.2", true},
		{f, "3.13.2 in Chromium 156.0.8078.79", true},
		{f, "3.13.20 in Chromium 156.0.8078.79", false},
		{other, "3.13.2", false},
	} {
		if got := k.covers(c.f, c.version); got != c.want {
			t.Errorf("%q of version %s is excused: %v", c.f.Message, c.version, got)
		}
	}
}
