package audit

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	noon = time.Date(2026, 3, 4, 12, 0, 0, 250e6, time.FixedZone("", 2*3600))
	us   = Node{AETitle: "PULMONODE", Host: "pulmonode.example.org"}
	ct1  = Peer{AETitle: "CT1", Address: "10.1.2.3:40112"}
)

var transfer = Transfer{
	Study: "1.2.3", Accession: "A17", Patient: Patient{"4711", "Nodule^Norma"}, At: noon, Encrypted: true,
	Classes: []Class{{"1.2.840.10008.5.1.4.1.1.2", 300}}, Outcome: Minor, Reason: "2 instances were refused",
}

// every is one event of each kind, with a text wherever the network or a person
// has one in.
func every(text string) map[string]Event {
	peer, who := Peer{text, text}, Person{text, text}
	t := transfer
	t.Study, t.Accession, t.Patient, t.Reason = text, text, Patient{text, text}, text
	t.Classes = []Class{{text, 1}, {text, 2}}
	return map[string]Event{
		"started":  Started(us, text, noon),
		"stopped":  Stopped(us, "v1", noon, nil),
		"broken":   Stopped(us, "v1", noon, errors.New("because "+text)),
		"received": Received(us, peer, t, false),
		"again":    Received(us, peer, t, true),
		"sending":  Sending(us, peer, t),
		"sent":     Sent(us, peer, t),
		"accessed": Accessed(us, who, text, Patient{text, text}, noon),
		"deleted":  Deleted(us, text, Patient{text, text}, noon),
		"login":    LoggedIn(us, who, noon, ""),
		"refused":  LoggedIn(us, who, noon, "because "+text),
		"alert":    Alert(us, NodeAuthentication, []Participant{peer.Performer(), who.Performer()}, noon, Minor, "because "+text),
		"notice":   Alert(us, SoftwareConfiguration, nil, noon, Success, text),
		"lost":     lost(us, 17, noon),
	}
}

func build(t testing.TB, e Event, site string) []byte {
	t.Helper()
	b, err := message(e, site, us.AETitle)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hostile are texts that peers and people could send.
var hostile = map[string]string{
	"nothing":            "",
	"markup":             `"/><x a='&amp;'>]]></AuditMessage><!--`,
	"control characters": "CT\x001\x1b[31m\r\n<85>1 - - - - - -",
	"no UTF-8":           "Pati\xff\xfeent\xc3",
	"other writing":      "山田^太郎=やまだ^たろう  \u202egnirts",
	"no characters":      "\uFFFE\uFFFF\U0010FFFF",
	"endless":            strings.Repeat(`"`, 64<<10),
	"a long name":        strings.Repeat("\U0001F4A9", 1000),
}

// The schema is the standard's; xmllint is not ours.
func TestEveryMessageIsOfTheSchema(t *testing.T) {
	xmllint, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed: make peers")
	}
	dir := t.TempDir()
	args := []string{"--noout", "--relaxng", "testdata/audit-message.rng"}
	texts := map[string]string{"plain": "CT1"}
	for name, text := range hostile {
		texts[name] = text
	}
	n := 0
	for _, text := range texts {
		for _, e := range every(text) {
			path := filepath.Join(dir, fmt.Sprint(n)+".xml")
			if err := os.WriteFile(path, build(t, e, "site"), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
			n++
		}
	}
	if out, err := exec.Command(xmllint, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// The schema is none if it takes anything.
	bad := filepath.Join(dir, "bad.xml")
	if err := os.WriteFile(bad, bytes.Replace(build(t, every("CT1")["sent"], ""), []byte(`EventOutcomeIndicator="4"`), []byte(`EventOutcomeIndicator="5"`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(xmllint, append(args[:3:3], bad)...).CombinedOutput(); err == nil || !strings.Contains(string(out), "fails to validate") {
		t.Errorf("an outcome of 5 was taken: %s", out)
	}
}

// What a collector gets of one transfer, to be read by a person.
func TestGolden(t *testing.T) {
	got := syslog(build(t, Received(us, ct1, transfer, false), "hospital"), Minor, noon, us.Host, 42)
	const path = "testdata/received.syslog"
	if *update {
		if err := os.WriteFile(path, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(append(got, '\n'), want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// PS3.15 A.5.3 says of each message which action, participants and objects it has.
func TestMessagesAreAsTheirTablesSay(t *testing.T) {
	const study, patient = "110180", "2"
	for name, want := range map[string]struct {
		id, kind, actions string
		roles             []string // of the participants; "": none is asked for
		requestors        int
		objects           []string
	}{
		"started":  {"110100", "110120", "E", []string{"110150", "110151"}, 1, nil},                  // A.5.3.1
		"stopped":  {"110100", "110121", "E", []string{"110150", "110151"}, 1, nil},                  // A.5.3.1
		"sending":  {"110102", "", "E", []string{"110153", "110152"}, 1, []string{study, patient}},   // A.5.3.3
		"accessed": {"110103", "", "CRUD", []string{"", "110150"}, 1, []string{study, patient}},      // A.5.3.6
		"received": {"110104", "", "CRU", []string{"110153", "110152"}, 1, []string{study, patient}}, // A.5.3.7
		"again":    {"110104", "", "R", []string{"110153", "110152"}, 1, []string{study, patient}},   // A.5.3.7
		"sent":     {"110104", "", "R", []string{"110153", "110152"}, 1, []string{study, patient}},   // A.5.3.7
		"deleted":  {"110105", "", "D", []string{"110150"}, 1, []string{study, patient}},             // A.5.3.8
		"alert":    {"110113", "110126", "E", []string{"110150", "", ""}, 1, []string{"110182"}},     // A.5.3.11
		"notice":   {"110113", "110131", "E", []string{"110150"}, 1, []string{"110182"}},             // A.5.3.11
		"lost":     {"110113", "110133", "E", []string{"110150"}, 1, []string{"110182"}},             // A.5.3.11
		"login":    {"110114", "110122", "E", []string{"", "110150"}, 1, nil},                        // A.5.3.12
	} {
		t.Run(name, func(t *testing.T) {
			var m xmlMessage
			if err := xml.Unmarshal(build(t, every("CT1")[name], ""), &m); err != nil {
				t.Fatal(err)
			}
			kind := ""
			for _, c := range m.Event.Type {
				kind += c.Value
			}
			if m.Event.ID.Value != want.id || kind != want.kind || !strings.Contains(want.actions, m.Event.Action) || m.Event.Action == "" {
				t.Errorf("%s %s %s, want %s %s %s", m.Event.ID.Value, kind, m.Event.Action, want.id, want.kind, want.actions)
			}
			requestors := 0
			for i, p := range m.Participants {
				role := ""
				if p.Role != nil {
					role = p.Role.Value
				}
				if i >= len(want.roles) || role != want.roles[i] || p.UserID == "" {
					t.Errorf("participant %d is %+v in the role %q", i, p, role)
				}
				if p.Requestor {
					requestors++
				}
			}
			if len(m.Participants) != len(want.roles) || requestors != want.requestors {
				t.Errorf("%d participants, of whom %d asked for it", len(m.Participants), requestors)
			}
			var objects []string
			for _, o := range m.Objects {
				objects = append(objects, o.IDType.Value)
			}
			if fmt.Sprint(objects) != fmt.Sprint(want.objects) {
				t.Errorf("objects %v, want %v", objects, want.objects)
			}
		})
	}
}

func TestCodesAreThoseOfTheirContextGroups(t *testing.T) {
	type row struct {
		CID            int
		Value, Meaning string
	}
	var rows []row
	for _, c := range table {
		if c.cid == 0 {
			if c.Code != (Code{"2", "RFC-3881", "Patient Number"}) { // PS3.15 A.5.3.7
				t.Errorf("%+v is of no table", c)
			}
			continue
		}
		rows = append(rows, row{c.cid, c.Value, c.Meaning})
	}
	python := os.Getenv("PULMONODE_PYTHON")
	if python == "" {
		t.Skip("PULMONODE_PYTHON names no Python with pydicom: make test has one")
	}
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "codes.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(python, "../../testdata/oracle/auditcodes.py", path).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// wellFormed reads a message to its end and fails on any fault; it returns the
// number of elements.
func wellFormed(t *testing.T, message []byte) (elements int) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(message)); ; {
		token, err := d.Token()
		if err == io.EOF {
			return elements
		}
		if err != nil {
			t.Fatalf("%v\n%.2000s", err, message)
		}
		if _, ok := token.(xml.StartElement); ok {
			elements++
		}
	}
}

func sound(t *testing.T, name string, e Event, site, host string) {
	t.Helper()
	m := build(t, e, site)
	line := syslog(m, e.Outcome, e.Time, host, 1<<22)
	if len(line) > maxMessage {
		t.Errorf("%s has %d bytes; a collector takes %d", name, len(line), maxMessage)
	}
	if !utf8.Valid(line) || bytes.ContainsAny(line, "\r\n\x00") {
		t.Errorf("%s is not one line of UTF-8: %.2000q", name, line)
	}
	if got, want := wellFormed(t, m), wellFormed(t, build(t, e, "site")); got != want {
		t.Errorf("%s has %d elements, want %d: a text became markup", name, got, want)
	}
	message, rest, ok := unframe(frame(line))
	if !ok || len(rest) != 0 || !bytes.Equal(message, line) {
		t.Errorf("%s does not come out of its frame as it went in", name)
	}
}

func TestHostileTexts(t *testing.T) {
	for kind, text := range hostile {
		for name, e := range every(text) {
			sound(t, name+" with "+kind, e, text, text)
		}
	}
	const secret = "\x1b[2J" // clears a terminal
	for name, e := range every(secret) {
		if m := build(t, e, secret); bytes.Contains(m, []byte(secret)) {
			t.Errorf("%s hands %q on", name, secret)
		}
	}
}

// A message with everything in it, everything of it as long as it can be.
func TestTheLargestMessage(t *testing.T) {
	worst := strings.Repeat(`"`, 4*maxText*maxDescription) // five bytes each, as XML writes it
	long := Participant{worst, worst, worst, true, sourceRole, worst}
	e := Event{ID: securityAlert, Type: []Code{NodeAuthentication}, Action: "E", Time: noon, Outcome: Major, Description: worst, Participants: []Participant{long, long, long}}
	study := Object{ID: worst, Name: worst, IDType: studyInstanceUID, Type: "2", Role: "13", LifeCycle: "15", Accession: worst, Alert: strings.Repeat("\U0001F4A9", 4*maxDescription), Encrypted: new(bool)}
	for range 1000 {
		study.Classes = append(study.Classes, Class{strings.Repeat("1", 70), 1 << 40})
	}
	e.Objects = []Object{study, Patient{worst, worst}.object()}
	sound(t, "the largest message", e, worst, worst)
}

func TestClassesBeyondTheBoundAreCounted(t *testing.T) {
	var all []Class
	for i := range 3 * maxClasses {
		all = append(all, Class{fmt.Sprintf("1.2.%d", i), i})
	}
	few, sum := atMost(all, maxClasses), 0
	for _, c := range few {
		sum += c.Instances
	}
	if len(few) != maxClasses || few[maxClasses-1].UID != "" || sum != 3*maxClasses*(3*maxClasses-1)/2 {
		t.Errorf("%d instances in %d classes: %v", sum, len(few), few)
	}
}

func TestAnAlertSaysWhatItIsAbout(t *testing.T) {
	var m xmlMessage
	if err := xml.Unmarshal(build(t, Alert(us, NodeAuthentication, []Participant{ct1.Performer()}, noon, Minor, "no [[source]] row has this AE title"), ""), &m); err != nil {
		t.Fatal(err)
	}
	text, err := base64.StdEncoding.DecodeString(m.Objects[0].Detail.Value)
	if err != nil || string(text) != "no [[source]] row has this AE title" || m.Participants[1].Host != "10.1.2.3" {
		t.Errorf("%q %v, by %+v", text, err, m.Participants)
	}
}

// Who asks that patients be left out finds the study, and a patient without a name.
func TestAPatientThatIsNotNamed(t *testing.T) {
	one := transfer
	one.Patient, one.Accession = Patient{}, ""
	m := build(t, Received(us, ct1, one, false), "")
	for _, s := range []string{"Nodule", "4711", "A17"} {
		if bytes.Contains(m, []byte(s)) {
			t.Errorf("%s is in %s", s, m)
		}
	}
	if !bytes.Contains(m, []byte(`ParticipantObjectID="" ParticipantObjectTypeCode="1"`)) {
		t.Errorf("no patient is in %s", m)
	}
}

func FuzzMessage(f *testing.F) {
	for _, text := range hostile {
		if len(text) < 1000 {
			f.Add(text, "10.1.2.3:104", "site")
		}
	}
	f.Fuzz(func(t *testing.T, text, address, site string) {
		for name, e := range every(text) {
			for i := range e.Participants {
				e.Participants[i].Host = host(address)
			}
			sound(t, name, e, site, address)
		}
	})
}

func FuzzUnframe(f *testing.F) {
	f.Add([]byte("5 hello3 you"))
	f.Add([]byte("99999 x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, rest, ok := unframe(b); ok && len(m)+len(rest) >= len(b) {
			t.Errorf("%q and %q came of %q", m, rest, b)
		}
	})
}

func TestEveryCodeIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range table {
		if c.cid != 0 && !strings.Contains(string(text), c.Value) || !strings.Contains(string(text), c.Meaning) {
			t.Errorf("docs/audit.md does not say what %s %s is for", c.Value, c.Meaning)
		}
	}
}
