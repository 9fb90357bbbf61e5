package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// unsynced is our server and sender with a receiver that keeps files as the
// peers do, without fsync: what the node's promise costs, and what is left
// between the peers and us without it.
var unsynced = peer{
	name: "pulmonode itself",
	scp: func(b *bench, dir string, port int, _ bool) (*exec.Cmd, error) {
		self, err := os.Executable()
		return b.command(self, "-plain", strconv.Itoa(port), dir), err
	},
	scu: pulmonode.scu,
}

// plain receives on a port into a folder until the process is ended.
type plain struct{ dir string }

func (p plain) receive(ctx context.Context, port string) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	s := &dimse.Server{Handler: p}
	stop := context.AfterFunc(ctx, func() { s.Shutdown(context.Background()) })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, dimse.ErrServerClosed) {
		return err
	}
	return nil
}

func (p plain) Associate(context.Context, *dimse.Association) (dimse.Session, error) { return p, nil }

func (p plain) End(dimse.End) {}

func (p plain) Store(_ context.Context, q *dimse.StoreRequest) dimse.Status {
	if dataset.ValidUID(q.SOPInstanceUID) != nil {
		return dimse.CannotUnderstand
	}
	f, err := os.Create(filepath.Join(p.dir, q.SOPInstanceUID+".dcm"))
	if err != nil {
		return dimse.OutOfResources
	}
	_, err = f.Write(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: q.SOPClassUID, SOPInstanceUID: q.SOPInstanceUID, TransferSyntax: q.TransferSyntaxUID}))
	if err == nil {
		_, err = io.CopyBuffer(struct{ io.Writer }{f}, q.Data, make([]byte, 128<<10))
	}
	if errors.Join(err, f.Close()) != nil {
		return dimse.OutOfResources
	}
	return dimse.Success
}
