package dataset_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	grail "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomtag"
	"github.com/suyashkumar/dicom"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// ctSlice is a Part 10 file with a header of the size that scanners write and
// the pixels of a slice of 512 x 512.
func ctSlice(t testing.TB) []byte {
	t.Helper()
	const uid = "1.2.826.0.1.3680043.9.7.1"
	var d dataset.Dataset
	d.SetText(dataset.ImageType, "CS", "ORIGINAL", "PRIMARY", "AXIAL")
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	d.SetText(dataset.SOPInstanceUID, "UI", uid)
	d.SetText(dataset.Modality, "CS", "CT")
	d.SetText(dataset.PatientName, "PN", "PHANTOM^CHEST")
	d.SetText(dataset.StudyInstanceUID, "UI", uid+".1")
	d.SetText(dataset.SeriesInstanceUID, "UI", uid+".2")
	d.SetText(dataset.ImagePositionPatient, "DS", "-175.5", "-175.5", "-117.5")
	d.SetText(dataset.ImageOrientationPatient, "DS", "1", "0", "0", "0", "1", "0")
	d.SetText(dataset.PixelSpacing, "DS", "0.703125", "0.703125")
	d.SetUint16(dataset.SamplesPerPixel, 1)
	d.SetText(dataset.PhotometricInterpretation, "CS", "MONOCHROME2")
	d.SetUint16(dataset.Rows, 512)
	d.SetUint16(dataset.Columns, 512)
	d.SetUint16(dataset.BitsAllocated, 16)
	d.SetUint16(dataset.BitsStored, 12)
	d.SetUint16(dataset.HighBit, 11)
	d.SetUint16(dataset.PixelRepresentation, 0)
	d.SetText(dataset.RescaleIntercept, "DS", "-1024")
	d.SetText(dataset.RescaleSlope, "DS", "1")
	for i := range 60 { // what vendors add
		d.SetText(dataset.Tag(0x00091001+i), "LO", fmt.Sprintf("private value %d of a vendor", i))
	}
	d.Set(dataset.PixelData, "OW", make([]byte, 512*512*2))
	b, err := d.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: uid, TransferSyntax: dataset.ExplicitLE}))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Two independent readers find in our files what was put in.
func TestOtherReadersReadWhatIsWritten(t *testing.T) {
	data := ctSlice(t)
	theirs, err := dicom.Parse(bytes.NewReader(data), int64(len(data)), nil, dicom.SkipPixelData())
	if err != nil {
		t.Fatal(err)
	}
	second, err := grail.ReadDataSet(bytes.NewReader(data), grail.ReadOptions{DropPixelData: true})
	if err != nil {
		t.Fatal(err)
	}
	ours, err := dataset.Read(bytes.NewReader(data), int64(len(data)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ours.Header.Elements); n < 80 || len(theirs.Elements) < n || len(second.Elements) < n {
		t.Errorf("%d elements, suyashkumar/dicom has %d, grailbio/go-dicom %d", n, len(theirs.Elements), len(second.Elements))
	}
	for _, e := range second.Elements {
		tag := dataset.Tag(uint32(e.Tag.Group)<<16 | uint32(e.Tag.Element))
		if e.VR != "UI" && e.VR != "CS" || tag.Group() == 2 {
			continue
		}
		if got, err := e.GetStrings(); err != nil || len(got) == 0 || got[0] != ours.Header.Text(tag) {
			t.Errorf("%v is %q to us, %q, %v to grailbio/go-dicom", tag, ours.Header.Text(tag), got, err)
		}
	}
}

// item is an attribute as both readers see it: where, and what text it has.
type item struct{ at, vr, text string }

func oursAsItems(d *dataset.Dataset) (items []item) {
	flat(d, "", func(at string, d *dataset.Dataset, e *dataset.Element) {
		items = append(items, item{at, e.VR, strings.Join(d.Texts(e.Tag), `\`)})
	})
	return items
}

// secondAsItems are those of grailbio/go-dicom, ascending as ours are.
func secondAsItems(elements []*grail.Element, path string) (items []item) {
	slices.SortStableFunc(elements, func(a, b *grail.Element) int { return a.Tag.Compare(b.Tag) })
	for _, e := range elements {
		if e.Tag.Group == 2 && path == "" {
			continue
		}
		it := item{at: fmt.Sprintf("%s%04X,%04X", path, e.Tag.Group, e.Tag.Element), vr: e.VR}
		var texts []string
		for _, v := range e.Value {
			if s, ok := v.(string); ok {
				texts = append(texts, s)
			}
		}
		it.text = strings.Join(texts, `\`)
		items = append(items, it)
		for n, v := range e.Value {
			if inner, ok := v.(*grail.Element); ok {
				var list []*grail.Element
				for _, v := range inner.Value {
					list = append(list, v.(*grail.Element))
				}
				items = append(items, secondAsItems(list, fmt.Sprintf("%s[%d].", it.at, n))...)
			}
		}
	}
	return items
}

// unlike are the reasons for which the second reader, which is older than parts of
// the standard, does not read what it accepts as the standard says.
func unlike(d *dataset.Dataset, implicit bool) (reason string) {
	flat(d, "", func(_ string, _ *dataset.Dataset, e *dataset.Element) {
		entry, err := dicomtag.Find(dicomtag.Tag{Group: e.Tag.Group(), Element: uint16(e.Tag)})
		switch {
		case !strings.Contains("AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OW PN SH SL SQ SS ST TM UI UL UN UC UR US UT", e.VR):
			reason = "a value representation that it does not know, and takes the length of to be short"
		case e.Tag.Group() == 2:
			reason = "group 2 in the data set, which is not told from the meta information"
		case e.Tag == dataset.PixelData:
			reason = "Pixel Data inside an item, which it takes to be encapsulated"
		case e.VR == "SQ" && e.Tag.VR() != "SQ":
			reason = "a sequence that may have been UN, which it takes to be explicit inside"
		case implicit && (err != nil || entry.VR != e.VR):
			reason = "an attribute that its dictionary has not, or as something else"
		}
	})
	return reason
}

// What both readers accept they read the same: attributes, sequences and text. The
// second is asked only for what we accept: it allocates by length fields.
func FuzzSecondReader(f *testing.F) {
	syntaxes := []string{dataset.ExplicitLE, dataset.ImplicitLE, dataset.ExplicitBE}
	ct := ctSlice(f)
	opened, err := dataset.Read(bytes.NewReader(ct), int64(len(ct)), dataset.Limits{})
	if err != nil {
		f.Fatal(err)
	}
	var d dataset.Dataset
	d.Elements = opened.Header.Elements[:20]
	one, two := &dataset.Dataset{}, &dataset.Dataset{}
	one.SetText(dataset.ReferencedSOPInstanceUID, "UI", "1.2.4")
	two.SetItems(dataset.PurposeOfReferenceCodeSequence, one, &dataset.Dataset{})
	d.SetItems(dataset.SourceImageSequence, two, one)
	explicit, err := d.AppendExplicit(nil)
	if err != nil {
		f.Fatal(err)
	}
	var implicit bytes.Buffer
	if err := dataset.ToImplicit(&implicit, bytes.NewReader(explicit)); err != nil {
		f.Fatal(err)
	}
	file := func(which uint8, b []byte) []byte {
		return append(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2", TransferSyntax: syntaxes[int(which)%len(syntaxes)]}), b...)
	}
	for which, b := range [][]byte{explicit, implicit.Bytes(), []byte("\x00\x08\x00\x60CS\x00\x02CT\x00\x28\x00\x10US\x00\x02\x02\x00")} {
		if _, err := grailRead(file(uint8(which), b)); err != nil {
			f.Errorf("the second reader does not take a good data set in %s: %v", syntaxes[which], err)
		}
		f.Add(uint8(which), b)
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		file := file(which, b)
		ours, err := dataset.Read(bytes.NewReader(file), int64(len(file)), dataset.Limits{Depth: 8})
		if err != nil || ours.HasPixels() || unlike(ours.Header, ours.TransferSyntax == dataset.ImplicitLE) != "" {
			return
		}
		if len(ours.Meta.Elements) != 7 {
			return // what follows looks like meta information, and belongs to it for us
		}
		second, err := grailRead(file)
		if err != nil {
			return
		}
		a, b2 := oursAsItems(ours.Header), secondAsItems(second.Elements, "")
		for i := range max(len(a), len(b2)) {
			switch {
			case i >= len(a):
				t.Fatalf("the second reader has (%s) as well", b2[i].at)
			case i >= len(b2):
				t.Fatalf("the second reader has no (%s)", a[i].at)
			case a[i].vr == "SQ" && b2[i].vr == "UN":
				return // which it does not look into
			case a[i].at != b2[i].at:
				t.Fatalf("(%s) where the second reader has (%s)", a[i].at, b2[i].at)
			case slices.Contains([]string{"UI", "CS", "DS", "IS", "TM", "AE", "AS"}, a[i].vr) && ascii(a[i].text) && plain(a[i].text) != plain(b2[i].text):
				t.Fatalf("(%s) is %q, to the second reader %q", a[i].at, a[i].text, b2[i].text)
			}
		}
	})
}

// grailRead is ReadDataSet without its panics.
func grailRead(file []byte) (d *grail.DataSet, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it panics: %v", r)
		}
	}()
	return grail.ReadDataSet(bytes.NewReader(file), grail.ReadOptions{DropPixelData: true})
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r > 0x7E })
}

// plain is text without the spaces around its values, which are not significant.
func plain(s string) string {
	values := strings.Split(s, `\`)
	for i, v := range values {
		values[i] = strings.Trim(v, " \x00")
	}
	return strings.TrimRight(strings.Join(values, `\`), `\`)
}

// Why suyashkumar/dicom reads only files that we made: one byte changed in a file
// of 400 bytes makes it panic, or take as much memory as a length field says. Ours
// says what is wrong, and takes next to nothing.
func TestWhatSuyashkumarDicomCannotBeGiven(t *testing.T) {
	var d dataset.Dataset
	d.SetText(dataset.ImageType, "CS", "ORIGINAL", "PRIMARY", "AXIAL")
	d.SetText(dataset.SOPClassUID, "UI", dataset.CTImage)
	d.SetText(dataset.SOPInstanceUID, "UI", "1.2.3")
	reference := &dataset.Dataset{}
	reference.SetText(dataset.ReferencedSOPInstanceUID, "UI", "1.2.4")
	d.SetItems(dataset.ReferencedStudySequence, reference)
	good, err := d.AppendExplicit(dataset.FileMeta(dataset.MetaInfo{SOPClassUID: dataset.CTImage, SOPInstanceUID: "1.2.3", TransferSyntax: dataset.ExplicitLE}))
	if err != nil {
		t.Fatal(err)
	}
	theirs := func(b []byte) (allocated uint64, panics any, err error) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		func() {
			defer func() { panics = recover() }()
			_, err = dicom.Parse(bytes.NewReader(b), int64(len(b)), nil, dicom.SkipPixelData())
		}()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc, panics, err
	}
	if _, panics, err := theirs(good); panics != nil || err != nil {
		t.Fatalf("the file as it should be: %v, %v", panics, err)
	}
	for _, c := range []struct {
		name, in string // in what
		at       int    // the byte of it that is changed
		to       byte
		panics   bool
		ours     string
	}{
		{"a transfer syntax that nobody knows", dataset.ExplicitLE + "\x00\x02", len(dataset.ExplicitLE) - 1, '7', true, "cannot be read"},
		{"an item that is none", "\xFE\xFF\x00\xE0", 3, 0xE5, true, "where an item is expected"},
		{"a length of 64 MiB", "\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00", 11, 4, false, "at most"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := bytes.Index(good, []byte(c.in))
			if at < 0 {
				t.Fatal("the file has no such place")
			}
			bad := bytes.Clone(good)
			bad[at+c.at] = c.to
			used, panics, err := theirs(bad)
			if c.panics != (panics != nil) || !c.panics && used < 64<<20 {
				t.Errorf("suyashkumar/dicom now takes %d bytes of memory for %d, panics with %v, says %v: look whether it may be trusted", used, len(bad), panics, err)
			}
			_, err = dataset.Read(bytes.NewReader(bad), int64(len(bad)), dataset.Limits{})
			if err == nil || !strings.Contains(err.Error(), c.ours) {
				t.Errorf("ours says %v, not %q", err, c.ours)
			}
		})
	}
}

// The cost of a slice's header to each reader:
//
//	go test -run '^$' -bench BenchmarkReaders ./dimse/dataset
func BenchmarkReaders(b *testing.B) {
	data := ctSlice(b)
	path := filepath.Join(b.TempDir(), "slice.dcm")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		b.Fatal(err)
	}
	run := func(name string, read func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("dataset, header", func() error {
		_, err := dataset.Open(path, dataset.Limits{})
		return err
	})
	run("suyashkumar, header", func() error {
		_, err := dicom.ParseFile(path, nil, dicom.SkipPixelData())
		return err
	})
	run("suyashkumar, all", func() error {
		_, err := dicom.ParseFile(path, nil)
		return err
	})
}
