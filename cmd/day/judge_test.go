package main

import (
	"crypto/sha256"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/store"
)

// What a destination lacks, holds twice, holds of nobody or holds with other
// bytes is found.
func TestWrongResultsAreFound(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(d *day, held map[string]*object, s *set)
		says  string
	}{
		{"as it should be", func(*day, map[string]*object, *set) {}, ""},
		{"one is lacking", func(_ *day, held map[string]*object, _ *set) { delete(held, "1.3") }, "lacks key-1.dcm"},
		{"one belongs to nobody", func(_ *day, held map[string]*object, _ *set) { held["1.9"] = &object{} }, "belongs to no generation"},
		{"other bytes", func(_ *day, held map[string]*object, _ *set) { held["1.2"].sum[0]++ }, "other bytes of sr.dcm"},
		{"other bytes the second time", func(d *day, _ map[string]*object, _ *set) {
			again := &object{class: dataset.SegmentationStorage, sum: [32]byte{1}}
			d.sinks[0].keep("1.1", &object{class: dataset.SegmentationStorage})
			d.sinks[0].keep("1.1", again)
		}, "with other bytes than before"},
		{"two reports", func(_ *day, _ map[string]*object, s *set) { s.Files = append(s.Files, s.Files[1]) }, "it should have [1 1 2]"},
		{"a report of a skipped series", func(_ *day, _ map[string]*object, s *set) { s.Outcome = result.OutcomeSkipped }, "it should have [0 0 0]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &day{}
			d.sinks = []*sink{{day: d, name: "pacs", send: `["seg", "sr", "keyimage"]`, objects: map[string]*object{}, sums: map[string][32]byte{}}}
			s := set{folder: t.TempDir(), Manifest: store.Manifest{Generation: 1, Outcome: result.OutcomeNodules, Nodules: 1}}
			held := map[string]*object{}
			for i, f := range []store.ManifestFile{{Name: "seg.dcm", Kind: "seg"}, {Name: "sr.dcm", Kind: "sr"}, {Name: "key-1.dcm", Kind: "keyimage"}, {Name: "summary.dcm", Kind: "keyimage"}} {
				f.SOPInstanceUID = fmt.Sprintf("1.%d", i+1)
				data := []byte("\x08\x00\x60\x00CS\x02\x00SR") // (0008,0060) Modality
				meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: f.SOPInstanceUID, TransferSyntax: dataset.ExplicitLE})
				if err := os.WriteFile(filepath.Join(s.folder, f.Name), append(meta, data...), 0o600); err != nil {
					t.Fatal(err)
				}
				held[f.SOPInstanceUID] = &object{transfer: dataset.ExplicitLE, sum: sha256.Sum256(data), times: 1}
				s.Files = append(s.Files, f)
			}
			test.spoil(d, held, &s)
			j := judgement{day: d, held: []map[string]*object{held}, sets: []set{s}}
			_, broken := j.results(t.Context())
			said := strings.Join(broken, "\n")
			if (test.says == "") != (said == "") || !strings.Contains(said, test.says) {
				t.Errorf("it says %q", said)
			}
		})
	}
}

// What is looked for in the log is what is sent.
func TestSecretsAreSent(t *testing.T) {
	all, err := instances(&anatomy{columns: 1, rows: 1, pixelMM: 1, sliceMM: 1, planes: [][]byte{{0, 0}}}, 7, sound)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if !strings.Contains(string(all[0].Data), secret) {
			t.Errorf("no patient of the day has %s", secret)
		}
	}
}

// The day has as many series as it should, of every habit and with every flaw.
func TestPlan(t *testing.T) {
	habit, flawed, numbers := map[habit]int{}, map[flaw]int{}, map[int]bool{}
	morning, night := 0, 0
	for _, a := range plan(200, 1, 4) {
		habit[a.habit]++
		for _, p := range a.series {
			flawed[p.flaw]++
			numbers[p.number] = true
		}
		if a.hour < 0 || a.hour > 24 {
			t.Errorf("a series comes at hour %g", a.hour)
		}
		if a.hour >= 8 && a.hour < 12 {
			morning++
		}
		if a.hour < 4 {
			night++
		}
	}
	if len(numbers) != 200 || len(habit) != int(habits) || len(flawed) != len(says)+1 || morning < 5*night {
		t.Errorf("%d series, habits %v, flaws %v, %d in the morning, %d at night", len(numbers), habit, flawed, morning, night)
	}
}

func TestSpread(t *testing.T) {
	var v []float64
	for i := range 100 {
		v = append(v, float64(100-i))
	}
	if got, want := spreadOf(v), (spread{100, 50, 95, 99, 100}); got != want {
		t.Errorf("%+v, not %+v", got, want)
	}
}

// Pollaczek and Khinchine: an idle server delays by its work, one at half its
// capacity by half of that again.
func TestWait(t *testing.T) {
	if wait(0, 10, 1) != 11 || wait(0.5, 10, 1) != 16 || math.Abs(wait(0.9, 10, 1)-56) > 1e-9 {
		t.Error(wait(0, 10, 1), wait(0.5, 10, 1), wait(0.9, 10, 1))
	}
}
