package journal

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/api"
)

var start = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

// event returns an event about a peer, so many seconds after start.
func event(kind api.EventKind, identity string, seconds int) api.Event {
	return api.Event{
		Time: start.Add(time.Duration(seconds) * time.Second), Event: kind, Interface: "gre1",
		Identity: identity,
	}
}

// numbers returns the numbers of events.
func numbers(events []api.Event) (all []uint64) {
	for i := range events {
		all = append(all, events[i].Number)
	}
	return all
}

// A peer that flaps replaces its own events and not those of others.
func TestAFlappingPeerKeepsToItsShare(t *testing.T) {
	j := New(100, 4)
	j.Add(event(api.EventPeerSecured, "spoke1", 0))
	for i := range 1000 {
		j.Add(event(api.EventPeerLost, "spoke2", i))
	}
	j.Add(event(api.EventPeerSecured, "spoke3", 1000))
	events, upTo, missing := j.After(0, 100, nil)
	want := []uint64{1, 998, 999, 1000, 1001, 1002}
	if got := numbers(events); !slices.Equal(got, want) {
		t.Errorf("the journal has %v, want %v", got, want)
	}
	if upTo != 1002 || missing != 996 {
		t.Errorf("complete up to %d, %d missing, want 1002 and 996", upTo, missing)
	}
	if j.Kept() != 6 {
		t.Errorf("%d kept, want 6", j.Kept())
	}
}

// The limit holds over all peers: the oldest events go first.
func TestTheOldestGoFirst(t *testing.T) {
	j := New(10, 4)
	for i := range 25 {
		j.Add(event(api.EventPeerSecured, fmt.Sprint("spoke", i), i))
	}
	events, _, missing := j.After(0, 100, nil)
	if got := numbers(events); len(got) != 10 || got[0] != 16 || missing != 15 {
		t.Errorf("the journal has %v, %d missing", got, missing)
	}
	if len(j.peers) != 10 {
		t.Errorf("the journal knows %d peers, want those 10 that it has events of", len(j.peers))
	}
	if n, lost := j.Since(start.Add(20 * time.Second)); n != 20 || lost {
		t.Errorf("since second 20: after %d, lost: %v, want after 20 and nothing lost", n, lost)
	}
	if n, lost := j.Since(start.Add(5 * time.Second)); n != 15 || !lost {
		t.Errorf("since second 5: after %d, lost: %v, want after 15 and something lost", n, lost)
	}
	if n, lost := j.Since(start.Add(time.Hour)); n != 25 || lost {
		t.Errorf("since later: after %d, lost: %v, want after 25", n, lost)
	}
}

// Whatever happens, a reader that goes on by number gets each event once or is told that it is
// missing, and the two lists of the journal agree.
func TestReadersMissNothingUntold(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, seed))
		j := New(1+rng.IntN(40), 1+rng.IntN(6))
		at, got, told := uint64(0), uint64(0), uint64(0)
		for i := range 2000 {
			j.Add(event(api.EventPeerLost, fmt.Sprint("spoke", rng.IntN(12)), i))
			if rng.IntN(20) > 0 {
				continue
			}
			events, upTo, missing := j.After(at, 1+rng.IntN(10), nil)
			for n, e := range events {
				if e.Number <= at || n > 0 && e.Number <= events[n-1].Number {
					t.Fatalf("seed %d: after %d came %v", seed, at, numbers(events))
				}
			}
			got, told, at = got+uint64(len(events)), told+missing, upTo
		}
		if at != got+told {
			t.Fatalf("seed %d: up to %d there were %d events and %d told as missing",
				seed, at, got, told)
		}
		kept := 0
		for _, h := range j.peers {
			kept += h.kept
		}
		if all, _, _ := j.After(0, 1000, nil); kept != j.Kept() || len(all) != kept {
			t.Fatalf("seed %d: %d kept, %d of peers, %d in the list",
				seed, j.Kept(), kept, len(all))
		}
	}
}

// Flaps are counted over the last hour, also those whose events the journal does not have.
func TestFlaps(t *testing.T) {
	j := New(100, 4)
	count := func(seconds int) int {
		now := start.Add(time.Duration(seconds) * time.Second)
		return j.Flaps("gre1", "SPOKE1", netip.Addr{}, now)
	}
	for i := range 10 {
		j.Add(event(api.EventPeerLost, "spoke1", i*60))
		j.Add(event(api.EventPeerSecured, "spoke1", i*60+1))
	}
	quiet := event(api.EventPeerLost, "spoke1", 600)
	j.CountFlap(&quiet)
	if n := count(601); n != 11 {
		t.Errorf("%d flaps, want 11", n)
	}
	if n := count(3600 + 301); n != 1 {
		t.Errorf("%d flaps an hour later, want the last one", n)
	}
	if n := count(10 * 3600); n != 0 {
		t.Errorf("%d flaps ten hours later, want none", n)
	}
	if n := count(0); n != 0 {
		t.Errorf("%d flaps after the clock went back, want none", n)
	}
}

// Texts that others choose have a bound.
func TestLongTextsAreCut(t *testing.T) {
	j := New(10, 10)
	e := event(api.EventPeerLost, strings.Repeat("é", 5000), 0)
	e.Reason = strings.Repeat("r", 5000)
	j.Add(e)
	got, _, _ := j.After(0, 1, nil)
	if n := len(got[0].Identity); n > longestText+3 {
		t.Errorf("the identity has %d bytes", n)
	}
	if n := len(got[0].Reason); n > longestText+3 {
		t.Errorf("the reason has %d bytes", n)
	}
}

// A filter by identity finds what has only the peer's address, also what came before the identity
// was known. It does not find what concerns others.
func TestFilterByIdentity(t *testing.T) {
	at := func(e api.Event, nbma string) api.Event {
		e.NBMA = netip.MustParseAddr(nbma)
		return e
	}
	events := []api.Event{
		at(event(api.EventPeerFailed, "", 0), "203.0.113.12"),
		at(event(api.EventPeerSecured, "CN=Spoke2", 1), "203.0.113.12"),
		at(event(api.EventPeerSecured, "CN=spoke3", 2), "203.0.113.13"),
		at(event(api.EventPeerFailed, "", 3), "203.0.113.13"),
		event(api.EventReloaded, "", 4),
	}
	f := NewFilter("spoke2")
	for i := range events {
		f.Match(&events[i])
	}
	var got []int
	for i := range events {
		if f.Match(&events[i]) {
			got = append(got, i)
		}
	}
	if !slices.Equal(got, []int{0, 1}) {
		t.Errorf("the filter found %v, want the first two", got)
	}
}

// A filter by the overlay address of a client finds everything about the client, and not what
// others did about the same prefix.
func TestFilterByAddress(t *testing.T) {
	registered := event(api.EventClientRegistered, "spoke2", 0)
	registered.Protocol = netip.MustParseAddr("10.255.0.12")
	lost := event(api.EventPeerLost, "spoke2", 1)
	asked := event(api.EventRejected, "spoke1", 2)
	asked.Protocol = netip.MustParseAddr("10.255.0.12")
	asked.NextHop = netip.MustParseAddr("10.255.0.11")
	other := event(api.EventPeerLost, "spoke1", 3)
	events := []api.Event{registered, lost, asked, other}
	for filter, want := range map[string][]bool{
		"10.255.0.12":   {true, true, true, false},
		"10.255.0.0/24": {true, true, true, true},
		"10.255.0.11":   {false, false, true, true},
		"198.51.100.1":  {false, false, false, false},
	} {
		f := NewFilter(filter)
		for i := range events {
			f.Match(&events[i])
		}
		var got []bool
		for i := range events {
			got = append(got, f.Match(&events[i]))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s found %v, want %v", filter, got, want)
		}
	}
}

// Adding an event costs no more when the journal is full.
func BenchmarkAdd(b *testing.B) {
	j := New(Limit, Share)
	b.ReportAllocs()
	for i := range b.N {
		j.Add(event(api.EventPeerSecured, "spoke"+string(rune('a'+i%1000)), i))
	}
}
