package seg

import "testing"

// BenchmarkWrite is a chest of 300 slices with 8 nodules.
func BenchmarkWrite(b *testing.B) {
	var boxes []box
	for i := range 8 {
		boxes = append(boxes, box{100 + 30*i, 200, 30 + 30*i, 20, 20, 12})
	}
	ct, r, o := header(), series(512, 512, 300, boxes...), options()
	for b.Loop() {
		if _, err := Write(ct, r, o); err != nil {
			b.Fatal(err)
		}
	}
}
