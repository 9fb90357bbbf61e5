package phantom

import "math"

// vec is a point or direction in LPS, mm.
type vec struct{ x, y, z float64 }

func (a vec) add(b vec) vec             { return vec{a.x + b.x, a.y + b.y, a.z + b.z} }
func (a vec) sub(b vec) vec             { return vec{a.x - b.x, a.y - b.y, a.z - b.z} }
func (a vec) mul(k float64) vec         { return vec{a.x * k, a.y * k, a.z * k} }
func (a vec) dot(b vec) float64         { return a.x*b.x + a.y*b.y + a.z*b.z }
func (a vec) length() float64           { return math.Sqrt(a.dot(a)) }
func (a vec) lerp(b vec, t float64) vec { return a.add(b.sub(a).mul(t)) }
func (a vec) cross(b vec) vec {
	return vec{a.y*b.z - a.z*b.y, a.z*b.x - a.x*b.z, a.x*b.y - a.y*b.x}
}

func (a vec) unit() vec {
	if l := a.length(); l > 1e-9 {
		return a.mul(1 / l)
	}
	return vec{0, 0, 1}
}

// ellipsoid has its semi-axes along three orthogonal unit vectors.
type ellipsoid struct {
	centre vec
	axes   [3]vec
	radii  vec
}

func upright(centre, radii vec) ellipsoid {
	return ellipsoid{centre, [3]vec{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, radii}
}

// along turns the first semi-axis into direction d.
func along(centre, d, radii vec) ellipsoid {
	d = d.unit()
	e := d.cross(vec{0, 0, 1}).unit()
	return ellipsoid{centre, [3]vec{d, e, d.cross(e)}, radii}
}

// distance is the approximate distance from the surface in mm, negative inside.
func (e *ellipsoid) distance(p vec) float64 {
	p = p.sub(e.centre)
	a, b, c := p.dot(e.axes[0])/e.radii.x, p.dot(e.axes[1])/e.radii.y, p.dot(e.axes[2])/e.radii.z
	k := math.Sqrt(a*a + b*b + c*c)
	if k < 1e-6 {
		return -math.Min(e.radii.x, math.Min(e.radii.y, e.radii.z))
	}
	a, b, c = a/e.radii.x, b/e.radii.y, c/e.radii.z
	return k * (k - 1) / math.Sqrt(a*a+b*b+c*c)
}

// tube is a piece of a vessel or airway: a cone between two points.
type tube struct {
	a, b   vec
	ra, rb float64
}

// nearest gives the distance from the axis and the radius there.
func (t *tube) nearest(p vec) (distance, radius float64) {
	ab, ap := t.b.sub(t.a), p.sub(t.a)
	k := ap.dot(ab) / (ab.dot(ab) + 1e-12)
	k = math.Max(0, math.Min(1, k))
	return ap.sub(ab.mul(k)).length(), t.ra + (t.rb-t.ra)*k
}

func (t *tube) distance(p vec) float64 {
	d, r := t.nearest(p)
	return d - r
}

// chain makes tubes of one radius through the points.
func chain(r float64, points ...vec) []tube {
	var out []tube
	for i := 1; i < len(points); i++ {
		out = append(out, tube{points[i-1], points[i], r, r})
	}
	return out
}

func clamp(v, low, high float64) float64 { return math.Max(low, math.Min(high, v)) }

func smoothstep(low, high, v float64) float64 {
	v = clamp((v-low)/(high-low), 0, 1)
	return v * v * (3 - 2*v)
}

// inside is the share of a voxel that lies inside a surface at distance d
// (negative inside), the edge spread over +-width mm.
func inside(d, width float64) float64 {
	if d >= width {
		return 0
	}
	if d <= -width {
		return 1
	}
	return smoothstep(width, -width, d)
}

// smoothMin rounds the edge where two surfaces meet over k mm.
func smoothMin(a, b, k float64) float64 {
	h := k - math.Abs(a-b)
	if h <= 0 {
		return math.Min(a, b)
	}
	return math.Min(a, b) - h*h/(4*k)
}

func lerp(a, b, t float64) float64 { return a + (b-a)*t }

// curve interpolates through knots (ascending x) by Catmull-Rom, constant outside.
type curve [][2]float64

func (c curve) at(x float64) float64 {
	n := len(c)
	if x <= c[0][0] {
		return c[0][1]
	}
	if x >= c[n-1][0] {
		return c[n-1][1]
	}
	i := 1
	for c[i][0] < x {
		i++
	}
	slope := func(k int) float64 {
		if k == 0 || k == n-1 {
			return 0
		}
		return (c[k+1][1] - c[k-1][1]) / (c[k+1][0] - c[k-1][0])
	}
	h := c[i][0] - c[i-1][0]
	t := (x - c[i-1][0]) / h
	t2, t3 := t*t, t*t*t
	return (2*t3-3*t2+1)*c[i-1][1] + (t3-2*t2+t)*h*slope(i-1) +
		(3*t2-2*t3)*c[i][1] + (t3-t2)*h*slope(i)
}

// arctan2 is exact to 1e-4 rad, enough for tables of angles.
func arctan2(y, x float64) float64 {
	ax, ay := math.Abs(x), math.Abs(y)
	hi, lo := math.Max(ax, ay), math.Min(ax, ay)
	if hi == 0 {
		return 0
	}
	a := lo / hi
	s := a * a
	r := ((-0.0464964749*s+0.15931422)*s-0.327622764)*s*a + a
	if ay > ax {
		r = math.Pi/2 - r
	}
	if x < 0 {
		r = math.Pi - r
	}
	if y < 0 {
		r = -r
	}
	return r
}
