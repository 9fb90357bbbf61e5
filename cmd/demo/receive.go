package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// receive is the test PACS where DCMTK is not installed: it keeps what comes as
// Part 10 files.
func receive(dir string, port int) (stop func(), err error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	s := &dimse.Server{Handler: folder(dir)}
	go s.Serve(l)
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Shutdown(ctx)
	}, nil
}

type folder string

func (f folder) Associate(context.Context, *dimse.Association) (dimse.Session, error) { return f, nil }

func (f folder) Store(_ context.Context, r *dimse.StoreRequest) dimse.Status {
	if dataset.ValidUID(r.SOPInstanceUID) != nil {
		return dimse.CannotUnderstand
	}
	out, err := os.Create(filepath.Join(string(f), r.SOPInstanceUID+".dcm"))
	if err != nil {
		return dimse.OutOfResources
	}
	_, err = out.Write(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: r.SOPClassUID, SOPInstanceUID: r.SOPInstanceUID, TransferSyntax: r.TransferSyntaxUID}))
	if err == nil {
		_, err = io.Copy(out, r.Data)
	}
	if errors.Join(err, out.Close()) != nil {
		os.Remove(out.Name())
		return dimse.OutOfResources
	}
	return dimse.Success
}

func (f folder) End(dimse.End) {}
