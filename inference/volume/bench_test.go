package volume

import (
	"fmt"
	"testing"
)

// benchCT is 100 slices of 512 x 512 in files; what they show does not change how
// long it takes.
func benchCT(b *testing.B) *Geometry {
	b.Helper()
	s := axial()
	s.slices, s.rows, s.columns = 100, 512, 512
	s.spacing, s.step = [2]float64{0.7, 0.7}, [3]float64{0, 0, 1}
	s.hu = func(x, y, z int) int { return (x*7+y*13+z*29)%1500 - 1000 }
	dir := b.TempDir()
	s.write(b, dir, nil)
	return stack(b, open(b, dir))
}

func BenchmarkLoad(b *testing.B) {
	g := benchCT(b)
	for _, workers := range []int{1, 0} {
		b.Run(workersName(workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(b.Context(), g, workers, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkResample1mm(b *testing.B) {
	v, err := Load(b.Context(), benchCT(b), 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, workers := range []int{1, 0} {
		b.Run(workersName(workers), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v.Resample1mm(workers)
			}
		})
	}
}

func BenchmarkLungs(b *testing.B) {
	c := chest()
	if c.err != nil {
		b.Fatal(c.err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Lungs(c.levels); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSlab(b *testing.B) {
	v, err := Load(b.Context(), benchCT(b), 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		v.Slabs([3]float64{256, 256, 50}, [3]float64{1, 0.6, 0.6}, 0, 3)
	}
}

func workersName(n int) string {
	if n == 0 {
		return "all-cores"
	}
	return fmt.Sprintf("workers=%d", n)
}
