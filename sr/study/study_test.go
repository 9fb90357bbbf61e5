package study

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/inference/result"
)

func header(character string) *dataset.Dataset {
	d := &dataset.Dataset{}
	if character != "" {
		d.SetText(dataset.SpecificCharacterSet, "CS", strings.Split(character, `\`)...)
	}
	d.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
	d.SetText(dataset.Manufacturer, "LO", "Maker of scanners")
	return d
}

func object() Object {
	return Object{
		SOPClassUID: dataset.SecondaryCapture, SOPInstanceUID: "2.25.1", SeriesInstanceUID: "2.25.2",
		Modality: "OT", SeriesNumber: 7, SeriesDescription: "Key images", InstanceNumber: 3,
		Time:      time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
		Algorithm: result.Algorithm{Name: "pulmonode", Version: "1.2.0", Models: []result.Model{{Role: "localize", Version: "3", SHA256: strings.Repeat("ab", 32)}}},
	}
}

// readBack writes the common modules and reads them as a receiver would.
func readBack(t *testing.T, ct *dataset.Dataset, o Object) *dataset.Dataset {
	t.Helper()
	elements, err := Elements(ct, o)
	if err != nil {
		t.Fatal(err)
	}
	return rewritten(t, elements)
}

// rewritten writes elements and reads them.
func rewritten(t *testing.T, elements []*dicom.Element) *dataset.Dataset {
	t.Helper()
	b, err := Write(elements)
	if err != nil {
		t.Fatal(err)
	}
	f, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return f.Header
}

func TestNamesOfAnyCharacterSetBecomeUTF8(t *testing.T) {
	for _, c := range []struct{ name, charset, raw, want string }{
		{"plain ASCII", "", "Doe^John", "Doe^John"},
		{"UTF-8 as it is", "ISO_IR 192", "Buc^Jérôme", "Buc^Jérôme"},
		{"Latin-1", "ISO_IR 100", "Buc^J\xe9r\xf4me", "Buc^Jérôme"},
		{"Cyrillic", "ISO_IR 144", "\xbb\xee\xda\x63\x65\xdc\xd1yp\xd3", "Люкceмбypг"},
		{"GB18030", "GB18030", "Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="},
		{"GB18030 whose second byte looks like a backslash", "GB18030", "\x81\x5c", "乗"},
		// PS3.5 H.3.1, example 1
		{"Japanese by ISO 2022", `\ISO 2022 IR 87`,
			"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
			"Yamada^Tarou=山田^太郎=やまだ^たろう"},
		{"bytes of no declared set", "", "M\xfcller^Hans", "M?ller^Hans"},
		{"an unknown set", "KLINGON", "Doe^J\xff", "Doe^J?"},
		{"a control character inside", "", "Doe\x00^John\x1b", "Doe^John?"},
		{"one group too long", "ISO_IR 192", strings.Repeat("é", 70) + "=" + strings.Repeat("山", 64), strings.Repeat("é", 64) + "=" + strings.Repeat("山", 64)},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct := header(c.charset)
			ct.SetText(dataset.PatientName, "PN", c.raw)
			got := readBack(t, ct, object())
			if s, err := got.UTF8(dataset.PatientName); s != c.want || err != nil {
				t.Errorf("the name reads %q, %v; want %q", s, err, c.want)
			}
			if cs := got.Text(dataset.SpecificCharacterSet); cs != "ISO_IR 192" {
				t.Errorf("the character set is %q", cs)
			}
		})
	}
}

func TestValuesAreCopiedOnlyWhereTheyCanStand(t *testing.T) {
	for _, c := range []struct {
		name string
		tag  dataset.Tag
		vr   string
		raw  string
		want string
		gone bool // not even empty
	}{
		{"a birth date", dataset.PatientBirthDate, "DA", "19600102", "19600102", false},
		{"a birth date of ACR-NEMA", dataset.PatientBirthDate, "DA", "1960.01.02", "19600102", false},
		{"a birth date in words", dataset.PatientBirthDate, "DA", "unknown ", "", false},
		{"a study time with colons", dataset.StudyTime, "TM", "12:30:05", "123005", false},
		{"a study time with a fraction", dataset.StudyTime, "TM", "123005.25", "123005.25", false},
		{"an impossible time", dataset.StudyTime, "TM", "993005", "", false},
		{"a sex in lower case", dataset.PatientSex, "CS", "f ", "F", false},
		{"a sex in words", dataset.PatientSex, "CS", "weiblich", "", false},
		{"an age", dataset.PatientAge, "AS", "061Y", "061Y", false},
		{"an age without unit", dataset.PatientAge, "AS", "61", "", true},
		{"a weight", dataset.PatientWeight, "DS", "71.5", "71.5", false},
		{"a weight in words", dataset.PatientWeight, "DS", "heavy", "", true},
		{"an accession number too long", dataset.AccessionNumber, "SH", "12345678901234567890", "1234567890123456", false},
		{"an identifier with a backslash keeps it", dataset.PatientID, "LO", `A\B`, `A\B`, false},
		{"an identifier of the wrong representation", dataset.PatientID, "OB", "\x01\x02", "", false},
		{"no issuer", dataset.IssuerOfPatientID, "LO", "", "", true},
		{"no referring physician", dataset.ReferringPhysicianName, "PN", "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct := header("ISO_IR 100")
			ct.SetText(c.tag, c.vr, c.raw)
			got := readBack(t, ct, object())
			if s := got.Raw(c.tag); s != c.want {
				t.Errorf("reads %q, want %q", s, c.want)
			}
			if there := got.Get(c.tag) != nil; there == c.gone {
				t.Errorf("the attribute is there: %t", there)
			}
		})
	}
}

func TestRequiredAttributesAreThereEvenFromABareHeader(t *testing.T) {
	ct := &dataset.Dataset{}
	ct.SetText(dataset.StudyInstanceUID, "UI", "1.2.3")
	got := readBack(t, ct, object())
	for _, c := range copies {
		if c.required && got.Get(c.from) == nil {
			t.Errorf("%v is missing", c.from)
		}
	}
	for tag, want := range map[dataset.Tag]string{
		dataset.SOPClassUID: dataset.SecondaryCapture, dataset.SOPInstanceUID: "2.25.1", dataset.SeriesInstanceUID: "2.25.2",
		dataset.StudyInstanceUID: "1.2.3", dataset.Modality: "OT", dataset.SeriesNumber: "7", dataset.InstanceNumber: "3",
		dataset.SeriesDate: "20260304", dataset.SeriesTime: "050607", dataset.Manufacturer: Manufacturer,
		dataset.SoftwareVersions: `1.2.0\localize 3 sha256 abababababababab`, dataset.DeviceSerialNumber: "1.2.0",
	} {
		if s := got.Raw(tag); s != want {
			t.Errorf("%v reads %q, want %q", tag, s, want)
		}
	}
	if n := len(got.Items(dataset.ContributingEquipmentSequence)); n != 2 {
		t.Errorf("%d contributing devices, want the program and its model; the scanner is not known", n)
	}
}

func TestEachModelIsADeviceByItsContents(t *testing.T) {
	uids := map[string]bool{}
	for _, hash := range []string{strings.Repeat("ab", 32), strings.Repeat("ab", 31) + "ac", "cd" + strings.Repeat("ab", 31), "", "xyz"} {
		o := object()
		o.Algorithm.Models[0].SHA256 = hash
		items := readBack(t, header(""), o).Items(dataset.ContributingEquipmentSequence)
		model := items[len(items)-1]
		if model.Text(dataset.Manufacturer) == "" || model.Text(dataset.ManufacturerModelName) != "pulmonode localize" || model.Text(dataset.SoftwareVersions) != "3" {
			t.Errorf("%q: the model is %v", hash, model.Elements)
		}
		uid := model.Text(dataset.DeviceUID)
		if known := len(hash) == 64; known != (dataset.ValidUID(uid) == nil) || known != strings.HasPrefix(uid, "2.25.") {
			t.Errorf("%q: the Device UID is %q", hash, uid)
		}
		uids[uid] = true
	}
	if len(uids) != 3 { // two that begin alike, another, and none
		t.Errorf("%d different UIDs", len(uids))
	}
}

func TestNothingPrivateIsCopied(t *testing.T) {
	ct := header("")
	ct.SetText(0x00091001, "LO", "secret")
	ct.SetText(0x00090010, "LO", "MAKER")
	item := func() *dataset.Dataset {
		d := &dataset.Dataset{}
		for at, v := range map[dataset.Tag]string{
			0x00090010: "MAKER", 0x00091001: "secret", dataset.CodeValue: "1", dataset.CodingSchemeDesignator: "99X", dataset.CodeMeaning: "one",
			dataset.RequestedProcedureID: "P-1", dataset.LocalNamespaceEntityID: "HOSPITAL",
		} {
			d.SetText(at, at.VR(), v)
		}
		return d
	}
	request := item()
	request.SetItems(dataset.RequestedProcedureCodeSequence, item())
	request.SetItems(dataset.IssuerOfAccessionNumberSequence, item())
	request.SetItems(dataset.ReferencedStudySequence, item())
	ct.SetItems(dataset.RequestAttributesSequence, request)
	elements, err := Elements(ct, object())
	if err != nil {
		t.Fatal(err)
	}
	r := RepertoireOf(ct, false)
	elements = append(elements, Sequence(tag.ReferencedRequestSequence, r.Requests()...),
		Sequence(tag.ConceptCodeSequence, r.Coded(item())))
	seen := 0
	var look func(d *dataset.Dataset)
	look = func(d *dataset.Dataset) {
		for _, e := range d.Elements {
			seen++
			if e.Tag.Group()%2 == 1 || bytes.Contains(e.Value, []byte("secret")) {
				t.Errorf("%v was copied", e.Tag)
			}
			for _, i := range e.Items {
				look(i)
			}
		}
	}
	look(rewritten(t, elements))
	if seen < 40 {
		t.Errorf("only %d attributes were looked at", seen)
	}
}

func TestTimesAreInTheZoneOfTheImages(t *testing.T) {
	for _, c := range []struct{ name, zone, wantTime, wantZone string }{
		{"no zone", "", "050607", ""},
		{"east", "+0200", "070607", "+0200"},
		{"west by a half hour", "-0330", "013607", "-0330"},
		{"not a zone", "CET", "050607", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ct := header("")
			if c.zone != "" {
				ct.SetText(dataset.TimezoneOffsetFromUTC, "SH", c.zone)
			}
			got := readBack(t, ct, object())
			if a, b := got.Text(dataset.SeriesTime), got.Text(dataset.TimezoneOffsetFromUTC); a != c.wantTime || b != c.wantZone {
				t.Errorf("time %q in zone %q, want %q in %q", a, b, c.wantTime, c.wantZone)
			}
		})
	}
}

func TestWithoutAStudyThereIsNoResult(t *testing.T) {
	for name, uid := range map[string]string{"missing": "", "in words": "the study"} {
		ct := &dataset.Dataset{}
		ct.SetText(dataset.StudyInstanceUID, "UI", uid)
		if _, err := Elements(ct, object()); err == nil || !strings.Contains(err.Error(), "Study Instance UID") {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := object()
	o.SOPInstanceUID = ""
	if _, err := Elements(header(""), o); err == nil {
		t.Error("a result without SOP Instance UID was made")
	}
}

func TestWriteIsDeterministicAndSorts(t *testing.T) {
	elements, err := Elements(header(""), object())
	if err != nil {
		t.Fatal(err)
	}
	elements = append(elements, Sequence(tag.SourceImageSequence, Item(
		Text(tag.ReferencedSOPInstanceUID, "2.25.9"), Text(tag.ReferencedSOPClassUID, dataset.CTImage))))
	a, err := Write(elements)
	if err != nil {
		t.Fatal(err)
	}
	for i := range elements[:len(elements)/2] {
		j := len(elements) - 1 - i
		elements[i], elements[j] = elements[j], elements[i]
	}
	b, err := Write(elements)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("the same elements in another order give other bytes (%v)", err)
	}
	f, err := dataset.Read(bytes.NewReader(a), int64(len(a)), dataset.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	var check func(d *dataset.Dataset)
	check = func(d *dataset.Dataset) {
		for i, e := range d.Elements {
			if i > 0 && d.Elements[i-1].Tag >= e.Tag {
				t.Errorf("%v stands behind %v", e.Tag, d.Elements[i-1].Tag)
			}
			for _, item := range e.Items {
				check(item)
			}
		}
	}
	check(f.Header)
}

func TestWriteRefusesWhatWouldBeWrittenWrongly(t *testing.T) {
	for _, c := range []struct {
		name string
		more []*dicom.Element
		want string
	}{
		{"an attribute twice", Item(Text(tag.Modality, "CT")), "twice"},
		{"twice inside an item", Item(Sequence(tag.SourceImageSequence, Item(Ints(tag.Rows, 1), Ints(tag.Rows, 2)))), "twice"},
		{"more than 64 KiB in 16 bits", Item(Text(tag.RetrieveAETitle, strings.Split(strings.Repeat("AAAAAAAAAAAAAAA,", 5000), ",")...)), "longer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			elements, err := Elements(header(""), object())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Write(append(elements, c.more...)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := Write(nil); err == nil {
		t.Error("nothing was written as something")
	}
}

func TestDecimalStringsFit(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0", 1: "1", -0.5: "-0.5", 0.7: "0.7", 1.0 / 3: "0.33333333333333", -1234567.890123456: "-1234567.8901235", 1e-9 / 3: "3.3333333333e-10",
	} {
		if s := DecimalString(v); s != want || len(s) > 16 {
			t.Errorf("%v is %q, want %q", v, s, want)
		}
	}
}

func TestLongAndUniversalCodesHaveTheirOwnAttributes(t *testing.T) {
	for _, c := range []struct {
		code Code
		want tag.Tag
	}{
		{Code{"27925004", "SCT", "Nodule"}, tag.CodeValue},
		{Code{"12345678901234567890", "SCT", "Long"}, tag.LongCodeValue},
		{Code{"urn:oid:1.2.3", "", "Somewhere"}, tag.URNCodeValue},
	} {
		if got := c.code.Item()[0].Tag; got != c.want {
			t.Errorf("%v stands in %v, want %v", c.code, got, c.want)
		}
	}
}

// FuzzElements: whatever the header, there is a result or an error in words.
func FuzzElements(f *testing.F) {
	f.Add("ISO_IR 100", "M\xfcller^Hans", "19600101", "+0100")
	f.Add(`\ISO 2022 IR 87`, "\x1b$B;3", "1960.1.1", "x")
	f.Fuzz(func(t *testing.T, charset, name, day, zone string) {
		ct := header(charset)
		for _, c := range copies {
			v := name
			if vr := c.from.VR(); vr == "DA" || vr == "TM" {
				v = day
			}
			ct.SetText(c.from, c.from.VR(), v)
		}
		ct.SetText(dataset.TimezoneOffsetFromUTC, "SH", zone)
		request := &dataset.Dataset{}
		for _, at := range requested {
			request.SetText(at, at.VR(), name)
		}
		ct.SetItems(dataset.RequestAttributesSequence, request)
		for _, asReceived := range []bool{false, true} {
			o := object()
			o.AsReceived = asReceived
			elements, err := Elements(ct, o)
			if err != nil {
				t.Fatal(err)
			}
			r := RepertoireOf(ct, asReceived)
			b, err := Write(append(elements, Sequence(tag.ReferencedRequestSequence, r.Requests()...)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := got.Header.UTF8(dataset.PatientName); err != nil && !r.asReceived {
				t.Fatal(err)
			}
		}
	})
}

// A ratio that is no number would make an object that other programs refuse.
func TestLossOfTheImagesIsSaidInWhatIsValid(t *testing.T) {
	for _, c := range []struct{ ratio, method, wantRatio, wantMethod string }{
		{"9.5", "ISO_15444_1", "9.5", "ISO_15444_1"},
		{"10:1", "iso 15444-1", "", ""},
		{"1234567890.1234567", "ISO_10918_1", "", "ISO_10918_1"},
		{"", "", "", ""},
	} {
		ct := header("")
		ct.SetText(dataset.LossyImageCompression, "CS", "01")
		ct.SetText(dataset.LossyImageCompressionRatio, "DS", c.ratio)
		ct.SetText(dataset.LossyImageCompressionMethod, "CS", c.method)
		elements, err := Elements(ct, object())
		if err != nil {
			t.Fatal(err)
		}
		got := rewritten(t, append(elements, Lossy(ct)...))
		if is := got.Text(dataset.LossyImageCompression); is != "01" {
			t.Errorf("%q, %q: Lossy Image Compression is %q", c.ratio, c.method, is)
		}
		if r, m := got.Text(dataset.LossyImageCompressionRatio), got.Text(dataset.LossyImageCompressionMethod); r != c.wantRatio || m != c.wantMethod {
			t.Errorf("%q, %q are written %q, %q, want %q, %q", c.ratio, c.method, r, m, c.wantRatio, c.wantMethod)
		}
	}
}
