package phantom

import (
	"math"
	"math/rand/v2"
)

// forest holds every vessel and airway of both lungs, as short cones.
type forest struct {
	arteries, veins []tube
	airways         []tube // the lumen
}

// Terminal branches per tree over both lungs, and their radius.
const (
	arteryEnds     = 2700
	veinEnds       = 2300
	terminalRadius = 0.52
	murray         = 2.75 // the exponent m of r^m = r1^m + r2^m; Murray's 3 is for the smallest
)

// radiusOf is the radius of a vessel that serves n ends.
func radiusOf(n int) float64 {
	return math.Min(terminalRadius*math.Pow(float64(n), 1/murray), 6)
}

func (a *anatomy) grow(seed uint64) *forest {
	r := source(seed, streamTrees)
	f := &forest{}
	// Where lobar arteries, bronchi and veins begin.
	w := a.wide
	artery := [lobes]vec{{-44 * w, -4, -6}, {-50 * w, -8, -36}, {-47 * w, 16, -36}, {46 * w, -2, -2}, {46 * w, 18, -30}}
	arteryFrom := [lobes]vec{{-38 * w, -4, -19}, {-40 * w, -2, -22}, {-40 * w, -2, -22}, {40 * w, 2, -6}, {40 * w, 4, -8}}
	bronchusFrom := [lobes]vec{{-24, 13, -16}, {-33, 14, -24}, {-33, 14, -24}, {40, 16, -26}, {40, 16, -26}}
	// The bronchus of an upper lobe lies below its artery, that of a lower lobe medially.
	bronchusAt := [lobes]vec{{0, 0.4, -1}, {0.3, 0.6, -1}, {1, -0.5, 0}, {0, 0.4, -1}, {-1, -0.5, 0}}
	veinAt := [lobes]vec{{-40 * w, -14, -24}, {-40 * w, -12, -40}, {-38 * w, 14, -56}, {40 * w, -14, -22}, {38 * w, 16, -54}}
	veinFrom := [lobes]vec{{-24, -4, -40}, {-24, -4, -44}, {-26, 10, -54}, {26, -6, -38}, {26, 10, -52}}

	for lobe, ends := range a.targets(r, arteryEnds) {
		root := radiusOf(len(ends))
		lumen := lumenOf(root)
		dir := artery[lobe].sub(arteryFrom[lobe]).unit()
		g := &grower{r: r, a: a, beside: bronchusAt[lobe].cross(dir).unit()}
		off := g.offset(dir, root, lumen)
		f.arteries = append(f.arteries, tube{arteryFrom[lobe], artery[lobe], root * 1.15, root})
		f.airways = append(f.airways, tube{bronchusFrom[lobe], artery[lobe].add(off), lumen * 1.1, lumen})
		g.draw(g.connect(artery[lobe], ends), artery[lobe].add(off), dir, true)
		f.arteries, f.airways = append(f.arteries, g.vessels...), append(f.airways, g.airways...)
	}
	for lobe, ends := range a.targets(r, veinEnds) {
		g := &grower{r: r, a: a}
		root := radiusOf(len(ends))
		f.veins = append(f.veins, tube{veinFrom[lobe], veinAt[lobe], root * 1.2, root})
		g.draw(g.connect(veinAt[lobe], ends), vec{}, veinAt[lobe].sub(veinFrom[lobe]).unit(), false)
		f.veins = append(f.veins, g.vessels...)
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
func lumenOf(artery float64) float64 { return math.Min(0.85*artery-0.1, 4.6) }

// wallOf is the thickness of its wall.
func wallOf(lumen float64) float64 { return 0.3 + 0.12*lumen }

// smallestLumen that is drawn: finer bronchi can't be told from the lung.
const smallestLumen = 0.8

type grower struct {
	r       *rand.Rand
	a       *anatomy
	beside  vec // the side of the artery on which the bronchus runs
	vessels []tube
	airways []tube
}

func (g *grower) offset(dir vec, artery, lumen float64) vec {
	return dir.cross(g.beside).unit().mul(artery + lumen + wallOf(lumen) + 0.1)
}

// branch is a stretch of vessel between two divisions.
type branch struct {
	from, to vec
	parent   int    // -1 at the root
	children [2]int // -1 at an end
	ends     int    // that it serves
}

// detour is the price of an end's way to the root, beside that of the vessels'
// substance: it makes side branches leave their trunk forwards, not square.
const detour = 0.9

// connect joins the ends to a root one after another, each to the branch where
// it costs least and at the place where it costs least (constrained constructive
// optimisation, Schreiner and Buxbaum, IEEE Trans Biomed Eng 1993; 40: 482). The
// cost of a branch is its length times its cross-section. What is far apart
// comes first, so the first branches become the trunks.
func (g *grower) connect(root vec, ends []vec) []branch {
	if len(ends) == 0 {
		return nil
	}
	g.spread(root, ends)
	substance := make([]float64, len(ends)+2)
	for n := range substance {
		substance[n] = math.Pow(float64(n), 2/murray)
	}
	tree := []branch{{root, ends[0], -1, [2]int{-1, -1}, 1}}
	type choice struct {
		cost float64
		at   vec
		to   int
	}
	// What the branches up to the root pay for one end more, and their length.
	upstream, way := make([]float64, 0, 2*len(ends)), make([]float64, 0, 2*len(ends))
	var order []int // parents before children
	for _, end := range ends[1:] {
		upstream, way = upstream[:len(tree)], way[:len(tree)]
		order = append(order[:0], 0)
		for i := 0; i < len(order); i++ {
			b := &tree[order[i]]
			if b.parent < 0 {
				upstream[order[i]], way[order[i]] = 0, 0
			} else {
				up := &tree[b.parent]
				l := up.to.sub(up.from).length()
				upstream[order[i]] = upstream[b.parent] + l*(substance[up.ends+1]-substance[up.ends])
				way[order[i]] = way[b.parent] + l
			}
			for _, c := range b.children {
				if c >= 0 {
					order = append(order, c)
				}
			}
		}
		var best [6]choice
		for i := range best {
			best[i].cost = math.Inf(1)
		}
		for i := range tree {
			b := &tree[i]
			base := upstream[i] + detour*way[i]
			near, _ := (&tube{b.from, b.to, 0, 0}).nearest(end)
			if base+near >= best[len(best)-1].cost {
				continue
			}
			w0, w1, w2 := substance[b.ends+1]+detour, substance[b.ends], 1+detour
			at := b.from.add(b.to).add(end).mul(1.0 / 3)
			for range 7 { // Weiszfeld's iteration for the place of least cost
				d0, d1, d2 := w0/(at.sub(b.from).length()+0.01), w1/(at.sub(b.to).length()+0.01), w2/(at.sub(end).length()+0.01)
				at = b.from.mul(d0).add(b.to.mul(d1)).add(end.mul(d2)).mul(1 / (d0 + d1 + d2))
			}
			cost := base + w0*at.sub(b.from).length() + w1*at.sub(b.to).length() + w2*at.sub(end).length() -
				substance[b.ends]*b.to.sub(b.from).length()
			k := len(best)
			for k > 0 && cost < best[k-1].cost {
				k--
			}
			if k < len(best) {
				copy(best[k+1:], best[k:])
				best[k] = choice{cost, at, i}
			}
		}
		for k, c := range best {
			if math.IsInf(c.cost, 1) {
				break
			}
			// A vessel does not leave its lung.
			if out := g.outside(c.at, end); out && k < len(best)-1 && !math.IsInf(best[k+1].cost, 1) {
				continue
			}
			old := tree[c.to]
			stem, twig := len(tree), len(tree)+1
			tree = append(tree,
				branch{c.at, old.to, c.to, old.children, old.ends},
				branch{c.at, end, c.to, [2]int{-1, -1}, 1})
			for _, child := range old.children {
				if child >= 0 {
					tree[child].parent = stem
				}
			}
			tree[c.to].to, tree[c.to].children = c.at, [2]int{stem, twig}
			for i := c.to; i >= 0; i = tree[i].parent {
				tree[i].ends++
			}
			break
		}
	}
	return tree
}

func (g *grower) outside(a, b vec) bool {
	for _, t := range []float64{0, 0.33, 0.67} {
		if g.a.lungDepthAt(a.lerp(b, t)) < 1.5 {
			return true
		}
	}
	return false
}

// spread moves ends that are far from each other and from the root to the front.
func (g *grower) spread(root vec, ends []vec) {
	far := make([]float64, len(ends))
	for i := range far {
		far[i] = ends[i].sub(root).length()
	}
	for k := range min(24, len(ends)) {
		best := k
		for i := k; i < len(ends); i++ {
			if far[i] > far[best] {
				best = i
			}
		}
		ends[k], ends[best] = ends[best], ends[k]
		far[k], far[best] = far[best], far[k]
		for i := k + 1; i < len(ends); i++ {
			far[i] = math.Min(far[i], ends[i].sub(ends[k]).length())
		}
	}
}

// draw turns the tree into bent, tapering tubes, and the larger arteries' companions.
func (g *grower) draw(tree []branch, airwayFrom, dir vec, bronchi bool) {
	if len(tree) == 0 {
		return
	}
	type start struct {
		branch int
		dir    vec // in which the parent arrives
		airway vec
		trunk  bool // the larger part of its parent
	}
	todo := []start{{0, dir, airwayFrom, true}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		b := &tree[s.branch]
		way := b.to.sub(b.from).length()
		own := b.to.sub(b.from).unit()
		keep := 0.35 // a side branch turns soon, a trunk bends
		if s.trunk {
			keep = 0.7
		}
		wander := vec{g.r.NormFloat64(), g.r.NormFloat64(), g.r.NormFloat64()}.mul(0.07 * way)
		bend := b.from.add(s.dir.mul(keep).add(own.mul(1 - keep)).mul(0.45 * way)).add(wander)
		radius := radiusOf(b.ends)
		last := radius * 0.96
		if b.ends == 1 {
			last = radius * 0.6
		}
		lumen := lumenOf(radius)
		bronchus := bronchi && lumen > smallestLumen
		pieces := max(int(math.Ceil(way/4)), 1)
		prev, airway, heading := b.from, s.airway, own
		for i := 1; i <= pieces; i++ {
			t := float64(i) / float64(pieces)
			p := b.from.mul((1 - t) * (1 - t)).add(bend.mul(2 * t * (1 - t))).add(b.to.mul(t * t))
			if p.sub(prev).length() > 1e-6 {
				heading = p.sub(prev).unit()
			}
			r0, r1 := lerp(radius, last, t-1/float64(pieces)), lerp(radius, last, t)
			g.vessels = append(g.vessels, tube{prev, p, r0, r1})
			if bronchus {
				q := p.add(g.offset(heading, r1, lumen))
				g.airways = append(g.airways, tube{airway, q, lumen, lumen})
				airway = q
			}
			prev = p
		}
		if c := b.children; c[0] >= 0 {
			first, second := c[0], c[1]
			if tree[first].ends < tree[second].ends {
				first, second = second, first
			}
			todo = append(todo, start{first, heading, airway, true}, start{second, heading, airway, false})
		}
	}
}
