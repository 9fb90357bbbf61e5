package dataset

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// sample is a data set with everything that a reader meets in a CT header.
func sample() *Dataset {
	d := &Dataset{}
	d.SetText(SpecificCharacterSet, "CS", "ISO_IR 100")
	d.SetText(SOPClassUID, "UI", CTImage)
	d.SetText(SOPInstanceUID, "UI", "1.2.3.4")
	d.Set(PatientName, "PN", []byte("M\xfcller^J\xf6rg"))
	d.SetText(ImageType, "CS", "ORIGINAL", "PRIMARY", "AXIAL")
	d.SetText(PixelSpacing, "DS", "0.703125", "0.703125")
	d.SetText(InstanceNumber, "IS", "17")
	d.SetUint16(Rows, 2)
	d.SetUint16(Columns, 3)
	d.Set(PixelPaddingValue, "SS", []byte{0x30, 0xF8})
	inner := &Dataset{}
	inner.SetText(CodeValue, "SH", "113691")
	inner.SetFloat64(RealWorldValueSlope, 1.5, -2)
	middle := &Dataset{}
	middle.SetItems(PurposeOfReferenceCodeSequence, inner, &Dataset{})
	d.SetItems(SourceImageSequence, middle)
	d.SetItems(ReferencedStudySequence)
	d.Set(0x00291010, "OB", []byte{1, 2, 3, 4})
	return d
}

func explicit(t testing.TB, d *Dataset) []byte {
	t.Helper()
	b, err := d.AppendExplicit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func implicit(t testing.TB, d *Dataset) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := ToImplicit(&b, bytes.NewReader(explicit(t, d))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func deflated(b []byte) []byte {
	var out bytes.Buffer
	w, _ := flate.NewWriter(&out, 9)
	w.Write(b)
	w.Close()
	return out.Bytes()
}

// withPixels appends Pixel Data of n bytes and one attribute behind it.
func withPixels(b []byte, n int) []byte {
	b = appendHead(b, PixelData, "OW", uint32(n))
	for i := range n {
		b = append(b, byte(i))
	}
	return append(appendHead(b, DataSetTrailingPadding, "OB", 4), 0, 0, 0, 0)
}

// plainTree is what is compared: tags, values and items.
func plainTree(d *Dataset) string {
	var b strings.Builder
	var walk func(*Dataset)
	walk = func(d *Dataset) {
		for _, e := range d.Elements {
			fmt.Fprintf(&b, "%v %x", e.Tag, e.Value)
			for _, item := range e.Items {
				b.WriteString("[")
				walk(item)
				b.WriteString("]")
			}
			b.WriteString(" ")
		}
	}
	walk(d)
	return b.String()
}

func TestHeaderReadsTheSameInEveryTransferSyntax(t *testing.T) {
	want := plainTree(mustParse(t, explicit(t, sample()), ExplicitLE))
	if !strings.Contains(want, "[(0040,A170) [") {
		t.Fatalf("the sample lost its nested sequence: %s", want)
	}
	for _, c := range []struct {
		name, syntax string
		bytes        []byte
	}{
		{"explicit", ExplicitLE, explicit(t, sample())},
		{"implicit, undefined lengths", ImplicitLE, implicit(t, sample())},
		{"deflated", DeflatedLE, deflated(explicit(t, sample()))},
		{"with pixels", ExplicitLE, withPixels(explicit(t, sample()), 64)},
		{"deflated with pixels", DeflatedLE, deflated(withPixels(explicit(t, sample()), 64))},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := plainTree(mustParse(t, c.bytes, c.syntax)); got != want {
				t.Errorf("read\n%s\nwant\n%s", got, want)
			}
			for _, step := range []int{1, 7, 4096} {
				p := NewHeaderParser(c.syntax, Limits{})
				feed(t, p, c.bytes, step)
				d, err := p.Finish()
				if err != nil {
					t.Fatalf("fed %d bytes at a time: %v", step, err)
				}
				if got := plainTree(d); got != want {
					t.Errorf("fed %d bytes at a time\n%s\nwant\n%s", step, got, want)
				}
			}
		})
	}
}

func feed(t testing.TB, p *HeaderParser, b []byte, step int) {
	t.Helper()
	for len(b) > 0 {
		n := min(step, len(b))
		if _, err := p.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
}

func mustParse(t testing.TB, b []byte, syntax string) *Dataset {
	t.Helper()
	d, err := ParseHeader(bytes.NewReader(b), syntax, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestValues(t *testing.T) {
	for _, syntax := range []string{ExplicitLE, ImplicitLE} {
		b := explicit(t, sample())
		if syntax == ImplicitLE {
			b = implicit(t, sample())
		}
		d := mustParse(t, b, syntax)
		if got := d.Text(SOPClassUID); got != CTImage {
			t.Errorf("SOP class %q", got)
		}
		if got := d.Texts(ImageType); !slices.Equal(got, []string{"ORIGINAL", "PRIMARY", "AXIAL"}) {
			t.Errorf("image type %q", got)
		}
		if got := d.Raw(PixelSpacing); got != `0.703125\0.703125` {
			t.Errorf("pixel spacing %q", got)
		}
		if got, err := d.Floats(PixelSpacing); err != nil || !slices.Equal(got, []float64{0.703125, 0.703125}) {
			t.Errorf("pixel spacing %v, %v", got, err)
		}
		if got, ok := d.Int(InstanceNumber); !ok || got != 17 {
			t.Errorf("instance number %d, %v", got, ok)
		}
		if got, ok := d.Int(Columns); !ok || got != 3 {
			t.Errorf("columns %d, %v", got, ok)
		}
		if got, err := d.UTF8(PatientName); err != nil || got != "Müller^Jörg" {
			t.Errorf("name %q, %v", got, err)
		}
		item := d.Items(SourceImageSequence)[0].Items(PurposeOfReferenceCodeSequence)[0]
		if got := item.Text(CodeValue); got != "113691" {
			t.Errorf("code %q", got)
		}
		if got, err := item.Floats(RealWorldValueSlope); err != nil || !slices.Equal(got, []float64{1.5, -2}) {
			t.Errorf("slope %v, %v", got, err)
		}
		if got := item.CharacterSets(); !slices.Equal(got, []string{"ISO_IR 100"}) {
			t.Errorf("an item inherits the character set: %q", got)
		}
		if d.Get(PatientID) != nil || d.Text(PatientID) != "" || d.Items(PatientID) != nil {
			t.Error("an absent attribute has a value")
		}
	}
}

func TestDecimalsThatAreNot(t *testing.T) {
	for _, s := range []string{"0x1p4", "inf", "nan", "1,5", "1_0", "1e999", "--1", "x"} {
		d := &Dataset{}
		d.SetText(PixelSpacing, "DS", s)
		if got, err := d.Floats(PixelSpacing); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
}

func TestBigEndian(t *testing.T) {
	var b []byte
	be := binary.BigEndian
	put := func(t Tag, vr string, v []byte) {
		b = be.AppendUint16(be.AppendUint16(b, t.Group()), uint16(t))
		b = append(b, vr...)
		if shortVR(vr) {
			b = be.AppendUint16(b, uint16(len(v)))
		} else {
			b = be.AppendUint32(append(b, 0, 0), uint32(len(v)))
		}
		b = append(b, v...)
	}
	item := []byte{0xFF, 0xFE, 0xE0, 0x00, 0, 0, 0, 10, 0x00, 0x28, 0x00, 0x10, 'U', 'S', 0, 2, 2, 0}
	put(SOPInstanceUID, "UI", []byte("1.20"))
	put(ReferencedStudySequence, "SQ", item)
	put(Rows, "US", []byte{1, 2})
	d := mustParse(t, b, ExplicitBE)
	if n, _ := d.Int(Rows); n != 258 {
		t.Errorf("rows %d", n)
	}
	if n, _ := d.Items(ReferencedStudySequence)[0].Int(Rows); n != 512 {
		t.Errorf("rows in the item %d", n)
	}
}

// A data set cut anywhere but between two header elements is noticed: by the
// scanner, by the length of Pixel Data, by the delimiter of encapsulated data.
func TestTruncatedAnywhere(t *testing.T) {
	header := explicit(t, sample())
	native := withPixels(header, 40)
	encapsulated := appendHead(slices.Clone(header), PixelData, "OB", undefinedLength)
	for _, n := range []uint32{0, 6, 10} {
		encapsulated = binary.LittleEndian.AppendUint32(encapsulated, 0xE000FFFE)
		encapsulated = binary.LittleEndian.AppendUint32(encapsulated, n)
		encapsulated = append(encapsulated, make([]byte, n)...)
	}
	encapsulated = binary.LittleEndian.AppendUint64(encapsulated, 0x00000000E0DDFFFE)
	boundaries := elementBoundaries(t, header)
	for _, c := range []struct {
		name, syntax string
		b            []byte
		ends         []int // lengths that are whole data sets beyond the header
	}{
		{"native", ExplicitLE, native, []int{len(native) - 16, len(native)}},
		{"encapsulated", JPEGLossless, encapsulated, []int{len(encapsulated)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for cut := range len(c.b) + 1 {
				p := NewHeaderParser(c.syntax, Limits{})
				if _, err := p.Write(c.b[:cut]); err != nil {
					t.Fatalf("cut at %d: %v", cut, err)
				}
				_, err := p.Finish()
				whole := slices.Contains(boundaries, cut) || slices.Contains(c.ends, cut)
				if whole && err != nil {
					t.Errorf("cut at the boundary %d: %v", cut, err)
				}
				if !whole && !errors.Is(err, ErrTruncated) {
					t.Errorf("cut at %d of %d went unnoticed: %v", cut, len(c.b), err)
				}
				if _, pixels := p.Pixels(); pixels != (cut >= len(header)+12) {
					t.Errorf("cut at %d: pixels %v", cut, pixels)
				}
			}
		})
	}
	t.Run("deflated", func(t *testing.T) {
		b := deflated(native)
		for cut := range len(b) {
			p := NewHeaderParser(DeflatedLE, Limits{})
			if _, err := p.Write(b[:cut]); err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if _, err := p.Finish(); !errors.Is(err, ErrTruncated) {
				t.Errorf("cut at %d of %d: %v", cut, len(b), err)
			}
		}
	})
}

func elementBoundaries(t *testing.T, header []byte) []int {
	d := mustParse(t, header, ExplicitLE)
	ends := []int{0}
	for i := range d.Elements {
		b, err := (&Dataset{Elements: d.Elements[:i+1]}).AppendExplicit(nil)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(b))
	}
	return ends
}

// allocated is what f allocates, all in all.
func allocated(f func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	f()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

// M1: what is refused costs at most 16 times the input and 1 MiB.
func TestHostileHeadersAreRefusedCheaply(t *testing.T) {
	nested := func(depth int) []byte {
		var b []byte
		for range depth {
			b = appendHead(b, SourceImageSequence, "SQ", undefinedLength)
			b = binary.LittleEndian.AppendUint64(b, 0xFFFFFFFFE000FFFE)
		}
		for range depth {
			b = binary.LittleEndian.AppendUint64(b, 0x00000000E00DFFFE)
			b = binary.LittleEndian.AppendUint64(b, 0x00000000E0DDFFFE)
		}
		return b
	}
	many := func(n int) []byte {
		var b []byte
		for i := range n {
			b = appendHead(b, Tag(0x00090000+i), "SH", 0)
		}
		return b
	}
	items := appendHead(nil, SourceImageSequence, "SQ", undefinedLength)
	for range 1_000_000 {
		items = binary.LittleEndian.AppendUint64(items, 0x00000000E000FFFE)
	}
	// As many frames of an enhanced CT as would be sent deflated: the header is
	// thirteen times its deflated bytes.
	enhanced := sample()
	var frames []*Dataset
	for i := range 200 {
		position, plane, content, frame := &Dataset{}, &Dataset{}, &Dataset{}, &Dataset{}
		position.SetText(ImagePositionPatient, "DS", "-175.5", "-175.5", fmt.Sprintf("%.3f", -300+0.625*float64(i)))
		plane.SetText(FrameAcquisitionDateTime, "DT", fmt.Sprintf("2026112410%04d.%06d", i, 7919*i%1000000))
		content.SetText(ImageOrientationPatient, "DS", "1", "0", "0", "0", "1", "0")
		frame.SetItems(PlanePositionSequence, position)
		frame.SetItems(FrameContentSequence, plane)
		frame.SetItems(PlaneOrientationSequence, content)
		frames = append(frames, frame)
	}
	enhanced.SetItems(PerFrameFunctionalGroupsSequence, frames...)
	megabyte := appendHead(nil, 0x00091010, "OB", 1000<<10)
	megabyte = append(megabyte, make([]byte, 1000<<10)...)
	zeros := make([]byte, 64<<20)
	copy(zeros, appendHead(nil, 0x00091010, "OB", 63<<20))
	for _, c := range []struct {
		name, syntax string
		b            []byte
		want         string // "" is taken
	}{
		{"64 nested sequences", ExplicitLE, nested(64), ""},
		{"65 nested sequences", ExplicitLE, nested(65), "nested"},
		{"a million elements", ExplicitLE, many(1_000_000), "more than 65536 elements"},
		{"65536 elements", ExplicitLE, many(65536), ""},
		{"a million items", ExplicitLE, items, "more than 65536 elements"},
		{"a value of 4 GiB", ExplicitLE, appendHead(nil, 0x00091010, "OB", 0xFFFFFFFE), "at most"},
		{"a sequence of 4 GiB", ExplicitLE, appendHead(nil, SourceImageSequence, "SQ", 0xFFFFFFFE), "longer than 1048576"},
		{"a header of 1 MiB and more", ExplicitLE, append(appendHead(nil, 0x00091010, "OB", 1<<20), make([]byte, 1<<20)...), "longer than 1048576"},
		{"deflated bomb", DeflatedLE, deflated(zeros), "at most"},
		{"deflated bomb within the header's limit", DeflatedLE, deflated(megabyte), "ask the sender for Explicit VR Little Endian"},
		{"deflated bomb of elements", DeflatedLE, deflated(many(60_000)), "ask the sender for Explicit VR Little Endian"},
		{"deflated bomb of items", DeflatedLE, deflated(items[:8*60_000]), "ask the sender for Explicit VR Little Endian"},
		{"a deflated enhanced CT", DeflatedLE, deflated(withPixels(explicit(t, enhanced), 64)), ""},
		{"item in no sequence", ExplicitLE, binary.LittleEndian.AppendUint64(nil, 0x00000000E000FFFE), "where an element is expected"},
		{"sequence longer than its item", ExplicitLE, []byte("\x08\x00\x12\x21SQ\x00\x00\x10\x00\x00\x00\xfe\xff\x00\xe0\x20\x00\x00\x00\x08\x00\x12\x21SQ\x00\x00"), "longer than the one around it"},
		{"no value representation", ExplicitLE, []byte("\x08\x00\x05\x00\x00\x00\x00\x00"), "no value representation"},
		{"twice the same", ExplicitLE, append(many(2), many(1)...), "twice"},
		{"unknown transfer syntax", "1.2.3", nil, "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for way, f := range map[string]func() error{
				"ParseHeader": func() error {
					_, err := ParseHeader(bytes.NewReader(c.b), c.syntax, Limits{})
					return err
				},
				"Read": func() error {
					file := append(FileMeta(MetaInfo{CTImage, "1.2", c.syntax, ""}), c.b...)
					_, err := Read(bytes.NewReader(file), int64(len(file)), Limits{})
					return err
				},
				"HeaderParser": func() error {
					p := NewHeaderParser(c.syntax, Limits{})
					for b := range slices.Chunk(c.b, 16<<10) {
						if _, err := p.Write(b); err != nil {
							return err
						}
					}
					_, err := p.Finish()
					return err
				},
			} {
				var err error
				used := allocated(func() { err = f() })
				if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
					t.Errorf("%s: error %v, want %q", way, err, c.want)
				}
				if most := uint64(16*len(c.b) + 1<<20); used > most {
					t.Errorf("%s: %d bytes of input cost %d bytes of memory, more than %d", way, len(c.b), used, most)
				}
			}
		})
	}
}

// A bomb behind the header is counted, not kept, and stops at its limit.
func TestDeflatedBombInPixelData(t *testing.T) {
	b := appendHead(explicit(t, sample()), PixelData, "OW", 32<<20)
	b = deflated(append(b, make([]byte, 32<<20)...))
	for name, lim := range map[string]Limits{"a limit of its size": {Inflated: 8 << 20, Ratio: 2000}, "a limit of its ratio": {}} {
		p := NewHeaderParser(DeflatedLE, lim)
		if used := allocated(func() { feed(t, p, b, 4096) }); used > 1<<20 {
			t.Errorf("%s: cost %d bytes of memory", name, used)
		}
		if _, err := p.Finish(); err == nil || !strings.Contains(err.Error(), "grows beyond") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	p := NewHeaderParser(DeflatedLE, Limits{Ratio: 2000})
	feed(t, p, b, 4096)
	if _, err := p.Finish(); err != nil {
		t.Errorf("with a wider ratio: %v", err)
	}
	file := append(FileMeta(MetaInfo{CTImage, "1.2", DeflatedLE, ""}), b...)
	if _, err := Read(bytes.NewReader(file), int64(len(file)), Limits{}); err == nil || !strings.Contains(err.Error(), "grows beyond") {
		t.Errorf("in a file: %v", err)
	}
	// A blank slice is no bomb.
	blank := deflated(append(appendHead(explicit(t, sample()), PixelData, "OW", 8<<20), make([]byte, 8<<20)...))
	p = NewHeaderParser(DeflatedLE, Limits{})
	feed(t, p, blank, 4096)
	if _, err := p.Finish(); err != nil {
		t.Errorf("a blank slice of %d bytes: %v", len(blank), err)
	}
}

func TestDeflatedPixelDataIsReadInAnyOrder(t *testing.T) {
	const size = 100_000
	b := deflated(withPixels(explicit(t, sample()), size))
	b = append(FileMeta(MetaInfo{CTImage, "1.2", DeflatedLE, ""}), b...)
	path := filepath.Join(t.TempDir(), "deflated.dcm")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 40_000, 80_000, 40_000, 40_000, 0, 95_000, 20_000} {
		p := make([]byte, 5000)
		if err := f.ReadPixels(p, int64(at)); err != nil {
			t.Fatal(err)
		}
		for i, v := range p {
			if v != byte(at+i) {
				t.Fatalf("byte %d is %d", at+i, v)
			}
		}
	}
	// A file that ends too early, read on behind that.
	if err := os.Truncate(path, int64(len(b)-300)); err != nil {
		t.Fatal(err)
	}
	f, err = Open(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.ReadPixels(make([]byte, 5000), size-5000); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut short: %v", err)
		}
	}
}

func TestInflaterAgreesWithCompressFlate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, level := range []int{flate.NoCompression, flate.HuffmanOnly, 1, 6, 9} {
		for _, size := range []int{0, 1, 100, 70_000, 300_000} {
			plain := make([]byte, size)
			for i := range plain {
				plain[i] = byte(rng.NormFloat64() * 12)
			}
			copy(plain[size/2:], plain[:size/3])
			var packed bytes.Buffer
			w, _ := flate.NewWriter(&packed, level)
			w.Write(plain[:size/2])
			w.Flush() // an empty stored block in between
			w.Write(plain[size/2:])
			w.Close()
			var got bytes.Buffer
			f := newInflater(func(b []byte) error { got.Write(b); return nil }, Limits{})
			for b := packed.Bytes(); len(b) > 0; {
				n := min(len(b), 1+rng.IntN(5000))
				if err := f.write(b[:n]); err != nil {
					t.Fatalf("level %d, %d bytes: %v", level, size, err)
				}
				b = b[n:]
			}
			if !f.ended() || !bytes.Equal(got.Bytes(), plain) {
				t.Errorf("level %d: %d bytes came out as %d, ended %v", level, size, got.Len(), f.ended())
			}
		}
	}
}

func TestFileMetaIsReadBack(t *testing.T) {
	m := MetaInfo{CTImage, "1.2.3.4", ExplicitLE, "SCANNER"}
	b := append(FileMeta(m), withPixels(explicit(t, sample()), 12)...)
	if again := FileMeta(m); !bytes.Equal(again, b[:len(again)]) {
		t.Error("not the same bytes twice")
	}
	path := filepath.Join(t.TempDir(), "a.dcm")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if f.TransferSyntax != ExplicitLE || f.Meta.Text(MediaStorageSOPInstanceUID) != "1.2.3.4" || f.Meta.Text(SourceApplicationEntityTitle) != "SCANNER" {
		t.Errorf("meta %v", plainTree(f.Meta))
	}
	if n, _ := f.Meta.Int(FileMetaInformationGroupLength); 144+n != len(FileMeta(m)) {
		t.Errorf("group length %d in %d bytes", n, len(FileMeta(m)))
	}
	p := make([]byte, 4)
	if err := f.ReadPixels(p, 8); err != nil || !bytes.Equal(p, []byte{8, 9, 10, 11}) {
		t.Errorf("pixels %v, %v", p, err)
	}
	if err := f.ReadPixels(p, 9); !errors.Is(err, ErrTruncated) {
		t.Errorf("beyond the pixels: %v", err)
	}
	r, err := f.DataSet()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if body, _ := io.ReadAll(r); !bytes.Equal(body, b[len(FileMeta(m)):]) {
		t.Error("the data set is not what was written")
	}
	for _, cut := range []int{0, 131, 140, 200, len(b) - 20} {
		if _, err := Read(bytes.NewReader(b[:cut]), int64(cut), Limits{}); !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrNotPart10) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
}

func TestFramesOfEncapsulatedPixelData(t *testing.T) {
	file := func(frames int, table []uint32, parts ...string) *File {
		b := FileMeta(MetaInfo{CTImage, "1.2", RLE, ""})
		b = append(b, explicit(t, sample())...)
		b = appendHead(b, PixelData, "OB", undefinedLength)
		item := func(v []byte) {
			b = binary.LittleEndian.AppendUint32(b, 0xE000FFFE)
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(v))), v...)
		}
		var offsets []byte
		for _, o := range table {
			offsets = binary.LittleEndian.AppendUint32(offsets, o)
		}
		item(offsets)
		for _, p := range parts {
			item([]byte(p))
		}
		b = binary.LittleEndian.AppendUint64(b, 0x00000000E0DDFFFE)
		f, err := Read(bytes.NewReader(b), int64(len(b)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for _, c := range []struct {
		name   string
		f      *File
		frames int
		want   []string
	}{
		{"one frame in pieces", file(1, nil, "ab", "cd", "ef"), 1, []string{"abcdef"}},
		{"one piece a frame", file(3, nil, "ab", "cd", "ef"), 3, []string{"ab", "cd", "ef"}},
		{"by the markers that end a frame", file(2, nil, "ab", "c\xFF\xD9\x00", "ef", "gh", "\xFF\xD9"), 2, []string{"abc\xFF\xD9\x00", "efgh\xFF\xD9"}},
		{"by the table", file(2, []uint32{0, 20}, "ab", "cd", "ef"), 2, []string{"abcd", "ef"}},
	} {
		for i, want := range c.want {
			got, err := c.f.Frame(i, c.frames)
			if err != nil || string(got) != want {
				t.Errorf("%s: frame %d is %q, %v", c.name, i, got, err)
			}
		}
	}
	if _, err := file(2, nil, "ab", "cd", "ef").Frame(0, 2); err == nil {
		t.Error("three pieces for two frames without a table were shared out")
	}
	if _, err := file(2, nil, "ab\xFF\xD9", "cd", "ef").Frame(0, 2); err == nil {
		t.Error("a frame without an end was taken for one")
	}
	if _, err := file(2, []uint32{20, 0}, "ab", "cd", "ef").Frame(0, 2); err == nil {
		t.Error("a table whose frames overlap was believed")
	}
	// Offsets of 64 bits, the last beyond any file.
	f := file(3, nil, "ab", "cd", "ef", "gh")
	f.Header.Elements = append(f.Header.Elements, Element{Tag: ExtendedOffsetTable, VR: "OV", Value: slices.Concat(
		binary.LittleEndian.AppendUint64(nil, 0), binary.LittleEndian.AppendUint64(nil, 20), binary.LittleEndian.AppendUint64(nil, 1<<63-1))})
	for i, want := range []string{"abcd", "efgh", ""} {
		if got, err := f.Frame(i, 3); string(got) != want || (err == nil) != (i < 2) {
			t.Errorf("64-bit offsets: frame %d is %q, %v", i, got, err)
		}
	}
	if _, err := file(2, []uint32{3, 5}, "ab", "cd", "ef").Frame(0, 2); err == nil {
		t.Error("a table that points between the pieces was believed")
	}
}

func TestToImplicitRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"encapsulated": appendHead(nil, PixelData, "OB", undefinedLength),
		"cut":          explicit(t, sample())[:100],
	} {
		if err := ToImplicit(io.Discard, bytes.NewReader(b)); err == nil {
			t.Errorf("%s was converted", name)
		}
	}
	b := appendHead(nil, 0x00080000, "UL", 4)
	b = append(append(b, 1, 2, 3, 4), explicit(t, sample())...)
	var out bytes.Buffer
	if err := ToImplicit(&out, bytes.NewReader(b)); err != nil || !bytes.Equal(out.Bytes(), implicit(t, sample())) {
		t.Errorf("a group length was kept, or %v", err)
	}
}

func TestValidUID(t *testing.T) {
	for _, s := range []string{"1", "1.2.840.10008.1.2", "2.25.0", strings.Repeat("1", 64)} {
		if err := ValidUID(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "1.", ".1", "1..2", "1.02", "00", "../1", "1/2", "1\x00", "1.2 ", "1.a", strings.Repeat("1", 65), "１.2"} {
		if ValidUID(s) == nil {
			t.Errorf("%q passed", s)
		}
	}
	if err := ValidUID(ImplementationUID); err != nil {
		t.Error(err)
	}
}

// The names of PS3.5 annexes H, I, J and K.
func TestCharacterSets(t *testing.T) {
	for _, c := range []struct {
		name     string
		charsets []string
		raw      string
		want     string
	}{
		{"ASCII", nil, "Doe^John", "Doe^John"},
		{"Latin-1", []string{"ISO_IR 100"}, "Buc^J\xe9r\xf4me", "Buc^Jérôme"},
		{"Latin-2", []string{"ISO_IR 101"}, "Wa\xb3\xeasa", "Wałęsa"},
		{"Cyrillic", []string{"ISO_IR 144"}, "\xbb\xee\xda\x63\x65\xdc\xd1\xe3\xe0\xd3", "Люкceмбург"},
		{"Greek", []string{"ISO_IR 126"}, "\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"},
		{"Arabic", []string{"ISO_IR 127"}, "\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"},
		{"Hebrew", []string{"ISO_IR 138"}, "\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"},
		{"Japanese, romaji and kanji", []string{"", "ISO 2022 IR 87"},
			"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
			"Yamada^Tarou=山田^太郎=やまだ^たろう"},
		{"Japanese, katakana first", []string{"ISO 2022 IR 13", "ISO 2022 IR 87"},
			"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
			"ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"},
		{"Korean", []string{"", "ISO 2022 IR 149"},
			"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
			"Hong^Gildong=洪^吉洞=홍^길동"},
		{"Chinese GB18030", []string{"GB18030"}, "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"},
		{"Chinese GB2312", []string{"", "ISO 2022 IR 58"}, "Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang^XiaoDong=张^小东"},
		{"UTF-8", []string{"ISO_IR 192"}, "Wang^XiaoDong=王^小東", "Wang^XiaoDong=王^小東"},
		{"two Latins by escape", []string{"ISO 2022 IR 100", "ISO 2022 IR 144"}, "J\xe9 \x1b-L\xbb", "Jé Л"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, err := Decode(c.raw, c.charsets); err != nil || got != c.want {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
	for _, c := range [][2]string{{"", "\xff"}, {"ISO_IR 192", "\xff"}, {"GB18030", "\x81"}, {"ISO_IR 999", "a"}, {"ISO 2022 IR 87", "\x1b"}} {
		if got, err := Decode(c[1], []string{c[0]}); err == nil {
			t.Errorf("%q in %q passed as %q", c[1], c[0], got)
		}
	}
}

// 5CH is half of a character in GB18030 and in JIS X 0208.
func TestBackslashInsideACharacter(t *testing.T) {
	d := &Dataset{}
	d.SetText(SpecificCharacterSet, "CS", "GB18030")
	d.Set(OtherPatientNames, "PN", []byte("\x8c\x5c^a\\b"))
	if got := d.Texts(OtherPatientNames); !reflect.DeepEqual(got, []string{"\x8c\x5c^a", "b"}) {
		t.Errorf("%q", got)
	}
}

func TestDictionaryIsSorted(t *testing.T) {
	for i := 1; i < len(dictionary); i++ {
		if dictionary[i-1].tag >= dictionary[i].tag {
			t.Fatalf("%v behind %v", dictionary[i].tag, dictionary[i-1].tag)
		}
	}
	for tag, vr := range map[Tag]string{PixelData: "OW", SOPInstanceUID: "UI", 0x60020010: "US", 0x00090010: "LO", 0x00091001: "UN", 0x00080000: "UL"} {
		if got := tag.VR(); got != vr {
			t.Errorf("%v is %s, want %s", tag, got, vr)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	ex := explicit(f, sample())
	f.Add(uint8(0), ex)
	f.Add(uint8(1), implicit(f, sample()))
	f.Add(uint8(2), deflated(withPixels(ex, 10)))
	f.Add(uint8(3), ex)
	f.Add(uint8(0), appendHead(slices.Clone(ex), PixelData, "OB", undefinedLength))
	syntaxes := []string{ExplicitLE, ImplicitLE, DeflatedLE, ExplicitBE}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		syntax := syntaxes[int(which)%len(syntaxes)]
		d, err := ParseHeader(bytes.NewReader(b), syntax, Limits{})
		p := NewHeaderParser(syntax, Limits{})
		var pushed *Dataset
		var pushErr error
		for chunk := range slices.Chunk(b, 5) {
			if _, pushErr = p.Write(chunk); pushErr != nil {
				break
			}
		}
		if pushErr == nil {
			pushed, pushErr = p.Finish()
		}
		if err == nil && pushErr == nil && plainTree(d) != plainTree(pushed) {
			t.Errorf("pulled and pushed differ:\n%s\n%s", plainTree(d), plainTree(pushed))
		}
		if err != nil && pushErr == nil && syntax != DeflatedLE {
			t.Errorf("pushed passed what pulled refused: %v", err)
		}
		if err != nil {
			return
		}
		for _, e := range d.Elements {
			d.Texts(e.Tag)
			d.UTF8(e.Tag)
			d.Int(e.Tag)
			d.Floats(e.Tag)
		}
		if out, err := d.AppendExplicit(nil); err == nil && syntax == ExplicitLE {
			again, err := ParseHeader(bytes.NewReader(out), ExplicitLE, Limits{HeaderBytes: 8 << 20})
			if err != nil {
				t.Fatalf("what was written cannot be read: %v", err)
			}
			if out2, _ := again.AppendExplicit(nil); !bytes.Equal(out, out2) {
				t.Error("written, read and written again differs")
			}
		}
		ToImplicit(io.Discard, bytes.NewReader(b))
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(append(FileMeta(MetaInfo{CTImage, "1.2.3", ExplicitLE, "A"}), withPixels(explicit(f, sample()), 12)...))
	f.Add(append(FileMeta(MetaInfo{CTImage, "1.2.3", DeflatedLE, ""}), deflated(withPixels(explicit(f, sample()), 12))...))
	frames := appendHead(explicit(f, sample()), ExtendedOffsetTable, "OV", 24)
	frames = append(frames, make([]byte, 8)...)
	frames = binary.LittleEndian.AppendUint64(frames, 10)
	frames = binary.LittleEndian.AppendUint64(frames, 30)
	frames = appendHead(frames, PixelData, "OB", undefinedLength)
	for _, v := range []string{"\x00\x00\x00\x00\x0A\x00\x00\x00\x1E\x00\x00\x00", "ab", "cd", "e\xFF\xD9\x00", "gh"} {
		frames = binary.LittleEndian.AppendUint32(frames, 0xE000FFFE)
		frames = append(binary.LittleEndian.AppendUint32(frames, uint32(len(v))), v...)
	}
	frames = binary.LittleEndian.AppendUint64(frames, 0x00000000E0DDFFFE)
	f.Add(append(FileMeta(MetaInfo{CTImage, "1.2.3", RLE, ""}), frames...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Read(bytes.NewReader(b), int64(len(b)), Limits{})
		if err != nil {
			return
		}
		total := 0
		for i := range 3 {
			frame, err := d.Frame(i, 3)
			if total += len(frame); err != nil {
				break
			}
		}
		if total > len(b) {
			t.Errorf("frames of %d bytes in a file of %d", total, len(b))
		}
		if r, err := d.PixelReader(); err == nil {
			whole, err := io.ReadAll(r)
			r.Close()
			for _, at := range []int{4, 8, 0} {
				p := make([]byte, 4)
				if at+4 > len(whole) {
					continue
				}
				if again := d.ReadPixels(p, int64(at)); again != nil || !bytes.Equal(p, whole[at:at+4]) {
					t.Errorf("Pixel Data of %d bytes, %v: at %d %x, %v", len(whole), err, at, p, again)
				}
			}
		}
	})
}
