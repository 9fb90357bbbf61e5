package phantom

import (
	"math"
	"math/rand/v2"
)

// stream numbers the independent sources of randomness, so that a change in one
// part of the anatomy leaves the others as they are.
type stream uint64

const (
	streamBody stream = iota + 1
	streamTexture
	streamTrees
	streamNodules
	streamNoise // the last: one per slice follows
)

func source(seed uint64, s stream) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(s)*0x9e3779b97f4a7c15))
}

func between(r *rand.Rand, low, high float64) float64 { return low + (high-low)*r.Float64() }

// lattice is smooth noise in -1..1 with a period of latticeSize cells.
const latticeSize = 32

type lattice [latticeSize * latticeSize * latticeSize]float32

func newLattice(r *rand.Rand) *lattice {
	l := new(lattice)
	for i := range l {
		l[i] = float32(2*r.Float64() - 1)
	}
	return l
}

// at turns the axes of the cells away from those of the image, where they would
// be seen.
func (l *lattice) at(x, y, z float64) float64 {
	x, y, z = 0.80*x+0.48*y-0.36*z, -0.60*x+0.64*y-0.48*z, 0.8*z+0.6*y
	fx, fy, fz := math.Floor(x), math.Floor(y), math.Floor(z)
	x, y, z = x-fx, y-fy, z-fz
	x, y, z = x*x*(3-2*x), y*y*(3-2*y), z*z*(3-2*z)
	const m = latticeSize - 1
	x0, y0, z0 := int(fx)&m, int(fy)&m, int(fz)&m
	x1, y1, z1 := (x0+1)&m, (y0+1)&m, (z0+1)&m
	y0, y1 = y0*latticeSize, y1*latticeSize
	z0, z1 = z0*latticeSize*latticeSize, z1*latticeSize*latticeSize
	row := func(o int) float64 { a := float64(l[o+x0]); return a + (float64(l[o+x1])-a)*x }
	a := row(z0 + y0)
	a += (row(z0+y1) - a) * y
	b := row(z1 + y0)
	b += (row(z1+y1) - b) * y
	return a + (b-a)*z
}
