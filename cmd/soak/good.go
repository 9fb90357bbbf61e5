package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pulmonode/pulmonode/cmd/internal/ledger"
	"github.com/pulmonode/pulmonode/cmd/internal/serve"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// good sends one small series after another until ctx ends: most peers with our
// client, one with DCMTK's storescu and one with pynetdicom's where they are.
func (s *soak) good(ctx context.Context, number int) {
	send := s.sendOwn
	storescu, err := exec.LookPath("storescu")
	switch {
	case number == 0 && err == nil:
		send = s.sendFiles(func(dir, host, port string) []string {
			return []string{storescu, "-aec", "PULMONODE", "+sd", host, port, dir}
		})
	case number == 1 && exec.CommandContext(ctx, s.python, "-c", "import pynetdicom").Run() == nil:
		send = s.sendFiles(func(dir, host, port string) []string {
			return []string{s.python, "-m", "pynetdicom", "storescu", "-ll", "warn", "-cx", "-aec", "PULMONODE", "-r", host, port, dir}
		})
	}
	random := rand.New(rand.NewPCG(s.seed, uint64(1000+number)))
	for turn := 1; ctx.Err() == nil; turn++ {
		some, err := series(random, fmt.Sprintf("2.25.%d.%d", number+1, turn))
		if err == nil {
			// A series that was begun is sent to its end; a node that hangs is a fault to
			// report, not to hang with.
			sending, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
			err = send(sending, some)
			done()
		}
		if err != nil {
			s.kept.Fail("a good peer failed: " + err.Error())
		}
		pause(ctx, time.Duration(random.IntN(400))*time.Millisecond)
	}
}

// overlooked is what pynetdicom 3.0.4 says when its own threads quarrel over an
// answer that it has received: the one that watches the association was about to
// look for messages when it was told to pause, takes the answer for a request, and
// the one that sent waits for it in vain and gives up (association.py,
// _run_reactor). A peer must answer within moments for that.
var overlooked = []byte("Received unexpected C-STORE service message")

// pause lets time pass between a peer's conversations.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// series makes 1 to 20 images of 2 to 128 KiB.
func series(random *rand.Rand, root string) ([]ledger.Instance, error) {
	all := make([]ledger.Instance, 1+random.IntN(20))
	for i := range all {
		one := ledger.Instance{Study: root, Series: root + ".1", UID: fmt.Sprintf("%s.1.%d", root, i+1)}
		d := &dataset.Dataset{}
		d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
		d.SetText(dataset.SOPInstanceUID, "UI", one.UID)
		d.SetText(dataset.Modality, "CS", "CT")
		d.SetText(dataset.StudyInstanceUID, "UI", one.Study)
		d.SetText(dataset.SeriesInstanceUID, "UI", one.Series)
		pixels := make([]uint16, 1024*(1+random.IntN(64)))
		for k := range pixels {
			pixels[k] = uint16(random.Uint32())
		}
		d.SetUint16(dataset.PixelData, pixels...)
		d.Get(dataset.PixelData).VR = "OW"
		var err error
		if one.Data, err = d.AppendExplicit(nil); err != nil {
			return nil, err
		}
		all[i] = one
	}
	return all, nil
}

func (s *soak) sendOwn(ctx context.Context, all []ledger.Instance) error {
	conn, err := dial(ctx, s.node.DICOM)
	if err != nil {
		return err
	}
	defer conn.Abort()
	for _, i := range all {
		status, err := store(ctx, conn, i)
		if err != nil {
			return err
		}
		if status != dimse.Success {
			return fmt.Errorf("the node answered %v", status)
		}
		s.kept.Confirm(i)
	}
	return conn.Release(ctx)
}

func dial(ctx context.Context, address string) (*dimse.Conn, error) {
	client := dimse.Client{CallingAE: "GOOD", CalledAE: "PULMONODE", Address: address}
	return client.Dial(ctx, []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}})
}

func store(ctx context.Context, conn *dimse.Conn, i ledger.Instance) (dimse.Status, error) {
	return conn.Store(ctx, dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: i.UID, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(i.Data)})
}

// sendFiles sends with a program, which says by its exit status that all was stored.
func (s *soak) sendFiles(command func(dir, host, port string) []string) func(context.Context, []ledger.Instance) error {
	return func(ctx context.Context, all []ledger.Instance) error {
		dir, err := os.MkdirTemp(s.dir, "files-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		for _, i := range all {
			meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: i.UID, TransferSyntax: dataset.ExplicitLE})
			if err := os.WriteFile(filepath.Join(dir, i.UID+".dcm"), append(meta, i.Data...), 0o600); err != nil {
				return err
			}
		}
		host, port, err := net.SplitHostPort(s.node.DICOM)
		if err != nil {
			return err
		}
		args := command(dir, host, port)
		c := exec.CommandContext(ctx, args[0], args[1:]...)
		serve.OwnGroup(c)
		// pynetdicom's ends well whatever befell it, but not without a word.
		out, err := c.CombinedOutput()
		if bytes.Contains(out, overlooked) {
			s.overlooked.Add(1)
			return nil
		}
		if err != nil || len(out) > 0 {
			return fmt.Errorf("%s: %v\n%s", args[0], err, out)
		}
		for _, i := range all {
			s.kept.Confirm(i)
		}
		return nil
	}
}
