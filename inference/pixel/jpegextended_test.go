package pixel

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// encodeFlatBlocks writes 12-bit JPEG of blocks of one value each, which lossy as
// it is comes back exactly; restart is in blocks.
func encodeFlatBlocks(values []int, rows, columns, restart int) []byte {
	var b []byte
	segment := func(marker byte, v ...byte) {
		b = append(b, 0xFF, marker)
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(v)+2)), v...)
	}
	b = append(b, 0xFF, markerSOI)
	quantisation := []byte{0x11} // of 16 bits, destination 1
	for range 64 {
		quantisation = append(quantisation, 0, 8) // a DC coefficient of 1 is a sample of 1
	}
	segment(markerDQT, quantisation...)
	segment(markerSOF1, 12, byte(rows>>8), byte(rows), byte(columns>>8), byte(columns), 1, 7, 0x22, 1)
	// Categories 0 to 15 of DC have codes of 5 bits; the end of a block one of 1 bit.
	dc := append([]byte{0x02, 0, 0, 0, 0, 16}, make([]byte, 11)...)
	for category := range 16 {
		dc = append(dc, byte(category))
	}
	segment(markerDHT, append(dc, append([]byte{0x13, 1}, make([]byte, 16)...)...)...)
	segment(markerDRI, byte(restart>>8), byte(restart))
	segment(markerSOS, 1, 7, 0x23, 0, 63, 0)
	var acc uint64
	n := 0
	put := func(v uint64, bits int) {
		acc, n = acc<<bits|v&(1<<bits-1), n+bits
		for ; n >= 8; n -= 8 {
			c := byte(acc >> (n - 8))
			if b = append(b, c); c == 0xFF {
				b = append(b, 0)
			}
		}
	}
	flush := func() {
		if n > 0 {
			put(1<<(8-n)-1, 8-n)
		}
	}
	before := 0
	for i, v := range values {
		if restart > 0 && i > 0 && i%restart == 0 {
			flush()
			b = append(b, 0xFF, byte(markerRST0+(i/restart-1)%8))
			before = 0
		}
		diff := v - 2048 - before
		before = v - 2048
		size := 0
		for m := max(diff, -diff); m > 0; m >>= 1 {
			size++
		}
		put(uint64(size), 5)
		if diff < 0 {
			diff += 1<<size - 1
		}
		put(uint64(diff), size)
		put(0, 1)
	}
	flush()
	return append(b, 0xFF, markerEOI)
}

func TestJPEGExtendedWithRestartMarkers(t *testing.T) {
	const rows, columns = 30, 21 // 4 x 3 blocks, the last of them cut
	p := Format{Rows: rows, Columns: columns, Frames: 1, Allocated: 16, Stored: 12, HighBit: 11}
	values := []int{0, 4095, 0, 2048, 2047, 1, 4094, 1000, 3000, 2048, 17, 4095}
	for restart := range 5 {
		b := encodeFlatBlocks(values, rows, columns, restart)
		got, err := decompress(t, dataset.JPEGExtended, b, p)
		if err != nil {
			t.Fatalf("restart interval of %d blocks: %v", restart, err)
		}
		for i, v := range got {
			if want := values[i/columns/8*3+i%columns/8]; int(v) != want {
				t.Fatalf("restart interval of %d blocks: sample %d is %d, want %d", restart, i, v, want)
			}
		}
	}
	// The second interval lost its marker.
	b := encodeFlatBlocks(values, rows, columns, 6)
	for i := range b[:len(b)-1] {
		if b[i] == 0xFF && b[i+1] == markerRST0 {
			b[i+1] = 1
		}
	}
	if _, err := decompress(t, dataset.JPEGExtended, b, p); err == nil {
		t.Error("a missing restart marker passed")
	}
	b = encodeFlatBlocks(values[:6], rows, columns, 0)
	if _, err := decompress(t, dataset.JPEGExtended, b, p); !errors.Is(err, dataset.ErrTruncated) {
		t.Errorf("half of the blocks: %v", err)
	}
}
