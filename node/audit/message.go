package audit

import (
	"encoding/base64"
	"encoding/xml"
	"strings"
	"time"
	"unicode"
)

// Outcome is an Event Outcome Indicator (PS3.15 A.5.1.1).
type Outcome int

// What became of an event.
const (
	Success Outcome = 0
	Minor   Outcome = 4  // it will be tried again, or part of it was done
	Serious Outcome = 8  // it was not done
	Major   Outcome = 12 // the node is no longer available
)

// Event is an audit message before it is XML.
type Event struct {
	ID           Code
	Type         []Code
	Action       string // "C", "R", "U", "D", "E"
	Time         time.Time
	Outcome      Outcome
	Description  string // of an outcome that is no success
	Participants []Participant
	Objects      []Object
}

// Participant is who took part (PS3.15 A.5.2, Active Participant).
type Participant struct {
	UserID    string
	AETitle   string // of a DICOM application
	Name      string
	Requestor bool
	Role      Code
	Host      string // a name or an address
}

// Object is what was acted on (PS3.15 A.5.2, Participant Object).
type Object struct {
	ID, Name  string
	IDType    Code
	Type      string // 1 person, 2 system object
	Role      string // A.5.1.2.2
	LifeCycle string // A.5.1.2.3
	Accession string
	Classes   []Class
	Encrypted *bool
	Alert     string // of a security alert: what it is about
}

// Class is how many instances of a SOP class there were.
type Class struct {
	UID       string // "": several, of which no more are named
	Instances int
}

// Bounds of a message. A collector takes at least 32 KiB (IHE ITI TF-2 3.20.4.1.2),
// and TestTheLargestMessage fills every field.
const (
	maxMessage     = 32 << 10
	maxText        = 200 // characters of a name or an identifier; a PN has 194
	maxDescription = 512
	maxClasses     = 32 // SOP classes that are named; the others are counted together
)

type xmlCode struct {
	Value   string `xml:"csd-code,attr"`
	Scheme  string `xml:"codeSystemName,attr"`
	Meaning string `xml:"originalText,attr"`
}

type xmlParticipant struct {
	UserID      string   `xml:"UserID,attr"`
	Alternative string   `xml:"AlternativeUserID,attr,omitempty"`
	Name        string   `xml:"UserName,attr,omitempty"`
	Requestor   bool     `xml:"UserIsRequestor,attr"`
	Host        string   `xml:"NetworkAccessPointID,attr,omitempty"`
	HostType    string   `xml:"NetworkAccessPointTypeCode,attr,omitempty"`
	Role        *xmlCode `xml:"RoleIDCode"`
}

type xmlDetail struct {
	Type  string `xml:"type,attr"`
	Value string `xml:"value,attr"`
}

type xmlNumber struct {
	Number string `xml:"Number,attr"`
}

type xmlClass struct {
	UID       string `xml:"UID,attr,omitempty"`
	Instances int    `xml:"NumberOfInstances,attr"`
}

type xmlDescription struct {
	Accession *xmlNumber `xml:"Accession"`
	Classes   []xmlClass `xml:"SOPClass"`
	Encrypted *bool      `xml:"Encrypted"`
}

type xmlObject struct {
	ID          string          `xml:"ParticipantObjectID,attr"`
	Type        string          `xml:"ParticipantObjectTypeCode,attr"`
	Role        string          `xml:"ParticipantObjectTypeCodeRole,attr"`
	LifeCycle   string          `xml:"ParticipantObjectDataLifeCycle,attr,omitempty"`
	IDType      xmlCode         `xml:"ParticipantObjectIDTypeCode"`
	Name        string          `xml:"ParticipantObjectName"` // the schema wants it, empty or not
	Detail      *xmlDetail      `xml:"ParticipantObjectDetail"`
	Description *xmlDescription `xml:"ParticipantObjectDescription"`
}

type xmlMessage struct {
	XMLName xml.Name `xml:"AuditMessage"`
	Event   struct {
		Action      string    `xml:"EventActionCode,attr"`
		Time        string    `xml:"EventDateTime,attr"`
		Outcome     Outcome   `xml:"EventOutcomeIndicator,attr"`
		ID          xmlCode   `xml:"EventID"`
		Type        []xmlCode `xml:"EventTypeCode"`
		Description string    `xml:"EventOutcomeDescription,omitempty"`
	} `xml:"EventIdentification"`
	Participants []xmlParticipant `xml:"ActiveParticipant"`
	Source       struct {
		Site string `xml:"AuditEnterpriseSiteID,attr,omitempty"`
		ID   string `xml:"AuditSourceID,attr"`
		Type struct {
			Value string `xml:"csd-code,attr"`
		} `xml:"AuditSourceTypeCode"`
	} `xml:"AuditSourceIdentification"`
	Objects []xmlObject `xml:"ParticipantObjectIdentification"`
}

// timestamp is a time as the message and its syslog header write it: with the zone.
const timestamp = "2006-01-02T15:04:05.000Z07:00"

// applicationServer is an Audit Source Type Code (A.5.1.2.1).
const applicationServer = "4"

// message is the XML of an event that this source reports, on one line.
func message(e Event, site, id string) ([]byte, error) {
	var m xmlMessage
	m.Event.ID, m.Event.Action, m.Event.Outcome = xmlCode(e.ID), e.Action, e.Outcome
	m.Event.Time = e.Time.Format(timestamp)
	m.Event.Description = clean(e.Description, maxDescription)
	for _, c := range e.Type {
		m.Event.Type = append(m.Event.Type, xmlCode(c))
	}
	m.Source.Site, m.Source.ID, m.Source.Type.Value = clean(site, maxText), clean(id, maxText), applicationServer
	for _, p := range e.Participants {
		one := xmlParticipant{UserID: clean(p.UserID, maxText), Name: clean(p.Name, maxText), Requestor: p.Requestor}
		if p.AETitle != "" {
			one.Alternative = "AETITLES=" + clean(p.AETitle, maxText) // A.5.2.2
		}
		if p.Role != (Code{}) {
			role := xmlCode(p.Role)
			one.Role = &role
		}
		one.Host, one.HostType = accessPoint(p.Host)
		m.Participants = append(m.Participants, one)
	}
	for _, o := range e.Objects {
		one := xmlObject{ID: clean(o.ID, maxText), Name: clean(o.Name, maxText), IDType: xmlCode(o.IDType), Type: o.Type, Role: o.Role, LifeCycle: o.LifeCycle}
		if o.Alert != "" {
			one.Detail = &xmlDetail{"Alert Description", base64.StdEncoding.EncodeToString([]byte(clean(o.Alert, maxDescription)))}
		}
		if o.Accession != "" || len(o.Classes) > 0 || o.Encrypted != nil {
			d := &xmlDescription{Encrypted: o.Encrypted}
			if o.Accession != "" {
				d.Accession = &xmlNumber{clean(o.Accession, maxText)}
			}
			for _, c := range atMost(o.Classes, maxClasses) {
				d.Classes = append(d.Classes, xmlClass{clean(c.UID, 64), c.Instances})
			}
			one.Description = d
		}
		m.Objects = append(m.Objects, one)
	}
	b, err := xml.Marshal(m)
	return append([]byte(`<?xml version="1.0" encoding="UTF-8"?>`), b...), err
}

// atMost counts the classes after the first n-1 as one that has no name.
func atMost(list []Class, n int) []Class {
	if len(list) <= n {
		return list
	}
	rest := Class{}
	for _, c := range list[n-1:] {
		rest.Instances += c.Instances
	}
	return append(append([]Class(nil), list[:n-1]...), rest)
}

// clean makes text that shows what it is: valid UTF-8 without characters that
// break a line, end a field or turn the writing around, and not longer than n.
func clean(s string, n int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, first(s, 4*n)))
	if r := []rune(s); len(r) > n {
		s = string(r[:n-1]) + "…"
	}
	return s
}

// first bounds the work that a long text makes.
func first(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
