package seg

import (
	"fmt"

	"github.com/pulmonode/pulmonode/inference/result"
)

// mostPixels bounds Pixel Data, which is made in memory: 60 nodules of 30 slices
// each of 512x512 are 450 MiB of probabilities, and 57 MiB of bits.
const mostPixels = 1 << 30

// pack makes Pixel Data. Of one bit a voxel the first is in the lowest bit, and
// each frame stands directly behind the one before, even inside a byte (PS3.5
// 8.1.1).
func pack(k *kind, g *result.Grid, shapes []shape, frames []frame) ([]byte, error) {
	size := g.Rows * g.Columns
	bytes := (int64(len(frames))*int64(size)*int64(k.bits) + 7) / 8
	if bytes > mostPixels {
		return nil, fmt.Errorf(`%d frames of %d x %d voxels are %d MiB, more than is written: set [output] seg = "binary"`, len(frames), g.Columns, g.Rows, bytes>>20)
	}
	out := make([]byte, bytes, bytes+1) // and its pad byte
	for i, f := range frames {
		if f.segment >= 0 {
			k.draw(out, i*size, g.Columns, &shapes[f.segment], f.slice, 0)
			continue
		}
		for n := range shapes {
			k.draw(out, i*size, g.Columns, &shapes[n], f.slice, uint8(n+1))
		}
	}
	return out, nil
}

// draw puts a segment's part of a slice into the frame that begins at voxel
// first: its values, or label where that is not 0.
func (k *kind) draw(out []byte, first, columns int, s *shape, slice int, label uint8) {
	if slice < s.z0 || slice >= s.z0+s.nz {
		return
	}
	for j, v := range s.values[(slice-s.z0)*s.nx*s.ny:][:s.nx*s.ny] {
		if v == 0 {
			continue
		}
		at := first + (s.y0+j/s.nx)*columns + s.x0 + j%s.nx
		switch {
		case k.bits == 1:
			out[at/8] |= 1 << (at % 8)
		case label != 0:
			out[at] = label
		default:
			out[at] = v
		}
	}
}
