package volume

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pulmonode/pulmonode/inference/phantom"
)

// chest is a phantom of 210 mm of chest in voxels of 2.8 x 2.8 x 3 mm, at 1 mm,
// with the LPS x of its first column and its lungs. It is made once; what paints
// into it takes a copy.
var chest = sync.OnceValue(func() (c struct {
	levels *Levels
	x0     float64
	lungs  *LungMask
	err    error
}) {
	p, _, err := phantom.Generate(context.Background(), phantom.Options{Seed: 4, Slices: 70, SpacingZ: 3, Rows: 92, Columns: 124, PixelSpacing: 2.8}, nil)
	if err != nil {
		c.err = err
		return c
	}
	v := of(p.Slices, p.Rows, p.Columns, [3]float64{p.SpacingZ, p.PixelSpacing, p.PixelSpacing}, p.HU)
	c.levels, c.x0 = v.Resample1mm(0), p.Origin[0]
	c.lungs, c.err = Lungs(c.levels)
	return c
})

func chestLevels(t *testing.T) *Levels {
	t.Helper()
	c := chest()
	if c.err != nil {
		t.Fatal(c.err)
	}
	return &Levels{Q: slices.Clone(c.levels.Q), NX: c.levels.NX, NY: c.levels.NY, NZ: c.levels.NZ, Grid: c.levels.Grid}
}

func lungs(t *testing.T, l *Levels) *LungMask {
	t.Helper()
	m, err := Lungs(l)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ball calls f for the voxels within radius (mm) of a place in the 1 mm volume.
func (l *Levels) ball(center [3]int, radius int, f func(i int)) {
	for z := max(0, center[2]-radius); z <= min(l.NZ-1, center[2]+radius); z++ {
		for y := max(0, center[1]-radius); y <= min(l.NY-1, center[1]+radius); y++ {
			for x := max(0, center[0]-radius); x <= min(l.NX-1, center[0]+radius); x++ {
				dx, dy, dz := x-center[0], y-center[1], z-center[2]
				if dx*dx+dy*dy+dz*dz <= radius*radius {
					f((z*l.NY+y)*l.NX + x)
				}
			}
		}
	}
}

func TestLungsOfAChest(t *testing.T) {
	l := chestLevels(t)
	m, x0 := chest().lungs, chest().x0
	if m.NX != l.NX || m.NY != l.NY || m.NZ != l.NZ || len(m.Label) != len(l.Q) {
		t.Fatalf("mask of %d x %d x %d", m.NX, m.NY, m.NZ)
	}
	if m.VolumeML < 2000 || m.VolumeML > 6000 {
		t.Errorf("%.0f ml of lung; 210 mm of a chest have 2 to 6 litres", m.VolumeML)
	}
	var all, wrong, aerated [3]int
	below := levelOf(-700)
	for i, side := range m.Label {
		x := i % l.NX
		lps := x0 + float64(x)
		if side != 0 {
			all[side]++
			// The heart and the mediastinum push the border about.
			if side == Right && lps > 20 || side == Left && lps < -20 {
				wrong[side]++
			}
			if l.Q[i] < below {
				aerated[side]++
			}
		}
	}
	for _, side := range []int{Right, Left} {
		if share := float64(wrong[side]) / float64(all[side]); share > 0.001 {
			t.Errorf("side %d: %.2f%% lie on the other side of the body", side, 100*share)
		}
		if share := float64(aerated[side]) / float64(all[side]); share < 0.7 {
			t.Errorf("side %d: only %.0f%% of the mask is aerated", side, 100*share)
		}
	}
	if ratio := float64(all[Right]) / float64(all[Left]); ratio < 0.9 || ratio > 1.6 {
		t.Errorf("the right lung has %.2f of the left one's size", ratio)
	}
	if m.Side(-1, 0, 0) != "" || m.Side(0, 0, l.NZ) != "" || m.Side(0, 0, 0) != "" {
		t.Error("there is lung outside the body")
	}
}

// The image is turned, not the patient: whichever way rows, columns and slices
// run, right stays right. A part that hangs together with neither lung, as behind
// a collapse, goes to the side that it lies on in the patient.
func TestSidesFollowThePatient(t *testing.T) {
	l := drawn(120, 90, 90, func(x, y, z float64) int16 {
		switch {
		case ellipsoid(x+55, y-20, z, 40, 45, 85) || ellipsoid(x-55, y+20, z, 40, 45, 75):
			return -850
		case ellipsoid(x-50, y-47, z, 20, 18, 50): // behind the left lung, at the height of the right one
			return -850
		case ellipsoid(x, y, z, 115, 85, 500):
			return 40
		}
		return -1000
	})
	for _, c := range []struct {
		name        string
		orientation [6]float64
		size        [3]int
		turned      func(x, y, z int) (int, int, int) // where x, y, z toward left, back, head lies
	}{
		{"axial, rows toward the left", [6]float64{1, 0, 0, 0, 1, 0}, [3]int{l.NX, l.NY, l.NZ},
			func(x, y, z int) (int, int, int) { return x, y, z }},
		{"axial, prone", [6]float64{-1, 0, 0, 0, -1, 0}, [3]int{l.NX, l.NY, l.NZ},
			func(x, y, z int) (int, int, int) { return l.NX - 1 - x, l.NY - 1 - y, z }},
		{"axial, slices toward the feet", [6]float64{-1, 0, 0, 0, 1, 0}, [3]int{l.NX, l.NY, l.NZ},
			func(x, y, z int) (int, int, int) { return l.NX - 1 - x, y, l.NZ - 1 - z }},
		{"axial, rows toward the back", [6]float64{0, 1, 0, 1, 0, 0}, [3]int{l.NY, l.NX, l.NZ},
			func(x, y, z int) (int, int, int) { return y, x, l.NZ - 1 - z }},
		{"coronal", [6]float64{1, 0, 0, 0, 0, -1}, [3]int{l.NX, l.NZ, l.NY},
			func(x, y, z int) (int, int, int) { return x, l.NZ - 1 - z, y }},
		{"sagittal", [6]float64{0, 1, 0, 0, 0, -1}, [3]int{l.NY, l.NZ, l.NX},
			func(x, y, z int) (int, int, int) { return y, l.NZ - 1 - z, l.NX - 1 - x }},
	} {
		grid := *l.Grid
		grid.Orientation = c.orientation
		turned := &Levels{Q: make([]uint16, len(l.Q)), NX: c.size[0], NY: c.size[1], NZ: c.size[2], Grid: &grid}
		for i, q := range l.Q {
			x, y, z := c.turned(i%l.NX, i/l.NX%l.NY, i/(l.NX*l.NY))
			turned.Q[(z*turned.NY+y)*turned.NX+x] = q
		}
		m, err := Lungs(turned)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, p := range []struct {
			what       string
			x, y, z    int // mm from the middle
			wantedSide string
		}{
			{"the right lung", -55, 20, 0, "right"},
			{"the left lung", 55, -20, 0, "left"},
			{"the part behind the left lung", 50, 50, 0, "left"},
			{"the mediastinum", 0, 0, 0, ""},
		} {
			x, y, z := c.turned(l.NX/2+p.x, l.NY/2+p.y, l.NZ/2+p.z)
			if got := m.Side(x, y, z); got != p.wantedSide {
				t.Errorf("%s: %s is on side %q, want %q", c.name, p.what, got, p.wantedSide)
			}
		}
	}
}

// A nodule that sits on the pleura has the density of the chest wall: the mask is
// closed over it, but for the cap by which a ball of 16 mm dips into the gap, and
// for the steps of 2 mm that the mask is made in.
func TestNodulesOnThePleuraAreInTheMask(t *testing.T) {
	l := chestLevels(t)
	without := chest().lungs
	y, z := l.NY*11/20, l.NZ/2
	row := without.Label[(z*l.NY+y)*l.NX:][:l.NX]
	pleura := slices.Index(row, Right) // from the patient's right
	if pleura < 0 {
		t.Fatal("the middle slice has no right lung")
	}
	for _, radius := range []int{3, 9, 15} {
		with := &Levels{Q: slices.Clone(l.Q), NX: l.NX, NY: l.NY, NZ: l.NZ, Grid: l.Grid}
		center := [3]int{pleura + radius*2/3, y, z}
		with.ball(center, radius, func(i int) { with.Q[i] = levelOf(30) })
		m := lungs(t, with)
		all, in := 0, 0
		with.ball(center, radius, func(i int) {
			if without.Label[i] != 0 {
				all++
				if m.Label[i] == Right {
					in++
				}
			}
		})
		t.Logf("a nodule of %d mm on the pleura: %d of its %d mm3 in the lung are in the mask", 2*radius, in, all)
		if float64(in) < 0.6*float64(all) {
			t.Errorf("less than 60%% of a nodule of %d mm on the pleura are in the mask", 2*radius)
		}
		if m.Side(center[0], center[1], center[2]) != "right" {
			t.Errorf("the centre of a nodule of %d mm on the pleura is not in the lung", 2*radius)
		}
	}
}

func TestNodulesInsideAreInTheMask(t *testing.T) {
	l := chestLevels(t)
	without := chest().lungs
	y, z := l.NY/2, l.NZ/2
	row := without.Label[(z*l.NY+y)*l.NX:][:l.NX]
	first := slices.Index(row, Left)
	if first < 0 {
		t.Fatal("the middle slice has no left lung")
	}
	last := l.NX - 1
	for row[last] != Left {
		last--
	}
	center := [3]int{(first + last) / 2, y, z}
	l.ball(center, 15, func(i int) { l.Q[i] = levelOf(30) })
	m := lungs(t, l)
	l.ball(center, 15, func(i int) {
		if without.Label[i] == Left && m.Label[i] != Left {
			t.Fatal("part of a nodule of 30 mm in the lung is outside the mask")
		}
	})
}

func TestLungsAreTheSameForAnyNumberOfProcessors(t *testing.T) {
	l := chestLevels(t)
	first := chest().lungs
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for _, n := range []int{before, 1} {
		runtime.GOMAXPROCS(n)
		if m := lungs(t, l); !slices.Equal(m.Label, first.Label) || m.VolumeML != first.VolumeML {
			t.Errorf("with %d processors the same CT has another mask", n)
		}
	}
}

// drawn is a volume of 2 mm voxels, size in voxels, of a drawing in mm from its
// middle.
func drawn(nx, ny, nz int, hu func(x, y, z float64) int16) *Levels {
	v := of(nz, ny, nx, [3]float64{2, 2, 2}, make([]int16, nx*ny*nz))
	for i := range v.HU {
		x, y, z := i%nx, i/nx%ny, i/(nx*ny)
		v.HU[i] = hu(float64(2*x-nx), float64(2*y-ny), float64(2*z-nz))
	}
	return v.Resample1mm(0)
}

func ellipsoid(x, y, z, a, b, c float64) bool { return x*x/(a*a)+y*y/(b*b)+z*z/(c*c) < 1 }

func TestNoLungsInView(t *testing.T) {
	for _, c := range []struct {
		name string
		ct   *Levels
		want string
	}{
		{"a head with its sinuses", drawn(120, 120, 100, func(x, y, z float64) int16 {
			switch {
			case ellipsoid(x, y+60, z+20, 22, 18, 20) || ellipsoid(x-60, y, z+20, 10, 12, 15):
				return -980 // sinus, mastoid cells
			case ellipsoid(x, y, z, 68, 85, 85):
				return 35
			case ellipsoid(x, y, z, 75, 92, 92):
				return 1100
			case ellipsoid(x, y, z, 82, 98, 98):
				return 20
			}
			return -1000
		}), "ml of lung were found, at least 1000 are analysed: ask for a CT of the whole chest"},
		{"an abdomen with gas and the bases of the lungs", drawn(180, 130, 100, func(x, y, z float64) int16 {
			switch {
			case ellipsoid(x, y+40, z+30, 60, 30, 50):
				return -1000 // bowel
			case ellipsoid(x-70, y, z-100, 50, 60, 40) || ellipsoid(x+70, y, z-100, 50, 60, 40):
				return -850
			case x*x/(165*165)+y*y/(115*115) < 1:
				return 40
			}
			return -1000
		}), "ml of lung were found, at least 1000 are analysed: ask for a CT of the whole chest"},
		{"a few slices of a chest", drawn(180, 130, 30, func(x, y, z float64) int16 {
			switch {
			case ellipsoid(x-70, y, z, 55, 80, 500) || ellipsoid(x+70, y, z, 55, 80, 500):
				return -850
			case x*x/(165*165)+y*y/(115*115) < 1:
				return 40
			}
			return -1000
		}), "mm of lung lie along the slices, at least 90 are analysed: ask for a CT of the whole chest"},
		{"nothing but air", drawn(60, 60, 60, func(x, y, z float64) int16 { return -1000 }), "0 ml"},
		{"nothing but water", drawn(60, 60, 60, func(x, y, z float64) int16 { return 0 }), "0 ml"},
		{"a single voxel", drawn(1, 1, 1, func(x, y, z float64) int16 { return -850 }), "0 ml"},
		{"a line of voxels", drawn(1, 60, 1, func(x, y, z float64) int16 { return -850 }), "0 ml"},
	} {
		m, err := Lungs(c.ct)
		if m != nil || !errors.Is(err, ErrNoLungs) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Where a small field of view cuts the body, lungs reach the border of the image;
// they are told from the air outside by their density.
func TestLungsAtTheBorderOfTheImage(t *testing.T) {
	m := lungs(t, drawn(110, 90, 100, func(x, y, z float64) int16 {
		if ellipsoid(x-75, y, z, 65, 80, 90) || ellipsoid(x+75, y, z, 65, 80, 90) {
			return -850
		}
		return 40
	}))
	if m.VolumeML < 1000 || m.Side(10, 90, 100) != "right" || m.Side(208, 90, 100) != "left" {
		t.Errorf("%.0f ml, sides %q and %q", m.VolumeML, m.Side(10, 90, 100), m.Side(208, 90, 100))
	}
}

// Lungs that touch in front of the heart are torn apart, not split down the middle.
func TestLungsThatTouchAreToldApart(t *testing.T) {
	// The left lung is smaller and the right one reaches over the middle.
	m := lungs(t, drawn(160, 110, 100, func(x, y, z float64) int16 {
		switch {
		case ellipsoid(x+45, y, z, 65, 80, 90) || ellipsoid(x-75, y, z, 50, 70, 80):
			return -850
		case x > 0 && x < 60 && y*y+z*z < 64:
			return -850
		case x*x/(155*155)+y*y/(105*105) < 1:
			return 40
		}
		return -1000
	}))
	for _, c := range []struct {
		x    int // mm from the middle
		want string
	}{{-80, "right"}, {-10, "right"}, {10, "right"}, {40, "left"}, {100, "left"}} {
		if got := m.Side(160+c.x, 110, 100); got != c.want {
			t.Errorf("%d mm from the middle: %q, want %q", c.x, got, c.want)
		}
	}
}

// Half a chest is not the whole of it: the slice through the lungs is told from
// the ends of a whole scan.
func TestLungsThatGoOnBeyondTheSlicesAreTold(t *testing.T) {
	whole := chestLevels(t)
	n := whole.NX * whole.NY
	air := func(z int) { // as above the shoulders: nothing in view
		for i := range whole.Q[z*n : (z+1)*n] {
			whole.Q[z*n+i] = 0
		}
	}
	for z := range 4 {
		air(z)
		air(whole.NZ - 1 - z)
	}
	if m := lungs(t, whole); m.CutFirst || m.CutLast {
		t.Errorf("whole lungs are cut: %v, %v", m.CutFirst, m.CutLast)
	}
	half := *whole
	half.NZ = whole.NZ * 3 / 5
	half.Q = whole.Q[:half.NZ*n]
	if m := lungs(t, &half); m.CutFirst || !m.CutLast {
		t.Errorf("without its upper part: %v, %v", m.CutFirst, m.CutLast)
	}
	half.Q = whole.Q[len(whole.Q)-half.NZ*n:]
	if m := lungs(t, &half); !m.CutFirst || m.CutLast {
		t.Errorf("without its lower part: %v, %v", m.CutFirst, m.CutLast)
	}
}
