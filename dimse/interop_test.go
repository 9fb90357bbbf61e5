package dimse

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// tool finds one of DCMTK's, or skips.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: apt install dcmtk", name)
	}
	return path
}

// slice is a small CT image in Explicit VR Little Endian.
func slice(t *testing.T) []byte {
	t.Helper()
	d := &dataset.Dataset{}
	d.SetText(dataset.SOPClassUID, "UI", ct)
	d.SetText(dataset.SOPInstanceUID, "UI", "1.2.3")
	d.SetText(dataset.Modality, "CS", "CT")
	d.SetText(dataset.PatientName, "PN", "Phantom^Lung")
	d.SetText(dataset.StudyInstanceUID, "UI", "1.2.3.4")
	d.SetText(dataset.SeriesInstanceUID, "UI", "1.2.3.5")
	d.SetUint16(dataset.SamplesPerPixel, 1)
	d.SetText(dataset.PhotometricInterpretation, "CS", "MONOCHROME2")
	d.SetUint16(dataset.Rows, 128)
	d.SetUint16(dataset.Columns, 128)
	d.SetUint16(dataset.BitsAllocated, 16)
	d.SetUint16(dataset.BitsStored, 16)
	d.SetUint16(dataset.HighBit, 15)
	d.SetUint16(dataset.PixelRepresentation, 0)
	pixels := make([]uint16, 128*128)
	for i := range pixels {
		pixels[i] = uint16(i)
	}
	d.SetUint16(dataset.PixelData, pixels...)
	d.Get(dataset.PixelData).VR = "OW"
	b, err := d.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
}

func TestDCMTKEchoes(t *testing.T) {
	echoscu := tool(t, "echoscu")
	h := newHandler()
	host, port, _ := net.SplitHostPort(start(t, &Server{AETitle: "PULMONODE", Handler: h}))
	run(t, echoscu, "-aec", "PULMONODE", "-aet", "CASE", host, port)
	run(t, echoscu, "-aec", "PULMONODE", "-aet", "CASE", "--max-pdu", "4096", "--repeat", "10", host, port)
	run(t, echoscu, "-aec", "PULMONODE", "-aet", "CASE", "--propose-pc", "128", host, port)
	for range 3 {
		if e := <-h.ends; e.How != Released {
			t.Errorf("%+v", e)
		}
	}
	run(t, echoscu, "-aec", "PULMONODE", "-aet", "CASE", "--abort", host, port)
	if e := <-h.ends; e.How != Aborted {
		t.Errorf("%+v", e)
	}
	if err := exec.Command(echoscu, "-aec", "SOMEBODY", host, port).Run(); err == nil {
		t.Error("a wrong title was let in")
	}
}

// storescu sends as it does by itself, in small PDUs, and in Implicit alone.
func TestDCMTKStores(t *testing.T) {
	storescu := tool(t, "storescu")
	h := newHandler()
	host, port, _ := net.SplitHostPort(start(t, &Server{Handler: h}))
	data := slice(t)
	path := filepath.Join(t.TempDir(), "slice.dcm")
	file := append(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: ct, SOPInstanceUID: "1.2.3", TransferSyntax: explicit}), data...)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"--max-pdu", "4096"}, {"-xi"}} {
		run(t, storescu, append(args, "-aet", "CASE", host, port, path)...)
		if e := <-h.ends; e.How != Released {
			t.Errorf("%v: %+v", args, e)
		}
	}
	if len(h.stored) != 3 || h.stored[0] != string(data) || h.stored[1] != string(data) || h.last.TransferSyntaxUID != implicit || h.last.SOPInstanceUID != "1.2.3" {
		t.Errorf("%d came; the last is %+v", len(h.stored), h.last)
	}
}

// storescp gets what was sent, whatever its maximum length.
func TestDCMTKIsSentTo(t *testing.T) {
	storescp := tool(t, "storescp")
	data := slice(t)
	for _, maxPDU := range []string{"4096", "131072"} {
		folder := t.TempDir()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		l.Close() // storescp takes the port
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, storescp, "--max-pdu", maxPDU, "-od", folder, port)
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		client := Client{CallingAE: "CASE", CalledAE: "STORESCP", Address: "127.0.0.1:" + port}
		var conn *Conn
		for deadline := time.Now().Add(patient); conn == nil; <-time.After(20 * time.Millisecond) { // until it listens
			if conn, err = client.Dial(t.Context(), proposal); err != nil && time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
		if status, err := conn.Echo(t.Context()); err != nil || status != Success {
			t.Errorf("%v, %v", status, err)
		}
		for range 2 {
			if status, err := conn.Store(t.Context(), object(bytes.NewReader(data))); err != nil || status != Success {
				t.Errorf("%v, %v", status, err)
			}
		}
		if err := conn.Release(t.Context()); err != nil {
			t.Error(err)
		}
		cancel()
		cmd.Wait()
		files, _ := filepath.Glob(filepath.Join(folder, "*"))
		if len(files) != 1 {
			t.Fatalf("%v\n%s", files, log.String())
		}
		if b, err := os.ReadFile(files[0]); err != nil || !bytes.Contains(b, data[len(data)-128*128*2:]) {
			t.Errorf("the file of %d bytes has not the pixels that were sent: %v", len(b), err)
		}
	}
}
