package dimse_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

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

// vault is an archive that answers for what it has (PS3.4 annex J).
type vault struct {
	has    map[string]bool
	issuer dimse.Client // where it reports to
}

func (v vault) Associate(_ context.Context, as *dimse.Association) (dimse.Session, error) {
	return deposit{v, as}, nil
}

// deposit is one association with it. That it has Commit is what makes the server
// accept storage commitment.
type deposit struct {
	vault
	as *dimse.Association
}

func (deposit) Store(context.Context, *dimse.StoreRequest) dimse.Status { return dimse.Success }
func (deposit) End(dimse.End)                                           {}

// Commit says that it will see; the result follows when the peer has that answer.
// A real archive writes the request down first: who asked waits for days.
func (d deposit) Commit(_ context.Context, r *dimse.CommitmentRequest) dimse.Status {
	result := &dimse.CommitmentResult{TransactionUID: r.TransactionUID}
	for _, instance := range r.Instances {
		if d.has[instance.SOPInstanceUID] {
			result.Committed = append(result.Committed, instance)
		} else {
			result.Failed = append(result.Failed, dimse.FailedInstance{Instance: instance, Reason: dimse.NoSuchInstance})
		}
	}
	go d.report(result)
	return dimse.Success
}

// report tries the association that brought the request, then one of its own.
func (d deposit) report(result *dimse.CommitmentResult) {
	ctx := context.Background()
	status, err := d.as.ReportCommitment(ctx, result)
	if err == nil && status == dimse.Success {
		return
	}
	d.issuer.ReportCommitment(ctx, result) // and again later, if that fails
}

// Asking an archive to answer for what it was sent. The result comes while the
// association lasts, or on one that the archive opens.
func ExampleConn_RequestCommitment() {
	server := &dimse.Server{Handler: vault{has: map[string]bool{"1.2.3": true}}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())

	ctx := context.Background()
	client := dimse.Client{CallingAE: "PULMONODE", CalledAE: "ARCHIVE", Address: listener.Addr().String()}
	conn, err := client.Dial(ctx, []dimse.Context{dimse.CommitmentContext})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Release(ctx)
	request := &dimse.CommitmentRequest{TransactionUID: "1.2.99", Instances: []dimse.Instance{
		{SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.3"}, {SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.4"},
	}}
	status, err := conn.RequestCommitment(ctx, request)
	fmt.Println(status, err)

	// For a moment the result may come here. When none does, the association is
	// released, and the Server of this side hears it: see CommitmentReceiver.
	moment, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	result, err := conn.AwaitCommitment(moment, request.TransactionUID)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("safe:", result.Committed)
	for _, f := range result.Failed {
		fmt.Println("not safe:", f.SOPInstanceUID, f.Reason)
	}
	// Output:
	// 0000H (success) <nil>
	// safe: [{1.2.840.10008.5.1.4.1.1.2 1.2.3}]
	// not safe: 1.2.4 0112H (no such SOP instance)
}

// issuer waits for results of what it asked before, on its own server.
type issuer struct{ quiet }

func (issuer) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return issuer{}, nil
}

// Committed must have kept the result when it says success: it does not come again.
func (issuer) Committed(_ context.Context, r *dimse.CommitmentResult) dimse.Status {
	if r.TransactionUID != "1.2.99" {
		return dimse.InvalidArgument
	}
	fmt.Println("safe:", len(r.Committed), "not safe:", len(r.Failed))
	return dimse.Success
}

// A result that comes later: the archive opens an association to who asked.
func ExampleCommitmentReceiver() {
	server := &dimse.Server{Handler: issuer{}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	go server.Serve(listener)
	defer server.Shutdown(context.Background())

	archive := dimse.Client{CallingAE: "ARCHIVE", CalledAE: "PULMONODE", Address: listener.Addr().String()}
	for _, transaction := range []string{"1.2.99", "1.2.98"} {
		fmt.Println(archive.ReportCommitment(context.Background(), &dimse.CommitmentResult{
			TransactionUID: transaction,
			Committed:      []dimse.Instance{{SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.3"}},
		}))
	}
	// Output:
	// safe: 1 not safe: 0
	// 0000H (success) <nil>
	// 0115H (invalid argument value) <nil>
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
