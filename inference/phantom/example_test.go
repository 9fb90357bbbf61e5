package phantom_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/pulmonode/pulmonode/inference/phantom"
)

// A coarse chest with two nodules, as a DICOM series in a folder.
func Example() {
	ctx := context.Background()
	v, truth, err := phantom.Generate(ctx, phantom.Options{Seed: 7, Slices: 60, Rows: 128, Columns: 128, Nodules: 2}, nil)
	if err != nil {
		log.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "phantom-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := phantom.WriteSeries(ctx, dir, v, nil); err != nil {
		log.Fatal(err)
	}
	slices, err := filepath.Glob(filepath.Join(dir, "*.dcm"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d slices of %g mm with %d nodules\n", len(slices), v.SpacingZ, len(truth.Nodules))
	// Output: 60 slices of 5 mm with 2 nodules
}
