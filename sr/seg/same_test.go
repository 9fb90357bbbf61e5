package seg

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

// digests are of every kind of one result, whose maps and header were filled in
// the order given.
func digests(t *testing.T, order []string) string {
	t.Helper()
	var out []string
	for _, kind := range kindNames {
		r := series(37, 51, 9, box{0, 0, 0, 5, 4, 3}, box{46, 33, 2, 5, 4, 3}, box{3, 2, 1, 5, 4, 3})
		for i := range r.Nodules {
			r.Nodules[i].Characteristics = map[string]result.Characteristic{}
			for _, name := range order {
				r.Nodules[i].Characteristics[name] = result.Characteristic{Probability: 0.5}
			}
		}
		ct := header()
		for _, name := range order {
			ct.SetText(map[string]dataset.Tag{"malignancy": dataset.PatientAge, "margin": dataset.PatientWeight,
				"texture": dataset.StudyDescription, "calcification": dataset.AccessionNumber}[name], "LO", "7")
		}
		b, err := Write(ct, r, optionsOf(kind))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%x", sha256.Sum256(b)))
	}
	return strings.Join(out, " ")
}

// child is set for the process that TestTheSameBytesInEveryProcess starts.
const child = "PULMONODE_TEST_SEG_CHILD"

func TestTheSameBytesInEveryProcess(t *testing.T) {
	order := slices.Clone(result.Characteristics[:])
	if os.Getenv(child) != "" {
		slices.Reverse(order)
		fmt.Printf("digests: %s\n", digests(t, order))
		return
	}
	want := digests(t, order)
	for range 3 { // each process has its own order of maps
		c := exec.Command(os.Args[0], "-test.run=^TestTheSameBytesInEveryProcess$")
		c.Env = append(os.Environ(), child+"=1")
		out, err := c.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "digests: "+want+"\n") {
			t.Fatalf("another process wrote other bytes: %v\n%s\nwant %s", err, out, want)
		}
	}
}
