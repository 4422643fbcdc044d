package mismatch

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

var (
	start   = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	router  = peerid.At(netip.MustParseAddr("192.0.2.11"))
	another = peerid.At(netip.MustParseAddr("192.0.2.12"))
)

// newTable returns a table whose time is start.
func newTable() *Table {
	ifc := &overlay.Interface{Router: overlay.NewRouter(rand.New(rand.NewPCG(1, 2)), 0)}
	mm := New(ifc)
	mm.wait(0)
	return &mm
}

// wait sets the time to start plus d.
func (mm *Table) wait(d time.Duration) { mm.Enter(start.Add(d), &output.Output{}) }

// record records a mismatch without saying more about it.
func (mm *Table) record(kind report.MismatchKind, id peerid.ID) {
	mm.Record(kind, id, netip.Addr{}, "", "")
}

// A mismatch shows the newest packet's words, and since when packets have shown it.
func TestRecord(t *testing.T) {
	mm := newTable()
	old, now := netip.MustParseAddr("10.255.0.11"), netip.MustParseAddr("10.255.0.12")
	mm.Record(report.MismatchRefused, router, old, "old", "the old reason")
	mm.wait(time.Minute)
	mm.Record(report.MismatchRefused, router, now, "spoke1", "the reason")
	want := []report.Mismatch{{Kind: report.MismatchRefused, Peer: router, Protocol: now,
		Identity: "spoke1", Reason: "the reason", Since: start}}
	if got := mm.List(mm.Now); !slices.Equal(got, want) {
		t.Errorf("the table has %+v, want %+v", got, want)
	}
}

// A mismatch is reported until Lifetime after the last packet that showed it.
func TestLifetime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		again time.Duration // when another packet shows the mismatch; 0: none does
		at    time.Duration
		want  int
	}{
		{"just before its end", 0, Lifetime - 1, 1},
		{"at its end", 0, Lifetime, 0},
		{"shown again, before the new end", Lifetime / 2, Lifetime + Lifetime/2 - 1, 1},
		{"shown again, at the new end", Lifetime / 2, Lifetime + Lifetime/2, 0},
	} {
		mm := newTable()
		mm.record(report.MismatchPassword, router)
		if tt.again > 0 {
			mm.wait(tt.again)
			mm.record(report.MismatchPassword, router)
		}
		if got := len(mm.List(start.Add(tt.at))); got != tt.want {
			t.Errorf("%s: %d mismatches, want %d", tt.name, got, tt.want)
		}
	}
}

// A packet that shows the opposite ends the mismatches of those kinds with its sender, and no
// other.
func TestClear(t *testing.T) {
	mm := newTable()
	mm.Clear(router, report.MismatchPassword) // of an empty table
	for _, id := range []peerid.ID{router, another} {
		mm.record(report.MismatchPassword, id)
		mm.record(report.MismatchRefused, id)
	}
	mm.Clear(router, report.MismatchPassword)
	var left []key
	for _, m := range mm.List(mm.Now) {
		left = append(left, key{m.Kind, m.Peer})
	}
	for k, want := range map[key]bool{
		{report.MismatchPassword, router}: false, {report.MismatchRefused, router}: true,
		{report.MismatchPassword, another}: true, {report.MismatchRefused, another}: true,
	} {
		if got := slices.Contains(left, k); got != want {
			t.Errorf("kind %d with %s is left: %v, want %v", k.kind, k.id, got, want)
		}
	}
}

// A full table takes a new mismatch only in place of one whose lifetime is over.
func TestFullTable(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Duration // when the new mismatch comes
		want bool
	}{
		{"while all are current", Lifetime - 1, false},
		{"once they are old", Lifetime, true},
	} {
		mm := newTable()
		for mark := range uint32(MaxRecords) {
			mm.record(report.MismatchRefused, peerid.Marked(mark+1))
		}
		mm.wait(tt.at)
		mm.record(report.MismatchRefused, router)
		got := slices.ContainsFunc(mm.List(mm.Now),
			func(m report.Mismatch) bool { return m.Peer == router })
		if got != tt.want {
			t.Errorf("%s: the new mismatch is recorded: %v, want %v", tt.name, got, tt.want)
		}
		if len(mm.records) > MaxRecords {
			t.Errorf("%s: %d mismatches are kept, want at most %d",
				tt.name, len(mm.records), MaxRecords)
		}
	}
}

// A full table still takes what another packet shows of a mismatch that it has.
func TestFullTableKeepsItsOwn(t *testing.T) {
	mm := newTable()
	nbma := router.Address()
	for range MaxRecords {
		mm.record(report.MismatchRefused, peerid.At(nbma))
		nbma = nbma.Next()
	}
	mm.wait(Lifetime - 1)
	mm.record(report.MismatchRefused, router)
	got := mm.List(start.Add(Lifetime))
	if len(got) != 1 || got[0].Peer != router {
		t.Errorf("%d mismatches are current, want only the one with %s", len(got), router)
	}
}
