package phantom

import (
	"math"
	"math/rand/v2"
)

// Extent of the anatomy along the body axis, mm from the carina.
const (
	anatomyTop    = 140.0
	anatomyBottom = -175.0
	apexZ         = 98.0
	lungFloorZ    = -165.0
)

// anatomy holds the shapes of one body. Distances are in mm, negative inside a
// structure, except lungDepth, which is positive inside the lung.
type anatomy struct {
	wide, deep       float64 // scale of the chest, left-right and front-back
	cavityA, cavityB curve   // half width and half depth of the pleural cavity
	cavityBack       curve   // y of its back wall
	bodyA, bodyB     curve   // half width and half depth of the skin's outline
	bodyBack         float64
	power            float64    // of the cavity's superellipse
	wobble           [6]float64 // amplitude and phase of its irregularities
	fat              float64    // under the skin

	domeZ   [2]float64 // right, left diaphragm
	apex    [2]vec
	ribDrop curve
	tilt    float64

	heart      []ellipsoid
	arteries   []tube // aorta and its branches
	pulmonary  []tube // trunk and main arteries
	veins      []tube // great veins
	airway     []tube // trachea and main bronchi: the lumen
	oesophagus []tube
	bones      []tube // clavicles
	humeri     [2]ellipsoid
	spleen     ellipsoid
	stomach    ellipsoid
	thyroid    [2]ellipsoid

	// Hounsfield units
	blood, veinBlood, arteryBlood float64
	lungHU, gravity               float64

	texture  *lattice
	fissures [3]float64 // oblique right, oblique left, horizontal: offset in z
	planes   []*plane   // each mm, for questions about single points
}

func newAnatomy(seed uint64) *anatomy {
	r := source(seed, streamBody)
	w, d := between(r, 0.93, 1.06), between(r, 0.92, 1.08)
	a := &anatomy{wide: w, deep: d, power: between(r, 2.3, 2.8), fat: between(r, 6, 20), tilt: between(r, 0.9, 1.1)}
	scale := func(k float64, c curve) curve {
		out := make(curve, len(c))
		for i := range c {
			out[i] = [2]float64{c[i][0], c[i][1] * k}
		}
		return out
	}
	a.cavityA = scale(w, curve{{-175, 126}, {-110, 128}, {-60, 127}, {0, 119}, {40, 103}, {70, 81}, {90, 66}, {112, 48}, {140, 40}})
	a.cavityB = scale(d, curve{{-175, 84}, {-60, 88}, {0, 80}, {40, 66}, {70, 51}, {90, 40}, {112, 30}, {140, 26}})
	a.cavityBack = scale(d, curve{{-175, 76}, {-60, 80}, {0, 80}, {40, 75}, {70, 65}, {90, 56}, {112, 44}, {140, 38}})
	grow := a.fat - 10
	a.bodyA = curve{{-175, 152*w + grow}, {-110, 156*w + grow}, {-50, 159*w + grow}, {0, 163*w + grow}, {50, 168 * w}, {85, 172 * w}, {112, 165 * w}, {140, 140 * w}}
	a.bodyB = curve{{-175, 84*d + 24 + a.fat/2}, {-60, 88*d + 25 + a.fat/2}, {0, 80*d + 26 + a.fat/2}, {50, 72*d + 28 + a.fat/2}, {85, 84 * d}, {112, 75 * d}, {140, 68 * d}}
	a.bodyBack = 80*d + 36 + grow/3
	for i := range 3 {
		a.wobble[2*i], a.wobble[2*i+1] = between(r, 0.004, 0.013), between(r, 0, 2*math.Pi)
	}
	right := between(r, -104, -90)
	a.domeZ = [2]float64{right, right - between(r, 6, 15)}
	for i, side := range []float64{-1, 1} {
		a.apex[i] = vec{side * between(r, 38, 44) * w, 17 * d, apexZ + between(r, -5, 3)}
	}
	a.ribDrop = scale(between(r, 0.9, 1.1), curve{{0, 28}, {1, 46}, {3, 76}, {6, 96}, {9, 82}, {11, 40}})

	a.mediastinum(r)
	a.blood, a.veinBlood, a.arteryBlood = 42, 42, 42
	if r.Float64() < 0.5 { // contrast medium
		level := between(r, 120, 280)
		a.arteryBlood, a.blood, a.veinBlood = level, level*between(r, 0.8, 1.1), level*between(r, 0.6, 1.3)
	}
	a.lungHU, a.gravity = between(r, -915, -880), between(r, 25, 60)
	for i := range a.fissures {
		a.fissures[i] = between(r, -8, 8)
	}
	a.texture = newLattice(source(seed, streamTexture))
	for z := anatomyBottom - 5; z <= anatomyTop+5; z++ {
		a.planes = append(a.planes, a.plane(z, false))
	}
	return a
}

func (a *anatomy) mediastinum(r *rand.Rand) {
	w, d := a.wide, a.deep
	jitter := func(v vec, k float64) vec {
		return vec{v.x*w + between(r, -k, k), v.y*d + between(r, -k, k), v.z + between(r, -k, k)}
	}
	size := between(r, 0.92, 1.08)
	a.heart = []ellipsoid{
		along(jitter(vec{20, -38, -74}, 4), vec{0.62, -0.5, -0.6}, vec{62 * size, 44 * size, 45 * size}),
		upright(jitter(vec{-26, -25, -66}, 3), vec{27 * size, 31 * size, 37 * size}),
		upright(jitter(vec{0, 10, -50}, 3), vec{37 * size, 21 * size, 26 * size}),
	}
	ao := between(r, 12.5, 16)
	spine := func(z float64) float64 { return a.spineY(z) }
	arch := []vec{
		jitter(vec{-2, -36, -45}, 1), jitter(vec{-15, -40, -15}, 2), jitter(vec{-12, -34, 14}, 2), jitter(vec{-4, -18, 30}, 2),
		jitter(vec{8, 2, 34}, 2), jitter(vec{17, 20, 30}, 2), {23, spine(16) - 22, 16}, {25, spine(0) - 17, 0},
		{24, spine(-40) - 20, -40}, {19, spine(-90) - 22, -90}, {12, spine(-130) - 25, -130}, {6, spine(-180) - 27, -180},
	}
	a.arteries = chain(ao, arch...)
	for i := range a.arteries {
		k := math.Max(0.8, 1.08-0.04*float64(i))
		a.arteries[i].ra, a.arteries[i].rb = ao*k, ao*math.Max(0.8, k-0.04)
	}
	a.arteries = append(a.arteries, chain(6, arch[3], vec{-16, -8, 55}, vec{-22, -2, 80}, vec{-45, 5, 108})...)
	a.arteries = append(a.arteries, chain(4, arch[4], vec{14, -2, 60}, vec{20, 2, 140})...)
	a.arteries = append(a.arteries, chain(5, arch[5], vec{26, 12, 60}, vec{32, 8, 88}, vec{62, 0, 106})...)
	a.veins = append(chain(9.5, vec{-27, -26, 42}, vec{-26, -24, -36}),
		chain(7.5, vec{-27, -26, 42}, vec{-34, -18, 78}, vec{-55, -15, 105})...)
	a.veins = append(a.veins, chain(6.5, vec{-26, -28, 40}, vec{6, -40, 50}, vec{36, -20, 80}, vec{58, -18, 102})...)
	a.veins = append(a.veins, chain(10, vec{-18, 8, -85}, vec{-20, 8, -175})...) // inferior vena cava
	a.pulmonary = append(chain(14, vec{14, -50, -45}, vec{20, -38, -16}),
		tube{vec{18, -28, -14}, vec{-40, -4, -20}, 10.5, 8}, tube{vec{20, -38, -16}, vec{40, 2, -6}, 11, 8.5})
	a.airway = []tube{
		{vec{0, -14, 142}, vec{0, -2, 70}, 8.2, 8.2}, {vec{0, -2, 70}, vec{-1, 10, 4}, 8.2, 8.4},
		{vec{-1, 10, 4}, vec{-15, 12, -8}, 7, 6.6}, {vec{-15, 12, -8}, vec{-33, 14, -24}, 6.4, 5.8},
		{vec{-1, 10, 4}, vec{18, 13, -14}, 6.4, 6}, {vec{18, 13, -14}, vec{40, 16, -26}, 5.8, 5.2},
	}
	a.oesophagus = chain(5.5, vec{3, spine(140) - 24, 140}, vec{4, spine(60) - 21, 60}, vec{5, spine(0) - 22, 0},
		vec{4, spine(-60) - 22, -60}, vec{8, spine(-110) - 34, -110}, vec{22, spine(-130) - 45, -130})
	for _, s := range []float64{-1, 1} {
		a.bones = append(a.bones, chain(5.5, vec{s * 22, -50 * d, 68}, vec{s * 60, -56 * d, 82}, vec{s * 100, -26 * d, 98}, vec{s * 125 * w, 0, 110})...)
		a.humeri[int(s+1)/2] = upright(vec{s * 150 * w, 22 * d, 112}, vec{23, 24, 26})
		a.thyroid[int(s+1)/2] = upright(vec{s * 17, -14, 116}, vec{9, 11, 20})
	}
	a.spleen = upright(vec{84 * w, 40 * d, -148}, vec{34, 34, 42})
	a.stomach = upright(vec{58 * w, -18 * d, -150}, vec{42, 46, 36})
}

// spineY is the y of the vertebral bodies' centre.
func (a *anatomy) spineY(z float64) float64 { return a.cavityBack.at(z) - 24 }

// angles per plane: tables over the polar angle about the cavity's centre.
const angles = 1024

// plane holds what the shapes have in common at one z.
type plane struct {
	a       *anatomy
	z       float64
	centreY float64
	wall    [angles + 1]float64 // radius of the pleural cavity
	slant   [angles + 1]float64 // turns radial distance into distance from the wall
	skin    [angles + 1]float64 // from the wall to the skin
	muscle  [angles + 1]float64
	rib     [angles + 1]float64 // distance across the nearest rib, mm, signed
	ribKind [angles + 1]uint8   // 0 none, 1 bone, 2 cartilage
	spineY  float64
	phase   float64 // -0.5..0.5 within a vertebra, +-0.5 is the disc's middle
	heart   []ellipsoid
	tubes   []tube // great vessels and airways near this plane
	column  float64
}

const vertebraHeight, vertebraOffset = 21.5, 0.0

// plane computes the tables of one z. Most of the work is the skin, of which
// questions about the lung know nothing.
func (a *anatomy) plane(z float64, skin bool) *plane {
	p := &plane{a: a, z: z}
	A, B := a.cavityA.at(z), a.cavityB.at(z)
	p.centreY = a.cavityBack.at(z) - B
	p.spineY = a.spineY(z)
	bodyA, bodyB := a.bodyA.at(z), a.bodyB.at(z)
	bodyY := a.bodyBack - bodyB
	v := (z - vertebraOffset) / vertebraHeight
	p.phase = v - math.Round(v)
	for i := range p.wall {
		t := 2*math.Pi*float64(i)/angles - math.Pi
		sin, cos := math.Sincos(t)
		wide := A * (1 + 0.05*sin) // widest behind the middle
		p.wall[i] = math.Pow(math.Pow(math.Abs(cos)/wide, a.power)+math.Pow(math.Abs(sin)/B, a.power), -1/a.power)
		for k := range 3 {
			p.wall[i] *= 1 + a.wobble[2*k]*math.Sin(float64(k+2)*t+a.wobble[2*k+1]+z*0.01*float64(k+1))
		}
		if !skin {
			continue
		}
		// The skin's outline has its own centre: intersect the ray with it by a few secant steps.
		const n = 2.4
		low, high := 0.0, 400.0
		for range 22 {
			mid := (low + high) / 2
			x, y := mid*cos, p.centreY+mid*sin-bodyY
			if math.Pow(math.Abs(x)/bodyA, n)+math.Pow(math.Abs(y)/bodyB, n) < 1 {
				low = mid
			} else {
				high = mid
			}
		}
		p.skin[i] = low
	}
	for i := range p.wall {
		next, before := p.wall[(i+1)%angles], p.wall[(i+angles-1)%angles]
		slope := (next - before) / (4 * math.Pi / angles) / p.wall[i]
		p.slant[i] = 1 / math.Sqrt(1+slope*slope)
		p.skin[i] = math.Max((p.skin[i]-p.wall[i])*p.slant[i], 14)

		t := 2*math.Pi*float64(i)/angles - math.Pi
		alpha := math.Abs(math.Remainder(t-math.Pi/2, 2*math.Pi)) // from the spine, 0..pi
		back := smoothstep(1.3, 0.5, alpha)
		front := smoothstep(1.6, 2.2, alpha) * smoothstep(3.1, 2.7, alpha) * smoothstep(-25, 15, z)
		side := smoothstep(0.6, 1.0, alpha) * smoothstep(2.2, 1.6, alpha)
		most := 5 + 28*back + 15*front + 17*side*smoothstep(-120, -20, z) + 60*smoothstep(25, 85, z)
		p.muscle[i] = clamp(p.skin[i]-11-a.fat*(0.45+0.35*(1-back)), 2, most)
		p.rib[i] = 99
		for n := range 12 {
			rib := float64(n)
			drop := a.ribDrop.at(rib)
			zr := 89 - vertebraHeight*rib - drop*(1-math.Cos(alpha*0.95))/2
			slope := drop * 0.475 * math.Sin(alpha*0.95) / (p.wall[i] + 5)
			end, kind := 2.35-0.03*rib, uint8(1)
			if n >= 10 && alpha > 1.7-0.5*float64(n-10) || alpha < 0.16 {
				continue
			}
			if alpha > end {
				kind = 2
				if rise := 13 * (rib - 3); rise > 0 {
					zr += (alpha - end) * rise
				}
			}
			if dz := (z - zr) / math.Sqrt(1+slope*slope); math.Abs(dz) < math.Abs(p.rib[i]) {
				p.rib[i], p.ribKind[i] = dz, kind
			}
		}
		// The ribs dent the lungs a little.
		if dent := p.rib[i] / 8; dent > -2 && dent < 2 {
			dent = 1.1 * math.Exp(-dent*dent)
			p.wall[i] -= dent
			p.skin[i] += dent
		}
	}
	near := func(ts []tube) {
		for _, t := range ts {
			r := math.Max(t.ra, t.rb) + 22
			if z > math.Min(t.a.z, t.b.z)-r && z < math.Max(t.a.z, t.b.z)+r {
				p.tubes = append(p.tubes, t)
			}
		}
	}
	near(a.arteries)
	near(a.pulmonary)
	near(a.veins)
	near(a.airway)
	near(a.oesophagus)
	for _, h := range a.heart {
		if math.Abs(z-h.centre.z) < 90 {
			p.heart = append(p.heart, h)
		}
	}
	p.column = curve{{-170, 18}, {-120, 10}, {-60, 10}, {-10, 14}, {30, 15}, {60, 19}, {100, 20}}.at(z)
	return p
}

// wallAt gives the distance from the pleural wall (negative inside the cavity)
// and the index of the angle.
func (p *plane) wallAt(x, y float64) (s float64, angle int) {
	y -= p.centreY
	i := int((arctan2(y, x) + math.Pi) * (angles / (2 * math.Pi)))
	i = min(max(i, 0), angles)
	return (math.Sqrt(x*x+y*y) - p.wall[i]) * p.slant[i], i
}

// nearestPlane serves questions about single points.
func (a *anatomy) nearestPlane(z float64) *plane {
	i := int(math.Round(z - (anatomyBottom - 5)))
	return a.planes[min(max(i, 0), len(a.planes)-1)]
}

// side is 0 in the right half of the chest, 1 in the left.
func side(x float64) int {
	if x < 0 {
		return 0
	}
	return 1
}

// mediastinum is the distance from the tissue between the lungs, negative inside.
func (p *plane) mediastinum(v vec) float64 {
	x, y := v.x, v.y
	half := 5 + (p.column-5)*smoothstep(-78, -38, y)
	d := math.Abs(x) - half
	sy := y - p.spineY
	body := math.Sqrt(x*x/(22*22) + sy*sy/(19*19))
	d = smoothMin(d, (body-1)*19, 8)
	arch := math.Sqrt(x*x/(30*30) + (sy-26)*(sy-26)/(22*22))
	d = smoothMin(d, (arch-1)*22, 6)
	if math.Abs(x) > 115 {
		return d
	}
	for i := range p.heart {
		d = smoothMin(d, p.heart[i].distance(v)-2.5, 10)
	}
	if math.Abs(x) < 75 {
		for i := range p.tubes {
			d = smoothMin(d, p.tubes[i].distance(v)-2.5, 9)
		}
	}
	return d
}

// diaphragm is the height above it, measured across its slope.
func (a *anatomy) diaphragm(v vec) float64 {
	s := side(v.x)
	sign := float64(2*s - 1)
	dx, dy := v.x-sign*60*a.wide, v.y+8*a.deep
	kx, ky := 66*a.wide*(1+1.2*smoothstep(10, -30, dx*sign)), 82*a.deep
	deep := 1 + 0.25*smoothstep(-20, 60, dy)
	qx, qy := dx/kx, dy/ky
	q := qx*qx + qy*qy
	drop := 46 * deep * (0.75*q + 0.25*q*q)
	slope := 46 * deep * (1.5 + q) / math.Min(kx, ky) * math.Sqrt(q)
	return (v.z - a.domeZ[s] + drop) / math.Sqrt(1+slope*slope)
}

// lungDepth is the depth under the lung's surface, mm, positive inside; wall is
// the distance from the pleural wall at v.
func (p *plane) lungDepth(v vec, wall float64) float64 {
	a := p.a
	d := -wall
	d = smoothMin(d, a.diaphragm(v), 5)
	if v.z > 50 {
		c := a.apex[side(v.x)]
		dx, dy := v.x-c.x, v.y-c.y
		top := c.z - (dx*dx+dy*dy)/52
		d = smoothMin(d, (top-v.z)/math.Sqrt(1+(dx*dx+dy*dy)/(26*26)), 6)
	}
	if d < -8 {
		return d
	}
	return smoothMin(d, p.mediastinum(v), 5)
}

func (a *anatomy) lungDepthAt(v vec) float64 {
	p := a.nearestPlane(v.z)
	s, _ := p.wallAt(v.x, v.y)
	return p.lungDepth(v, s)
}

// Lobes of the lungs.
const (
	rightUpper = iota
	rightMiddle
	rightLower
	leftUpper
	leftLower
	lobes
)

// fissure gives the distances above the oblique and the horizontal fissure of
// the side, mm.
func (a *anatomy) fissure(v vec) (oblique, horizontal float64) {
	s := side(v.x)
	bend := 8 * a.texture.at(v.x/45, v.y/45, v.z/45)
	oblique = (v.z - (30 + a.fissures[s] + (v.y-70)*1.05) + bend) * 0.69
	horizontal = v.z - (-28 + a.fissures[2] + 0.12*v.y + 7*a.texture.at(v.x/40+9, v.y/40, v.z/40))
	return oblique, horizontal
}

func (a *anatomy) lobe(v vec) int {
	oblique, horizontal := a.fissure(v)
	switch {
	case v.x >= 0 && oblique > 0:
		return leftUpper
	case v.x >= 0:
		return leftLower
	case oblique < 0:
		return rightLower
	case horizontal < 0:
		return rightMiddle
	}
	return rightUpper
}
