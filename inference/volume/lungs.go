package volume

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNoLungs is in the chain of errors about a CT that does not show the lungs.
// Such a series is not analysed by rule.
var ErrNoLungs = errors.New("no lungs in view")

// Sides of a lung in LungMask.Label.
const (
	Right = 1
	Left  = 2
)

// LungMask is where nodules are looked for: the lungs with what borders on them
// and what is inside them, in the layout of the Levels that it was made from.
type LungMask struct {
	Label      []uint8 // 0, Right or Left
	NX, NY, NZ int
	VolumeML   float64 // of air-filled lung, before gaps were closed

	// CutFirst and CutLast say that the lungs go on beyond the first or last
	// slice: what lies there is not in view.
	CutFirst, CutLast bool
}

// Side is "left" or "right" for a voxel of the lungs (x, y, z of the 1 mm volume),
// "" elsewhere.
func (m *LungMask) Side(x, y, z int) string {
	if x < 0 || y < 0 || z < 0 || x >= m.NX || y >= m.NY || z >= m.NZ {
		return ""
	}
	return [...]string{"", "right", "left"}[m.Label[(z*m.NY+y)*m.NX+x]]
}

const (
	coarse = 2 // mm: the mask is made on every second voxel, averaged

	lungBelowHU  = -400. // between lung tissue and the chest wall
	gasBelowHU   = -955. // mean: stomach, bowel, air between arm and chest
	tissueHU     = -300. // mean: rather a rim of something than lung
	outsideHU    = -930. // second try, where lungs reach the border of a small field
	leastML      = 1000. // less is an abdomen's lung bases, a neck's apices or no chest
	leastHeight  = 90.   // mm along the slices
	partML       = 50.   // separate parts of a lung
	cutCM2       = 20.   // of lung in an outermost slice: more than an apex or a recess
	closeMM      = 16    // radius: a nodule of 30 mm on the pleura is closed over
	leastShare   = 0.12  // of the lungs that each side has when they are told apart
	maxOpeningMM = 12    // radius by which lungs are torn apart that touch
)

// Lungs finds the lungs: connected parts of low density inside the body, closed
// over nodules and vessels with a ball of 16 mm, each side by itself so that the
// mediastinum stays out. The error has ErrNoLungs in its chain where less than a
// litre of lung is in view.
func Lungs(l *Levels) (*LungMask, error) {
	g := shrink(l)
	lung, ml := g.lungs(math.Inf(1))
	if ml < leastML {
		if again, more := g.lungs(outsideHU); more > ml {
			lung, ml = again, more
		}
	}
	if ml < leastML {
		return nil, fmt.Errorf("%w: %.0f ml of lung were found, at least %.0f are analysed: ask for a CT of the whole chest", ErrNoLungs, ml, leastML)
	}
	if height := g.height(lung); height < leastHeight {
		return nil, fmt.Errorf("%w: only %.0f mm of lung lie along the slices, at least %.0f are analysed: ask for a CT of the whole chest", ErrNoLungs, height, leastHeight)
	}
	ends := [2]bool{g.area(lung, 0) > cutCM2, g.area(lung, g.nz-1) > cutCM2}
	right, left := g.sides(lung, l)
	label := make([]uint8, len(lung))
	g.closeOver(right, Right, label)
	g.closeOver(left, Left, label)
	m := &LungMask{Label: make([]uint8, len(l.Q)), NX: l.NX, NY: l.NY, NZ: l.NZ, VolumeML: ml, CutFirst: ends[0], CutLast: ends[1]}
	parallel(l.NZ, 0, func(z int) {
		for y := range l.NY {
			from := label[g.index(0, min(y/coarse, g.ny-1), min(z/coarse, g.nz-1)):][:g.nx]
			to := m.Label[(z*l.NY+y)*l.NX:][:l.NX]
			for x := range to {
				to[x] = from[min(x/coarse, g.nx-1)]
			}
		}
	})
	return m, nil
}

// coarseGrid is the CT at 2 mm: the mean level of eight voxels.
type coarseGrid struct {
	q          []uint16
	nx, ny, nz int
}

func (g *coarseGrid) index(x, y, z int) int { return (z*g.ny+y)*g.nx + x }

func shrink(l *Levels) *coarseGrid {
	half := func(n int) int { return (n + coarse - 1) / coarse }
	g := &coarseGrid{nx: half(l.NX), ny: half(l.NY), nz: half(l.NZ)}
	g.q = make([]uint16, g.nx*g.ny*g.nz)
	parallel(g.nz, 0, func(z int) {
		z0, z1 := z*coarse, min(z*coarse+1, l.NZ-1)
		for y := range g.ny {
			y0, y1 := y*coarse, min(y*coarse+1, l.NY-1)
			var rows [4][]uint16
			for i, at := range [4][2]int{{z0, y0}, {z0, y1}, {z1, y0}, {z1, y1}} {
				rows[i] = l.Q[(at[0]*l.NY+at[1])*l.NX:][:l.NX]
			}
			out := g.q[g.index(0, y, z):][:g.nx]
			for x := range out {
				x0, x1 := x*coarse, min(x*coarse+1, l.NX-1)
				sum := uint32(0)
				for _, r := range rows {
					sum += uint32(r[x0]) + uint32(r[x1])
				}
				out[x] = uint16((sum + 4) / 8)
			}
		}
	})
	return g
}

// levelOf is the level of an HU within the window.
func levelOf(hu float64) uint16 { return level(float32(hu)) }

// voxelML is the volume of a coarse voxel.
const voxelML = coarse * coarse * coarse / 1000.

// lungs marks the parts of low density that are lung, and their volume. Air
// outside the body is what can be reached, slice by slice, from the border of the
// image through low density below outside HU: in three dimensions it would reach
// the lungs through a mouth in view.
func (g *coarseGrid) lungs(outside float64) ([]uint8, float64) {
	const (
		tissue uint8 = iota
		low
		out
		seen
	)
	class := make([]uint8, len(g.q))
	below, open := levelOf(lungBelowHU), levelOf(min(outside, lungBelowHU))
	n := g.nx * g.ny
	parallel(g.nz, 0, func(z int) {
		q, c := g.q[z*n:(z+1)*n], class[z*n:(z+1)*n]
		for i, v := range q {
			if v < below {
				c[i] = low
			}
		}
		var stack []int32
		visit := func(i int) {
			if c[i] == low && q[i] < open {
				c[i] = out
				stack = append(stack, int32(i))
			}
		}
		for x := range g.nx {
			visit(x)
			visit(n - g.nx + x)
		}
		for y := range g.ny {
			visit(y * g.nx)
			visit(y*g.nx + g.nx - 1)
		}
		for len(stack) > 0 {
			i := int(stack[len(stack)-1])
			stack = stack[:len(stack)-1]
			if x := i % g.nx; x > 0 {
				visit(i - 1)
			}
			if x := i % g.nx; x < g.nx-1 {
				visit(i + 1)
			}
			if i >= g.nx {
				visit(i - g.nx)
			}
			if i < n-g.nx {
				visit(i + g.nx)
			}
		}
	})
	lung := make([]uint8, len(g.q))
	total := 0.
	gas, rim := float64(levelOf(gasBelowHU)), float64(levelOf(tissueHU))
	var part []int32
	for i := range class {
		if class[i] != low {
			continue
		}
		part = append(part[:0], int32(i))
		class[i] = seen
		sum := 0
		for at := 0; at < len(part); at++ {
			j := int(part[at])
			sum += int(g.q[j])
			g.neighbours(j, func(k int) {
				if class[k] == low {
					class[k] = seen
					part = append(part, int32(k))
				}
			})
		}
		ml, mean := float64(len(part))*voxelML, float64(sum)/float64(len(part))
		if ml < partML || mean < gas || mean > rim {
			continue
		}
		total += ml
		for _, j := range part {
			lung[j] = 1
		}
	}
	return lung, total
}

// neighbours calls f for the up to six voxels that share a face with i.
func (g *coarseGrid) neighbours(i int, f func(int)) {
	n := g.nx * g.ny
	x, y, z := i%g.nx, i/g.nx%g.ny, i/n
	if x > 0 {
		f(i - 1)
	}
	if x < g.nx-1 {
		f(i + 1)
	}
	if y > 0 {
		f(i - g.nx)
	}
	if y < g.ny-1 {
		f(i + g.nx)
	}
	if z > 0 {
		f(i - n)
	}
	if z < g.nz-1 {
		f(i + n)
	}
}

// height is the extent of the lungs along the slices in mm, without slices that
// show next to nothing of them.
func (g *coarseGrid) height(lung []uint8) float64 {
	slices := 0
	for z := range g.nz {
		if g.area(lung, z) >= 10 {
			slices++
		}
	}
	return float64(slices * coarse)
}

// area is how much of a mask lies in slice z, in cm2.
func (g *coarseGrid) area(mask []uint8, z int) float64 {
	n, set := g.nx*g.ny, 0
	for _, v := range mask[z*n : (z+1)*n] {
		set += int(v)
	}
	return float64(set*coarse*coarse) / 100
}

// sides tells the two lungs apart. They often touch, by the airways or in front of
// the heart: the mask is opened with growing balls until it falls into two parts
// of some size, and every voxel goes to the part that it is nearest to inside the
// mask. The left lung is the one farther along +x of LPS. Where nothing falls
// apart, each voxel goes by the plane through the middle of the mask.
func (g *coarseGrid) sides(lung []uint8, l *Levels) (right, left []uint8) {
	total := 0
	for _, v := range lung {
		total += int(v)
	}
	// The direction of LPS x in voxels: left is where the patient's left is.
	o := l.Grid.Orientation
	toLeft := [3]float64{o[0], o[3], normal(o)[0]}
	least := int(leastShare * float64(total))
	var label []uint8
	for radius := 0; radius <= maxOpeningMM/coarse; radius++ {
		core := lung
		if radius > 0 {
			core = g.erode(lung, radius)
		}
		parts := g.largest(core, least)
		if len(parts) >= 2 {
			label = g.spread(lung, parts[:2], toLeft)
			break
		}
	}
	right, left = make([]uint8, len(lung)), make([]uint8, len(lung))
	if label == nil {
		middle, n := 0., 0.
		for i, v := range lung {
			if v != 0 {
				middle += g.project(i, toLeft)
				n++
			}
		}
		for i, v := range lung {
			if v == 0 {
				continue
			}
			if g.project(i, toLeft) > middle/n {
				left[i] = 1
			} else {
				right[i] = 1
			}
		}
		return right, left
	}
	var sum, n [3]float64
	for i, v := range label {
		sum[v] += g.project(i, toLeft)
		n[v]++
	}
	leftLabel := uint8(1)
	if sum[2]/n[2] > sum[1]/n[1] {
		leftLabel = 2
	}
	for i, v := range label {
		switch v {
		case 0:
		case leftLabel:
			left[i] = 1
		default:
			right[i] = 1
		}
	}
	return right, left
}

func (g *coarseGrid) project(i int, toLeft [3]float64) float64 {
	x, y, z := i%g.nx, i/g.nx%g.ny, i/(g.nx*g.ny)
	return float64(x)*toLeft[0] + float64(y)*toLeft[1] + float64(z)*toLeft[2]
}

// largest gives the connected parts of a mask with at least so many voxels, the
// largest first.
func (g *coarseGrid) largest(mask []uint8, least int) [][]int32 {
	seen := make([]bool, len(mask))
	var parts [][]int32
	var part []int32
	for i, v := range mask {
		if v == 0 || seen[i] {
			continue
		}
		part = append(part[:0], int32(i))
		seen[i] = true
		for at := 0; at < len(part); at++ {
			g.neighbours(int(part[at]), func(k int) {
				if mask[k] != 0 && !seen[k] {
					seen[k] = true
					part = append(part, int32(k))
				}
			})
		}
		if len(part) >= least {
			parts = append(parts, slices.Clone(part))
		}
	}
	slices.SortStableFunc(parts, func(a, b []int32) int { return len(b) - len(a) })
	return parts
}

// spread labels a mask by the parts 1, 2 that are nearest inside it. What hangs
// together with neither goes to the one nearer along the patient's left.
func (g *coarseGrid) spread(mask []uint8, parts [][]int32, toLeft [3]float64) []uint8 {
	label := make([]uint8, len(mask))
	var queue []int32
	var middle [2]float64
	for p, part := range parts {
		for _, i := range part {
			label[i] = uint8(p + 1)
			middle[p] += g.project(int(i), toLeft)
		}
		middle[p] /= float64(len(part))
		queue = append(queue, part...)
	}
	for at := 0; at < len(queue); at++ {
		i := int(queue[at])
		g.neighbours(i, func(k int) {
			if mask[k] != 0 && label[k] == 0 {
				label[k] = label[i]
				queue = append(queue, int32(k))
			}
		})
	}
	for i, v := range mask {
		if v != 0 && label[i] == 0 {
			x := g.project(i, toLeft)
			label[i] = 1
			if math.Abs(x-middle[1]) < math.Abs(x-middle[0]) {
				label[i] = 2
			}
		}
	}
	return label
}

// erode keeps the voxels of which all within the radius (in coarse voxels) are set.
func (g *coarseGrid) erode(mask []uint8, radius int) []uint8 {
	not := make([]uint8, len(mask))
	for i, v := range mask {
		not[i] = 1 - v
	}
	far := near(not, [3]int{g.nx, g.ny, g.nz}, radius)
	for i, v := range far {
		far[i] = 1 - v
	}
	return far
}

// closeOver closes a lung with a ball and writes it into label, where nothing
// stands yet: what a ball outside the lung cannot reach becomes lung. Holes that
// nothing leads into are filled.
func (g *coarseGrid) closeOver(lung []uint8, value uint8, label []uint8) {
	const radius = closeMM / coarse
	low, high := [3]int{g.nx, g.ny, g.nz}, [3]int{-1, -1, -1}
	for i, v := range lung {
		if v != 0 {
			p := [3]int{i % g.nx, i / g.nx % g.ny, i / (g.nx * g.ny)}
			for a := range p {
				low[a], high[a] = min(low[a], p[a]), max(high[a], p[a])
			}
		}
	}
	if high[0] < 0 {
		return
	}
	// The lung's own box with room for the ball; beyond the image there is nothing
	// that the ball could come in from, so room is made there too.
	var size [3]int
	for a := range size {
		low[a] -= radius + 1
		size[a] = high[a] + radius + 2 - low[a]
	}
	box := make([]uint8, size[0]*size[1]*size[2])
	each := func(f func(inBox, inGrid int)) {
		for z := range size[2] {
			for y := range size[1] {
				for x := range size[0] {
					gx, gy, gz := x+low[0], y+low[1], z+low[2]
					if gx >= 0 && gy >= 0 && gz >= 0 && gx < g.nx && gy < g.ny && gz < g.nz {
						f((z*size[1]+y)*size[0]+x, g.index(gx, gy, gz))
					}
				}
			}
		}
	}
	each(func(b, i int) { box[b] = lung[i] })
	wide := near(box, size, radius)
	for i, v := range wide {
		wide[i] = 1 - v
	}
	open := near(wide, size, radius)
	for i := range open {
		open[i] = 1 - open[i]
	}
	for i, v := range box {
		open[i] = max(open[i], v)
	}
	in := coarseGrid{nx: size[0], ny: size[1], nz: size[2]}
	in.fillHoles(open)
	each(func(b, i int) {
		if open[b] != 0 && label[i] == 0 {
			label[i] = value
		}
	})
}

// fillHoles sets what is not set and cannot be reached from the first voxel,
// which is outside.
func (g *coarseGrid) fillHoles(mask []uint8) {
	reached := make([]bool, len(mask))
	queue := []int32{0}
	reached[0] = true
	for len(queue) > 0 {
		i := int(queue[len(queue)-1])
		queue = queue[:len(queue)-1]
		g.neighbours(i, func(k int) {
			if mask[k] == 0 && !reached[k] {
				reached[k] = true
				queue = append(queue, int32(k))
			}
		})
	}
	for i := range mask {
		if !reached[i] {
			mask[i] = 1
		}
	}
}

// near sets the voxels that have a set one within the radius (in voxels), by one
// pass of squared distances along each axis.
func near(mask []uint8, size [3]int, radius int) []uint8 {
	nx, ny, nz := size[0], size[1], size[2]
	far := uint16(radius*radius + 1)
	d := make([]uint16, len(mask))
	parallel(ny*nz, 0, func(r int) { // along x: distance to the nearest, both ways
		row, out := mask[r*nx:(r+1)*nx], d[r*nx:(r+1)*nx]
		last := -radius - 1
		for x, v := range row {
			if v != 0 {
				last = x
			}
			out[x] = uint16(min(x-last, radius+1))
		}
		last = nx + radius + 1
		for x := nx - 1; x >= 0; x-- {
			if row[x] != 0 {
				last = x
			}
			n := min(int(out[x]), last-x)
			out[x] = min(uint16(n*n), far)
		}
	})
	pass := func(from []uint16, n, stride int, line func(i int) (begin int)) []uint16 {
		to := make([]uint16, len(from))
		parallel(len(from)/n/nx, 0, func(i int) {
			begin := line(i)
			for at := range n {
				out := to[begin+at*stride:][:nx]
				for x := range out {
					out[x] = far
				}
				for k := max(0, at-radius); k <= min(n-1, at+radius); k++ {
					add := uint16((k - at) * (k - at))
					src := from[begin+k*stride:][:len(out)]
					for x, v := range src {
						out[x] = min(out[x], v+add)
					}
				}
			}
		})
		return to
	}
	d = pass(d, ny, nx, func(i int) int { return i * nx * ny })
	d = pass(d, nz, nx*ny, func(i int) int { return i * nx })
	out := make([]uint8, len(mask))
	for i, v := range d {
		if v < far {
			out[i] = 1
		}
	}
	return out
}
