package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// archive is an Orthanc of its own for a reader.
type archive struct {
	dicom string // address
	web   string // URL
	stop  func()
}

// dicomWeb is where Debian puts the plugin.
const dicomWeb = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"

// openArchive starts Orthanc with an empty storage and waits until it answers.
func (v *validation) openArchive(name string, plugins ...string) (*archive, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(v.dir, name)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	b, err := json.Marshal(map[string]any{
		"Name": "validate", "StorageDirectory": dir, "IndexDirectory": dir, "DicomAet": "ORTHANC", "DicomPort": ports[0], "HttpPort": ports[1],
		"RemoteAccessAllowed": false, "AuthenticationEnabled": false, "Plugins": append([]string{}, plugins...), "DicomCheckCalledAet": false, "DicomAlwaysAllowStore": true,
		"UnknownSopClassAccepted": true, // label maps are newer than Debian's Orthanc
		"DicomWeb":                map[string]any{"Enable": true, "Root": "/dicom-web/", "EnableWado": true, "Ssl": false},
	})
	if err != nil {
		return nil, err
	}
	configuration := filepath.Join(dir, "orthanc.json")
	if err := os.WriteFile(configuration, b, 0o666); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(dir, "orthanc.log"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(v.ctx)
	c := exec.CommandContext(ctx, "Orthanc", configuration)
	c.Stdout, c.Stderr = log, log
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	if err := c.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = c.Wait()
		close(ended)
	}()
	a := &archive{
		dicom: fmt.Sprintf("127.0.0.1:%d", ports[0]), web: fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		stop: func() {
			cancel()
			<-ended
			log.Close()
		},
	}
	for range 200 {
		if r, err := http.Get(a.web + "/system"); err == nil {
			r.Body.Close()
			return a, nil
		}
		select {
		case <-ended:
			a.stop()
			return nil, fmt.Errorf("the archive ended at once: see %s", log.Name())
		case <-time.After(100 * time.Millisecond):
		}
	}
	a.stop()
	return nil, fmt.Errorf("the archive did not answer for 20 s: see %s", log.Name())
}

func freePorts(n int) (out []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// store sends files by C-STORE, with our own client.
func (a *archive) store(ctx context.Context, files []string) error {
	var contexts []dimse.Context
	classes := map[string]bool{}
	var opened []*dataset.File
	for _, path := range files {
		f, err := dataset.Open(path, dataset.Limits{})
		if err != nil {
			return err
		}
		opened = append(opened, f)
		if class := f.Header.Text(dataset.SOPClassUID); !classes[class] {
			classes[class] = true
			contexts = append(contexts, dimse.Context{SOPClassUID: class, TransferSyntaxUIDs: []string{f.TransferSyntax}})
		}
	}
	conn, err := dimse.Client{CallingAE: "VALIDATE", CalledAE: "ORTHANC", Address: a.dicom}.Dial(ctx, contexts)
	if err != nil {
		return err
	}
	for i, f := range opened {
		data, err := f.DataSet()
		if err != nil {
			conn.Abort()
			return err
		}
		status, err := conn.Store(ctx, dimse.StoreObject{
			SOPClassUID: f.Header.Text(dataset.SOPClassUID), SOPInstanceUID: f.Header.Text(dataset.SOPInstanceUID),
			TransferSyntaxUID: f.TransferSyntax, Data: data,
		})
		data.Close()
		if err == nil && !status.Stored() {
			err = fmt.Errorf("it answers %s", status)
		}
		if err != nil {
			conn.Abort()
			return fmt.Errorf("storing %s: %w", filepath.Base(files[i]), err)
		}
	}
	return conn.Release(ctx)
}

func (a *archive) get(path string, body io.Reader) ([]byte, error) {
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	q, err := http.NewRequest(method, a.web+path, body)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, r.Status)
	}
	return b, err
}

// orthancKeeps stores each object, asks for it again and compares elements,
// pixels and patient.
func orthancKeeps(v *validation, objects []object) (out []finding) {
	a, err := v.openArchive("orthanc")
	if err != nil {
		return said(objects, "", err)
	}
	defer a.stop()
	for _, of := range byCase(objects) {
		if err := a.store(v.ctx, paths(of)); err != nil {
			out = append(out, of[0].on("C-STORE: %v", err))
			continue
		}
		for _, o := range of {
			if err := a.kept(o, v.caseOf(o).person.utf8); err != nil {
				out = append(out, o.on("%v", err))
			}
		}
	}
	return out
}

func (a *archive) kept(o object, patient string) error {
	f, err := dataset.Open(o.Path, dataset.Limits{})
	if err != nil {
		return err
	}
	b, err := a.get("/tools/lookup", bytes.NewReader([]byte(f.Header.Text(dataset.SOPInstanceUID))))
	if err != nil {
		return err
	}
	var found []struct{ ID, Type string }
	if err := json.Unmarshal(b, &found); err != nil || len(found) != 1 {
		return fmt.Errorf("the archive knows it %d times", len(found))
	}
	if b, err = a.get("/instances/"+found[0].ID+"/file", nil); err != nil {
		return err
	}
	back, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
	if err != nil {
		return err
	}
	if err := same(f, back); err != nil {
		return err
	}
	if b, err = a.get("/instances/"+found[0].ID+"/simplified-tags", nil); err != nil {
		return err
	}
	var tags struct{ PatientName string }
	if err := json.Unmarshal(b, &tags); err != nil || tags.PatientName != patient {
		return fmt.Errorf("the patient is %q, not %q", tags.PatientName, patient)
	}
	return nil
}

// same compares two files element by element: Orthanc writes sequences with
// lengths of its own.
func same(a, b *dataset.File) error {
	if err := sameElements(a.Header, b.Header); err != nil {
		return err
	}
	if a.Pixel.Length != b.Pixel.Length {
		return fmt.Errorf("%d bytes of pixels come back for %d", b.Pixel.Length, a.Pixel.Length)
	}
	ours, theirs := make([]byte, a.Pixel.Length), make([]byte, b.Pixel.Length)
	if !a.HasPixels() {
		return nil
	}
	if err := errors.Join(a.ReadPixels(ours, 0), b.ReadPixels(theirs, 0)); err != nil {
		return err
	}
	if !bytes.Equal(ours, theirs) {
		return errors.New("the pixels come back different")
	}
	return nil
}

func sameElements(a, b *dataset.Dataset) error {
	if len(a.Elements) != len(b.Elements) {
		return fmt.Errorf("%d elements come back for %d", len(b.Elements), len(a.Elements))
	}
	for i := range a.Elements {
		x, y := &a.Elements[i], &b.Elements[i]
		if x.Tag != y.Tag || x.VR != y.VR || !bytes.Equal(x.Value, y.Value) || len(x.Items) != len(y.Items) {
			return fmt.Errorf("%v comes back as %v %s %.60q, not %s %.60q", x.Tag, y.Tag, y.VR, y.Value, x.VR, x.Value)
		}
		for j := range x.Items {
			if err := sameElements(x.Items[j], y.Items[j]); err != nil {
				return fmt.Errorf("%v: %w", x.Tag, err)
			}
		}
	}
	return nil
}
