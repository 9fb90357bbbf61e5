package dimse

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/pulmonode/pulmonode/dimse/pdu"
)

// The defaults are as documented beside each field.
func TestDefaultLimits(t *testing.T) {
	want := map[string]struct {
		value any
		text  string
	}{
		"Associations": {64, "64"},
		"Connections":  {2*64 + 16, "2 * Associations + 16"},
		"PDU":          {uint32(256 << 10), "256 KiB"},
		"Request":      {uint32(128 << 10), "128 KiB"},
		"Contexts":     {128, "128"},
		"UserItems":    {512, "512"},
		"Command":      {16 << 10, "16 KiB"},
		"Fragments":    {4096, "4096"},
		"DataSet":      {1 << 20, "1 MiB"},
	}
	source, err := os.ReadFile("limits.go")
	if err != nil {
		t.Fatal(err)
	}
	got := reflect.ValueOf(Limits{}.withDefaults())
	for i := range got.NumField() {
		name := got.Type().Field(i).Name
		w, ok := want[name]
		if !ok || got.Field(i).Interface() != w.value {
			t.Errorf("%s: %v, want %v", name, got.Field(i), w.value)
		}
		comment := regexp.MustCompile(`((?:\t// .*\n)+)\t` + name + ` `).FindSubmatch(source)
		if comment == nil || !regexp.MustCompile(`Default (and most )?`+regexp.QuoteMeta(w.text)+`[.,:]`).Match(bytes.ReplaceAll(comment[1], []byte("\n\t// "), []byte(" "))) {
			t.Errorf("%s: its comment says no default of %s: %s", name, w.text, comment)
		}
	}
	if len(want) != got.NumField() {
		t.Errorf("%d limits, %d are tested", got.NumField(), len(want))
	}
	given := Limits{1, 2, 3, 4, 5, 6, 7, 8, 9}
	if got := given.withDefaults(); got != given {
		t.Errorf("what was given became %+v", got)
	}
	if got := (Limits{Contexts: 129, Request: 1 << 20}).withDefaults(); got.Contexts != 128 || got.Request != pdu.MaxAssociate {
		t.Errorf("what can't be is %+v", got)
	}
	if got := (Limits{Associations: 3}).withDefaults().Connections; got != 22 {
		t.Errorf("%d connections", got)
	}
}

// One beyond each limit is refused, the limit itself is not.
func TestLimitsHold(t *testing.T) {
	accepted := associateAC(t, nil)
	ask := func(change func(*pdu.AAssociate)) []byte { return associateRQ(t, change) }
	roles := func(n int) []byte { // beside the maximum length and the implementation class
		return ask(func(a *pdu.AAssociate) {
			for i := range n {
				a.Roles = append(a.Roles, pdu.Role{SOPClassUID: fmt.Sprint("1.2.", i), SCU: true})
			}
		})
	}
	contexts := func(n int) (rq, ac []byte) {
		change := func(a *pdu.AAssociate) {
			for i := 2; i < n; i++ {
				c := pdu.PresentationContext{ID: byte(2*i + 1), TransferSyntaxes: []string{implicit}}
				if !a.Accept {
					c.AbstractSyntax = verificationUID
				}
				a.Contexts = append(a.Contexts, c)
			}
		}
		return associateRQ(t, change), associateAC(t, change)
	}
	four, fourAC := contexts(4)
	five, _ := contexts(5)
	fragments := func(n int) []byte {
		return join(associateRQ(t, nil), bytes.Repeat(pData(value(1, commandMore, nil)), n-1), pData(value(1, commandLast, echoRQ(1)[12:])))
	}
	size := len(associateRQ(t, nil)) - pdu.HeaderSize
	command := len(echoRQ(1)) - 12
	for _, test := range []struct {
		name   string
		limits Limits
		sent   []byte
		got    []byte
	}{
		{"contexts", Limits{Contexts: 4}, four, fourAC},
		{"one context more", Limits{Contexts: 4}, five, aborted(2, 6)},
		{"user items", Limits{UserItems: 7}, roles(5), accepted},
		{"one user item more", Limits{UserItems: 7}, roles(6), aborted(2, 6)},
		{"user items by default", Limits{}, roles(510), accepted},
		{"one user item more than by default", Limits{}, roles(511), aborted(2, 6)},
		{"a request", Limits{Request: uint32(size)}, ask(nil), accepted},
		{"a request one byte longer", Limits{Request: uint32(size) - 1}, ask(nil), aborted(2, 6)},
		{"a command", Limits{Command: command}, join(ask(nil), echoRQ(1)), join(accepted, echoRSP(1))},
		{"a command one byte longer", Limits{Command: command - 1}, join(ask(nil), echoRQ(1)), join(accepted, aborted(2, 6))},
		{"fragments", Limits{Fragments: 3}, fragments(3), join(accepted, echoRSP(1))},
		{"one fragment more", Limits{Fragments: 3}, fragments(4), join(accepted, aborted(2, 6))},
		{"a PDU", Limits{PDU: 1000}, join(ask(nil), storeRQ(1), pData(value(3, dataLast, make([]byte, 994)))), join(smaller(t, 1000), storeRSP(1, Success))},
		{"a PDU one byte longer", Limits{PDU: 1000}, join(ask(nil), storeRQ(1), pData(value(3, dataLast, make([]byte, 995)))), join(smaller(t, 1000), aborted(2, 6))},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := connect(t, start(t, &Server{Handler: newHandler(), Limits: test.limits}))
			p.send(test.sent)
			p.hangUp()
			p.expectEnd("the answer", test.got)
		})
	}
}

// smaller is the acceptance that offers smaller PDUs.
func smaller(t testing.TB, size uint32) []byte {
	return associateAC(t, func(a *pdu.AAssociate) { a.MaxLength = size })
}

// Connections may be bounded apart from associations.
func TestConnectionsAreBounded(t *testing.T) {
	h := newHandler()
	heard := make(chan error, 1)
	address := start(t, &Server{Handler: h, Limits: Limits{Associations: 64, Connections: 2}, NoRequest: func(remote net.Addr, err error) {
		if remote == nil {
			t.Error("nobody")
		}
		heard <- err
	}})
	beside := newBystander(t, h, address)
	silent := connect(t, address)
	// Who says nothing makes room for who asks.
	asks := connect(t, address)
	asks.send(associateRQ(t, nil))
	asks.expect("the answer", associateAC(t, nil))
	silent.expectEnd("for one that asks")
	if err := <-heard; err != ErrTooManyConnections {
		t.Errorf("the server heard %v", err)
	}
	// Nobody who asked makes room.
	connect(t, address).expectEnd("one too many")
	if err := <-heard; err != ErrTooManyConnections {
		t.Errorf("the server heard %v", err)
	}
	asks.Close()
	beside.finish()
}

// A client holds its peers to the same limits.
func TestClientLimits(t *testing.T) {
	for name, test := range map[string]struct {
		limits Limits
		script func(*peer)
		want   string
	}{
		"contexts of its own": {Limits{Contexts: 1}, func(*peer) {}, "1 to 1 presentation contexts, not 2"},
		"contexts of an answer": {Limits{Contexts: 2}, func(p *peer) {
			p.pdu()
			p.send(associateAC(t, func(a *pdu.AAssociate) { a.Contexts = append(a.Contexts, a.Contexts...) }))
			p.expectEnd("the abort", aborted(2, 6))
		}, "more than 2 presentation contexts"},
		"the answer": {Limits{Request: 100}, func(p *peer) {
			p.pdu()
			p.send(associateAC(t, nil)[:pdu.HeaderSize])
			p.expectEnd("the abort", aborted(2, 6))
		}, "of which 100 are read"},
		"a response": {Limits{Command: 16}, func(p *peer) {
			p.accept()
			p.pdu()
			p.send(echoRSP(1))
			p.expectEnd("the abort", aborted(2, 6))
		}, "a command set of more than 16 bytes"},
		"PDUs": {Limits{PDU: 50}, func(p *peer) {
			p.accept()
			p.pdu()
			p.send(echoRSP(1))
			p.expectEnd("the abort", aborted(2, 6))
		}, "where 50 were agreed"},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "contexts of its own" {
				if _, err := (Client{Limits: test.limits}).Dial(t.Context(), proposal); err == nil || !strings.Contains(err.Error(), test.want) {
					t.Error(err)
				}
				return
			}
			client := scripted(t, test.script)
			client.Limits = test.limits
			conn, err := client.Dial(t.Context(), proposal)
			if err == nil {
				_, err = conn.Echo(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Error(err)
			}
		})
	}
}
