package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

func sendCommand() *cobra.Command {
	var to, calling string
	c := &cobra.Command{
		Use:   "send DIR",
		Short: "Send a folder of DICOM files to a peer (C-STORE)",
		Long: `Sends every DICOM file in DIR and its subfolders over one association, each in
the transfer syntax that it is stored in. Files that are not DICOM are passed
over and counted.`,
		Example: "  pulmonode send /data/ct --to PULMONODE@127.0.0.1:11112\n  pulmonode send result --to PACS@10.1.2.3:104 --as CT1",
		Args:    exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			p, err := parsePeer(to)
			if err != nil {
				return err
			}
			bar := new(progress)
			defer bar.Finish()
			files, others, broken, err := dicomFiles(c.Context(), args[0], func(done, total int) { bar.Step("reading", done, total) })
			if err != nil {
				return err
			}
			if others > 0 {
				fmt.Fprintf(c.ErrOrStderr(), "passed over, no DICOM: %d\n", others)
			}
			begin := time.Now()
			client := dimse.Client{CallingAE: calling, CalledAE: p.aeTitle, Address: p.address}
			stored, err := send(c.Context(), client, files, func(done, total int) { bar.Step("sending", done, total) })
			bar.Finish()
			took := time.Since(begin)
			fmt.Fprintf(c.OutOrStdout(), "%s stored %d of %d instances in %.1f s (%.0f a second)\n", to, stored, len(files), took.Seconds(), float64(stored)/took.Seconds())
			return errors.Join(err, broken)
		},
	}
	c.Flags().StringVar(&to, "to", "", "the peer, AE@HOST:PORT")
	c.Flags().StringVar(&calling, "as", "PULMONODE", "our AE title")
	return c
}

// dicomFiles reads the headers of the DICOM files below dir, ordered by name,
// and counts the files that are none. Those that are damaged are named in broken;
// they keep the others from nothing.
func dicomFiles(ctx context.Context, dir string, step func(done, total int)) (files []*dataset.File, others int, broken, err error) {
	var paths []string
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return nil, 0, nil, err
	}
	read := make([]*dataset.File, len(paths))
	faults := make([]error, len(paths))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				read[i], faults[i] = dataset.Open(paths[i], dataset.Limits{})
			}
		})
	}
	for i := range paths {
		if ctx.Err() != nil {
			break
		}
		next <- i
		step(i+1, len(paths))
	}
	close(next)
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, 0, nil, err
	}
	var damaged []error
	for i, f := range read {
		switch {
		case faults[i] == nil && f.Header.Text(dataset.SOPInstanceUID) != "":
			files = append(files, f)
		case faults[i] == nil || errors.Is(faults[i], dataset.ErrNotPart10):
			others++
		default:
			damaged = append(damaged, fmt.Errorf("not sent: %w", faults[i]))
		}
	}
	if broken = errors.Join(damaged...); len(files) == 0 {
		return nil, others, nil, errors.Join(fmt.Errorf("%s holds no DICOM files", dir), broken)
	}
	return files, others, broken, nil
}

// send stores files with a peer and returns how many it has. What the peer
// refuses does not stop the rest; each reason is said once, with its count.
func send(ctx context.Context, client dimse.Client, files []*dataset.File, step func(done, total int)) (stored int, err error) {
	var contexts []dimse.Context
	for _, f := range files {
		c := dimse.Context{SOPClassUID: f.Header.Text(dataset.SOPClassUID), TransferSyntaxUIDs: []string{f.TransferSyntax}}
		if !slices.ContainsFunc(contexts, func(k dimse.Context) bool {
			return k.SOPClassUID == c.SOPClassUID && k.TransferSyntaxUIDs[0] == c.TransferSyntaxUIDs[0]
		}) {
			contexts = append(contexts, c)
		}
	}
	conn, err := client.Dial(ctx, contexts)
	if err != nil {
		return 0, err
	}
	refusals := map[string]int{}
	for i, f := range files {
		refusal, err := sendOne(ctx, conn, f)
		if err != nil {
			conn.Abort()
			return stored, fmt.Errorf("after %d of %d instances: %w", i, len(files), err)
		}
		if refusal == "" {
			stored++
		} else {
			refusals[refusal]++
		}
		step(i+1, len(files))
	}
	if err := conn.Release(ctx); err != nil {
		return stored, err
	}
	var problems []error
	for _, refusal := range slices.Sorted(maps.Keys(refusals)) {
		problems = append(problems, fmt.Errorf("%d instances were not stored: %s", refusals[refusal], refusal))
	}
	return stored, errors.Join(problems...)
}

// sendOne stores one instance. refusal says why the peer did not take it; an
// error means that the association is over.
func sendOne(ctx context.Context, conn *dimse.Conn, f *dataset.File) (refusal string, err error) {
	class := f.Header.Text(dataset.SOPClassUID)
	if !slices.Contains(conn.Accepted(class), f.TransferSyntax) {
		return fmt.Sprintf("the peer does not take the SOP class %s in the transfer syntax %s", class, f.TransferSyntax), nil
	}
	data, err := f.DataSet()
	if err != nil {
		return "", err
	}
	defer data.Close()
	status, err := conn.Store(ctx, dimse.StoreObject{
		SOPClassUID: class, SOPInstanceUID: f.Header.Text(dataset.SOPInstanceUID), TransferSyntaxUID: f.TransferSyntax, Data: data,
	})
	if err != nil {
		return "", err
	}
	if !status.Stored() {
		return "the peer answers " + status.String(), nil
	}
	return "", nil
}
