package inference

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/pulmonode/pulmonode/inference/localize"
	"github.com/pulmonode/pulmonode/inference/refine"
	"github.com/pulmonode/pulmonode/inference/result"
)

// image is a series prepared for the networks.
type image struct {
	ct     refine.CT
	coarse localize.Image
	// voxel maps voxels of the 1 mm image (x, y, z) to voxels of the CT.
	voxel func([3]float64) [3]float64
	// side says in which lung a voxel of the CT lies, "" when in none.
	side func(x, y, z int) string
	// cut says that the lungs go on beyond the first or last slice.
	cut bool
}

// search runs stage 1 and returns the places for stage 2 to look at.
func (p *Pipeline) search(ctx context.Context, img *image, progress func(done, total int)) ([]refine.Candidate, *localize.Found, error) {
	found, err := localize.Find(ctx, img.coarse, p.localize, localize.Options{
		Threshold: p.localize.Metadata.Thresholds["candidate"],
		Batch:     batches[p.localize.Provider].cubes,
	}, progress)
	if err != nil {
		return nil, nil, err
	}
	var out []refine.Candidate
	for _, c := range found.Candidates {
		half := func(v [3]int, by float64) [3]float64 {
			return [3]float64{float64(v[0]) + by, float64(v[1]) + by, float64(v[2]) + by}
		}
		out = append(out, refine.Candidate{
			Center: img.voxel(c.Center), Score: c.Score,
			Min: img.voxel(half(c.Min, -0.5)), Max: img.voxel(half(c.Max, 0.5)),
		})
	}
	return out, found, nil
}

// describe measures the contours and makes findings of them, in the order in
// which people see them, identified as in the predecessor where they overlap.
func describe(img *image, nodules []refine.Nodule, s Series) []result.Nodule {
	ct := &img.ct
	out := make([]result.Nodule, 0, len(nodules))
	for i := range nodules {
		n := &nodules[i]
		m := refine.Measure(ct.Grid, &n.Mask, func(x, y, z int) int16 {
			return ct.HU[(z*ct.NY+y)*ct.NX+x]
		})
		r := result.Nodule{
			CenterLPS: m.Center, VolumeMM3: m.VolumeMM3, LongAxisMM: m.LongMM, ShortAxisMM: m.ShortMM,
			MaxDiam3DMM: m.MaxDiam3DMM, MeanHU: m.MeanHU, SDHU: m.SDHU, Score: n.Score, NoduleProb: n.Probability,
			LongAxis: m.Long, ShortAxis: m.Short, KeySlice: ct.Grid.Instances[m.Key].SOPInstanceUID,
			Characteristics: map[string]result.Characteristic{}, Mask: n.Mask, Probabilities: n.Probabilities,
			Laterality: laterality(&n.Mask, img.side),
		}
		for z := range n.Mask.NZ {
			if m.AreaMM2[z] > 0 {
				r.Slices = append(r.Slices, ct.Grid.Instances[n.Mask.Z0+z].SOPInstanceUID)
			}
		}
		for k, name := range result.Characteristics {
			r.Characteristics[name] = n.Characteristics[k]
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b result.Nodule) int {
		return cmp.Or(
			cmp.Compare(b.Characteristics["malignancy"].Probability, a.Characteristics["malignancy"].Probability),
			cmp.Compare(b.VolumeMM3, a.VolumeMM3),
			slices.Compare(a.CenterLPS[:], b.CenterLPS[:]))
	})
	identify(out, s)
	return out
}

// laterality says in which lung most of a nodule lies. One in the wall, where no
// lung voxel is, has the side of what is nearest on its slices' rows.
func laterality(m *result.Mask, side func(x, y, z int) string) string {
	count := map[string]int{}
	for reach := 0; reach <= 12 && count["left"]+count["right"] == 0; reach += 4 {
		for i, in := range m.Bits {
			if !in {
				continue
			}
			x, y, z := m.X0+i%m.NX, m.Y0+i/m.NX%m.NY, m.Z0+i/(m.NX*m.NY)
			count[side(x, y, z)]++
			if reach > 0 {
				count[side(x-reach, y, z)]++
				count[side(x+reach, y, z)]++
				count[side(x, y-reach, z)]++
				count[side(x, y+reach, z)]++
			}
		}
	}
	switch {
	case count["left"] > count["right"]:
		return "left"
	case count["right"] > count["left"]:
		return "right"
	}
	return ""
}

// identify gives each nodule its ID and tracking UID. One that overlaps a nodule
// of the predecessor keeps both, so that the pair means the same finding over
// all generations; the nearest pair goes first. New ones get the next numbers.
func identify(nodules []result.Nodule, s Series) {
	type pair struct {
		now, then int
		distance  float64
	}
	var pairs []pair
	var then []result.Nodule
	if s.Predecessor != nil {
		then = s.Predecessor.Nodules
	}
	for i, a := range nodules {
		for j, b := range then {
			d := math.Sqrt(square(a.CenterLPS[0]-b.CenterLPS[0]) + square(a.CenterLPS[1]-b.CenterLPS[1]) + square(a.CenterLPS[2]-b.CenterLPS[2]))
			if d < max(radius(a), radius(b)) && b.TrackingUID != "" {
				pairs = append(pairs, pair{i, j, d})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.distance, b.distance) })
	taken := make([]bool, len(then))
	for _, p := range pairs {
		if nodules[p.now].TrackingUID == "" && !taken[p.then] {
			nodules[p.now].ID, nodules[p.now].TrackingUID = then[p.then].ID, then[p.then].TrackingUID
			taken[p.then] = true
		}
	}
	used := map[string]bool{}
	for _, n := range then {
		used[n.ID] = true // also of those that are gone: an ID is never given again
	}
	next := 1
	for i := range nodules {
		if nodules[i].TrackingUID != "" {
			continue
		}
		for used[fmt.Sprintf("N%d", next)] {
			next++
		}
		nodules[i].ID = fmt.Sprintf("N%d", next)
		nodules[i].TrackingUID = s.UID("tracking", next)
		next++
	}
}

// radius of the sphere of a nodule's volume, mm.
func radius(n result.Nodule) float64 { return math.Cbrt(3 * n.VolumeMM3 / (4 * math.Pi)) }

func square(v float64) float64 { return v * v }
