package phantom

import "math"

// noise is what filtered backprojection leaves: white noise through the kernel's
// band, low frequencies held down, stronger in the middle of the body and at the
// shoulders.
type noise struct {
	v            *Volume
	narrow, wide []float32
	share        float32 // of the wide blur that is taken away
	norm         float32
}

type noiseBuffers struct {
	*noise
	white, a, b, row []float32
}

func gaussian(sigma float64) []float32 {
	n := int(math.Ceil(3 * sigma))
	g := make([]float32, 2*n+1)
	sum := 0.0
	for i := range g {
		t := float64(i-n) / sigma
		w := math.Exp(-t * t / 2)
		g[i] = float32(w)
		sum += w
	}
	for i := range g {
		g[i] /= float32(sum)
	}
	return g
}

func newNoise(v *Volume) *noise {
	narrow, wide := 0.62, 1.9
	if v.Options.Kernel == KernelSharp {
		narrow, wide = 0.36, 1.1
	}
	n := &noise{v: v, narrow: gaussian(math.Max(narrow/v.PixelSpacing, 0.3)), wide: gaussian(math.Max(wide/v.PixelSpacing, 0.6)), share: 0.85}
	// Energy of the difference of the two blurs.
	energy, half := 0.0, len(n.wide)/2
	at := func(g []float32, i int) float64 {
		if i += len(g) / 2; i < 0 || i >= len(g) {
			return 0
		}
		return float64(g[i])
	}
	half = max(half, len(n.narrow)/2)
	for i := -half; i <= half; i++ {
		for j := -half; j <= half; j++ {
			d := at(n.narrow, i)*at(n.narrow, j) - float64(n.share)*at(n.wide, i)*at(n.wide, j)
			energy += d * d
		}
	}
	n.norm = float32(1 / math.Sqrt(energy))
	return n
}

func (n *noise) buffers() *noiseBuffers {
	size := n.v.Rows * n.v.Columns
	return &noiseBuffers{n, make([]float32, size), make([]float32, size), make([]float32, size), make([]float32, n.v.Columns)}
}

// blur convolves white with g both ways, wrapping at the border.
func (n *noiseBuffers) blur(into []float32, g []float32) {
	rows, columns := n.v.Rows, n.v.Columns
	half := len(g) / 2
	clear(into)
	for j := range rows {
		out := into[j*columns : (j+1)*columns]
		for k, w := range g {
			in := n.white[((j+k-half+rows)%rows)*columns:][:columns]
			for i := range out {
				out[i] += w * in[i]
			}
		}
	}
	for j := range rows {
		line := into[j*columns : (j+1)*columns]
		copy(n.row, line)
		for i := range line {
			var sum float32
			if i >= half && i < columns-half {
				for k, w := range g {
					sum += w * n.row[i+k-half]
				}
			} else {
				for k, w := range g {
					sum += w * n.row[(i+k-half+columns)%columns]
				}
			}
			line[i] = sum
		}
	}
}

func (n *noiseBuffers) add(k int, z float64, hu, quiet []float32) {
	v := n.v
	if v.Options.NoiseHU == 0 {
		return
	}
	r := source(v.Options.Seed, streamNoise+stream(k))
	for i := range n.white {
		n.white[i] = float32(r.NormFloat64())
	}
	n.blur(n.a, n.narrow)
	n.blur(n.b, n.wide)
	level := v.Options.NoiseHU * (1 + 0.8*smoothstep(70, 110, z) - 0.15*smoothstep(-20, 40, z)*smoothstep(80, 60, z))
	for j := range v.Rows {
		y := v.Origin[1] + float64(j)*v.PixelSpacing
		for i := range v.Columns {
			x := v.Origin[0] + float64(i)*v.PixelSpacing
			at := j*v.Columns + i
			here := level * (0.45 + 0.55/(1+(x*x+y*y)/(110*110)))
			hu[at] += float32(here) * n.norm * (n.a[at] - n.share*n.b[at]) * (1 - quiet[at])
		}
	}
}
