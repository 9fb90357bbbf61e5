// Package config is node.toml: its types, defaults, limits and checks.
//
// Every setting can be left out; Default says what then holds. Load reports
// every fault of a file at once, each with where it is and what to do, so that
// an administrator mends a file in one go. An unknown key is a fault and names
// the nearest known one. Durations and sizes are written as words ("5s", "7d",
// "20 GiB").
package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Config is node.toml.
type Config struct {
	Node        Node          `toml:"node"`
	Storage     Storage       `toml:"storage"`
	TLS         TLS           `toml:"tls"`
	Source      []Source      `toml:"source"`
	Destination []Destination `toml:"destination"`
	Complete    Complete      `toml:"complete"`
	Select      Select        `toml:"select"`
	Inference   Inference     `toml:"inference"`
	Output      Output        `toml:"output"`
	Queue       Queue         `toml:"queue"`
	Admin       Admin         `toml:"admin"`
	Log         Log           `toml:"log"`
	Audit       Audit         `toml:"audit"`
}

// Node is how peers see this node.
type Node struct {
	AETitle         string `toml:"ae_title"`
	Listen          string `toml:"listen"`
	Installation    string `toml:"installation"` // enters the UIDs of results; empty: the AE title
	Accept          string `toml:"accept"`       // "ct" or "any"
	MaxAssociations int    `toml:"max_associations"`
	Name            string `toml:"name"` // among nodes that share [queue] url; empty: the machine's name
}

// Storage is where instances and results live.
type Storage struct {
	DataDir              string   `toml:"data_dir"`
	Keep                 Duration `toml:"keep"`
	KeepRecord           Duration `toml:"keep_record"`
	DeleteDeliveredBelow Size     `toml:"delete_delivered_below"` // 0: twice StopReceivingBelow
	StopReceivingBelow   Size     `toml:"stop_receiving_below"`
	MaxInstance          Size     `toml:"max_instance"`
}

// MakeRoomBelow is the free space under which delivered series go before their
// time: never less than that under which reception stops.
func (s Storage) MakeRoomBelow() Size {
	if s.DeleteDeliveredBelow == 0 {
		return 2 * s.StopReceivingBelow
	}
	return max(s.DeleteDeliveredBelow, s.StopReceivingBelow)
}

// TLS is the encrypted listener and this node's identity towards
// destinations with tls = true. Off while Listen is empty.
type TLS struct {
	Listen      string `toml:"listen"`
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	ClientCA    string `toml:"client_ca"`
}

// Source is a peer that may send. Peers that no row names are refused.
type Source struct {
	AETitle string   `toml:"ae_title"` // "*": any
	From    []string `toml:"from"`     // networks in CIDR form or single addresses; "*": any
	TLS     bool     `toml:"tls"`      // only over TLS
	// CommitTo is where the peer listens for results of storage commitment: most
	// have released by then. Empty: they go to the association that asked alone.
	CommitTo string `toml:"commit_to"`
	// Certificate is the one that the peer must show, so over TLS too: "sha256:" and
	// its fingerprint, or the common name or a DNS name in it. Empty: any that an
	// authority of [tls] client_ca signed.
	Certificate string `toml:"certificate"`
}

// fingerprint begins a [[source]] certificate that is no name.
const fingerprint = "sha256:"

// Fingerprint is the SHA-256 of the certificate that a row names so; false where
// it names it otherwise, or not at all.
func (s Source) Fingerprint() (sum [sha256.Size]byte, ok bool, err error) {
	digits, ok := strings.CutPrefix(strings.ToLower(s.Certificate), fingerprint)
	if !ok {
		return sum, false, nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(digits, ":", "")) // OpenSSL writes colons
	if err == nil && len(b) != len(sum) {
		err = fmt.Errorf("it has %d digits, a fingerprint has %d", 2*len(b), 2*len(sum))
	}
	copy(sum[:], b)
	return sum, true, err
}

// Destination is a peer that results go to.
type Destination struct {
	Name    string   `toml:"name"`
	AETitle string   `toml:"ae_title"`
	Address string   `toml:"address"`
	Send    []string `toml:"send"` // of Outputs
	TLS     bool     `toml:"tls"`
	Commit  bool     `toml:"commit"` // ask it to answer for what it took (storage commitment)
}

// Complete decides when a series counts as complete.
type Complete struct {
	Quiet  Duration `toml:"quiet"`
	Idle   Duration `toml:"idle"`
	MaxAge Duration `toml:"max_age"`
}

// Select decides which series are analysed.
type Select struct {
	MaxSpacingMM  float64 `toml:"max_spacing_mm"`
	MinSlices     int     `toml:"min_slices"`
	MaxSlices     int     `toml:"max_slices"`
	MaxObliqueDeg float64 `toml:"max_oblique_deg"`
	Derived       bool    `toml:"derived"`       // analyse DERIVED axial reconstructions too
	OnePerStudy   string  `toml:"one_per_study"` // "all" or "thinnest"
}

// Inference is the pipeline's runtime and models.
type Inference struct {
	Provider       string `toml:"provider"` // "auto", "cuda", "cpu"
	RuntimeLibrary string `toml:"runtime_library"`
	Localize       string `toml:"localize"`
	Refine         string `toml:"refine"`
	Threads        int    `toml:"threads"` // 0: as many as there are cores

	// SHA-256 that the files must have; empty: a known library, any model.
	RuntimeSHA256  []string `toml:"runtime_sha256"`
	LocalizeSHA256 string   `toml:"localize_sha256"`
	RefineSHA256   string   `toml:"refine_sha256"`
}

// Output is how results are written.
type Output struct {
	SeriesNumberSEG      int `toml:"series_number_seg"`
	SeriesNumberSR       int `toml:"series_number_sr"`
	SeriesNumberKeyImage int `toml:"series_number_keyimage"`
	SeriesNumberKOS      int `toml:"series_number_kos"`
	SeriesNumberPDF      int `toml:"series_number_pdf"`

	SeriesDescriptionSEG      string `toml:"series_description_seg"`
	SeriesDescriptionSR       string `toml:"series_description_sr"` // goes on with how the analysis ended
	SeriesDescriptionKeyImage string `toml:"series_description_keyimage"`
	SeriesDescriptionKOS      string `toml:"series_description_kos"`
	SeriesDescriptionPDF      string `toml:"series_description_pdf"`

	CharacterSet  string `toml:"character_set"` // UTF8 or AsReceived
	ReportSkipped bool   `toml:"report_skipped"`
	ReportFailed  bool   `toml:"report_failed"`
	SR            string `toml:"sr"`  // "comprehensive3d", "comprehensive", "enhanced"
	SEG           string `toml:"seg"` // "binary", "fractional", "labelmap"
}

// What the text of the images is written in.
const (
	UTF8       = "utf-8"       // ISO_IR 192, whatever the images are in
	AsReceived = "as received" // the images' own character set, byte for byte
)

// Queue is where the work waits.
type Queue struct {
	URL          string   `toml:"url"`           // of the PostgreSQL database that several nodes share; empty: SQLite in data_dir
	PasswordFile string   `toml:"password_file"` // holds the password for URL; empty: it is in the URL, or PostgreSQL's own ways find it
	Lease        Duration `toml:"lease"`         // a node that shares url and is silent for longer is dead: its work is taken back
	MaxAttempts  int      `toml:"max_attempts"`
}

// NamesPostgreSQL says whether URL is the address of a PostgreSQL database.
func (q Queue) NamesPostgreSQL() bool {
	u, err := url.Parse(q.URL)
	return err == nil && (u.Scheme == "postgres" || u.Scheme == "postgresql")
}

// Admin is the address of health, metrics, the page and `pulmonode jobs`.
type Admin struct {
	Listen string `toml:"listen"`
	// ShowPatient lets the page and the API name patients and accession numbers.
	ShowPatient bool `toml:"show_patient"`

	// Certificate and Key are those of the listener: PEM files. With them it speaks
	// TLS, which any address but loopback demands.
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
	// Who may come in: who shows a certificate that an authority of ClientCA signed,
	// or a password of PasswordFile (`pulmonode password` writes it). Both empty:
	// everybody, on loopback only.
	ClientCA     string `toml:"client_ca"`
	PasswordFile string `toml:"password_file"`
}

// Asks reports whether the listener asks who comes.
func (a Admin) Asks() bool { return a.ClientCA != "" || a.PasswordFile != "" }

// Log is how the log is written.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Limits that are not settings, each with its reason.
const (
	// MaxAssociationsLimit bounds max_associations: 256 KiB of buffers each is 256 MiB.
	MaxAssociationsLimit = 1024
	// MaxSlicesLimit bounds max_slices: 3000 slices of 512x512 are 1.5 GiB of int16.
	MaxSlicesLimit = 3000
	// MaxAttemptsLimit bounds max_attempts: with hourly back-off at the end, 100 is four days.
	MaxAttemptsLimit = 100
)

// Default is the configuration of an empty file. It receives from nobody and
// sends to nobody.
func Default() *Config {
	return &Config{
		Node:      Node{AETitle: "PULMONODE", Listen: ":11112", Accept: "ct", MaxAssociations: 64},
		Storage:   Storage{DataDir: "/var/lib/pulmonode", Keep: Days(7), KeepRecord: Days(365), StopReceivingBelow: 5 * GiB, MaxInstance: 5 * GiB},
		Complete:  Complete{Quiet: Duration(5 * time.Second), Idle: Duration(time.Minute), MaxAge: Duration(30 * time.Minute)},
		Select:    Select{MaxSpacingMM: 3, MinSlices: 40, MaxSlices: 3000, MaxObliqueDeg: 10, OnePerStudy: "all"},
		Inference: Inference{Provider: "auto", RuntimeSHA256: []string{}},
		Output: Output{
			SeriesNumberSEG: 9001, SeriesNumberSR: 9002, SeriesNumberKeyImage: 9003, SeriesNumberKOS: 9004, SeriesNumberPDF: 9005,
			SeriesDescriptionSEG: "Lung nodules (AI, not verified)", SeriesDescriptionSR: "pulmonode",
			SeriesDescriptionKeyImage: "Key images (AI, not verified)", SeriesDescriptionKOS: "Key slices (AI, not verified)",
			SeriesDescriptionPDF: "Report for people (AI, not verified)",
			CharacterSet:         UTF8, ReportFailed: true, SR: "comprehensive3d", SEG: "binary",
		},
		Queue: Queue{Lease: Duration(30 * time.Second), MaxAttempts: 12},
		Admin: Admin{Listen: "127.0.0.1:8042"},
		Log:   Log{Level: "info", Format: "console"},
		Audit: Audit{Spool: 64 * MiB},
	}
}

// Outputs are the kinds a destination can be sent; defaultOutputs are what one
// is sent that names none.
var (
	Outputs        = []string{"seg", "sr", "keyimage", "kos", "pdf"}
	defaultOutputs = Outputs[:3]
)

// Sends says whether any destination is sent a kind.
func (c *Config) Sends(kind string) bool {
	return slices.ContainsFunc(c.Destination, func(d Destination) bool { return slices.Contains(d.Send, kind) })
}

// InstallationName is what enters the UIDs of results (Node.Installation, or
// the AE title when that is empty).
func (c *Config) InstallationName() string {
	if c.Node.Installation != "" {
		return c.Node.Installation
	}
	return c.Node.AETitle
}

// NodeName is this node's name among those that share [queue] url (Node.Name, or
// the machine's when that is empty).
func (c *Config) NodeName() string {
	if c.Node.Name != "" {
		return c.Node.Name
	}
	host, err := os.Hostname()
	if err != nil {
		return "node"
	}
	name := strings.Map(func(r rune) rune {
		if plainName(string(r)) {
			return r
		}
		return '-'
	}, host)
	return name[:min(len(name), maxNodeName)]
}

// maxNodeName bounds a node's name, which is a folder's too.
const maxNodeName = 64

func plainName(name string) bool {
	return strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" && len(name) <= maxNodeName
}
