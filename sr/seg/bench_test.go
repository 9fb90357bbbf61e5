package seg

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/pulmonode/pulmonode/inference/result"
)

// chest is a series of 512 x 512 with eight nodules of 20 mm.
func chest(slices int) *result.Result {
	var boxes []box
	for i := range 8 {
		boxes = append(boxes, box{100 + 30*i, 200, 4 + 10*i, 20, 20, 12})
	}
	return series(512, 512, slices, boxes...)
}

// Memory follows the nodules, not the CT: a slice more costs its reference, which
// is a hundredth of its pixels.
func TestMemoryDoesNotFollowTheCT(t *testing.T) {
	for _, kind := range kindNames {
		ct, o := header(), optionsOf(kind)
		allocated := map[int]uint64{}
		for _, n := range []int{100, 300, 900} {
			r := chest(n)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			b, err := Write(ct, r, o)
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			allocated[n] = after.TotalAlloc - before.TotalAlloc
			if most := uint64(2*len(b) + 8<<20); allocated[n] > most {
				t.Errorf("%s, %d slices: %d bytes were allocated for a file of %d, want at most %d", kind, n, allocated[n], len(b), most)
			}
		}
		if perSlice := int64(allocated[900]-allocated[100]) / 800; perSlice > 512*512*2/100 {
			t.Errorf("%s: a slice of the CT costs %d bytes", kind, perSlice)
		}
		t.Logf("%s: %d KiB at 100 slices, %d at 300, %d at 900", kind, allocated[100]>>10, allocated[300]>>10, allocated[900]>>10)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, kind := range kindNames {
		for _, n := range []int{100, 300, 900} {
			b.Run(fmt.Sprintf("%s/%d slices", kind, n), func(b *testing.B) {
				ct, r, o := header(), chest(n), optionsOf(kind)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Write(ct, r, o); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
