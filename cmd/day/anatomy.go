package main

import (
	"context"
	"encoding/binary"

	"github.com/pulmonode/pulmonode/inference/phantom"
)

// anatomy is a CT that is sent under the names of many patients.
type anatomy struct {
	columns, rows    int
	pixelMM, sliceMM float64
	planes           [][]byte // HU + 1024 in 16 bits, little endian
}

// The day has some minutes of two cores, and a whole chest takes half a minute
// of them. So most of its series are reconstructions of one lung, aimed so that
// little else is in them; the networks search them in a few seconds.
const (
	aimedColumns, aimedRows, aimedSlices = 96, 144, 48
	aimedPixelMM, aimedSliceMM           = 1.0, 2.0

	// The phantom is made smaller than it is said to be: a larger person has a
	// litre of lung in that field.
	person = 1.3
)

// aimedAnatomy makes a phantom and cuts the field with the most lung out of it.
func aimedAnatomy(ctx context.Context, seed uint64, nodules int) (*anatomy, error) {
	v, _, err := phantom.Generate(ctx, phantom.Options{
		Seed: seed, Nodules: nodules, Slices: aimedSlices, SpacingZ: aimedSliceMM / person,
		Rows: 280, Columns: 360, PixelSpacing: aimedPixelMM / person,
	}, nil)
	if err != nil {
		return nil, err
	}
	// lung[y][x] is how many voxels of lung lie before x and y, of all slices.
	lung := make([][]int, v.Rows+1)
	lung[0] = make([]int, v.Columns+1)
	for y := range v.Rows {
		lung[y+1] = make([]int, v.Columns+1)
		for x := range v.Columns {
			n := 0
			for z := range v.Slices {
				if hu := v.HU[(z*v.Rows+y)*v.Columns+x]; hu > -950 && hu < -500 {
					n++
				}
			}
			lung[y+1][x+1] = n + lung[y][x+1] + lung[y+1][x] - lung[y][x]
		}
	}
	most, left, top := -1, 0, 0
	for y := 0; y+aimedRows <= v.Rows; y++ {
		for x := 0; x+aimedColumns <= v.Columns; x++ {
			if n := lung[y+aimedRows][x+aimedColumns] - lung[y][x+aimedColumns] - lung[y+aimedRows][x] + lung[y][x]; n > most {
				most, left, top = n, x, y
			}
		}
	}
	return cut(v, left, top, aimedColumns, aimedRows, aimedPixelMM, aimedSliceMM), nil
}

// wholeAnatomy is a chest of the usual size.
func wholeAnatomy(ctx context.Context, seed uint64, nodules, size int) (*anatomy, error) {
	v, _, err := phantom.Generate(ctx, phantom.Options{Seed: seed, Nodules: nodules, Rows: size, Columns: size}, nil)
	if err != nil {
		return nil, err
	}
	return cut(v, 0, 0, v.Columns, v.Rows, v.PixelSpacing, v.SpacingZ), nil
}

func cut(v *phantom.Volume, left, top, columns, rows int, pixelMM, sliceMM float64) *anatomy {
	a := &anatomy{columns: columns, rows: rows, pixelMM: pixelMM, sliceMM: sliceMM}
	for z := range v.Slices {
		plane := make([]byte, 0, 2*columns*rows)
		for y := range rows {
			for _, hu := range v.HU[(z*v.Rows+top+y)*v.Columns+left:][:columns] {
				plane = binary.LittleEndian.AppendUint16(plane, uint16(max(int(hu)+1024, 0)))
			}
		}
		a.planes = append(a.planes, plane)
	}
	return a
}
