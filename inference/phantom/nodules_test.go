package phantom

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestNodulesLieFreeInTheLungAndApart(t *testing.T) {
	seeds := []uint64{1, 2}
	if testing.Short() {
		seeds = seeds[:1]
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			o := Options{Seed: seed, Slices: 70, SpacingZ: 3, Rows: 128, Columns: 128, Nodules: DefaultNodules, NoiseHU: -1}
			v := chest(t, o)
			o.Nodules = 0
			bare := chest(t, o) // the same patient without them
			placed := map[int]int{}
			for _, n := range v.Truth.Nodules {
				var brighter float64
				for _, at := range n.Voxels {
					if placed[at] != 0 {
						t.Errorf("nodules %d and %d overlap", placed[at], n.ID)
					}
					placed[at] = n.ID
					brighter += float64(v.HU[at]-bare.HU[at]) / float64(len(n.Voxels))
				}
				if brighter < 100 {
					t.Errorf("nodule %d is brighter than the lung by %.0f HU", n.ID, brighter)
				}
				// Pleura, fissures' ends, mediastinum and large vessels would be bright.
				var around []int16
				for at, mm := range distances(v, n, clearance-1) {
					if mm <= clearance-1 {
						around = append(around, bare.HU[at])
					}
				}
				slices.Sort(around)
				if hu := around[len(around)*19/20]; hu > -500 {
					t.Errorf("nodule %d (%.0f) does not lie free in the lung: %d HU there without it", n.ID, n.CenterLPS, hu)
				}
			}
			near := map[int]bool{}
			for i, n := range v.Truth.Nodules {
				for at := range distances(v, n, 1+fade+2*v.SpacingZ) {
					near[at] = true
				}
				for _, m := range v.Truth.Nodules[:i] {
					apart := math.Inf(1)
					for _, a := range n.Voxels {
						for _, b := range m.Voxels {
							apart = math.Min(apart, v.between(a, b))
						}
					}
					if apart < separation-2*v.SpacingZ {
						t.Errorf("nodules %d and %d are %.1f mm apart", m.ID, n.ID, apart)
					}
				}
			}
			for at := range v.HU {
				if v.HU[at] != bare.HU[at] && !near[at] {
					t.Fatalf("voxel %d is far from every nodule, and not as without them", at)
				}
			}
		})
	}
}

func (v *Volume) between(a, b int) float64 {
	p := v.place(a%v.Columns, a/v.Columns%v.Rows, a/v.Columns/v.Rows)
	q := v.place(b%v.Columns, b/v.Columns%v.Rows, b/v.Columns/v.Rows)
	return math.Sqrt((p[0]-q[0])*(p[0]-q[0]) + (p[1]-q[1])*(p[1]-q[1]) + (p[2]-q[2])*(p[2]-q[2]))
}

// distances gives the voxels up to limit mm from a nodule's, with how far they are.
func distances(v *Volume, n TrueNodule, limit float64) map[int]float64 {
	out := map[int]float64{}
	flat, deep := int(limit/v.PixelSpacing)+1, int(limit/v.SpacingZ)+1
	for _, at := range n.Voxels {
		x, y, z := at%v.Columns, at/v.Columns%v.Rows, at/v.Columns/v.Rows
		for c := max(z-deep, 0); c <= min(z+deep, v.Slices-1); c++ {
			for b := max(y-flat, 0); b <= min(y+flat, v.Rows-1); b++ {
				for a := max(x-flat, 0); a <= min(x+flat, v.Columns-1); a++ {
					i := (c*v.Rows+b)*v.Columns + a
					d := v.between(at, i)
					if old, seen := out[i]; d <= limit && (!seen || d < old) {
						out[i] = d
					}
				}
			}
		}
	}
	return out
}

func TestNodulesThatCannotBePlacedAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		says string
	}{
		{"a scan thinner than a nodule", Options{Slices: 2, SpacingZ: 1, Rows: 64, Columns: 64, Nodules: 1}, "no room for nodule 1 of 1: ask for fewer, or for more slices"},
		{"voxels larger than a nodule", Options{Seed: 1, Slices: 15, SpacingZ: 20, Rows: 24, Columns: 24, Nodules: 15}, "smaller than a voxel: choose finer slices or pixels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, _, err := Generate(t.Context(), c.o, nil); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestTheCarriedNodulesAreWhole(t *testing.T) {
	all, err := crops()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < DefaultNodules {
		t.Errorf("only %d nodules", len(all))
	}
	seen := map[string]bool{}
	kinds := map[int]int{}
	for _, c := range all {
		if seen[c.Key] || !strings.HasPrefix(c.Key, "LIDC-IDRI-") {
			t.Errorf("%q is no source of its own", c.Key)
		}
		seen[c.Key] = true
		for _, label := range []string{"malignancy", "margin", "texture", "calcification"} {
			if l, ok := c.Labels[label]; !ok || l != 0 && l != 1 {
				t.Errorf("%s: %s is %d", c.Key, label, l)
			}
			if r := c.MeanRatings[label]; r < 1 || r > 6 {
				t.Errorf("%s: %s is rated %g", c.Key, label, r)
			}
		}
		kinds[c.Labels["malignancy"]]++
		if c.reach < 1.5 || c.reach > 25 || c.level > -700 || c.level < -1000 {
			t.Errorf("%s reaches %.1f mm into a lung of %.0f HU", c.Key, c.reach, c.level)
		}
	}
	if kinds[0] == 0 || kinds[1] == 0 {
		t.Errorf("benign and malignant: %v", kinds)
	}
}

// carried is a file of nodules with this index and body, uncompressed.
func carried(index string, body ...byte) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(index))), index...), body...)
}

const oneVoxel = `{"nodules":[{"key":"N","shape":[1,1,1],"spacing_mm":[1,1,1]}]}`

func TestDamagedNodulesAreAnError(t *testing.T) {
	if all, err := readCrops(carried(oneVoxel, 0, 0, 1)); err != nil || len(all) != 1 {
		t.Fatalf("a whole one: %v, %v", all, err)
	}
	for _, c := range []struct {
		name string
		raw  []byte
		says string
	}{
		{"nothing", nil, "index is cut off"},
		{"less than the length", []byte{1, 0}, "index is cut off"},
		{"an index longer than the file", []byte{255, 255, 255, 255, '{'}, "index is cut off"},
		{"an index that is no JSON", carried("nodules"), "its index: "},
		{"no nodule", carried(`{"nodules":[]}`), "names no nodule"},
		{"an empty nodule", carried(`{"nodules":[null]}`), "nodule 1 is empty"},
		{"a shape of nothing", carried(`{"nodules":[{"key":"N","spacing_mm":[1,1,1]}]}`), "nodule N has the shape [0 0 0]"},
		{"a shape that is positive only as a product", carried(`{"nodules":[{"key":"N","shape":[-1,-1,1],"spacing_mm":[1,1,1]}]}`, 0, 0, 1), "nodule N has the shape"},
		{"a shape whose product overflows", carried(`{"nodules":[{"key":"N","shape":[4294967296,4294967296,1],"spacing_mm":[1,1,1]}]}`), "nodule N has the shape"},
		{"no spacing", carried(`{"nodules":[{"key":"N","shape":[1,1,1]}]}`, 0, 0, 1), "nodule N has voxels of [0 0 0] mm"},
		{"voxels cut off", carried(oneVoxel, 0, 0), "nodule N is cut off"},
		{"an empty outline", carried(oneVoxel, 0, 0, 0), "nodule N has no voxel"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := readCrops(c.raw); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func FuzzReadCrops(f *testing.F) {
	f.Add(carried(oneVoxel, 0, 0, 1))
	f.Add(carried(`{"nodules":[{"key":"N","shape":[2,1,1],"spacing_mm":[1,1,1]}]}`, 0, 0, 0, 0, 1, 1))
	f.Fuzz(func(t *testing.T, raw []byte) {
		all, err := readCrops(raw)
		if err != nil {
			return
		}
		for _, c := range all {
			if c.sample([3]float64{-1, 0.5, 1e9}); math.IsNaN(c.reach) || math.IsNaN(c.level) {
				t.Errorf("%+v", c)
			}
		}
	})
}
