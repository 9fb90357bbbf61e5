package phantom

import (
	"math"
	"sync"
)

// scene is everything that a slice is computed from.
type scene struct {
	body   *anatomy
	trees  *forest
	volume *Volume

	nodules []pasted
	bySlice []sliceTubes
	sigma   float64 // of the point spread in plane, mm
	sigmaZ  float64
	edge    float64 // half width of a surface's transition, mm
	noise   *noise
}

// sliceTubes are the pieces of the trees that show in one slice.
type sliceTubes struct{ arteries, veins, airways []*tube }

func (s *scene) prepare() {
	v := s.volume
	s.sigma = 0.6
	if v.Options.Kernel == KernelSharp {
		s.sigma = 0.42
	}
	s.sigma = math.Max(s.sigma, v.PixelSpacing*0.45)
	s.sigmaZ = 0.4 * v.SpacingZ
	s.edge = 2.2 * s.sigma // a smoothstep of that half width has the same spread
	s.noise = newNoise(v)
	s.bySlice = make([]sliceTubes, v.Slices)
	sort := func(tubes []tube, wall bool, pick func(*sliceTubes) *[]*tube) {
		for i := range tubes {
			t := &tubes[i]
			r := math.Max(t.ra, t.rb) + 3*s.sigmaZ
			if wall {
				r += wallOf(math.Max(t.ra, t.rb))
			}
			first := int(math.Ceil((math.Min(t.a.z, t.b.z) - r - v.Origin[2]) / v.SpacingZ))
			last := int(math.Floor((math.Max(t.a.z, t.b.z) + r - v.Origin[2]) / v.SpacingZ))
			for k := max(first, 0); k <= min(last, v.Slices-1); k++ {
				list := pick(&s.bySlice[k])
				*list = append(*list, t)
			}
		}
	}
	sort(s.trees.arteries, false, func(t *sliceTubes) *[]*tube { return &t.arteries })
	sort(s.trees.veins, false, func(t *sliceTubes) *[]*tube { return &t.veins })
	sort(s.trees.airways, true, func(t *sliceTubes) *[]*tube { return &t.airways })
	sort(s.body.airway, true, func(t *sliceTubes) *[]*tube { return &t.airways })
}

// discCoverage is how much of the signal of a disc of radius q is seen at
// distance t from its centre through a Gaussian of standard deviation 1: what a
// vessel loses to partial volume. It is table[q*16][t*8].
var discCoverage = sync.OnceValue(func() *[129][97]float32 {
	table := new([129][97]float32)
	for i := range table {
		q := float64(i) / 16
		for j := range table[i] {
			t := float64(j) / 8
			const n = 96
			sum := 0.0
			for k := range n {
				rho := (float64(k) + 0.5) / n * q
				x := t * rho
				// exp(-(t²+ρ²)/2) I0(tρ), with I0 scaled by exp(-tρ)
				sum += rho * math.Exp(-(t-rho)*(t-rho)/2) * besselI0Scaled(x)
			}
			table[i][j] = float32(math.Min(sum*q/n, 1))
		}
	}
	return table
})

// besselI0Scaled is exp(-x) I0(x), x >= 0 (Abramowitz and Stegun 9.8.1, 9.8.2).
func besselI0Scaled(x float64) float64 {
	if x < 3.75 {
		t := x / 3.75
		t *= t
		return math.Exp(-x) * (1 + t*(3.5156229+t*(3.0899424+t*(1.2067492+t*(0.2659732+t*(0.0360768+t*0.0045813))))))
	}
	t := 3.75 / x
	return (0.39894228 + t*(0.01328592+t*(0.00225319+t*(-0.00157565+t*(0.00916281+t*(-0.02057706+t*(0.02635537+t*(-0.01647633+t*0.00392377)))))))) / math.Sqrt(x)
}

func coverageOf(table *[129][97]float32, q, t float64) float32 {
	if q >= 7.9 { // a straight edge
		return float32(inside(t-q, 2.2))
	}
	if t >= 11.9 {
		return 0
	}
	q, t = q*16, t*8
	i, j := int(q), int(t)
	fi, fj := float32(q-float64(i)), float32(t-float64(j))
	a := table[i][j] + (table[i][j+1]-table[i][j])*fj
	b := table[i+1][j] + (table[i+1][j+1]-table[i+1][j])*fj
	return a + (b-a)*fi
}

// brush holds the buffers of one worker.
type brush struct {
	*scene
	hu                         []float32
	artery, vein, outer, lumen []float32
	quiet                      []float32 // share of the noise that pasted nodules bring along
	table                      *[129][97]float32
	noise                      *noiseBuffers
}

func (s *scene) newBrush() *brush {
	n := s.volume.Rows * s.volume.Columns
	all := make([]float32, 6*n)
	cut := func(i int) []float32 { return all[i*n : (i+1)*n : (i+1)*n] }
	return &brush{scene: s, hu: cut(0), artery: cut(1), vein: cut(2), outer: cut(3), lumen: cut(4), quiet: cut(5),
		table: discCoverage(), noise: s.noise.buffers()}
}

// rasterise adds the tubes' coverage; widen turns a lumen into its outer wall.
func (b *brush) rasterise(into []float32, tubes []*tube, z float64, widen bool) {
	v := b.volume
	for _, t := range tubes {
		d := t.b.sub(t.a).unit()
		// The spread across the tube: the mean of the point spread over the two directions.
		spread := math.Sqrt(((2-d.x*d.x-d.y*d.y)*b.sigma*b.sigma + (1-d.z*d.z)*b.sigmaZ*b.sigmaZ) / 2)
		most := math.Max(t.ra, t.rb)
		if widen {
			most += wallOf(most)
		}
		reach := most + 3*spread
		x0 := int(math.Ceil((math.Min(t.a.x, t.b.x) - reach - v.Origin[0]) / v.PixelSpacing))
		x1 := int(math.Floor((math.Max(t.a.x, t.b.x) + reach - v.Origin[0]) / v.PixelSpacing))
		y0 := int(math.Ceil((math.Min(t.a.y, t.b.y) - reach - v.Origin[1]) / v.PixelSpacing))
		y1 := int(math.Floor((math.Max(t.a.y, t.b.y) + reach - v.Origin[1]) / v.PixelSpacing))
		x0, y0 = max(x0, 0), max(y0, 0)
		x1, y1 = min(x1, v.Columns-1), min(y1, v.Rows-1)
		for j := y0; j <= y1; j++ {
			y := v.Origin[1] + float64(j)*v.PixelSpacing
			for i := x0; i <= x1; i++ {
				far, r := t.nearest(vec{v.Origin[0] + float64(i)*v.PixelSpacing, y, z})
				if widen {
					r += wallOf(r)
				}
				if far > r+3*spread {
					continue
				}
				c := coverageOf(b.table, r/spread, far/spread)
				if at := j*v.Columns + i; c > into[at] {
					into[at] = c
				}
			}
		}
	}
}

// slice computes slice k of the volume.
func (b *brush) slice(k int) {
	v := b.volume
	z := v.Origin[2] + float64(k)*v.SpacingZ
	p := b.body.plane(z, true)
	for _, buf := range [][]float32{b.artery, b.vein, b.outer, b.lumen, b.quiet} {
		clear(buf)
	}
	b.rasterise(b.artery, b.bySlice[k].arteries, z, false)
	b.rasterise(b.vein, b.bySlice[k].veins, z, false)
	b.rasterise(b.outer, b.bySlice[k].airways, z, true)
	b.rasterise(b.lumen, b.bySlice[k].airways, z, false)
	for j := range v.Rows {
		y := v.Origin[1] + float64(j)*v.PixelSpacing
		for i := range v.Columns {
			at := j*v.Columns + i
			hu := b.tissue(p, vec{v.Origin[0] + float64(i)*v.PixelSpacing, y, z}, at)
			b.hu[at] = float32(hu)
		}
	}
	for i := range b.nodules {
		b.nodules[i].blend(v, k, b.hu, b.quiet)
	}
	b.noise.add(k, z, b.hu, b.quiet)
	out := v.HU[k*v.Rows*v.Columns : (k+1)*v.Rows*v.Columns]
	for i, hu := range b.hu {
		out[i] = int16(math.Round(clamp(float64(hu), -1024, 3071)))
	}
}

// tissue is the noiseless value at one place.
func (b *brush) tissue(p *plane, v vec, at int) float64 {
	wall, angle := p.wallAt(v.x, v.y)
	depth := p.skin[angle] - wall // under the skin
	if depth < -b.edge {
		return b.table3(v)
	}
	var hu float64
	switch {
	case wall > 2*b.edge:
		hu = b.chestWall(p, v, wall, depth, angle)
	default:
		lung := inside(-p.lungDepth(v, wall), b.edge)
		if lung < 1 {
			if wall > 0.5 {
				hu = b.chestWall(p, v, wall, depth, angle)
			} else {
				hu = b.inner(p, v, wall)
			}
		}
		if lung > 0 {
			hu = lerp(hu, b.parenchyma(v), lung)
		}
	}
	if wall < 0 {
		hu = lerp(hu, b.body.blood, float64(b.artery[at]))
		hu = lerp(hu, b.body.blood*0.95, float64(b.vein[at]))
	}
	if c := b.outer[at]; c > 0 {
		hu = lerp(hu, 25, float64(c))
		hu = lerp(hu, -985, float64(b.lumen[at]))
	}
	return lerp(-1000, hu, inside(-depth, b.edge))
}

// table3 is what surrounds the body: air, and the couch below it.
func (b *brush) table3(v vec) float64 {
	top := b.body.bodyBack + 6 - v.x*v.x/1600
	d := v.y - top
	if math.Abs(v.x) > 205 || d < -1 || d > 30 {
		return -1000
	}
	shell := math.Min(math.Abs(d-1.2), math.Abs(d-26)) - 1
	return lerp(-975, -350, inside(shell, 0.8))
}

func (b *brush) parenchyma(v vec) float64 {
	a := b.body
	hu := a.lungHU + a.gravity*(v.y+10)/90
	hu += 20*a.texture.at(v.x/14, v.y/14, v.z/14) + 16*a.texture.at(v.x/5+7, v.y/5, v.z/5+3) + 14*a.texture.at(v.x/2.2, v.y/2.2+5, v.z/2.6)
	oblique, horizontal := a.fissure(v)
	sheet := func(d, slope float64) float64 {
		spread := math.Sqrt(b.sigma*b.sigma*(1-slope*slope) + b.sigmaZ*b.sigmaZ*slope*slope)
		t := d / spread
		if t > 4 || t < -4 {
			return 0
		}
		return 0.3 / (spread * 2.5066) * 880 * math.Exp(-t*t/2) // a sheet of 0.3 mm, blurred
	}
	extra := sheet(oblique, 0.69)
	if v.x < 0 && oblique > 0 {
		extra = math.Max(extra, sheet(horizontal, 0.98))
	}
	return hu + extra*clamp(0.9+0.9*a.texture.at(v.x/25, v.y/25, v.z/25), 0.15, 1.5)
}

// inner is the soft tissue inside the pleural cavity.
func (b *brush) inner(p *plane, v vec, wall float64) float64 {
	a := b.body
	fine := a.texture.at(v.x/6, v.y/6, v.z/6)
	hu := -98 + 14*fine                             // fat
	if neck := smoothstep(82, 104, v.z); neck > 0 { // muscle, with fat between
		hu = lerp(hu, 50-130*smoothstep(0.25, 0.5, a.texture.at(v.x/11, v.y/11, v.z/20)), neck)
	}
	below := a.diaphragm(v)
	if below < 0 {
		hu = b.abdomen(v, wall, below, fine)
	}
	for i := range p.heart {
		d := p.heart[i].distance(v)
		if d < b.edge {
			value := 45.0
			if a.blood > 60 { // the muscle shows: thick on the left and as septum
				c := v.sub(p.heart[i].centre)
				thick, septum := 2.5, 9.0
				if i == 0 {
					across := 0.75*c.x + 0.66*c.y
					thick = 3 + 7*smoothstep(-8, 22, across)
					septum = math.Abs(across+4-c.z*0.1) - 4.5
				}
				value = lerp(a.blood, 105, math.Max(1-inside(d+thick, 1.5), inside(septum, 1.5)))
			}
			hu = lerp(hu, value+6*fine, inside(d+2*math.Max(0, fine), b.edge))
		}
	}
	paint := func(tubes []tube, value float64) {
		for i := range tubes {
			t := &tubes[i]
			r := math.Max(t.ra, t.rb) + 3
			if v.z < math.Min(t.a.z, t.b.z)-r || v.z > math.Max(t.a.z, t.b.z)+r {
				continue
			}
			if d := t.distance(v); d < b.edge {
				hu = lerp(hu, value, inside(d, b.edge))
			}
		}
	}
	paint(a.oesophagus, 38)
	paint(a.veins, a.veinBlood)
	paint(a.pulmonary, a.blood)
	paint(a.arteries, a.arteryBlood)
	return b.spine(p, v, hu)
}

func (b *brush) abdomen(v vec, wall, below, fine float64) float64 {
	a := b.body
	hu := -100 + 12*fine
	// Liver: the right half and, in front, over the midline.
	edge := 12 - 0.5*(v.y+20) + 8*a.texture.at(v.y/40, v.z/40, 3)
	if below < -120 {
		edge -= 30
	}
	liver := math.Max(v.x-edge, math.Max(wall+5, below+4))
	if liver < b.edge {
		hu = lerp(hu, 58+3*fine, inside(liver, b.edge))
	}
	if d := math.Max(math.Max(a.spleen.distance(v), wall+5), below+4); d < b.edge {
		hu = lerp(hu, 50+3*fine, inside(d, b.edge))
	}
	if d := math.Max(math.Max(a.stomach.distance(v), wall+7), below+5); d < b.edge {
		hu = lerp(hu, 38, inside(d, b.edge))
		if d < -4 {
			content := 28 + 12*fine
			if v.y < a.stomach.centre.y-14 { // gas rises to the front
				content = -950
			}
			hu = lerp(hu, content, inside(d+5, b.edge))
		}
	}
	// The diaphragm itself.
	muscle := math.Min(-below, -wall)
	if muscle < 5 {
		hu = lerp(48, hu, smoothstep(2.5, 4.5, muscle))
	}
	return hu
}

// bone is cortex over marrow; d is the distance from its surface, negative inside.
func (b *brush) bone(hu, d, cortex float64, v vec) float64 {
	if d > b.edge {
		return hu
	}
	a := b.body
	marrow := 170 + 110*a.texture.at(v.x/2.5, v.y/2.5, v.z/2.5)
	value := lerp(marrow, 850, smoothstep(-cortex-0.9, -cortex+0.5, d))
	return lerp(hu, value, inside(d, b.edge))
}

func (b *brush) spine(p *plane, v vec, hu float64) float64 {
	x, y := math.Abs(v.x), v.y-p.spineY
	if x > 48 || y < -22 || y > 70 {
		return hu
	}
	disc := smoothstep(0.36, 0.42, math.Abs(p.phase)) // between the vertebrae
	waist := 1 - 0.07*math.Cos(2*math.Pi*p.phase)
	rx, ry := 17*waist, 14*waist
	k := math.Sqrt(x*x/(rx*rx) + y*y/(ry*ry))
	if d := (k - 1) * (rx + ry) / 2; d < b.edge {
		plate := 120 * smoothstep(0.3, 0.36, math.Abs(p.phase))
		bone := b.bone(hu, d, 0.6+plate/120*0.8, v) + plate*inside(d, 1)
		hu = lerp(bone, lerp(hu, 85, inside(d, b.edge)), disc)
	}
	level := 1 - smoothstep(0.30, 0.42, math.Abs(p.phase-0.08))
	// Arch, pedicles and processes about the canal.
	cy := y - 23
	canal := math.Sqrt(x*x/(9.5*9.5)+cy*cy/(8.5*8.5)) - 1
	ring := math.Max(math.Abs(canal*9-2.6)-2.6, -cy-16)
	lamina := ring
	if level < 0.5 && cy < 3 {
		lamina = 9 // the foramina between the pedicles
	}
	transverse := tube{vec{12, 26, 0}, vec{34, 34, 0}, 4.6, 3.6}
	d := lamina
	if level > 0 {
		d = math.Min(d, transverse.distance(vec{x, y, 0})+(1-level)*6)
	}
	spinous := math.Max(x-3-1.5*smoothstep(43, 50, y), math.Max(33-y, y-51))
	d = math.Min(d, spinous)
	hu = b.bone(hu, d, 1.1, v)
	if c := canal * 9; c < 1 {
		inner := math.Sqrt(x*x/(6.5*6.5)+cy*cy/(5.5*5.5)) - 1
		hu = lerp(hu, lerp(-40, 38, inside(inner*6, 1)), inside(c, b.edge))
	}
	return hu
}

// chestWall is everything between the pleura and the skin.
func (b *brush) chestWall(p *plane, v vec, wall, depth float64, angle int) float64 {
	a := b.body
	fine := a.texture.at(v.x/7, v.y/7, v.z/9)
	broad := a.texture.at(v.x/22+3, v.y/22, v.z/40)
	muscle := p.muscle[angle]
	hu := 52 + 8*fine
	if outer := wall - 11 - muscle; outer > -b.edge { // fat under the skin
		hu = lerp(-104+10*fine, hu, inside(outer+1.5*broad, b.edge))
	} else if wall > 10 {
		// Fat between the layers of muscle.
		layer := math.Abs(math.Mod(wall-10.5+3*broad, 14)) - 0.5 - 1.2*math.Max(0, broad)
		hu = lerp(hu, -70, inside(layer, 1)*clamp(0.4+broad, 0, 1))
		hu -= 90 * smoothstep(0.4, 0.7, fine)
	}
	if depth < 2.2+b.edge { // skin
		hu = lerp(hu, 15, inside(depth-2.2, b.edge))
	}
	if kind := p.ribKind[angle]; kind != 0 && wall < 14 && math.Abs(p.rib[angle]) < 10 {
		half := 6.2
		e := math.Sqrt((wall-6)*(wall-6)/(4*4) + p.rib[angle]*p.rib[angle]/(half*half))
		d := (e - 1) * 4.6
		if kind == 1 {
			hu = b.bone(hu, d, 1.1, v)
		} else {
			hu = lerp(hu, 115+35*fine, inside(d, b.edge))
		}
	}
	// Sternum, in front.
	if front := p.centreY - v.y; front > 0 && math.Abs(v.x) < 40 && v.z > -90 && v.z < 68 {
		half := 15 + 11*smoothstep(20, 50, v.z) - 6*smoothstep(-60, -85, v.z)
		d := math.Max(math.Abs(v.x)-half, math.Abs(wall-7)-5)
		if v.z > 18 && v.z < 22 { // between manubrium and body
			d = 9
		}
		hu = b.bone(hu, d, 0.9, v)
	}
	if v.z > -45 && v.z < 100 && v.y > p.centreY-25 {
		alpha := math.Abs(arctan2(math.Abs(v.x), v.y-p.centreY))
		low, high := 0.72, 0.72+0.68*smoothstep(-48, 35, v.z)
		if t := (alpha - low) / (high - low + 1e-6); t > -0.1 && t < 1.1 {
			half := 1.5 + 3*smoothstep(0.78, 1, t) + 1.2*smoothstep(0.18, 0, t)
			radius := wall + p.wall[angle]
			d := math.Max(math.Abs(wall-17-9*t)-half, math.Max(-t, t-1)*(high-low)*radius)
			hu = b.bone(hu, d, 1.2, v)
		}
	}
	if v.z > 55 {
		for i := range a.bones {
			hu = b.bone(hu, a.bones[i].distance(v), 1.6, v)
		}
		for i := range a.humeri {
			hu = b.bone(hu, a.humeri[i].distance(v), 1.8, v)
			hu = lerp(hu, 115, inside(a.thyroid[i].distance(v), b.edge))
		}
		for _, ts := range [][]tube{a.arteries, a.veins, a.oesophagus} {
			for i := range ts {
				if d := ts[i].distance(v); d < b.edge {
					hu = lerp(hu, 45, inside(d, b.edge))
				}
			}
		}
	}
	return b.spine(p, v, hu)
}
