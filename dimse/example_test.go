package dimse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

const (
	ctImageStorage = "1.2.840.10008.5.1.4.1.1.2"
	explicitLE     = "1.2.840.10008.1.2.1"
)

// archive takes instances of those it knows.
type archive struct{ known map[string]bool }

func (a archive) Associate(_ context.Context, as *dimse.Association) (dimse.Session, error) {
	if !a.known[as.CallingAE] {
		return nil, &dimse.Reject{Result: 1, Source: 1, Reason: 3} // calling AE title not recognised
	}
	return delivery{as.CallingAE}, nil
}

// delivery is one association.
type delivery struct{ from string }

// Store streams the data set into a Part 10 file. It answers success only when
// it is there.
func (d delivery) Store(_ context.Context, r *dimse.StoreRequest) dimse.Status {
	n, err := keep(r)
	if err != nil {
		return dimse.ProcessingFailure
	}
	fmt.Printf("%s sent %s in %d bytes\n", d.from, r.SOPInstanceUID, n)
	return dimse.Success
}

func keep(r *dimse.StoreRequest) (n int64, err error) {
	f, err := os.CreateTemp("", "*.dcm")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name()) // an archive would not
	defer f.Close()
	_, err = f.Write(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: r.SOPClassUID, SOPInstanceUID: r.SOPInstanceUID, TransferSyntax: r.TransferSyntaxUID}))
	if err != nil {
		return 0, err
	}
	if n, err = io.Copy(f, r.Data); err != nil {
		return n, err
	}
	return n, f.Sync()
}

func (d delivery) End(e dimse.End) { fmt.Println(d.from, "released:", e.How == dimse.Released) }

// A server that takes images from one scanner, and two that knock.
func ExampleServer() {
	server := &dimse.Server{AETitle: "ARCHIVE", Handler: archive{map[string]bool{"CT1": true}}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()

	ctx := context.Background()
	for _, scanner := range []string{"CT1", "CT2"} {
		client := dimse.Client{CallingAE: scanner, CalledAE: "ARCHIVE", Address: listener.Addr().String()}
		conn, err := client.Dial(ctx, []dimse.Context{{SOPClassUID: ctImageStorage, TransferSyntaxUIDs: []string{explicitLE}}})
		if err != nil {
			fmt.Println(err)
			continue
		}
		conn.Store(ctx, dimse.StoreObject{SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: explicitLE, Data: strings.NewReader("the data set")})
		conn.Release(ctx)
	}

	// A shutdown lets what is being received finish.
	fmt.Println(server.Shutdown(ctx), errors.Is(<-served, dimse.ErrServerClosed))
	// Unordered output:
	// CT1 sent 1.2.3 in 12 bytes
	// CT1 released: true
	// the peer rejected the association: it does not know the AE title CT2: add it, with this machine's address, at the peer
	// <nil> true
}

// quiet is a peer for the example below.
type quiet struct{}

func (quiet) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return quiet{}, nil
}
func (quiet) Store(context.Context, *dimse.StoreRequest) dimse.Status { return dimse.ElementsDiscarded }
func (quiet) End(dimse.End)                                           {}

// Sending an instance: what is read from Data is its data set in the transfer
// syntax that is said; the status is the peer's answer.
func ExampleClient() {
	server := &dimse.Server{Handler: quiet{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())

	ctx := context.Background()
	client := dimse.Client{CallingAE: "PULMONODE", CalledAE: "ARCHIVE", Address: listener.Addr().String()}
	conn, err := client.Dial(ctx, []dimse.Context{{SOPClassUID: ctImageStorage, TransferSyntaxUIDs: []string{explicitLE}}})
	if err != nil {
		fmt.Println(err) // not reached, not let in, or aborted
		return
	}
	defer conn.Release(ctx)
	fmt.Println("accepted:", conn.Accepted(ctImageStorage))

	status, err := conn.Store(ctx, dimse.StoreObject{
		SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: explicitLE,
		Data: strings.NewReader("the data set"),
	})
	if err != nil {
		fmt.Println(err) // there is no status; the association is over
		return
	}
	fmt.Println(status, "stored:", status.Stored())

	_, err = conn.Store(ctx, dimse.StoreObject{SOPClassUID: "1.2.3", TransferSyntaxUID: explicitLE})
	fmt.Println(err)
	// Output:
	// accepted: [1.2.840.10008.1.2.1]
	// B006H (warning: elements discarded) stored: true
	// the peer accepted no presentation context for SOP class 1.2.3 with transfer syntax 1.2.840.10008.1.2.1
}

// What a sender does with a status: done, done with a note, later, or never.
func ExampleStatus() {
	for _, status := range []dimse.Status{dimse.Success, dimse.Coercion, dimse.OutOfResources, 0xA701, dimse.DataSetMismatch, 0xC001} {
		switch {
		case status.Warning():
			fmt.Println(status, "- stored, with a note")
		case status.Stored():
			fmt.Println(status, "- stored")
		case status.Permanent():
			fmt.Println(status, "- never")
		default:
			fmt.Println(status, "- try again later")
		}
	}
	// Output:
	// 0000H (success) - stored
	// B000H (warning: coercion of data elements) - stored, with a note
	// A700H (out of resources) - try again later
	// A701H (out of resources) - try again later
	// A900H (data set does not match SOP class) - never
	// C001H (cannot understand) - never
}
