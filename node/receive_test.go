package node

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// quietSite is a node that closes no series while it is looked at. Its folder is
// far enough below the test's own that a path that climbs out of it is seen.
func quietSite(t *testing.T) (s *site, root string) {
	t.Helper()
	root = t.TempDir()
	s = newSite(t, func(s *site) {
		s.config.Storage.DataDir = filepath.Join(root, "a", "b", "c", "data")
		s.config.Complete.Quiet, s.config.Complete.Idle = config.Duration(time.Hour), config.Duration(time.Hour)
	})
	if err := os.MkdirAll(s.config.Storage.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.start()
	return s, root
}

// ctSyntaxes opens an association that can send CT in each of these.
func (s *site) ctSyntaxes(syntaxes ...string) *dimse.Conn {
	s.t.Helper()
	var contexts []dimse.Context
	for _, syntax := range syntaxes {
		contexts = append(contexts, dimse.Context{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{syntax}})
	}
	conn, err := dimse.Client{CallingAE: "CT1", CalledAE: s.config.Node.AETitle, Address: s.node.Addr().String()}.Dial(s.t.Context(), contexts)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// bystander is another association, in the middle of a C-STORE.
type bystander struct {
	s      *site
	conn   *dimse.Conn
	rest   []byte
	pipe   *io.PipeWriter
	stored chan error
}

// begin sends more than half of an instance, of which the node has begun a file.
func (b *bystander) begin(i int) {
	b.s.t.Helper()
	sop, data := slice(b.s.t, i, func(d *dataset.Dataset) {
		d.SetText(dataset.SeriesInstanceUID, "UI", testSeries+".77")
		d.Set(dataset.PixelData, "OW", bytes.Repeat([]byte("pixels"), 50000))
	})
	half := len(data) * 2 / 3 // the client's fragment and more
	out, in := io.Pipe()
	b.pipe, b.rest, b.stored = in, data[half:], make(chan error, 1)
	go func() {
		status, err := b.conn.Store(b.s.t.Context(), dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntaxUID: dataset.ExplicitLE, Data: out})
		if err == nil && status != dimse.Success {
			b.s.t.Errorf("the bystander's instance: %v", status)
		}
		b.stored <- err
	}()
	if _, err := in.Write(data[:half]); err != nil {
		b.s.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(b.s.incoming()) != 1; <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			b.s.t.Fatal("the bystander's instance was never begun")
		}
	}
}

// finish sends the rest, and is told success.
func (b *bystander) finish() {
	b.s.t.Helper()
	if _, err := b.pipe.Write(b.rest); err != nil {
		b.s.t.Error(err)
	}
	b.pipe.Close()
	if err := <-b.stored; err != nil {
		b.s.t.Errorf("the bystander: %v", err)
	}
}

// incoming lists the instances that are being received.
func (s *site) incoming() []string {
	files, err := filepath.Glob(filepath.Join(s.config.Storage.DataDir, "incoming", "*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// instances lists all files of instances, and complains of any file of whatever
// kind that lies outside the node's folder.
func (s *site) instances(root string) (list []string) {
	s.t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		switch rel, err := filepath.Rel(s.config.Storage.DataDir, path); {
		case err != nil || strings.HasPrefix(rel, ".."):
			s.t.Errorf("a file outside the folder: %s", path)
		case strings.HasPrefix(rel, "series"):
			list = append(list, rel)
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return list
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func deflated(t *testing.T, parts ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		w.Write(p)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What comes in a C-STORE, what is answered, and how many files there are more
// than before. The association goes on; beside it another is in the middle of an
// instance and finds nothing changed; nothing lies where it should not, and what
// a row costs in memory is bounded.
func TestReceivedInstances(t *testing.T) {
	good := func(change func(*dataset.Dataset)) []byte { _, b := slice(t, 0, change); return b }
	sop, plain := slice(t, 0, nil)
	// element and long append elements in the short and the long form (PS3.5 7.1.2).
	element := func(b []byte, tag dataset.Tag, vr string, value string) []byte {
		b = binary.LittleEndian.AppendUint16(b, tag.Group())
		b = binary.LittleEndian.AppendUint16(b, uint16(tag))
		return append(binary.LittleEndian.AppendUint16(append(b, vr...), uint16(len(value))), value...)
	}
	long := func(b []byte, tag dataset.Tag, vr string, length uint32) []byte {
		b = binary.LittleEndian.AppendUint16(b, tag.Group())
		b = binary.LittleEndian.AppendUint16(b, uint16(tag))
		return binary.LittleEndian.AppendUint32(append(append(b, vr...), 0, 0), length)
	}
	pixels := bytes.Index(plain, []byte("\xE0\x7F\x10\x00OW"))
	header, rest := plain[:pixels], plain[pixels:]
	const undefined = 0xFFFFFFFF
	nested := func(depth int) (b []byte) {
		b = slices.Clone(header)
		for range depth {
			b = long(b, 0x00291010, "SQ", undefined)
			b = append(b, "\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF"...)
		}
		for range depth {
			b = append(b, "\xFE\xFF\x0D\xE0\x00\x00\x00\x00\xFE\xFF\xDD\xE0\x00\x00\x00\x00"...)
		}
		return append(b, rest...)
	}
	zeros := make([]byte, 64<<20)

	type row struct {
		name   string
		sop    string // of the command; "": that of slice 0
		syntax string // "": Explicit VR Little Endian
		data   []byte
		want   dimse.Status
		kept   int
	}
	table := []row{
		{name: "a slice", data: plain, want: dimse.Success, kept: 1},
		{name: "the same again", data: plain, want: dimse.Success},
		{name: "the same UID with other bytes", data: good(func(d *dataset.Dataset) { d.Set(dataset.PixelData, "OW", []byte("12345678")) }), want: dimse.Success, kept: 1},
		{name: "and these again", data: good(func(d *dataset.Dataset) { d.Set(dataset.PixelData, "OW", []byte("12345678")) }), want: dimse.Success},

		// The command and its data set.
		{name: "another instance than the command's", sop: testSeries + ".999", data: plain, want: dimse.DataSetMismatch},
		{name: "another class than the command's", data: good(func(d *dataset.Dataset) { d.SetText(dataset.SOPClassUID, "UI", dataset.EnhancedCT) }), want: dimse.DataSetMismatch},
		{name: "a class that is none", data: good(func(d *dataset.Dataset) { d.SetText(dataset.SOPClassUID, "UI", "CT") }), want: dimse.DataSetMismatch},
		{name: "no class", data: good(func(d *dataset.Dataset) { d.SetText(dataset.SOPClassUID, "UI", "") }), want: dimse.CannotUnderstand},
		{name: "no instance", data: good(func(d *dataset.Dataset) { d.SetText(dataset.SOPInstanceUID, "UI", "") }), want: dimse.CannotUnderstand},
		{name: "no study", data: good(func(d *dataset.Dataset) { d.SetText(dataset.StudyInstanceUID, "UI", "") }), want: dimse.CannotUnderstand},
		{name: "no series", data: good(func(d *dataset.Dataset) { d.SetText(dataset.SeriesInstanceUID, "UI", "") }), want: dimse.CannotUnderstand},
		{name: "two studies", data: good(func(d *dataset.Dataset) { d.SetText(dataset.StudyInstanceUID, "UI", "1.2", "1.3") }), want: dimse.CannotUnderstand},

		// The data set's bytes.
		{name: "an empty data set", want: dimse.CannotUnderstand},
		{name: "nonsense", data: bytes.Repeat([]byte{0xFF}, 1000), want: dimse.CannotUnderstand},
		{name: "an HTTP request", data: []byte("GET / HTTP/1.1\r\nHost: pulmonode\r\n\r\n"), want: dimse.CannotUnderstand},
		{name: "Explicit VR where Implicit was agreed", syntax: dataset.ImplicitLE, data: plain, want: dimse.CannotUnderstand},
		{name: "a file with its meta information", data: append(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntax: dataset.ExplicitLE}), plain...), want: dimse.CannotUnderstand},
		{name: "no Pixel Data", data: header, want: dimse.CannotUnderstand},
		{name: "Pixel Data of 4 GiB, of which eight bytes come", data: append(long(slices.Clone(header), dataset.PixelData, "OW", undefined-1), "12345678"...), want: dimse.CannotUnderstand},
		{name: "Pixel Data in fragments without an end", data: append(long(slices.Clone(header), dataset.PixelData, "OB", undefined), "\xFE\xFF\x00\xE0\x04\x00\x00\x00abcd"...), want: dimse.CannotUnderstand},
		{name: "a value of 4 GiB", data: append(long(slices.Clone(header), 0x00291010, "OB", undefined-1), rest...), want: dimse.CannotUnderstand},
		{name: "a sequence of 4 GiB", data: append(long(slices.Clone(header), 0x00291010, "SQ", undefined-1), rest...), want: dimse.CannotUnderstand},
		{name: "a header of more than 1 MiB", data: append(append(long(slices.Clone(header), 0x00291010, "OB", 1<<20), zeros[:1<<20]...), rest...), want: dimse.CannotUnderstand},
		{name: "a text of undefined length", data: append(long(slices.Clone(header), 0x00291010, "UT", undefined), rest...), want: dimse.CannotUnderstand},
		{name: "sequences of undefined length, 64 deep", data: nested(64), want: dimse.Success, kept: 1},
		{name: "sequences of undefined length, 65 deep", data: nested(65), want: dimse.CannotUnderstand},
		{name: "an item without its sequence", data: append(append(slices.Clone(header), "\xFE\xFF\x00\xE0\x00\x00\x00\x00"...), rest...), want: dimse.CannotUnderstand},
		{name: "an element twice, apart", data: append(element(slices.Clone(header), dataset.PatientName, "PN", "Other^Name"), rest...), want: dimse.CannotUnderstand},

		// Faults that do no harm are kept as they came.
		{name: "values of odd length", data: append(element(element(slices.Clone(header), 0x00291010, "LO", "odd"), 0x00291011, "SH", "x"), rest...), want: dimse.Success, kept: 1},
		{name: "a group length that is too large", data: slices.Concat(element(nil, 0x00080000, "UL", "\xFF\xFF\xFF\xFF"), plain), want: dimse.Success, kept: 1},
		{name: "a group length of 0", data: slices.Concat(element(nil, 0x00080000, "UL", "\x00\x00\x00\x00"), plain), want: dimse.Success, kept: 1},
		{name: "padding behind Pixel Data", data: append(long(slices.Clone(plain), dataset.DataSetTrailingPadding, "OB", 4), 0, 0, 0, 0), want: dimse.Success, kept: 1},

		// Deflated.
		{name: "a deflated slice", syntax: dataset.DeflatedLE, data: deflated(t, plain), want: dimse.Success, kept: 1},
		{name: "a deflated slice cut in its last block", syntax: dataset.DeflatedLE, data: deflated(t, plain)[:len(deflated(t, plain))-5], want: dimse.CannotUnderstand},
		{name: "what was never deflated", syntax: dataset.DeflatedLE, data: plain, want: dimse.CannotUnderstand},
		{name: "a deflated bomb in the header", syntax: dataset.DeflatedLE, data: deflated(t, long(slices.Clone(header), 0x00291010, "OB", uint32(len(zeros))), zeros, rest), want: dimse.CannotUnderstand},
		{name: "a deflated bomb in Pixel Data", syntax: dataset.DeflatedLE, data: deflated(t, long(slices.Clone(header), dataset.PixelData, "OW", uint32(len(zeros))), zeros), want: dimse.CannotUnderstand},
	}
	// UIDs that are none (PS3.5 9.1), at each place that could become a path.
	for name, uid := range map[string]string{
		"of 65 characters": "1." + strings.Repeat("2", 63), "of 10,000 characters": "1." + strings.Repeat("2", 9998), "with letters": "1.2.x", "with a leading zero": "1.02.3",
		"with an empty component": "1..2", "that begins with a dot": ".1.2", "that ends with a dot": "1.2.", "that climbs": "..", "that climbs far": "../../../../etc/pulmonode",
		"with a slash": "1.2/3", "with a backslash": `1.2\3`, "that is absolute": filepath.Join(os.TempDir(), "pulmonode"), "with a NUL": "1.2\x003", "with a line break": "1.2\n3",
		"with a space": "1.2 3", "with a drive": "C:1.2", "in other digits": "1.\u0662",
	} {
		table = append(table,
			row{name: "an instance's UID " + name, sop: uid, data: good(func(d *dataset.Dataset) { d.SetText(dataset.SOPInstanceUID, "UI", uid) }), want: dimse.CannotUnderstand},
			row{name: "a study's UID " + name, data: good(func(d *dataset.Dataset) { d.SetText(dataset.StudyInstanceUID, "UI", uid) }), want: dimse.CannotUnderstand},
			row{name: "a series' UID " + name, data: good(func(d *dataset.Dataset) { d.SetText(dataset.SeriesInstanceUID, "UI", uid) }), want: dimse.CannotUnderstand})
	}

	s, root := quietSite(t)
	beside := &bystander{s: s, conn: s.ctSyntaxes(dataset.ExplicitLE)}
	conn := s.ctSyntaxes(dataset.ExplicitLE, dataset.ImplicitLE, dataset.DeflatedLE)
	for i, test := range table {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			beside.begin(1000 + i)
			before, cost := s.instances(root), allocated()
			o := dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: sop, TransferSyntaxUID: dataset.ExplicitLE, Data: bytes.NewReader(test.data)}
			if test.sop != "" {
				o.SOPInstanceUID = test.sop
			}
			if test.syntax != "" {
				o.TransferSyntaxUID = test.syntax
			}
			if got, err := conn.Store(t.Context(), o); got != test.want || err != nil {
				t.Errorf("%v, %v; want %v", got, err, test.want)
			}
			// 32 MiB are more than what goes on in a node meanwhile, and less than
			// any bomb.
			if cost := allocated() - cost; cost > uint64(16*len(test.data)+32<<20) {
				t.Errorf("%d bytes cost %d bytes of memory", len(test.data), cost)
			}
			if after := s.instances(root); len(after) != len(before)+test.kept {
				t.Errorf("%d files became %d, want %d more", len(before), len(after), test.kept)
			}
			if left := s.incoming(); len(left) != 1 {
				t.Errorf("left of it beside the bystander's: %v", left)
			}
			beside.finish()
		})
	}
	s.t = t
	for _, c := range []*dimse.Conn{conn, beside.conn} {
		if err := c.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A data set cut anywhere, also where an element or an item ends, is no instance:
// it is refused and nothing of it is kept.
func TestInstanceCutAnywhere(t *testing.T) {
	sop, data := slice(t, 0, func(d *dataset.Dataset) {
		var source, code dataset.Dataset
		code.SetText(0x00080100, "SH", "113076")
		source.SetText(0x00081155, "UI", "1.2.3")
		source.SetItems(0x0040A170, &code)
		d.SetItems(0x00082112, &source, &source)
	})
	s, root := quietSite(t)
	beside := &bystander{s: s, conn: s.ctSyntaxes(dataset.ExplicitLE)}
	conn := s.ctSyntaxes(dataset.ExplicitLE)
	beside.begin(1000)
	for cut := range data {
		if got := s.storeOne(conn, sop, data[:cut]); got != dimse.CannotUnderstand {
			t.Errorf("cut to %d bytes of %d: %v", cut, len(data), got)
		}
	}
	if kept := s.instances(root); len(kept) != 0 {
		t.Errorf("kept: %v", kept)
	}
	if left := s.incoming(); len(left) != 1 {
		t.Errorf("left beside the bystander's: %v", left)
	}
	if got := s.storeOne(conn, sop, data); got != dimse.Success {
		t.Errorf("whole: %v", got)
	}
	beside.finish()
	for _, c := range []*dimse.Conn{conn, beside.conn} {
		if err := c.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// An instance of as many bytes as may be is taken, one of one more is refused as
// soon as it has too many, and nothing of it is kept.
func TestLargestInstance(t *testing.T) {
	s, root := quietSite(t)
	s.stop()
	sop, data := slice(t, 0, func(d *dataset.Dataset) { d.Set(dataset.PixelData, "OW", make([]byte, 3<<20)) })
	s.config.Storage.MaxInstance = config.Size(len(data))
	s.start()
	beside := &bystander{s: s, conn: s.ctSyntaxes(dataset.ExplicitLE)}
	beside.begin(1000)
	conn := s.ctSyntaxes(dataset.ExplicitLE)
	if got := s.storeOne(conn, sop, append(slices.Clone(data), 0)); got != dimse.CannotUnderstand {
		t.Errorf("a byte too many: %v", got)
	}
	if kept := s.instances(root); len(kept) != 0 || len(s.incoming()) != 1 {
		t.Errorf("kept %v, left %v", kept, s.incoming())
	}
	if got := s.storeOne(conn, sop, data); got != dimse.Success {
		t.Errorf("as many as may be: %v", got)
	}
	beside.finish()
	for _, c := range []*dimse.Conn{conn, beside.conn} {
		if err := c.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A node that is stopped in the middle of an instance takes it to its end and
// says so; it takes nobody new. The instance is there after the next start.
func TestStopInTheMiddleOfAnInstance(t *testing.T) {
	s, root := quietSite(t)
	beside := &bystander{s: s, conn: s.ctSyntaxes(dataset.ExplicitLE)}
	beside.begin(0)
	address, stopped := s.node.Addr().String(), make(chan error, 1)
	go func(n *Node) { stopped <- n.Stop() }(s.node)
	s.node = nil
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			break // nobody listens any more
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("a node that stops takes connections")
		}
	}
	beside.finish()
	if status, err := beside.conn.Store(t.Context(), dimse.StoreObject{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: dataset.ExplicitLE, Data: strings.NewReader("")}); err == nil {
		t.Errorf("another instance: %v", status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	s.start()
	if kept := s.instances(root); len(kept) != 1 || len(s.incoming()) != 0 {
		t.Errorf("kept %v, left %v", kept, s.incoming())
	}
}
