package phantom

import (
	"math"
	"math/rand/v2"
	"slices"
)

// forest holds every vessel and airway of both lungs, as short cones.
type forest struct {
	arteries, veins []tube
	airways         []tube // the lumen
}

// Terminal branches per tree over both lungs, and their radius.
const (
	terminals      = 3400
	terminalRadius = 0.36
	murray         = 2.75 // the exponent in r^m = r1^m + r2^m; Murray's 3 is for the smallest
)

func radiusOf(n int) float64 {
	return math.Min(terminalRadius*math.Pow(float64(n), 1/murray), 6.2)
}

func (a *anatomy) grow(seed uint64) *forest {
	r := source(seed, streamTrees)
	f := &forest{}
	// Where lobar arteries, bronchi and veins begin.
	w := a.wide
	artery := [lobes]vec{{-44 * w, -4, -6}, {-50 * w, -8, -36}, {-47 * w, 16, -36}, {46 * w, -2, -2}, {46 * w, 18, -30}}
	arteryFrom := [lobes]vec{{-38 * w, -4, -19}, {-40 * w, -2, -22}, {-40 * w, -2, -22}, {40 * w, 2, -6}, {40 * w, 4, -8}}
	bronchusFrom := [lobes]vec{{-24, 13, -16}, {-33, 14, -24}, {-33, 14, -24}, {40, 16, -26}, {40, 16, -26}}
	veinAt := [lobes]vec{{-40 * w, -14, -24}, {-40 * w, -12, -40}, {-38 * w, 14, -56}, {40 * w, -14, -22}, {38 * w, 16, -54}}
	veinFrom := [lobes]vec{{-24, -4, -40}, {-24, -4, -44}, {-26, 10, -54}, {26, -6, -38}, {26, 10, -52}}
	for _, kind := range []string{"artery", "vein"} {
		targets := a.targets(r, terminals)
		for lobe := range lobes {
			g := &grower{r: r, a: a, lobe: lobe}
			if kind == "artery" {
				g.bronchi = true
				g.beside = vec{r.NormFloat64(), r.NormFloat64(), r.NormFloat64()}.unit()
				rootR := radiusOf(len(targets[lobe]))
				lumen := lumenOf(rootR)
				dir := artery[lobe].sub(arteryFrom[lobe]).unit()
				off := g.offset(dir, rootR, lumen)
				f.arteries = append(f.arteries, tube{arteryFrom[lobe], artery[lobe], rootR * 1.15, rootR})
				f.airways = append(f.airways, tube{bronchusFrom[lobe], artery[lobe].add(off), lumen * 1.1, lumen})
				g.grow(artery[lobe], artery[lobe].add(off), dir, targets[lobe])
				f.arteries, f.airways = append(f.arteries, g.vessels...), append(f.airways, g.airways...)
			} else {
				rootR := radiusOf(len(targets[lobe]))
				f.veins = append(f.veins, tube{veinFrom[lobe], veinAt[lobe], rootR * 1.2, rootR})
				g.grow(veinAt[lobe], vec{}, veinAt[lobe].sub(veinFrom[lobe]).unit(), targets[lobe])
				f.veins = append(f.veins, g.vessels...)
			}
		}
	}
	return f
}

// targets draws the ends of a tree evenly over the lungs, by lobe.
func (a *anatomy) targets(r *rand.Rand, n int) [lobes][]vec {
	var out [lobes][]vec
	for k := 0; k < n; {
		v := vec{between(r, -135, 135), between(r, -110, 90), between(r, lungFloorZ, apexZ)}
		if a.lungDepthAt(v) < 2.5+3*r.Float64() {
			continue
		}
		if oblique, horizontal := a.fissure(v); math.Abs(oblique) < 2 || v.x < 0 && oblique > 0 && math.Abs(horizontal) < 2 {
			continue
		}
		l := a.lobe(v)
		out[l] = append(out[l], v)
		k++
	}
	return out
}

// lumenOf is the inner radius of the bronchus beside an artery.
func lumenOf(artery float64) float64 { return math.Min(0.88*artery-0.1, 4.6) }

// wallOf is the thickness of its wall.
func wallOf(lumen float64) float64 { return 0.45 + 0.16*lumen }

type grower struct {
	r       *rand.Rand
	a       *anatomy
	lobe    int
	bronchi bool
	beside  vec // the side of the artery on which the bronchus runs
	vessels []tube
	airways []tube
}

func (g *grower) offset(dir vec, artery, lumen float64) vec {
	return dir.cross(g.beside).unit().mul(artery + lumen + wallOf(lumen) + 0.2)
}

// grow divides the targets in two again and again: a branch runs part of the way
// to their centre, bends from the direction it comes from, and splits across the
// direction in which the targets spread the most.
func (g *grower) grow(from, airwayFrom, dir vec, targets []vec) {
	n := len(targets)
	if n == 0 {
		return
	}
	var centre vec
	for _, t := range targets {
		centre = centre.add(t)
	}
	centre = centre.mul(1 / float64(n))
	to := targets[0]
	if n > 1 {
		part := between(g.r, 0.28, 0.5)
		if n < 4 {
			part = between(g.r, 0.4, 0.65)
		}
		to = from.lerp(centre, part)
		way := to.sub(from).length()
		to = to.add(dir.mul(0.22 * way))
		to = to.add(vec{g.r.NormFloat64(), g.r.NormFloat64(), g.r.NormFloat64()}.mul(0.07 * way))
		// A vessel does not leave its lung: pull the branching point back towards the targets.
		for try := 0; try < 6 && g.a.lungDepthAt(to) < 3; try++ {
			to = to.lerp(targets[g.r.IntN(n)], 0.3)
		}
	}
	radius := radiusOf(n)
	way := to.sub(from).length()
	bend := from.add(dir.mul(0.45 * way))
	pieces := int(math.Ceil(way / 5))
	lumen := lumenOf(radius)
	bronchus := g.bronchi && lumen > 0.65
	prev, prevAirway, prevDir := from, airwayFrom, dir
	end := radius
	if n > 1 {
		end = math.Max(radius*0.93, terminalRadius)
	} else {
		end = radius * 0.75
	}
	for i := 1; i <= pieces; i++ {
		t := float64(i) / float64(pieces)
		p := from.mul((1 - t) * (1 - t)).add(bend.mul(2 * t * (1 - t))).add(to.mul(t * t))
		prevDir = p.sub(prev).unit()
		r0, r1 := lerp(radius, end, t-1/float64(pieces)), lerp(radius, end, t)
		g.vessels = append(g.vessels, tube{prev, p, r0, r1})
		if bronchus {
			q := p.add(g.offset(prevDir, r1, lumen))
			g.airways = append(g.airways, tube{prevAirway, q, lumen, lumen * 0.97})
			prevAirway = q
		}
		prev = p
	}
	if n == 1 {
		return
	}
	g.split(targets, to, prevDir)
	share := between(g.r, 0.22, 0.5)
	k := min(max(int(math.Round(share*float64(n))), 1), n-1)
	if g.r.IntN(2) == 0 {
		k = n - k
	}
	first, second := slices.Clone(targets[:k]), slices.Clone(targets[k:])
	g.grow(to, prevAirway, prevDir, first)
	g.grow(to, prevAirway, prevDir, second)
}

// split orders the targets along their widest spread across the direction dir.
func (g *grower) split(targets []vec, at, dir vec) {
	var mean vec
	for _, t := range targets {
		mean = mean.add(t)
	}
	mean = mean.mul(1 / float64(len(targets)))
	flat := func(v vec) vec { return v.sub(dir.mul(0.8 * v.dot(dir))) }
	axis := vec{g.r.NormFloat64(), g.r.NormFloat64(), g.r.NormFloat64()}.unit()
	for range 6 { // power iteration on the spread
		var next vec
		for _, t := range targets {
			d := flat(t.sub(mean))
			next = next.add(d.mul(d.dot(axis)))
		}
		axis = next.unit()
	}
	axis = axis.add(vec{g.r.NormFloat64(), g.r.NormFloat64(), g.r.NormFloat64()}.mul(0.12)).unit()
	slices.SortFunc(targets, func(a, b vec) int {
		switch d := a.sub(b).dot(axis); {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
}
