package series

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/pulmonode/pulmonode/dimse/dataset"
)

// chest is the CT series that the tests start from: what a test changes is what
// the test is about.
type chest struct {
	sopClass    string
	modality    string
	imageType   string
	orientation string
	spacing     string
	frame       string // of reference
	rows        int
	expected    int
	position    func(i int) string
}

var axial = chest{
	sopClass: dataset.CTImage, modality: "CT", imageType: `ORIGINAL\PRIMARY\AXIAL`,
	orientation: `1\0\0\0\1\0`, spacing: `0.7\0.7`, frame: "1.2.3.99", rows: 512,
	position: func(i int) string { return fmt.Sprintf(`-180\-180\%.2f`, -300+1.25*float64(i)) },
}

// every places slices at a distance along z.
func every(mm float64) func(int) string {
	return func(i int) string { return fmt.Sprintf(`-180\-180\%.3f`, float64(i)*mm) }
}

func sop(i int) string { return fmt.Sprintf("1.2.3.1.%d", i) }

// header makes the header of slice i. What is empty is left out.
func (c chest) header(i int) *dataset.Dataset {
	d := &dataset.Dataset{}
	put(d, dataset.ImageType, "CS", c.imageType)
	put(d, dataset.SOPClassUID, "UI", c.sopClass)
	put(d, dataset.SOPInstanceUID, "UI", sop(i))
	put(d, dataset.Modality, "CS", c.modality)
	if c.position != nil {
		put(d, dataset.ImagePositionPatient, "DS", c.position(i))
	}
	put(d, dataset.ImageOrientationPatient, "DS", c.orientation)
	put(d, dataset.FrameOfReferenceUID, "UI", c.frame)
	if c.expected != 0 {
		put(d, dataset.NumberOfSeriesRelatedInstances, "IS", fmt.Sprint(c.expected))
	}
	for _, t := range []dataset.Tag{dataset.Rows, dataset.Columns} {
		d.Elements = append(d.Elements, dataset.Element{Tag: t, VR: "US", Value: binary.LittleEndian.AppendUint16(nil, uint16(c.rows))})
	}
	put(d, dataset.PixelSpacing, "DS", c.spacing)
	slices.SortFunc(d.Elements, func(a, b dataset.Element) int { return int(a.Tag) - int(b.Tag) })
	return d
}

// headers makes those of n slices.
func (c chest) headers(n int) []*dataset.Dataset {
	list := make([]*dataset.Dataset, n)
	for i := range list {
		list[i] = c.header(i)
	}
	return list
}

// enhanced makes one enhanced CT image of n frames.
func (c chest) enhanced(n int) *dataset.Dataset {
	item := func(t dataset.Tag, d *dataset.Dataset) dataset.Element {
		return dataset.Element{Tag: t, VR: "SQ", Items: []*dataset.Dataset{d}}
	}
	whole := c
	whole.position, whole.orientation, whole.spacing = nil, "", ""
	whole.sopClass = dataset.EnhancedCT
	d := whole.header(0)
	orientation, measures := &dataset.Dataset{}, &dataset.Dataset{}
	put(orientation, dataset.ImageOrientationPatient, "DS", c.orientation)
	put(measures, dataset.PixelSpacing, "DS", c.spacing)
	shared := &dataset.Dataset{Elements: []dataset.Element{item(dataset.PlaneOrientationSequence, orientation), item(dataset.PixelMeasuresSequence, measures)}}
	frames := dataset.Element{Tag: perFrameFunctionalGroups, VR: "SQ"}
	for i := range n {
		kind, position := &dataset.Dataset{}, &dataset.Dataset{}
		put(kind, dataset.FrameType, "CS", c.imageType)
		put(position, dataset.ImagePositionPatient, "DS", c.position(i))
		frames.Items = append(frames.Items, &dataset.Dataset{Elements: []dataset.Element{
			item(dataset.CTImageFrameTypeSequence, kind), item(dataset.PlanePositionSequence, position),
		}})
	}
	d.Elements = append(d.Elements, item(sharedFunctionalGroups, shared), frames)
	return d
}

func put(d *dataset.Dataset, t dataset.Tag, vr, value string) {
	if value == "" {
		return
	}
	if len(value)%2 == 1 {
		if vr == "UI" {
			value += "\x00"
		} else {
			value += " "
		}
	}
	d.Elements = append(d.Elements, dataset.Element{Tag: t, VR: vr, Value: []byte(value)})
}

// encode writes a header without sequences as Explicit VR Little Endian.
func encode(d *dataset.Dataset) []byte {
	var b bytes.Buffer
	for _, e := range d.Elements {
		binary.Write(&b, binary.LittleEndian, []uint16{uint16(e.Tag >> 16), uint16(e.Tag)})
		b.WriteString(e.VR)
		binary.Write(&b, binary.LittleEndian, uint16(len(e.Value)))
		b.Write(e.Value)
	}
	return b.Bytes()
}

// scattered is the order in which some senders send: neighbours far apart.
func scattered(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i * 7 % n
	}
	return order
}

func repeat(s string, n int) string { return strings.Repeat(s, n) }
