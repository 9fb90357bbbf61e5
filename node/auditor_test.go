package node

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/pulmonode/pulmonode/config"
	"github.com/pulmonode/pulmonode/dimse"
	"github.com/pulmonode/pulmonode/dimse/dataset"
	"github.com/pulmonode/pulmonode/node/admin"
	"github.com/pulmonode/pulmonode/node/store"
)

// told is a message of the trail, as far as these tests look.
type told struct {
	Event struct {
		Outcome     int    `xml:"EventOutcomeIndicator,attr"`
		Action      string `xml:"EventActionCode,attr"`
		Description string `xml:"EventOutcomeDescription"`
		ID          struct {
			Code    string `xml:"csd-code,attr"`
			Meaning string `xml:"originalText,attr"`
		} `xml:"EventID"`
		Type struct {
			Meaning string `xml:"originalText,attr"`
		} `xml:"EventTypeCode"`
	} `xml:"EventIdentification"`
	Participants []participant `xml:"ActiveParticipant"`
	Objects      []struct {
		ID      string `xml:"ParticipantObjectID,attr"`
		Name    string `xml:"ParticipantObjectName"`
		Classes []struct {
			UID       string `xml:"UID,attr"`
			Instances int    `xml:"NumberOfInstances,attr"`
		} `xml:"ParticipantObjectDescription>SOPClass"`
	} `xml:"ParticipantObjectIdentification"`
}

type participant struct {
	User string `xml:"UserID,attr"`
	Host string `xml:"NetworkAccessPointID,attr"`
}

// String is a line for a table: what happened, how it ended, by whom, to whom, and
// how much.
func (m told) String() string {
	var users []string
	for _, p := range m.Participants {
		users = append(users, p.User)
	}
	n := 0
	for _, o := range m.Objects {
		for _, c := range o.Classes {
			n += c.Instances
		}
	}
	return strings.Join(strings.Fields(fmt.Sprint(m.Event.ID.Meaning, " ", m.Event.Type.Meaning, " ", m.Event.Action, m.Event.Outcome, " ", strings.Join(users, " > "), " ", n)), " ")
}

// trail reads the file that a node wrote.
func trail(t *testing.T, path string) (list []told, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		_, message, ok := bytes.Cut(line, []byte("\xEF\xBB\xBF"))
		var m told
		if err := xml.Unmarshal(message, &m); err != nil || !ok {
			t.Fatalf("%v: %s", err, line)
		}
		list = append(list, m)
	}
	return list, string(b)
}

func lines(list []told) (text []string) {
	for _, m := range list {
		text = append(text, m.String())
	}
	return text
}

// untilTold waits until the trail has so many messages.
func (s *site) untilTold(file string, n int) {
	s.t.Helper()
	s.until(fmt.Sprint(n, " messages"), func(*admin.Detail) bool {
		b, err := os.ReadFile(file)
		return err == nil && bytes.Count(b, []byte("\n")) >= n
	})
}

// named gives a slice a patient.
func named(d *dataset.Dataset) {
	d.SetText(dataset.PatientName, "PN", ctNodule)
	d.SetText(dataset.PatientID, "LO", "PID-4711")
	d.SetText(dataset.AccessionNumber, "SH", "ACC-0815")
}

// sendNamed sends slices of a patient, and one more that is refused unless the
// first is the last.
func (s *site) sendNamed(n int, bad bool) {
	s.t.Helper()
	conn, err := s.dial("CT1")
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range n {
		sop, data := slice(s.t, i, named)
		if status := s.storeOne(conn, sop, data); status != dimse.Success {
			s.t.Fatalf("slice %d: %04X", i, uint16(status))
		}
	}
	if bad {
		_, data := slice(s.t, 0, named)
		if status := s.storeOne(conn, "1.2.3", data); status == dimse.Success {
			s.t.Error("an instance under another name was taken")
		}
	}
	if err := conn.Release(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// A node's life as its trail has it.
func TestTrailOfALife(t *testing.T) {
	for _, withPatient := range []bool{true, false} {
		t.Run(fmt.Sprint("patient ", withPatient), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.log")
			p := newPACS(t, "127.0.0.1:0", func(p *pacs) {
				p.store = func(n int, _ string) dimse.Status {
					if n == 1 {
						return 0xA700 // once, after the first object
					}
					return dimse.Success
				}
			})
			s := newSite(t, func(s *site) {
				s.to("pacs", p)
				s.config.Audit.File, s.config.Audit.Patient = file, withPatient
			})
			s.start()
			if _, err := s.dial("STRANGER"); err == nil {
				t.Error("a stranger was let in")
			}
			wrong := dimse.Client{CallingAE: "CT1", CalledAE: "ANOTHER", Address: s.node.Addr().String()}
			if _, err := wrong.Dial(t.Context(), []dimse.Context{{SOPClassUID: dataset.CTImage, TransferSyntaxUIDs: []string{dataset.ExplicitLE}}}); err == nil {
				t.Error("another AE title was answered to")
			}
			s.untilTold(file, 3)
			s.sendNamed(5, false)
			s.untilState(admin.Delivered)
			s.untilTold(file, 7)
			s.sendNamed(5, true) // again, and one that is refused
			s.untilTold(file, 8)
			for range 3 {
				s.get("/series/"+testStudy+"/"+testSeries+"/1/key-1.png", nil)
			}
			if removed, _ := s.node.retain(t.Context(), time.Now().Add(time.Hour), store.Retention{Keep: time.Minute, AtMost: 1}); removed != 1 {
				t.Errorf("%d series were removed", removed)
			}
			s.stop()

			list, text := trail(t, file)
			want := []string{
				"Application Activity Application Start E0 PULMONODE > system 0",
				"Security Alert Node Authentication E4 PULMONODE > STRANGER 0",
				"Security Alert Node Authentication E4 PULMONODE > CT1 0",
				"DICOM Instances Transferred C0 CT1 > PULMONODE 5",
				"Begin Transferring DICOM Instances E0 PULMONODE > PACS 3",
				"DICOM Instances Transferred R4 PULMONODE > PACS 2",
				"DICOM Instances Transferred R0 PULMONODE > PACS 1",
				"DICOM Instances Transferred R4 CT1 > PULMONODE 5",
				"DICOM Instances Accessed R0 not asked > PULMONODE 0",
				"DICOM Study Deleted D0 PULMONODE 0",
				"Application Activity Application Stop E0 PULMONODE > system 0",
			}
			if got := lines(list); !slices.Equal(got, want) {
				t.Errorf("the trail is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			for _, m := range list {
				if m.Event.ID.Code < "110102" || m.Event.ID.Code > "110105" {
					continue
				}
				patient := m.Objects[1]
				if withPatient != (patient.ID == "PID-4711" && patient.Name == ctNodule) || m.Objects[0].ID != testStudy {
					t.Errorf("%v is of %+v", m, m.Objects)
				}
			}
			for _, secret := range []string{"PID-4711", ctNodule, "ACC-0815"} {
				if strings.Contains(text, secret) != withPatient {
					t.Errorf("%s is in the trail: %v", secret, !withPatient)
				}
			}
		})
	}
}

// A delivery that can not be made is in the trail, and so is the end of a node by a
// fault.
func TestTrailOfFailures(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	p := newPACS(t, "127.0.0.1:0", func(p *pacs) { p.reject = &dimse.Reject{Result: 1, Source: 1, Reason: 3} })
	s := newSite(t, func(s *site) { s.to("pacs", p); s.config.Audit.File = file })
	s.start()
	s.send(0, 4)
	s.untilState(admin.Failed)
	s.node.fail(errors.New("the disk is gone"))
	s.stop()
	list, _ := trail(t, file)
	got := lines(list)
	for _, want := range []string{
		"DICOM Instances Transferred R8 PULMONODE > PACS 0",
		"Application Activity Application Stop E12 PULMONODE > system 0",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, strings.Join(got, "\n"))
		}
	}
	if last := list[len(list)-1]; last.Event.Description != "the disk is gone" {
		t.Errorf("it ended by %q", last.Event.Description)
	}
}

// What the configuration has not in common with that of the last start.
func TestTrailOfAChangedConfiguration(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	s := newSite(t, func(s *site) { s.config.Audit.File = file })
	again := func(change func(c *config.Config)) (alerts []string) {
		t.Helper()
		change(s.config)
		before := 0
		if _, err := os.Stat(file); err == nil {
			list, _ := trail(t, file)
			before = len(list)
		}
		s.start()
		s.stop()
		list, _ := trail(t, file)
		for _, m := range list[before:] {
			if m.Event.ID.Code == "110113" {
				alerts = append(alerts, m.Event.Type.Meaning)
			}
		}
		return alerts
	}
	for _, c := range []struct {
		name   string
		change func(*config.Config)
		want   []string
	}{
		{"the first start", func(*config.Config) {}, nil},
		{"the same again", func(*config.Config) {}, nil},
		{"another source", func(c *config.Config) { c.Source[0].AETitle = "CT2" }, []string{"Security Configuration"}},
		{"much at once", func(c *config.Config) {
			c.Source[0].AETitle, c.Node.AETitle, c.Select.MinSlices = "CT3", "LUNGS", 50
		}, []string{"Network Configuration", "Security Configuration", "Software Configuration"}},
	} {
		if got := again(c.change); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// An association that brings many studies has a bounded memory and each study told.
func TestTrailOfManyStudies(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	s := newSite(t, func(s *site) { s.config.Audit.File = file; s.config.Audit.Patient = true })
	s.start()
	a := s.node.auditor
	of := &dimse.Association{CallingAE: "CT1", RemoteAddr: &net.TCPAddr{IP: net.IPv4(10, 1, 2, 3), Port: 4711}}
	tally := a.tally(of)
	const studies = 2*maxTallied + 3
	for i := range studies {
		var d dataset.Dataset
		d.SetText(dataset.PatientID, "LO", fmt.Sprint("patient ", i))
		for range 2 {
			tally.stored(store.Key{Study: fmt.Sprint("1.2.", i), Series: "1.2.3"}, dataset.CTImage, &d, store.Stored)
		}
		if len(tally.studies) > maxTallied {
			t.Fatalf("%d studies are remembered", len(tally.studies))
		}
	}
	tally.ended(false, 0)
	s.stop()
	list, _ := trail(t, file)
	seen := map[string]bool{}
	for _, m := range list {
		if m.Event.ID.Code == "110104" {
			seen[m.Objects[0].ID] = true
			if want := "patient " + strings.TrimPrefix(m.Objects[0].ID, "1.2."); m.Objects[1].ID != want || m.Objects[0].Classes[0].Instances != 2 {
				t.Errorf("%+v", m)
			}
		}
	}
	if len(seen) != studies {
		t.Errorf("%d of %d studies are told", len(seen), studies)
	}
}

// Nothing of a trail that nobody wants costs more than a look.
func TestNoTrail(t *testing.T) {
	s := newSite(t, nil)
	s.logger = zap.NewNop()
	s.start()
	if s.node.auditor.on() || s.node.auditor.tally(nil) != nil {
		t.Error("there is a trail that nobody asked for")
	}
	if exists(filepath.Join(s.config.Storage.DataDir, "audit")) {
		t.Error("a folder was made for it")
	}
}

// Who comes in to the page, and who does not.
func TestTrailOfPeople(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	s := newSite(t, func(s *site) { s.config.Audit.File = file })
	s.start()
	from := netip.MustParseAddr("10.1.2.9")
	for _, e := range []admin.Entry{
		{Address: from, User: "norma", By: "password"},
		{Address: from, By: "password", Refused: "user"},
		{Address: from, User: "norma", By: "password", Refused: "password"},
		{Address: from, By: "password", Refused: "too_many_tries"},
		{Address: from, By: "certificate", Refused: "certificate"},
		{Address: from, User: "viktor", By: "password", Refused: "role"},
	} {
		s.node.auditor.entered(e)
	}
	s.node.auditor.accessed("norma", from, testKey)
	s.node.auditor.accessed("norma", from, store.Key{Study: testStudy, Series: testSeries + ".2"}) // of the same study
	s.node.auditor.accessed("viktor", from, testKey)
	s.stop()
	list, _ := trail(t, file)
	want := []string{
		"User Authentication Login E0 norma > PULMONODE 0",
		"User Authentication Login E4 unknown > PULMONODE 0",
		"User Authentication Login E4 norma > PULMONODE 0",
		"Security Alert Node Authentication E8 PULMONODE > 10.1.2.9 0",
		"Security Alert Node Authentication E8 PULMONODE > 10.1.2.9 0",
		"Security Alert Use of Restricted Function E4 PULMONODE > viktor 0",
		"DICOM Instances Accessed R0 norma > PULMONODE 0",
		"DICOM Instances Accessed R0 viktor > PULMONODE 0",
	}
	if got := lines(list[1 : len(list)-1]); !slices.Equal(got, want) {
		t.Errorf("the trail is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, m := range list[1 : len(list)-1] {
		if !slices.ContainsFunc(m.Participants, func(p participant) bool { return p.Host == from.String() }) {
			t.Errorf("%v does not say from where", m)
		}
	}
}

// Whatever is told next says how many were left out before it.
func TestTrailOfPeopleCountsWhatItLeavesOut(t *testing.T) {
	file := filepath.Join(t.TempDir(), "audit.log")
	s := newSite(t, func(s *site) { s.config.Audit.File = file })
	s.start()
	kinds := []string{"user", "password", "certificate", "too_many_tries", "role"}
	for i, word := range kinds {
		s.node.auditor.entries.skipped = 101 + i
		s.node.auditor.entered(admin.Entry{User: "norma", Refused: word})
	}
	s.stop()
	_, text := trail(t, file)
	for i, word := range kinds {
		if !strings.Contains(text, fmt.Sprintf("(%d refusals before this one", 101+i)) {
			t.Errorf("%s does not say it", word)
		}
	}
}

// A scan of the network fills neither the log nor the trail, and what was left out
// is counted.
func TestRefusalsAreBounded(t *testing.T) {
	var r rate
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const scans = 10000
	told, left := 0, 0
	for range scans { // in ten seconds
		now = now.Add(time.Millisecond)
		if n, ok := r.allow(now); ok {
			told++
			left += n
		}
	}
	if told < 19 || told > 20 {
		t.Errorf("%d of %d are told in ten seconds", told, scans)
	}
	if n, ok := r.allow(now.Add(time.Minute)); !ok || told+left+n != scans {
		t.Errorf("%d told, %d and then %d left out: of %d", told, left, n, scans)
	}
}
