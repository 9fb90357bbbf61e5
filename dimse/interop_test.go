package dimse_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// Unmodified programs of others at either end. Each test says what to install
// where it skips.

// foreignTime bounds one conversation of a program, its start included.
const foreignTime = time.Minute

// foreign finds a program: its path, and arguments that come first.
type foreign func(t *testing.T) []string

// onPath is a program of a Debian package.
func onPath(program, of string) foreign {
	return func(t *testing.T) []string {
		t.Helper()
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skipf("%s of %s is not installed here (make peers)", program, of)
		}
		return []string{path}
	}
}

// pynetdicom is one of its applications.
func pynetdicom(app ...string) foreign {
	return func(t *testing.T) []string {
		t.Helper()
		python := os.Getenv("PULMONODE_PYTHON")
		if exec.Command(python, "-c", "import pynetdicom").Run() != nil {
			t.Skip("pynetdicom is not installed here (make test installs it)")
		}
		return append([]string{python}, app...)
	}
}

// dicomRS is one of dicom-rs' tools, which `make bench` builds.
func dicomRS(tool string) foreign {
	return func(t *testing.T) []string {
		t.Helper()
		path, err := filepath.Abs(filepath.Join("..", ".cache", "dicom-rs", "bin", tool))
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			t.Skip("dicom-rs is not built here (make bench builds it where cargo is)")
		}
		return []string{path}
	}
}

// image is a CT image of 128x128 random pixels in Explicit VR Little Endian, and
// the pixels.
func image(t *testing.T, instance string) (data, pixels []byte) {
	t.Helper()
	d := &dataset.Dataset{}
	for tag, v := range map[dataset.Tag][2]string{
		dataset.SOPClassUID: {"UI", dataset.CTImage}, dataset.SOPInstanceUID: {"UI", instance}, dataset.Modality: {"CS", "CT"},
		dataset.PatientName: {"PN", "Phantom^Lung"}, dataset.PatientID: {"LO", "4711"},
		dataset.StudyInstanceUID: {"UI", "1.2.3.4"}, dataset.SeriesInstanceUID: {"UI", "1.2.3.5"}, dataset.PhotometricInterpretation: {"CS", "MONOCHROME2"},
	} {
		d.SetText(tag, v[0], v[1])
	}
	for tag, v := range map[dataset.Tag]uint16{
		dataset.SamplesPerPixel: 1, dataset.Rows: 128, dataset.Columns: 128, dataset.BitsAllocated: 16, dataset.BitsStored: 16,
		dataset.HighBit: 15, dataset.PixelRepresentation: 0,
	} {
		d.SetUint16(tag, v)
	}
	random := rand.New(rand.NewPCG(4711, 1))
	words := make([]uint16, 128*128)
	for i := range words {
		words[i] = uint16(random.Uint32())
	}
	d.SetUint16(dataset.PixelData, words...)
	d.Get(dataset.PixelData).VR = "OW"
	data, err := d.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data, data[len(data)-2*len(words):]
}

// file writes a data set as a file.
func file(t *testing.T, instance string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.dcm")
	meta := dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: instance, TransferSyntax: dataset.ExplicitLE})
	if err := os.WriteFile(path, append(meta, data...), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// remembers is a handler that keeps what comes.
type remembers struct {
	mu     sync.Mutex
	data   [][]byte
	syntax []string
	ends   chan dimse.End
}

func (r *remembers) Associate(context.Context, *dimse.Association) (dimse.Session, error) {
	return r, nil
}

func (r *remembers) Store(_ context.Context, q *dimse.StoreRequest) dimse.Status {
	b, err := io.ReadAll(q.Data)
	if err != nil {
		return dimse.CannotUnderstand
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.data, r.syntax = append(r.data, b), append(r.syntax, q.TransferSyntaxUID)
	return dimse.Success
}

func (r *remembers) End(e dimse.End) { r.ends <- e }

// serveForeign runs a server on loopback until the test ends.
func serveForeign(t *testing.T, s *dimse.Server) (host, port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), foreignTime)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		<-served
	})
	host, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// invoke runs a program to its end. $HOST, $PORT and $FILE in its arguments are filled in.
func invoke(t *testing.T, program []string, args, host, port, path string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), foreignTime)
	defer cancel()
	fill := strings.NewReplacer("$HOST", host, "$PORT", port, "$FILE", path)
	all := append([]string(nil), program[1:]...)
	for _, a := range strings.Fields(args) {
		all = append(all, fill.Replace(a))
	}
	out, err := exec.CommandContext(ctx, program[0], all...).CombinedOutput()
	if err != nil {
		t.Logf("%s %s: %v\n%s", program[0], strings.Join(all, " "), err, out)
	}
	return err
}

// Programs that call our Server.
func TestForeignClients(t *testing.T) {
	storescu, echoscu := onPath("storescu", "DCMTK"), onPath("echoscu", "DCMTK")
	gdcmscu := onPath("gdcmscu", "GDCM")
	const how = dimse.Released
	for _, test := range []struct {
		name    string
		program foreign
		args    string
		stores  int
		syntax  string // other than Explicit VR Little Endian, which must come bit for bit
		convert string // what dcmconv does to the file first
		refused bool   // the program must fail
		crashes bool   // gdcmscu 3.0.21 breaks off after its release, whoever it talked with
		end     dimse.How
	}{
		{name: "DCMTK echoes", program: echoscu, args: "-aec PULMONODE $HOST $PORT", end: how},
		{name: "DCMTK echoes ten times in small PDUs", program: echoscu, args: "-aec PULMONODE --max-pdu 4096 --repeat 10 $HOST $PORT", end: how},
		{name: "DCMTK proposes 128 contexts", program: echoscu, args: "-aec PULMONODE --propose-pc 128 $HOST $PORT", end: how},
		{name: "DCMTK aborts", program: echoscu, args: "-aec PULMONODE --abort $HOST $PORT", end: dimse.Aborted},
		{name: "DCMTK calls somebody else", program: echoscu, args: "-aec SOMEBODY $HOST $PORT", refused: true},
		{name: "DCMTK stores", program: storescu, args: "-aec PULMONODE $HOST $PORT $FILE", stores: 1, end: how},
		{name: "DCMTK stores in small PDUs", program: storescu, args: "-aec PULMONODE --max-pdu 4096 --max-send-pdu 4096 $HOST $PORT $FILE", stores: 1, end: how},
		{name: "DCMTK stores in large PDUs", program: storescu, args: "-aec PULMONODE --max-pdu 131072 $HOST $PORT $FILE", stores: 1, end: how},
		{name: "DCMTK stores one many times", program: storescu, args: "-aec PULMONODE --repeat 20 $HOST $PORT $FILE", stores: 20, end: how},
		{name: "DCMTK stores in Implicit", program: storescu, args: "-aec PULMONODE -xi $HOST $PORT $FILE", stores: 1, syntax: dataset.ImplicitLE, end: how},
		{name: "DCMTK proposes Big Endian first", program: storescu, args: "-aec PULMONODE -xb $HOST $PORT $FILE", stores: 1, end: how},
		{name: "DCMTK stores in Big Endian", program: storescu, args: "-aec PULMONODE -xb $HOST $PORT $FILE", convert: "+tb", stores: 1, syntax: dataset.ExplicitBE, end: how},
		{name: "DCMTK stores deflated", program: storescu, args: "-aec PULMONODE -xd $HOST $PORT $FILE", stores: 1, syntax: dataset.DeflatedLE, end: how},
		{name: "DCMTK says who its user is", program: storescu, args: "-aec PULMONODE --user someone --password secret $HOST $PORT $FILE", stores: 1, end: how},
		{name: "pynetdicom echoes", program: pynetdicom("-m", "pynetdicom", "echoscu"), args: "-aec PULMONODE $HOST $PORT", end: how},
		{name: "pynetdicom echoes ten times", program: pynetdicom("-m", "pynetdicom", "echoscu"), args: "-aec PULMONODE --repeat 10 $HOST $PORT", end: how},
		{name: "pynetdicom aborts", program: pynetdicom("-m", "pynetdicom", "echoscu"), args: "-aec PULMONODE --abort $HOST $PORT", end: dimse.Aborted},
		{name: "pynetdicom stores, with all its contexts", program: pynetdicom("-m", "pynetdicom", "storescu"), args: "-aec PULMONODE $HOST $PORT $FILE", stores: 1, end: how},
		{name: "pynetdicom stores, without a maximum length", program: pynetdicom("-m", "pynetdicom", "storescu"), args: "-aec PULMONODE -cx -pdu 0 $HOST $PORT $FILE", stores: 1, end: how},
		{name: "GDCM echoes", program: gdcmscu, args: "--echo --call PULMONODE $HOST $PORT", end: how, crashes: true},
		{name: "GDCM stores", program: gdcmscu, args: "--store --call PULMONODE -H $HOST -p $PORT -i $FILE", stores: 1, end: how, crashes: true},
		{name: "dicom-rs stores", program: dicomRS("dicom-storescu"), args: "PULMONODE@$HOST:$PORT $FILE", stores: 1, end: how},
		{name: "dicom-rs stores in large PDUs", program: dicomRS("dicom-storescu"), args: "--max-pdu-length 131072 PULMONODE@$HOST:$PORT $FILE", stores: 1, end: how},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := test.program(t)
			data, pixels := image(t, "1.2.3")
			r := &remembers{ends: make(chan dimse.End, 1)}
			host, port := serveForeign(t, &dimse.Server{AETitle: "PULMONODE", Handler: r,
				TransferSyntaxes: []string{dataset.ExplicitLE, dataset.ImplicitLE, dataset.ExplicitBE, dataset.DeflatedLE}})
			path := file(t, "1.2.3", data)
			if test.convert != "" {
				if err := invoke(t, onPath("dcmconv", "DCMTK")(t), test.convert+" $FILE $FILE", host, port, path); err != nil {
					t.Fatal(err)
				}
			}
			err := invoke(t, program, test.args, host, port, path)
			if (err != nil) != test.refused && !test.crashes {
				t.Fatalf("it ended with %v", err)
			}
			if test.refused {
				return
			}
			select {
			case e := <-r.ends:
				if e.How != test.end {
					t.Errorf("the association ended %v: %v", e.How, e.Err)
				}
			case <-time.After(foreignTime):
				t.Fatal("the association did not end")
			}
			if len(r.data) != test.stores {
				t.Fatalf("%d images came, not %d", len(r.data), test.stores)
			}
			for i, got := range r.data {
				switch syntax := r.syntax[i]; {
				case test.syntax == "" && (syntax != dataset.ExplicitLE || !bytes.Equal(got, data)):
					t.Errorf("image %d came as %d bytes in %s, not as the %d that were sent", i+1, len(got), syntax, len(data))
				case test.syntax == "":
				case syntax != test.syntax:
					t.Errorf("image %d came in %s, not in %s", i+1, syntax, test.syntax)
				case syntax == dataset.ImplicitLE && !bytes.HasSuffix(got, pixels):
					t.Errorf("image %d has other pixels", i+1)
				default:
					h, err := dataset.ParseHeader(bytes.NewReader(got), syntax, dataset.Limits{})
					if err != nil || h.Text(dataset.SOPInstanceUID) != "1.2.3" {
						t.Errorf("image %d can't be read: %v", i+1, err)
					}
				}
			}
		})
	}
}

// Programs that our Client calls.
func TestForeignServers(t *testing.T) {
	orthanc := `{"Name":"test","StorageDirectory":"$DIR","IndexDirectory":"$DIR","DicomPort":$PORT,"DicomCheckCalledAet":false,"HttpServerEnabled":false}`
	for _, test := range []struct {
		name    string
		program foreign
		args    string
		config  string // becomes $FILE
	}{
		{name: "DCMTK", program: onPath("storescp", "DCMTK"), args: "-od $DIR $PORT"},
		{name: "DCMTK with small PDUs", program: onPath("storescp", "DCMTK"), args: "--max-pdu 4096 -od $DIR $PORT"},
		{name: "DCMTK with large PDUs", program: onPath("storescp", "DCMTK"), args: "--max-pdu 131072 -od $DIR $PORT"},
		{name: "DCMTK, Implicit alone", program: onPath("storescp", "DCMTK"), args: "+xi -od $DIR $PORT"},
		{name: "pynetdicom", program: pynetdicom("-m", "pynetdicom", "storescp"), args: "-od $DIR $PORT"},
		{name: "pynetdicom without a maximum length", program: pynetdicom("-m", "pynetdicom", "storescp"), args: "-pdu 0 -od $DIR $PORT"},
		{name: "dicom-rs", program: dicomRS("dicom-storescp"), args: "-o $DIR -p $PORT"},
		{name: "dicom-rs, strict", program: dicomRS("dicom-storescp"), args: "-s -o $DIR -p $PORT"},
		{name: "Orthanc", program: onPath("Orthanc", "Orthanc"), args: "$FILE", config: orthanc},
	} {
		t.Run(test.name, func(t *testing.T) {
			program := test.program(t)
			dir := t.TempDir()
			address := startForeign(t, program, test.args, dir, test.config)
			data, pixels := image(t, "1.2.3")
			client := dimse.Client{CallingAE: "PULMONODE", CalledAE: "PEER", Address: address}
			ctx, cancel := context.WithTimeout(t.Context(), foreignTime)
			defer cancel()
			conn, err := client.Dial(ctx, []dimse.Context{
				{SOPClassUID: dataset.Verification, TransferSyntaxUIDs: []string{dataset.ImplicitLE}},
				{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}},
				{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ImplicitLE}},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Abort()
			if status, err := conn.Echo(ctx); err != nil || status != dimse.Success {
				t.Errorf("C-ECHO: %v, %v", status, err)
			}
			syntax, sent := dataset.ExplicitLE, data
			if accepted := conn.Accepted(dataset.CTImage); len(accepted) == 1 && accepted[0] == dataset.ImplicitLE {
				var b bytes.Buffer
				if err := dataset.ToImplicit(&b, bytes.NewReader(data)); err != nil {
					t.Fatal(err)
				}
				syntax, sent = dataset.ImplicitLE, b.Bytes()
			}
			for range 2 {
				status, err := conn.Store(ctx, dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: syntax, Data: bytes.NewReader(sent)})
				if err != nil || !status.Stored() {
					t.Errorf("C-STORE: %v, %v", status, err)
				}
			}
			if err := conn.Release(ctx); err != nil {
				t.Errorf("release: %v", err)
			}
			if !holds(t, dir, pixels) {
				t.Error("no file of the peer's has the pixels that were sent")
			}
		})
	}
}

// startForeign starts a program that listens, and waits until it does.
func startForeign(t *testing.T, program []string, args, dir, config string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	l.Close() // the program takes the port
	path := filepath.Join(t.TempDir(), "config.json")
	fill := strings.NewReplacer("$PORT", port, "$DIR", dir, "$FILE", path)
	if err := os.WriteFile(path, []byte(fill.Replace(config)), 0o600); err != nil {
		t.Fatal(err)
	}
	all := append([]string(nil), program[1:]...)
	for _, a := range strings.Fields(args) {
		all = append(all, fill.Replace(a))
	}
	c := exec.Command(program[0], all...)
	var log bytes.Buffer
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	t.Cleanup(func() {
		c.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s said\n%s", program[0], log.String())
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(foreignTime); ; {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return address
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatal("the program ended before it listened")
		case <-late:
			t.Fatal("the program does not listen")
		}
	}
}

// holds reports whether a file below dir contains these bytes.
func holds(t *testing.T, dir string, want []byte) (found bool) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found = found || bytes.Contains(b, want)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return found
}
