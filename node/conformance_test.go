package node

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/suyashkumar/dicom/pkg/tag"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/dimse/pdu"
	"github.com/pulmonode/pulmonode/inference/pixel"
	"github.com/pulmonode/pulmonode/inference/result"
	"github.com/pulmonode/pulmonode/node/check"
	"github.com/pulmonode/pulmonode/node/deliver"
	"github.com/pulmonode/pulmonode/node/secure"
	"github.com/pulmonode/pulmonode/sr"
	"github.com/pulmonode/pulmonode/sr/seg"
)

// conformance reads the rows of the table in CONFORMANCE.md whose head is as
// given, without their quotes.
func conformance(t *testing.T, head ...string) (rows [][]string) {
	t.Helper()
	text, err := os.ReadFile("../CONFORMANCE.md")
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for _, line := range strings.Split(string(text), "\n") {
		if !strings.HasPrefix(line, "| ") {
			inside = inside && strings.HasPrefix(line, "|-")
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i, c := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(c), "`")
		}
		switch {
		case inside:
			rows = append(rows, cells)
		case slices.Equal(cells, head):
			inside = true
		}
	}
	if len(rows) == 0 {
		t.Fatalf("CONFORMANCE.md has no table %q", head)
	}
	return rows
}

// same compares what a table lists with what the program has.
func same(t *testing.T, what string, listed, has []string) {
	t.Helper()
	for _, s := range listed {
		if !slices.Contains(has, s) {
			t.Errorf("%s: %q stands in CONFORMANCE.md, and is not so", what, s)
		}
	}
	for _, s := range has {
		if !slices.Contains(listed, s) {
			t.Errorf("%s: CONFORMANCE.md lacks %q", what, s)
		}
	}
}

func column(rows [][]string, n int) (out []string) {
	for _, r := range rows {
		out = append(out, r[n])
	}
	return out
}

func TestConformanceOfSOPClasses(t *testing.T) {
	var provides, always, optional []string
	for _, r := range conformance(t, "SOP class", "UID", "user (SCU)", "provider (SCP)") {
		if r[3] == "yes" {
			provides = append(provides, r[1])
		}
		switch r[2] {
		case "yes":
			always = append(always, r[1])
		case "option":
			optional = append(optional, r[1])
		}
	}
	same(t, "SOP classes as provider", provides, append(abstractSyntaxes("ct"), dataset.Verification))
	d := config.Default().Output
	same(t, "SOP classes as user by default", always, []string{dataset.Verification, seg.SOPClass(d.SEG), sr.SOPClass(d.SR), dataset.SecondaryCapture})
	same(t, "SOP classes as user", append(always, optional...), append(sentClasses(t), dataset.Verification, dataset.StorageCommitmentPush))
	same(t, "SOP classes of the objects", column(conformance(t, "kind", "SOP class", "IOD", "modality", "of"), 1), sentClasses(t))
}

func sentClasses(t *testing.T) (classes []string) {
	for _, o := range everyObject(t) {
		if !slices.Contains(classes, o.class) {
			classes = append(classes, o.class)
		}
	}
	return classes
}

func TestConformanceOfTransferSyntaxes(t *testing.T) {
	var listed, has []string
	decoders := map[string]string{}
	for _, r := range conformance(t, "transfer syntax", "UID", "decoded by") {
		listed = append(listed, r[0]+" "+r[1])
		decoders[r[1]] = r[2]
	}
	var offered []string
	for _, s := range pixel.Syntaxes() {
		has = append(has, s.Name+" "+s.UID)
		if s.Decoder == "" { // a build without a library
			if d := decoders[s.UID]; d != "CharLS" && d != "OpenJPEG" {
				t.Errorf("%s is not decoded by %s", s.Name, d)
			}
			continue
		}
		offered = append(offered, s.UID)
		if !strings.HasPrefix(s.Decoder, decoders[s.UID]) {
			t.Errorf("%s is decoded by %s, not by %s", s.Name, s.Decoder, decoders[s.UID])
		}
	}
	same(t, "transfer syntaxes", listed, has)
	same(t, "transfer syntaxes that are offered", offered, transferSyntaxes())
}

// statusName is what dimse calls a status; empty where it has no name for it.
func statusName(status uint16) string {
	_, name, _ := strings.Cut(strings.TrimSuffix(dimse.Status(status).String(), ")"), "(")
	if name == "failure" || name == "warning" {
		return ""
	}
	return name
}

// answers are the statuses that source files name.
func answers(t *testing.T, files ...string) (statuses []string) {
	t.Helper()
	read := func(file string) string {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return regexp.MustCompile(`//.*`).ReplaceAllString(string(b), "")
	}
	for _, c := range regexp.MustCompile(`(\w+)\s+Status = 0x([0-9A-F]{4})`).FindAllStringSubmatch(read("../dimse/status.go"), -1) {
		for _, file := range files {
			if regexp.MustCompile(`\b`+c[1]+`\b`).MatchString(read(file)) && !slices.Contains(statuses, c[2]) {
				statuses = append(statuses, c[2])
			}
		}
	}
	return statuses
}

func TestConformanceOfStatuses(t *testing.T) {
	for head, files := range map[[3]string][]string{
		{"status", "meaning", "when, and what the sender may do"}:   {"receiver.go", "../dimse/store.go", "../dimse/server.go"},
		{"status of N-ACTION or N-EVENT-REPORT", "meaning", "when"}: {"commitment.go", "deliver/commitment.go", "../dimse/commitment.go", "../dimse/server.go"},
	} {
		rows := conformance(t, head[:]...)
		for _, r := range rows {
			code, err := strconv.ParseUint(r[0], 16, 16)
			if err != nil || statusName(uint16(code)) != r[1] {
				t.Errorf("%s is %q, not %q: %v", r[0], statusName(uint16(code)), r[1], err)
			}
		}
		has := answers(t, files...)
		if head[2] == "when" { // that one is a reason of failure, no status
			has = slices.DeleteFunc(has, func(s string) bool { return s == fmt.Sprintf("%04X", uint16(dimse.ClassInstanceConflict)) })
		}
		same(t, head[0], column(rows, 0), has)
	}
	rows := conformance(t, "status", "then the object is")
	for status := range 1 << 16 {
		listed := "nothing"
		for _, r := range rows {
			low, high, ranged := strings.Cut(r[0], "-")
			if !ranged {
				high = low
			}
			from, err1 := strconv.ParseUint(low, 16, 16)
			to, err2 := strconv.ParseUint(high, 16, 16)
			if r[0] == "others" || err1 == nil && err2 == nil && uint64(status) >= from && uint64(status) <= to {
				listed = r[1]
				break
			}
		}
		if is := deliver.Outcome(uint16(status)); is != listed {
			t.Fatalf("after %04X an object is %s, not %s", status, is, listed)
		}
	}
}

func TestConformanceOfDeadlinesAndLimits(t *testing.T) {
	for _, c := range []struct {
		head []string
		has  any
	}{
		{[]string{"deadline", "default", "of"}, dimse.DefaultTimeouts()},
		{[]string{"limit", "default", "of"}, dataset.DefaultLimits()},
		{[]string{"limit of an association", "default", "of"}, dimse.DefaultLimits()},
	} {
		var has, listed []string
		v := reflect.ValueOf(c.has)
		for i := range v.NumField() {
			has = append(has, fmt.Sprint(v.Type().Field(i).Name, " ", v.Field(i)))
		}
		for _, r := range conformance(t, c.head...) {
			listed = append(listed, r[0]+" "+r[1])
		}
		same(t, c.head[0], listed, has)
	}
	var again []string
	for _, d := range reportAgain {
		again = append(again, d.String())
	}
	var listed []string
	for _, r := range conformance(t, "deadline of storage commitment", "default", "of") {
		listed = append(listed, r[0]+" "+r[1])
	}
	same(t, "storage commitment", listed, []string{"answer " + deliver.AnswerAtOnce.String(), "ask again " + deliver.AskAgain.String(),
		"give up " + deliver.GiveUp.String(), "report again " + strings.Join(again, ", ")})
	for _, r := range conformance(t, "", "") {
		want := map[string]string{
			"implementation class UID": dimse.ImplementationClassUID, "implementation version name": dimse.ImplementationVersion,
			"maximum length of PDUs that is offered": fmt.Sprintf("%d bytes;", dimse.DefaultMaxPDU),
			"associations at once, as acceptor":      fmt.Sprintf("%d by default,", config.Default().Node.MaxAssociations),
		}[r[0]]
		if !strings.HasPrefix(r[1], want) {
			t.Errorf("%s is %s", r[0], want)
		}
	}
}

// Each refusal of the table is given by a node that has one place.
func TestConformanceOfRejections(t *testing.T) {
	s := newSite(t, func(s *site) { s.config.Node.MaxAssociations = 1 })
	s.start()
	ask := func(change func(*pdu.AAssociate)) (net.Conn, []byte) {
		rq := &pdu.AAssociate{ProtocolVersion: 1, CalledAE: s.config.Node.AETitle, CallingAE: "CT1", ApplicationContext: pdu.ApplicationContext, ImplementationUID: "1.2",
			Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: dataset.CTImage, TransferSyntaxes: []string{dataset.ExplicitLE}}}}
		change(rq)
		b, err := rq.Encode()
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", s.node.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(atOnce))
		answer := make([]byte, 10)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
		return c, answer
	}
	var has []string
	note := func(change func(*pdu.AAssociate)) {
		c, a := ask(change)
		c.Close()
		if pdu.Type(a[0]) != pdu.TypeAAssociateRJ {
			t.Fatalf("answered % X", a)
		}
		has = append(has, fmt.Sprintf("%d %d %d", a[7], a[8], a[9]))
	}
	note(func(rq *pdu.AAssociate) { rq.ApplicationContext = "1.2.3" })
	note(func(rq *pdu.AAssociate) { rq.CallingAE = "UNKNOWN" })
	note(func(rq *pdu.AAssociate) { rq.CalledAE = "OTHER" })
	note(func(rq *pdu.AAssociate) { rq.ProtocolVersion = 2 })
	if _, a := ask(func(*pdu.AAssociate) {}); pdu.Type(a[0]) != pdu.TypeAAssociateAC {
		t.Fatalf("a good request is answered % X", a)
	}
	note(func(*pdu.AAssociate) {})
	var listed []string
	for _, r := range conformance(t, "result", "source", "reason", "when") {
		listed = append(listed, r[0][:1]+" "+r[1][:1]+" "+r[2][:1])
	}
	same(t, "rejections", listed, has)
}

// Defaults are those of the shipped node.toml, which is compared with the
// program's by config's tests.
func TestConformanceOfSettings(t *testing.T) {
	text, err := os.ReadFile("../node.toml")
	if err != nil {
		t.Fatal(err)
	}
	shipped, section := map[string]string{}, ""
	setting := regexp.MustCompile(`^([a-z_]+) = ("[^"]*"|\S+)`)
	for _, line := range strings.Split(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.Trim(name, "[]")
		} else if m := setting.FindStringSubmatch(line); m != nil {
			shipped[section+"."+m[1]] = m[2]
		}
	}
	for _, r := range conformance(t, "setting", "default") {
		if !slices.Contains(config.Keys(), r[0]) || shipped[r[0]] != r[1] {
			t.Errorf("%s is %s by default, not %s", r[0], shipped[r[0]], r[1])
		}
	}
}

func TestConformanceOfCharacterSets(t *testing.T) {
	listed := column(conformance(t, "defined term", "repertoire"), 0)
	var has []string
	terms := []string{"GB18030", "GBK"}
	for n := range 1000 {
		terms = append(terms, fmt.Sprintf("ISO_IR %d", n), fmt.Sprintf("ISO 2022 IR %d", n))
	}
	for _, term := range terms {
		// Sets of two bytes have only a term with code extensions (PS3.3 table C.12-4), UTF-8 only one without.
		extended := strings.HasPrefix(term, "ISO 2022")
		number := term[strings.LastIndex(term, " ")+1:]
		if slices.Contains([]string{"87", "159", "149", "58"}, number) && !extended || number == "192" && extended || number == "14" {
			continue
		}
		if _, err := dataset.Decode("a", []string{"", term}); err == nil {
			has = append(has, term)
		}
	}
	same(t, "character sets", listed, has)
}

func TestConformanceOfTLS(t *testing.T) {
	var has []string
	for _, id := range secure.CipherSuites() {
		has = append(has, tls.CipherSuiteName(id))
	}
	same(t, "cipher suites", column(conformance(t, "cipher suite"), 0), has)
}

func TestConformanceOfCodes(t *testing.T) {
	var has, listed []string
	for _, c := range sr.Codes() {
		if c.Scheme == sr.Scheme {
			has = append(has, c.Value+" "+c.Meaning)
		}
	}
	for _, r := range conformance(t, "code", "meaning") {
		listed = append(listed, r[0]+" "+r[1])
	}
	same(t, "private codes", listed, has)
}

// writtenObject is one that the node would send.
type writtenObject struct {
	kind, class, modality string
	tags                  []dataset.Tag
}

// everyObject writes the documents of every kind of series in every way that the
// settings have, from images with everything that a result copies.
func everyObject(t *testing.T) (objects []writtenObject) {
	t.Helper()
	header := ctHeader()
	for at, v := range map[dataset.Tag]string{
		dataset.TimezoneOffsetFromUTC: "+0100", dataset.StudyDescription: "Chest", dataset.IssuerOfPatientID: "HOSPITAL",
		dataset.PatientAge: "061Y", dataset.PatientSize: "1.8", dataset.PatientWeight: "80",
		dataset.LossyImageCompression: "01", dataset.LossyImageCompressionRatio: "4", dataset.LossyImageCompressionMethod: "ISO_10918_1",
	} {
		header.SetText(at, at.VR(), v)
	}
	later := resultOf(1)
	later.Generation, later.Predecessor, later.PredecessorClass, later.PredecessorSeries = 2, "1.2.9", dataset.Comprehensive3DSR, "1.2.8"
	failed := resultOf(0)
	failed.Outcome, failed.Reason, failed.Grid = result.OutcomeFailed, "Slice 2 could not be decoded: send the series again.", nil
	stack := resultOf(1)
	n := &stack.Nodules[0]
	n.Mask.NZ, n.Mask.Bits = 2, slices.Repeat([]bool{true}, 50)
	for _, r := range []*result.Result{resultOf(1), stack, resultOf(0), later, failed} {
		for i := range r.Nodules {
			m := &r.Nodules[i].Mask
			r.Nodules[i].Probabilities = result.Probabilities{X0: m.X0, Y0: m.Y0, Z0: m.Z0, NX: m.NX, NY: m.NY, NZ: m.NZ,
				Values: slices.Repeat([]uint8{200}, len(m.Bits))}
		}
		for _, kinds := range [][2]string{{"binary", "comprehensive3d"}, {"fractional", "comprehensive"}, {"labelmap", "enhanced"}} {
			c := sends(config.Outputs...)
			c.Output.SEG, c.Output.SR = kinds[0], kinds[1]
			files, err := newDocuments(c)(header, r, func(kind string, index int) string { return fmt.Sprintf("2.25.%d%d", len(kind), index) })
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range files {
				if f.SOPClassUID == "" {
					continue
				}
				b, err := f.Content()
				if err != nil {
					t.Fatal(err)
				}
				o, err := dataset.Read(bytes.NewReader(b), int64(len(b)), dataset.Limits{})
				if err != nil {
					t.Fatal(err)
				}
				if class := check.SOPClass(c.Output, f.Kind); class != f.SOPClassUID {
					t.Errorf("pulmonode check asks destinations for %s of kind %s, and sends %s", class, f.Kind, f.SOPClassUID)
				}
				w := writtenObject{kind: f.Kind, class: f.SOPClassUID, modality: o.Header.Text(dataset.Modality)}
				for _, e := range o.Header.Elements {
					w.tags = append(w.tags, e.Tag)
				}
				if o.HasPixels() {
					w.tags = append(w.tags, dataset.PixelData)
				}
				objects = append(objects, w)
			}
		}
	}
	return objects
}

func TestConformanceOfObjects(t *testing.T) {
	objects := everyObject(t)
	var has, listed []string
	note := func(s string) {
		if !slices.Contains(has, s) {
			has = append(has, s)
		}
	}
	kinds := map[string]bool{}
	for _, o := range objects {
		kinds[o.kind] = true
		note(o.kind + " " + o.class + " " + o.modality)
	}
	for _, r := range conformance(t, "kind", "SOP class", "IOD", "modality", "of") {
		listed = append(listed, r[0]+" "+r[1]+" "+r[3])
	}
	same(t, "objects", listed, has)

	has, listed = nil, nil
	for _, o := range objects {
		for _, tag := range o.tags {
			note(o.kind + " " + tag.String())
		}
	}
	for _, r := range conformance(t, "attribute", "tag", "module", "in") {
		in := strings.Split(r[3], ", ")
		if r[3] == "all" {
			in = nil
			for k := range kinds {
				in = append(in, k)
			}
		}
		for _, k := range in {
			listed = append(listed, k+" "+r[1])
		}
		var group, element uint16
		if _, err := fmt.Sscanf(r[1], "(%04X,%04X)", &group, &element); err != nil {
			t.Errorf("%s: %v", r[1], err)
		} else if info, err := tag.Find(tag.Tag{Group: group, Element: element}); err != nil || letters(info.Name) != letters(r[0]) {
			t.Errorf("%s is %q, not %q", r[1], info.Name, r[0])
		}
	}
	same(t, "attributes", listed, has)
}

func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(" '’-", r) {
			return -1
		}
		return r
	}, strings.ToLower(s))
}
