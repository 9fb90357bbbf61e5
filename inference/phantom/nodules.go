package phantom

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
)

//go:embed nodules.bin.gz
var nodulesFile []byte

// crop is a real nodule with its surroundings, z,y,x.
type crop struct {
	Key         string             `json:"key"`
	Shape       [3]int             `json:"shape"`
	Spacing     [3]float64         `json:"spacing_mm"`
	Labels      map[string]int     `json:"labels"`
	MeanRatings map[string]float64 `json:"mean_ratings"`

	hu     []int16
	mask   []byte
	centre [3]float64 // of the mask, in voxels
	reach  float64    // from there to the farthest voxel of the mask, mm
	level  float64    // HU of the lung around it
}

var crops = sync.OnceValues(func() ([]*crop, error) {
	z, err := gzip.NewReader(bytes.NewReader(nodulesFile))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(z, 64<<20))
	if err != nil {
		return nil, err
	}
	return readCrops(raw)
})

// largestCrop bounds a crop's sides: no nodule with its surroundings is longer.
const largestCrop = 512

// readCrops reads what extract.py wrote, uncompressed.
func readCrops(raw []byte) ([]*crop, error) {
	if len(raw) < 4 || uint64(binary.LittleEndian.Uint32(raw)) > uint64(len(raw)-4) {
		return nil, errors.New("its index is cut off")
	}
	size := int(binary.LittleEndian.Uint32(raw))
	var index struct{ Nodules []*crop }
	if err := json.Unmarshal(raw[4:4+size], &index); err != nil {
		return nil, fmt.Errorf("its index: %w", err)
	}
	if len(index.Nodules) == 0 {
		return nil, errors.New("its index names no nodule")
	}
	raw = raw[4+size:]
	for i, c := range index.Nodules {
		if c == nil {
			return nil, fmt.Errorf("nodule %d is empty", i+1)
		}
		n := 1
		for k := range 3 {
			if c.Shape[k] < 1 || c.Shape[k] > largestCrop {
				return nil, fmt.Errorf("nodule %s has the shape %v", c.Key, c.Shape)
			}
			if !(c.Spacing[k] > 0.01 && c.Spacing[k] < 100) {
				return nil, fmt.Errorf("nodule %s has voxels of %v mm", c.Key, c.Spacing)
			}
			n *= c.Shape[k]
		}
		if len(raw) < 3*n {
			return nil, fmt.Errorf("nodule %s is cut off", c.Key)
		}
		c.hu = make([]int16, n)
		for i := range c.hu {
			c.hu[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		c.mask, raw = raw[2*n:3*n], raw[3*n:]
		if !slices.ContainsFunc(c.mask, func(b byte) bool { return b != 0 }) {
			return nil, fmt.Errorf("nodule %s has no voxel", c.Key)
		}
		c.measure()
	}
	return index.Nodules, nil
}

func (c *crop) measure() {
	var lung []int16
	count := 0.0
	c.each(func(i, z, y, x int) {
		if c.mask[i] != 0 {
			c.centre[0] += float64(z)
			c.centre[1] += float64(y)
			c.centre[2] += float64(x)
			count++
		} else if c.hu[i] < -650 {
			lung = append(lung, c.hu[i])
		}
	})
	for i := range c.centre {
		c.centre[i] /= count
	}
	c.each(func(i, z, y, x int) {
		if c.mask[i] != 0 {
			dz, dy, dx := (float64(z)-c.centre[0])*c.Spacing[0], (float64(y)-c.centre[1])*c.Spacing[1], (float64(x)-c.centre[2])*c.Spacing[2]
			c.reach = math.Max(c.reach, math.Sqrt(dz*dz+dy*dy+dx*dx))
		}
	})
	slices.Sort(lung)
	c.level = -860
	if len(lung) > 0 {
		c.level = float64(lung[len(lung)/2])
	}
}

func (c *crop) each(f func(i, z, y, x int)) {
	i := 0
	for z := range c.Shape[0] {
		for y := range c.Shape[1] {
			for x := range c.Shape[2] {
				f(i, z, y, x)
				i++
			}
		}
	}
}

// sample interpolates at voxel coordinates; face is the distance in mm inside
// the crop's faces, negative outside, where the values of the face continue.
func (c *crop) sample(p [3]float64) (hu, mask, face float64) {
	var low [3]int
	var t [3]float64
	face = math.Inf(1)
	for k := range 3 {
		last := float64(c.Shape[k] - 1)
		face = math.Min(face, math.Min(p[k]+0.5, last+0.5-p[k])*c.Spacing[k])
		q := clamp(p[k], 0, last)
		low[k] = min(int(q), max(c.Shape[k]-2, 0))
		t[k] = q - float64(low[k])
	}
	for corner := range 8 {
		w, at := 1.0, 0
		for k := range 3 {
			i := low[k]
			if corner>>k&1 == 1 {
				w *= t[k]
				i = min(i+1, c.Shape[k]-1)
			} else {
				w *= 1 - t[k]
			}
			at = at*c.Shape[k] + i
		}
		if w > 0 {
			hu += w * float64(c.hu[at])
			mask += w * float64(c.mask[at])
		}
	}
	return hu, mask, face
}

// pasted is a nodule on the volume's grid: a box of values and weights.
type pasted struct {
	z, y, x    int // first voxel
	nz, ny, nx int
	hu, weight []float32
}

// blend mixes the nodule's part of slice k into hu.
func (p *pasted) blend(v *Volume, k int, hu, quiet []float32) {
	if k < p.z || k >= p.z+p.nz {
		return
	}
	for j := range p.ny {
		for i := range p.nx {
			from := ((k-p.z)*p.ny+j)*p.nx + i
			at := (p.y+j)*v.Columns + p.x + i
			w := p.weight[from]
			hu[at] += (p.hu[from] - hu[at]) * w
			quiet[at] = max(quiet[at], 0.8*w) // a crop brings most of its noise along
		}
	}
}

const (
	fade       = 4.0  // mm beyond the outline + 1 mm over which a crop fades out
	clearance  = 4.0  // mm between a nodule and the pleura
	separation = 15.0 // mm between nodules
	bigVessel  = 1.4  // mm radius: nodules keep off vessels from there
)

// placeNodules chooses nodules and places for them, resamples them to the grid
// and fills in the truth.
func (s *scene) placeNodules() error {
	v := s.volume
	v.Truth.Nodules = []TrueNodule{}
	if v.Options.Nodules == 0 {
		return nil
	}
	all, err := crops()
	if err != nil {
		return fmt.Errorf("reading the nodules in the program: %w", err)
	}
	r := source(v.Options.Seed, streamNodules)
	var obstacles []tube
	for _, tubes := range [][]tube{s.trees.arteries, s.trees.veins, s.trees.airways} {
		for _, t := range tubes {
			if math.Max(t.ra, t.rb) > bigVessel {
				obstacles = append(obstacles, t)
			}
		}
	}
	type ball struct {
		at vec
		r  float64
	}
	var taken []ball
	var order []int
	for id := 1; id <= v.Options.Nodules; id++ {
		if len(order) == 0 {
			order = r.Perm(len(all))
		}
		c := all[order[0]]
		order = order[1:]
		flip := [3]float64{1, float64(2*r.IntN(2) - 1), float64(2*r.IntN(2) - 1)}
		found := false
		var at vec
		for try := 0; try < 40000 && !found; try++ {
			at = vec{between(r, -130, 130), between(r, -100, 90), between(r, lungFloorZ, apexZ)}
			need := c.reach + clearance
			last := v.Origin[2] + float64(v.Slices-1)*v.SpacingZ
			if at.z-need < v.Origin[2] || at.z+need > last || s.body.lungDepthAt(at) < need {
				continue
			}
			found = true
			for _, t := range taken {
				if at.sub(t.at).length() < t.r+c.reach+separation {
					found = false
				}
			}
			for i := 0; found && i < len(obstacles); i++ {
				found = obstacles[i].distance(at) > c.reach+1.5
			}
			// The depth is an approximation: ask at the rim as well.
			for _, d := range [][3]float64{{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}, {0, 0, -1}} {
				found = found && s.body.lungDepthAt(at.add(vec{d[0], d[1], d[2]}.mul(c.reach))) > clearance-1
			}
		}
		if !found {
			return fmt.Errorf("no room for nodule %d of %d: ask for fewer, or for more slices", id, v.Options.Nodules)
		}
		taken = append(taken, ball{at, c.reach})
		p, truth := s.paste(c, at, flip)
		if len(truth.Voxels) == 0 {
			return fmt.Errorf("nodule %d of %d is smaller than a voxel: choose finer slices or pixels", id, v.Options.Nodules)
		}
		truth.ID = id
		s.nodules = append(s.nodules, p)
		v.Truth.Nodules = append(v.Truth.Nodules, truth)
	}
	return nil
}

// paste resamples the crop, its mask's centre at `at`.
func (s *scene) paste(c *crop, at vec, flip [3]float64) (pasted, TrueNodule) {
	v := s.volume
	spacing := [3]float64{v.SpacingZ, v.PixelSpacing, v.PixelSpacing}
	place := [3]float64{at.z, at.y, at.x}
	origin := [3]float64{v.Origin[2], v.Origin[1], v.Origin[0]}
	size := [3]int{v.Slices, v.Rows, v.Columns}
	var first, n [3]int
	for k := range 3 {
		half := c.reach + 1 + fade
		first[k] = max(int(math.Floor((place[k]-half-origin[k])/spacing[k])), 0)
		last := min(int(math.Ceil((place[k]+half-origin[k])/spacing[k])), size[k]-1)
		n[k] = max(last-first[k]+1, 0)
	}
	p := pasted{z: first[0], y: first[1], x: first[2], nz: n[0], ny: n[1], nx: n[2]}
	total := n[0] * n[1] * n[2]
	p.hu, p.weight = make([]float32, total), make([]float32, total)
	mask, face := make([]bool, total), make([]float64, total)
	local := s.body.lungHU + s.body.gravity*(at.y+10)/90

	// A voxel larger than the crop's averages several samples.
	var sub [3]int
	for k := range 3 {
		sub[k] = int(clamp(math.Round(spacing[k]/c.Spacing[k]), 1, 5))
	}
	samples := float64(sub[0] * sub[1] * sub[2])
	truth := TrueNodule{Labels: c.Labels, MeanRatings: c.MeanRatings, Source: c.Key}
	var sum [3]float64
	i := 0
	for z := range n[0] {
		for y := range n[1] {
			for x := range n[2] {
				var hu, share float64
				face[i] = math.Inf(1)
				for a := range sub[0] {
					for b := range sub[1] {
						for d := range sub[2] {
							var q [3]float64
							for k, o := range [3]float64{
								float64(first[0]+z) + (float64(a)+0.5)/float64(sub[0]) - 0.5,
								float64(first[1]+y) + (float64(b)+0.5)/float64(sub[1]) - 0.5,
								float64(first[2]+x) + (float64(d)+0.5)/float64(sub[2]) - 0.5,
							} {
								q[k] = c.centre[k] + flip[k]*(origin[k]+o*spacing[k]-place[k])/c.Spacing[k]
							}
							h, m, f := c.sample(q)
							if f < -0.5*math.Max(spacing[0], c.Spacing[0]) {
								m = 0
							}
							hu, share, face[i] = hu+h, share+m, math.Min(face[i], f)
						}
					}
				}
				hu /= samples
				// The lung around the nodule takes the level of the lung that it comes into.
				hu += (local - c.level) * smoothstep(-550, -750, hu)
				p.hu[i] = float32(hu)
				if share/samples >= 0.5 {
					mask[i] = true
					voxel := [3]int{first[0] + z, first[1] + y, first[2] + x}
					truth.Voxels = append(truth.Voxels, (voxel[0]*v.Rows+voxel[1])*v.Columns+voxel[2])
					for k := range 3 {
						sum[k] += origin[k] + float64(voxel[k])*spacing[k]
					}
				}
				i++
			}
		}
	}
	away := distanceFrom(mask, n, spacing, 1+fade)
	for i := range p.weight {
		if mask[i] {
			p.weight[i] = 1
			continue
		}
		// Where the crop ends within the fade, it fades earlier.
		p.weight[i] = float32(smoothstep(1+fade, 1, away[i]) * clamp(face[i]/2+0.2, 0, 1))
	}
	if k := float64(len(truth.Voxels)); k > 0 {
		truth.CenterLPS = [3]float64{sum[2] / k, sum[1] / k, sum[0] / k}
		truth.VolumeMM3 = k * spacing[0] * spacing[1] * spacing[2]
		truth.DiameterMM = 2 * math.Cbrt(truth.VolumeMM3*3/(4*math.Pi))
	}
	return p, truth
}

// distanceFrom gives the distance in mm from the mask, up to limit.
func distanceFrom(mask []bool, n [3]int, spacing [3]float64, limit float64) []float64 {
	out := make([]float64, len(mask))
	for i := range out {
		if !mask[i] {
			out[i] = limit
		}
	}
	var reach [3]int
	for k := range 3 {
		reach[k] = int(limit / spacing[k])
	}
	for z := range n[0] {
		for y := range n[1] {
			for x := range n[2] {
				at := (z*n[1]+y)*n[2] + x
				if !mask[at] || x > 0 && x < n[2]-1 && y > 0 && y < n[1]-1 && mask[at-1] && mask[at+1] && mask[at-n[2]] && mask[at+n[2]] &&
					z > 0 && z < n[0]-1 && mask[at-n[1]*n[2]] && mask[at+n[1]*n[2]] {
					continue // only the surface matters
				}
				for c := max(z-reach[0], 0); c <= min(z+reach[0], n[0]-1); c++ {
					for b := max(y-reach[1], 0); b <= min(y+reach[1], n[1]-1); b++ {
						for a := max(x-reach[2], 0); a <= min(x+reach[2], n[2]-1); a++ {
							dz, dy, dx := float64(c-z)*spacing[0], float64(b-y)*spacing[1], float64(a-x)*spacing[2]
							i := (c*n[1]+b)*n[2] + a
							out[i] = math.Min(out[i], math.Sqrt(dz*dz+dy*dy+dx*dx))
						}
					}
				}
			}
		}
	}
	return out
}
