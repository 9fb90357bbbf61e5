package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sbinet/npyio/npz"

	"github.com/pulmonode/pulmonode/inference/pixel"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// nodule is one row of the folder: a crop of a CT and what readers said of it.
type nodule struct {
	key, patient string
	ct           *volume.Volume
	outlines     []uint8 // bit r of a voxel is set where reader r outlined it; layout of ct.HU
	readers      int
	diameterMM   float64
	label        [4]bool // in the order of result.Characteristics
}

// labelCut is the mean rating from which a characteristic has label 1 (the
// paper's table 3): malignant, clear margin, solid, calcification absent.
var labelCut = [4]float64{4, 4, 4, 5.5}

// padding is what scanners fill the corners with: no tissue has it.
const padding = -1024

// consensus reports whether at least half of the readers outlined voxel i.
func (n *nodule) consensus(i int) bool { return 2*bits.OnesCount8(n.outlines[i]) >= n.readers }

// readFolder reads nodules.npz (hu int16, readers uint8: all crops one after
// another, z, y, x order) and index.csv.
func readFolder(dir string) ([]nodule, error) {
	var hu []int16
	var readers []uint8
	archive := filepath.Join(dir, "nodules.npz")
	arrays, err := npz.Open(archive)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", archive, err)
	}
	defer arrays.Close()
	for name, into := range map[string]any{"hu.npy": &hu, "readers.npy": &readers} {
		if err := arrays.Read(name, into); err != nil {
			return nil, fmt.Errorf("read %s of %s: %w", name, archive, err)
		}
	}
	path := filepath.Join(dir, "index.csv")
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(rows) < 2 {
		return nil, fmt.Errorf("%s lists no nodule", path)
	}
	column := map[string]int{}
	for i, name := range rows[0] {
		column[name] = i
	}
	nodules := make([]nodule, 0, len(rows)-1)
	for i, row := range rows[1:] {
		n, err := parse(row, column, hu, readers)
		if err != nil {
			return nil, fmt.Errorf("%s, row %d: %w", path, i+2, err)
		}
		nodules = append(nodules, n)
	}
	return nodules, nil
}

func parse(row []string, column map[string]int, hu []int16, readers []uint8) (n nodule, err error) {
	text := func(name string) string {
		i, ok := column[name]
		if !ok {
			err = errors.Join(err, fmt.Errorf("there is no column %q", name))
			return ""
		}
		return row[i]
	}
	number := func(name string) float64 {
		v, bad := strconv.ParseFloat(text(name), 64)
		if bad != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", name, bad))
		}
		return v
	}
	n.key, n.patient, n.diameterMM, n.readers = text("key"), text("patient"), number("diameter_mm"), int(number("readers"))
	nx, ny, nz, offset := int(number("nx")), int(number("ny")), int(number("nz")), int(number("offset"))
	dx, dy, dz := number("dx"), number("dy"), number("dz")
	for k, name := range result.Characteristics {
		sum, ratings := 0.0, strings.Split(text(name), ";")
		for _, r := range ratings {
			v, bad := strconv.ParseFloat(r, 64)
			if bad != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, bad))
			}
			sum += v
		}
		n.label[k] = sum/float64(len(ratings)) >= labelCut[k]
	}
	if err != nil {
		return n, err
	}
	const most = 4096
	if nx < 1 || ny < 1 || nz < 1 || nx > most || ny > most || nz > most || offset < 0 || offset > len(hu) ||
		nx*ny*nz > len(hu)-offset || nx*ny*nz > len(readers)-offset {
		return n, fmt.Errorf("a crop of %d x %d x %d voxels at %d is not in the arrays", nx, ny, nz, offset)
	}
	if !(dx > 0 && dy > 0 && dz > 0) || n.readers < 1 || n.readers > 8 {
		return n, fmt.Errorf("spacing %g x %g x %g mm, %d readers", dx, dy, dz, n.readers)
	}
	n.outlines = readers[offset : offset+nx*ny*nz]
	n.ct = &volume.Volume{
		NX: nx, NY: ny, NZ: nz, HU: make([]int16, nx*ny*nz),
		Grid: &result.Grid{
			Rows: ny, Columns: nx, Instances: make([]result.Instance, nz), Orientation: [6]float64{1, 0, 0, 0, 1, 0},
			PixelSpacing: [2]float64{dy, dx}, SliceSpacing: dz,
		},
	}
	for i, v := range hu[offset : offset+nx*ny*nz] {
		if v < padding {
			v = pixel.Air
		}
		n.ct.HU[i] = v
	}
	for z := range nz {
		n.ct.Grid.Instances[z].Position = [3]float64{0, 0, dz * float64(z)}
	}
	for i := range n.outlines {
		if n.consensus(i) {
			return n, nil
		}
	}
	return n, errors.New("no voxel was outlined by half of the readers")
}

// only keeps the nodules whose keys a file lists.
func only(nodules []nodule, file string) ([]nodule, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	wanted := map[string]bool{}
	for _, key := range strings.Fields(string(b)) {
		wanted[key] = true
	}
	var kept []nodule
	for _, n := range nodules {
		if wanted[n.key] {
			kept = append(kept, n)
			delete(wanted, n.key)
		}
	}
	for key := range wanted {
		return nil, fmt.Errorf("%s names %q and %d more that the folder does not have", file, key, len(wanted)-1)
	}
	if len(kept) == 0 {
		return nil, fmt.Errorf("%s lists no nodule", file)
	}
	return kept, nil
}
