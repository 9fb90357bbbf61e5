package volume_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/phantom"
	"github.com/pulmonode/pulmonode/inference/volume"
)

// From a folder of DICOM files to what the first network sees.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	chest, _, err := phantom.Generate(ctx, phantom.Options{Slices: 60, Rows: 64, Columns: 64}, nil)
	if err != nil {
		log.Fatal(err)
	}
	if err := phantom.WriteSeries(ctx, dir, chest, nil); err != nil {
		log.Fatal(err)
	}

	paths, _ := filepath.Glob(filepath.Join(dir, "*.dcm"))
	var files []*dataset.File
	for _, path := range paths {
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			log.Fatal(err)
		}
		files = append(files, f)
	}
	stack, err := volume.Stack(files) // a *volume.GeometryError says why it is no volume
	if err != nil {
		log.Fatal(err)
	}
	ct, err := volume.Load(ctx, stack, 0, nil)
	if err != nil {
		log.Fatal(err)
	}
	levels := ct.Resample1mm(0)
	lungs, err := volume.Lungs(levels)
	if err != nil {
		log.Fatal(err)
	}

	g := ct.Grid
	fmt.Printf("%d slices of %d x %d voxels, %g x %g x %g mm\n",
		ct.NZ, ct.NX, ct.NY, g.PixelSpacing[1], g.PixelSpacing[0], g.SliceSpacing)
	fmt.Printf("the first voxel lies at %v mm (LPS)\n", g.LPS(0, 0, 0))
	fmt.Printf("%d x %d x %d levels at 1 mm\n", levels.NX, levels.NY, levels.NZ)
	fmt.Printf("70 mm right of the middle: %s lung\n", lungs.Side(levels.NX/2-70, levels.NY/2, levels.NZ/2))
	// Output:
	// 60 slices of 64 x 64 voxels, 5.6 x 5.6 x 5 mm
	// the first voxel lies at [-176.4 -176.4 -167.5] mm (LPS)
	// 353 x 353 x 296 levels at 1 mm
	// 70 mm right of the middle: right lung
}
