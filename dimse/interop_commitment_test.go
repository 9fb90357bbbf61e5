package dimse_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

var ctInstances = []dimse.Instance{
	{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3"}, {SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.4"},
}

// answers is an SCP that has the first instance of each request.
type answers struct {
	dimse.Session
	report func(context.Context, *dimse.CommitmentResult)
}

func (a answers) Commit(_ context.Context, r *dimse.CommitmentRequest) dimse.Status {
	result := &dimse.CommitmentResult{TransactionUID: r.TransactionUID, Committed: r.Instances[:1]}
	for _, i := range r.Instances[1:] {
		result.Failed = append(result.Failed, dimse.FailedInstance{Instance: i, Reason: dimse.NoSuchInstance})
	}
	go a.report(context.Background(), result)
	return dimse.Success
}

// hears is an SCU that is told on the SCP's own association.
type hears struct {
	dimse.Session
	told chan *dimse.CommitmentResult
}

func (h hears) Committed(_ context.Context, r *dimse.CommitmentResult) dimse.Status {
	h.told <- r
	return dimse.Success
}

// sessions makes a session of each association.
type sessions func(a *dimse.Association) dimse.Session

func (s sessions) Associate(_ context.Context, a *dimse.Association) (dimse.Session, error) {
	return s(a), nil
}

// pynetdicom asks our Server, which reports on the same association or on a new one.
func TestForeignCommitmentSCU(t *testing.T) {
	for _, where := range []string{"same", "new"} {
		t.Run(where, func(t *testing.T) {
			program := pynetdicom("../testdata/interop/commitment.py", "scu")(t)
			own := freeAddress(t)
			reported := make(chan error, 1)
			plain := &remembers{ends: make(chan dimse.End, 2)}
			host, port := serveForeign(t, &dimse.Server{Handler: sessions(func(a *dimse.Association) dimse.Session {
				report := a.ReportCommitment
				if where == "new" {
					report = dimse.Client{CallingAE: "PULMONODE", CalledAE: "ASKS", Address: own}.ReportCommitment
				}
				return answers{plain, func(ctx context.Context, r *dimse.CommitmentResult) {
					status, err := report(ctx, r)
					if err == nil && status != dimse.Success {
						t.Errorf("the report is answered %v", status)
					}
					reported <- err
				}}
			})})
			_, ownPort, _ := net.SplitHostPort(own)
			ctx, cancel := context.WithTimeout(t.Context(), foreignTime)
			defer cancel()
			c := exec.CommandContext(ctx, program[0], append(program[1:], host, port, where, ownPort)...)
			var log bytes.Buffer
			c.Stderr = &log
			out, err := c.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, log.Bytes())
			}
			if err := <-reported; err != nil {
				t.Errorf("the report: %v", err)
			}
			var told, want any
			if err := json.Unmarshal(out, &told); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			json.Unmarshal([]byte(`{"event":2,"committed":["1.2.3"],"failed":{"1.2.4":274}}`), &want) // 0112H
			if !reflect.DeepEqual(told, want) {
				t.Errorf("it was told %s", out)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// fillBack fills in where our Server hears results.
func fillBack(s, host, port string) string {
	return strings.NewReplacer("$HOST", host, "$BACK", port).Replace(s)
}

// Our Client asks pynetdicom, which reports on the same association or on a new
// one, and Orthanc, which was sent the first instance and reports on a new one.
func TestForeignCommitmentSCP(t *testing.T) {
	orthanc := `{"Name":"test","StorageDirectory":"$DIR","IndexDirectory":"$DIR","DicomPort":$PORT,"DicomCheckCalledAet":false,
		"HttpServerEnabled":false,"DicomModalities":{"us":["PULMONODE","$HOST",$BACK]}}`
	script := "../testdata/interop/commitment.py"
	for _, test := range []struct {
		name    string
		program foreign
		args    string
		config  string
		same    bool
		sends   bool
	}{
		{name: "pynetdicom on the same association", program: pynetdicom(script, "scp"), args: "$PORT same $HOST $BACK", same: true},
		{name: "pynetdicom on a new association", program: pynetdicom(script, "scp"), args: "$PORT new $HOST $BACK"},
		{name: "Orthanc", program: onPath("Orthanc", "Orthanc"), args: "$FILE", config: orthanc, sends: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := test.program(t)
			told := make(chan *dimse.CommitmentResult, 1)
			plain := &remembers{ends: make(chan dimse.End, 1)}
			host, back := serveForeign(t, &dimse.Server{Handler: sessions(func(*dimse.Association) dimse.Session { return hears{plain, told} })})
			address := startForeign(t, program, fillBack(test.args, host, back), t.TempDir(), fillBack(test.config, host, back))
			ctx, cancel := context.WithTimeout(t.Context(), foreignTime)
			defer cancel()
			conn, err := dimse.Client{CallingAE: "PULMONODE", CalledAE: "ANSWERS", Address: address}.Dial(ctx, []dimse.Context{
				dimse.CommitmentContext, {SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Abort()
			if test.sends {
				data, _ := image(t, "1.2.3")
				status, err := conn.Store(ctx, dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(data)})
				if err != nil || !status.Stored() {
					t.Fatalf("C-STORE: %v, %v", status, err)
				}
			}
			request := &dimse.CommitmentRequest{TransactionUID: "2.25.1", Instances: ctInstances}
			if status, err := conn.RequestCommitment(ctx, request); err != nil || status != dimse.Success {
				t.Fatalf("N-ACTION: %v, %v", status, err)
			}
			var result *dimse.CommitmentResult
			if test.same {
				if result, err = conn.AwaitCommitment(ctx, "2.25.1"); err != nil {
					t.Fatal(err)
				}
			}
			if err := conn.Release(ctx); err != nil {
				t.Error(err)
			}
			if !test.same {
				select {
				case result = <-told:
				case <-ctx.Done():
					t.Fatal("no result came")
				}
				select {
				case e := <-plain.ends:
					if e.How != dimse.Released {
						t.Errorf("the association that brought the result ended %v: %v", e.How, e.Err)
					}
				case <-time.After(foreignTime):
					t.Error("the association that brought the result did not end")
				}
			}
			want := &dimse.CommitmentResult{TransactionUID: "2.25.1", Committed: ctInstances[:1],
				Failed: []dimse.FailedInstance{{Instance: ctInstances[1], Reason: dimse.NoSuchInstance}}}
			if !reflect.DeepEqual(result, want) {
				t.Errorf("the result is %+v", result)
			}
		})
	}
}
