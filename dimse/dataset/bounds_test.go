package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

// allLayouts is the sample as it stands in each layout of PS3.5 annex A.
func allLayouts(t testing.TB) (layouts []layoutSample) {
	header := explicit(t, sample())
	layouts = append(layouts, layoutSample{"explicit, defined lengths", ExplicitLE, header})
	layouts = append(layouts, layoutSample{"implicit, undefined lengths", ImplicitLE, implicit(t, sample())})
	layouts = append(layouts, layoutSample{"big endian", ExplicitBE, bigEndian(t, sample())})
	un := appendHead(slices.Clone(header), 0x00291011, "UN", undefinedLength)
	un = append(un, undefinedItems()...)
	layouts = append(layouts, layoutSample{"a sequence that became UN", ExplicitLE, un})
	return layouts
}

type layoutSample struct {
	name, syntax string
	b            []byte
}

// undefinedItems is an item in Implicit VR and undefined lengths, and the end of
// its sequence.
func undefinedItems() []byte {
	b := binary.LittleEndian.AppendUint64(nil, 0xFFFFFFFFE000FFFE)
	b = binary.LittleEndian.AppendUint32(b, 0x00100028) // Rows, though the data set is explicit
	b = append(b, 2, 0, 0, 0, 7, 0)
	b = binary.LittleEndian.AppendUint64(b, 0x00000000E00DFFFE)
	return binary.LittleEndian.AppendUint64(b, 0x00000000E0DDFFFE)
}

// bigEndian is Explicit VR Big Endian (PS3.5 A.3), retired.
func bigEndian(t testing.TB, d *Dataset) []byte {
	be := binary.BigEndian
	var b []byte
	for _, e := range d.Elements {
		value := slices.Clone(e.Value)
		if e.VR == "SQ" {
			for _, item := range e.Items {
				inner := bigEndian(t, item)
				value = be.AppendUint32(be.AppendUint32(value, 0xFFFEE000), uint32(len(inner)))
				value = append(value, inner...)
			}
		}
		width := map[string]int{"US": 2, "SS": 2, "OW": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}[e.VR]
		for at := 0; width > 0 && at < len(value); at += width {
			slices.Reverse(value[at : at+width])
		}
		if len(value)%2 == 1 {
			value = appendPadded(nil, e.VR, value)
		}
		b = append(be.AppendUint16(be.AppendUint16(b, e.Tag.Group()), uint16(e.Tag)), e.VR...)
		if shortVR(e.VR) {
			b = be.AppendUint16(b, uint16(len(value)))
		} else {
			b = be.AppendUint32(append(b, 0, 0), uint32(len(value)))
		}
		b = append(b, value...)
	}
	return b
}

// A sequence whose gateway did not know it is UN, and implicit inside whatever is
// around it (PS3.5 6.2.2): seen by its undefined length or by the dictionary. What
// neither shows stays bytes.
func TestUNIsImplicitInside(t *testing.T) {
	b := appendHead(nil, SOPInstanceUID, "UI", 4)
	b = append(b, "1.20"...)
	b = appendHead(b, 0x00271010, "UN", undefinedLength)
	b = append(b, undefinedItems()...)
	b = appendHead(b, 0x00271011, "UN", 18)
	b = append(b, undefinedItems()[:18]...)
	b = appendHead(b, SourceImageSequence, "UN", 26)
	b = append(b, undefinedItems()[:26]...)
	b = appendHead(b, Rows, "UN", 2) // a known attribute that became UN: little endian
	b = append(b, 9, 0)
	d := mustParse(t, b, ExplicitLE)
	items := d.Items(0x00271010)
	if len(items) != 1 {
		t.Fatalf("read %s", plainTree(d))
	}
	if n, ok := items[0].Int(Rows); !ok || n != 7 {
		t.Errorf("rows in the item %d, %v", n, ok)
	}
	if items := d.Items(SourceImageSequence); len(items) != 1 || items[0].Get(Rows) == nil {
		t.Errorf("a known sequence of defined length is %s", plainTree(d))
	}
	if e := d.Get(0x00271011); e.VR != "UN" || len(e.Value) != 18 || e.Items != nil {
		t.Errorf("UN of a defined length is %+v", e)
	}
	if n, ok := d.Int(Rows); !ok || n != 9 {
		t.Errorf("rows %d, %v", n, ok)
	}
}

// A header cut at any byte that is no boundary between its elements is an error,
// in every layout and for everybody who reads one.
func TestTruncatedAnywhereInEveryLayout(t *testing.T) {
	for _, l := range allLayouts(t) {
		t.Run(l.name, func(t *testing.T) {
			whole := mustParse(t, l.b, l.syntax)
			passed := 0
			for cut := range len(l.b) {
				d, pulled := ParseHeader(bytes.NewReader(l.b[:cut]), l.syntax, Limits{})
				file := append(FileMeta(MetaInfo{CTImage, "1.2", l.syntax, ""}), l.b[:cut]...)
				_, opened := Read(bytes.NewReader(file), int64(len(file)), Limits{})
				p := NewHeaderParser(l.syntax, Limits{})
				feed(t, p, l.b[:cut], len(l.b))
				_, pushed := p.Finish()
				if (pulled == nil) != (pushed == nil) || (pulled == nil) != (opened == nil) {
					t.Fatalf("cut at %d: %v, %v, %v", cut, pulled, pushed, opened)
				}
				if pulled == nil {
					// It ends between two elements: those before the cut, and no other.
					if n := len(d.Elements); n != passed || plainTree(d) != plainTree(&Dataset{Elements: whole.Elements[:n]}) {
						t.Errorf("cut at %d: %d elements where %d are whole", cut, n, passed)
					}
					passed++
				} else if !errors.Is(pulled, ErrTruncated) {
					t.Errorf("cut at %d: %v", cut, pulled)
				}
			}
			if passed != len(whole.Elements) {
				t.Errorf("%d boundaries between %d elements", passed, len(whole.Elements))
			}
		})
	}
}

// What a reader allocates, all in all, is at most 16 times its input and 1 MiB,
// whatever the input; deflated input counts as deflated. Nothing panics.
func FuzzMemory(f *testing.F) {
	syntaxes := []string{ExplicitLE, ImplicitLE, DeflatedLE, ExplicitBE, RLE}
	for _, l := range allLayouts(f) {
		f.Add(uint8(slices.Index(syntaxes, l.syntax)), l.b)
		f.Add(uint8(slices.Index(syntaxes, l.syntax)), withPixels(slices.Clone(l.b), 64))
		f.Add(uint8(slices.Index(syntaxes, DeflatedLE)), deflated(l.b))
	}
	many := []byte{}
	for i := range 2000 {
		many = appendHead(many, Tag(0x00090000+i), "SH", 0)
	}
	f.Add(uint8(0), many)
	f.Add(uint8(2), deflated(bytes.Repeat(many, 20)))
	f.Add(uint8(0), appendHead(nil, 0x00091010, "OB", 0xFFFFFFFE))
	f.Add(uint8(4), append(appendHead(explicit(f, sample()), PixelData, "OB", undefinedLength), undefinedItems()...))
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		syntax := syntaxes[int(which)%len(syntaxes)]
		file := append(FileMeta(MetaInfo{CTImage, "1.2.3", syntax, ""}), b...)
		for name, read := range map[string]func(){
			"ParseHeader": func() { ParseHeader(bytes.NewReader(b), syntax, Limits{}) },
			"HeaderParser": func() {
				p := NewHeaderParser(syntax, Limits{})
				for chunk := range slices.Chunk(b, 1000) {
					if _, err := p.Write(chunk); err != nil {
						return
					}
				}
				p.Finish()
			},
			"Read": func() {
				d, err := Read(bytes.NewReader(file), int64(len(file)), Limits{})
				if err != nil {
					return
				}
				d.Frame(0, 2)
				if r, err := d.PixelReader(); err == nil {
					io.Copy(io.Discard, r)
					r.Close()
				}
			},
			"ToImplicit": func() { ToImplicit(io.Discard, bytes.NewReader(b)) },
		} {
			if used, most := allocated(read), uint64(16*len(b)+1<<20); used > most {
				t.Errorf("%s: %d bytes in %s cost %d bytes of memory, more than %d", name, len(b), syntax, used, most)
			}
		}
	})
}

// The dearest data sets of a size: nothing but elements, nothing but items, and
// one over a step of the buffer.
func TestDearestHeaders(t *testing.T) {
	for size := 1 << 10; size <= 1<<19; size *= 2 {
		elements, items := []byte{}, appendHead(nil, SourceImageSequence, "SQ", undefinedLength)
		for i := 0; len(elements) < size; i++ {
			elements = appendHead(elements, Tag(0x00090000+i), "SH", 0)
		}
		for len(items) < size-20 {
			items = binary.LittleEndian.AppendUint64(items, 0x00000000E000FFFE)
		}
		items = binary.LittleEndian.AppendUint64(items, 0x00000000E0DDFFFE)
		value := append(appendHead(nil, 0x00091010, "OB", uint32(size)), make([]byte, size)...)
		for name, b := range map[string][]byte{"elements": elements, "items": items, "a value": value} {
			used := allocated(func() {
				if _, err := ParseHeader(bytes.NewReader(b), ExplicitLE, Limits{}); err != nil && !strings.Contains(fmt.Sprint(err), "not taken") {
					t.Error(err)
				}
			})
			if float64(used) > 16*float64(len(b))+16<<10 {
				t.Errorf("%d bytes of %s cost %d: %.1f times", len(b), name, used, float64(used)/float64(len(b)))
			}
		}
	}
}
