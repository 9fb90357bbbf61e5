package ul

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// nextStates is the "next state" column of PS3.8 tables 9-6 to 9-9. AR-8 is
// not here: it depends on who asked for the association.
var nextStates = map[string]State{
	"AE-1": Sta4, "AE-2": Sta5, "AE-3": Sta6, "AE-4": Sta1, "AE-5": Sta2, "AE-6": Sta3, "AE-7": Sta6, "AE-8": Sta13,
	"DT-1": Sta6, "DT-2": Sta6,
	"AR-1": Sta7, "AR-2": Sta8, "AR-3": Sta1, "AR-4": Sta13, "AR-5": Sta1, "AR-6": Sta7, "AR-7": Sta8, "AR-9": Sta11, "AR-10": Sta12,
	"AA-1": Sta13, "AA-2": Sta1, "AA-3": Sta1, "AA-4": Sta1, "AA-5": Sta1, "AA-6": Sta13, "AA-7": Sta13, "AA-8": Sta13,
}

// try is Do, with the panic of an empty cell as a value.
func try(m *Machine, e Event) (a Action, empty bool) {
	defer func() { empty = recover() != nil }()
	return m.Do(e), false
}

// Every cell of table 9-10, by its name, on both sides of an association.
func TestTable910(t *testing.T) {
	cells, filled := 0, 0
	for _, line := range strings.Split(strings.TrimSpace(table910), "\n")[1:] {
		columns := strings.Split(strings.Trim(line, "|"), "|")
		n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(columns[0]), "Evt"))
		if err != nil || len(columns) != 14 {
			t.Fatalf("row %q: %v", line, err)
		}
		for s := Sta1; s <= Sta13; s++ {
			cells++
			want := strings.TrimSpace(columns[s])
			if want != "" {
				filled++
			}
			t.Run(fmt.Sprintf("%v in %v is %q", Event(n), s, want), func(t *testing.T) {
				for _, requestor := range []bool{false, true} {
					cell(t, requestor, s, Event(n), want)
				}
			})
		}
	}
	if cells != 13*19 || filled != 123 {
		t.Errorf("%d cells, %d filled", cells, filled)
	}
}

// cell checks one cell: its action and the state that follows, or that it is empty.
func cell(t *testing.T, requestor bool, s State, e Event, want string) {
	m := Machine{Requestor: requestor, state: s}
	can := m.Can(e)
	a, empty := try(&m, e)
	if want == "" {
		if !empty || can || m.State() != s {
			t.Errorf("%v, now %v, Can says %v; the cell is empty", a, m.State(), can)
		}
		return
	}
	next, ok := nextStates[want]
	if want == "AR-8" {
		next, ok = Sta10, true
		if requestor {
			next = Sta9
		}
	}
	if !ok || empty || !can || a.String() != want || m.State() != next {
		t.Errorf("%v to %v, Can says %v; want %v to %v", a, m.State(), can, want, next)
	}
}

// Whole associations, from idle to idle.
func TestConversations(t *testing.T) {
	for name, test := range map[string]struct {
		requestor bool
		events    []Event
		want      string
	}{
		"acceptor, one message, released":           {false, []Event{Evt5, Evt6, Evt7, Evt10, Evt9, Evt12, Evt14, Evt17}, "AE-5 AE-6 AE-7 DT-2 DT-1 AR-2 AR-4 AR-5"},
		"acceptor, request not acceptable":          {false, []Event{Evt5, Evt6, Evt8, Evt17}, "AE-5 AE-6 AE-8 AR-5"},
		"acceptor, silence":                         {false, []Event{Evt5, Evt18}, "AE-5 AA-2"},
		"acceptor, garbage, peer never closes":      {false, []Event{Evt5, Evt19, Evt10, Evt18}, "AE-5 AA-1 AA-6 AA-2"},
		"acceptor, release collision":               {false, []Event{Evt5, Evt6, Evt7, Evt11, Evt12, Evt13, Evt14, Evt17}, "AE-5 AE-6 AE-7 AR-1 AR-8 AR-10 AR-4 AR-5"},
		"requestor, one message, released":          {true, []Event{Evt1, Evt2, Evt3, Evt9, Evt10, Evt11, Evt13}, "AE-1 AE-2 AE-3 DT-1 DT-2 AR-1 AR-3"},
		"requestor, rejected":                       {true, []Event{Evt1, Evt2, Evt4}, "AE-1 AE-2 AE-4"},
		"requestor, connection refused":             {true, []Event{Evt1, Evt17}, "AE-1 AA-4"},
		"requestor, data that crosses its release":  {true, []Event{Evt1, Evt2, Evt3, Evt11, Evt10, Evt13}, "AE-1 AE-2 AE-3 AR-1 AR-6 AR-3"},
		"requestor, release collision":              {true, []Event{Evt1, Evt2, Evt3, Evt11, Evt12, Evt14, Evt13}, "AE-1 AE-2 AE-3 AR-1 AR-8 AR-9 AR-3"},
		"requestor, aborted in a release collision": {true, []Event{Evt1, Evt2, Evt3, Evt11, Evt12, Evt16}, "AE-1 AE-2 AE-3 AR-1 AR-8 AA-3"},
	} {
		m := Machine{Requestor: test.requestor}
		var got []string
		for _, e := range test.events {
			a, empty := try(&m, e)
			if empty {
				t.Fatalf("%s: %v can't happen in %v", name, e, m.State())
			}
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != test.want || m.State() != Sta1 {
			t.Errorf("%s: %v, in %v at the end; want %s", name, got, m.State(), test.want)
		}
	}
}

// The panic names the cell, in the standard's words: it is a bug report.
func TestEmptyCellIsNamed(t *testing.T) {
	defer func() {
		if got := recover(); got != "ul: Evt9 can't happen in Sta1" {
			t.Errorf("%v", got)
		}
	}()
	new(Machine).Do(Evt9)
}

func TestNoAllocation(t *testing.T) {
	m := Machine{state: Sta6}
	if n := testing.AllocsPerRun(100, func() { m.Do(Evt10) }); n != 0 {
		t.Errorf("a P-DATA-TF costs %v allocations", n)
	}
}
