package ul

import (
	"strconv"
	"strings"
	"testing"
)

// nextStates is the "next state" column of PS3.8 tables 9-6 to 9-9.
var nextStates = map[string]State{
	"AE-1": Sta4, "AE-2": Sta5, "AE-3": Sta6, "AE-4": Sta1, "AE-5": Sta2, "AE-6": Sta3, "AE-7": Sta6, "AE-8": Sta13,
	"DT-1": Sta6, "DT-2": Sta6,
	"AR-1": Sta7, "AR-2": Sta8, "AR-3": Sta1, "AR-4": Sta13, "AR-5": Sta1, "AR-6": Sta7, "AR-7": Sta8, "AR-9": Sta11, "AR-10": Sta12,
	"AA-1": Sta13, "AA-2": Sta1, "AA-3": Sta1, "AA-4": Sta1, "AA-5": Sta1, "AA-6": Sta13, "AA-7": Sta13, "AA-8": Sta13,
}

// Every cell of table 9-10, on both sides of an association.
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
			for _, requestor := range []bool{false, true} {
				m := Machine{Requestor: requestor, state: s}
				effect, err := m.Do(Event(n))
				if want == "" {
					if err == nil || m.State() != s {
						t.Errorf("Evt%d in %v: %v, now %v; the cell is empty", n, s, effect.Action, m.State())
					}
					continue
				}
				filled++
				next, ok := nextStates[want]
				if want == "AR-8" {
					next, ok = Sta10, true
					if requestor {
						next = Sta9
					}
				}
				if !ok || err != nil || effect.Action.String() != want || effect.Next != next || m.State() != next {
					t.Errorf("Evt%d in %v: %v to %v, %v; want %v to %v", n, s, effect.Action, m.State(), err, want, next)
				}
			}
		}
	}
	if cells != 13*19 || filled != 2*130 {
		t.Errorf("%d cells, %d filled on both sides", cells, filled)
	}
}

// What each action sends, says, times and closes, from PS3.8 tables 9-6 to 9-9.
func TestEffects(t *testing.T) {
	for a := AE1; a <= AA8; a++ {
		e := effects[a]
		sends := e.Send != SendNothing
		name := a.String()
		switch name {
		case "AE-2", "AE-7", "AE-8", "DT-1", "AR-1", "AR-4", "AR-7", "AR-9", "AA-1", "AA-7", "AA-8":
			if !sends {
				t.Errorf("%s sends nothing", name)
			}
		default:
			if sends {
				t.Errorf("%s sends %v", name, e.Send)
			}
		}
		timer := ARTIMUnchanged
		switch name {
		case "AE-5", "AE-8", "AR-4", "AA-1", "AA-8":
			timer = ARTIMStart
		case "AE-6", "AR-5", "AA-2", "AA-5":
			timer = ARTIMStop
		}
		if e.ARTIM != timer {
			t.Errorf("%s does %v with the timer, want %v", name, e.ARTIM, timer)
		}
		closes := name == "AE-4" || name == "AR-3" || name == "AA-2" || name == "AA-3"
		if (e.Transport == TransportClose) != closes {
			t.Errorf("%s closes the transport: %v", name, !closes)
		}
		// Whoever waits in Sta13 has the timer to end the wait.
		if e.Next == Sta13 && e.ARTIM != ARTIMStart && name != "AA-6" && name != "AA-7" {
			t.Errorf("%s leads to Sta13 without the timer", name)
		}
	}
}

func TestConversations(t *testing.T) {
	for name, test := range map[string]struct {
		requestor bool
		events    []Event
		want      string
	}{
		"acceptor, one message, released":      {false, []Event{Evt5, Evt6, Evt7, Evt10, Evt9, Evt12, Evt14, Evt17}, "AE-5 AE-6 AE-7 DT-2 DT-1 AR-2 AR-4 AR-5"},
		"requestor, one message, released":     {true, []Event{Evt1, Evt2, Evt3, Evt9, Evt10, Evt11, Evt13}, "AE-1 AE-2 AE-3 DT-1 DT-2 AR-1 AR-3"},
		"requestor, rejected":                  {true, []Event{Evt1, Evt2, Evt4}, "AE-1 AE-2 AE-4"},
		"acceptor, silence":                    {false, []Event{Evt5, Evt18}, "AE-5 AA-2"},
		"acceptor, garbage, peer never closes": {false, []Event{Evt5, Evt19, Evt10, Evt18}, "AE-5 AA-1 AA-6 AA-2"},
		"requestor, release collision":         {true, []Event{Evt1, Evt2, Evt3, Evt11, Evt12, Evt14, Evt13}, "AE-1 AE-2 AE-3 AR-1 AR-8 AR-9 AR-3"},
		"acceptor, release collision":          {false, []Event{Evt5, Evt6, Evt7, Evt11, Evt12, Evt13, Evt14, Evt17}, "AE-5 AE-6 AE-7 AR-1 AR-8 AR-10 AR-4 AR-5"},
	} {
		m := Machine{Requestor: test.requestor}
		var got []string
		for _, e := range test.events {
			effect, err := m.Do(e)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			got = append(got, effect.Action.String())
		}
		if strings.Join(got, " ") != test.want || m.State() != Sta1 {
			t.Errorf("%s: %v, in %v at the end; want %s", name, got, m.State(), test.want)
		}
	}
}

func TestRefuse(t *testing.T) {
	var m Machine
	if _, err := m.Refuse(); err == nil {
		t.Error("refused without a request")
	}
	m.Do(Evt5)
	if e, err := m.Refuse(); err != nil || e.Send != SendAssociateRJ || e.ARTIM != ARTIMStart || m.State() != Sta13 {
		t.Errorf("%+v, %v, %v", e, err, m.State())
	}
}

func TestNoAllocation(t *testing.T) {
	m := Machine{state: Sta6}
	if n := testing.AllocsPerRun(100, func() { m.Do(Evt10) }); n != 0 {
		t.Errorf("a P-DATA-TF costs %v allocations", n)
	}
}
