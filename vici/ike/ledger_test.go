package ike

import (
	"net/netip"
	"testing"
	"time"
)

// What SAs carried is added up over rekeyings, ends of SAs and restarts of charon. The sums never
// become smaller, and nothing is counted twice.
func TestLedger(t *testing.T) {
	start := time.Unix(1000, 0)
	l := NewLedger(start)
	k := Key{Interface: "gre1", NBMA: netip.MustParseAddr("192.0.2.1")}
	sas := map[uint32]*SA{}
	child := func(spi uint32, installed time.Time, bytes uint64) Child {
		return Child{SPIIn: spi, SPIOut: spi + 1, Installed: installed, BytesIn: bytes,
			BytesOut: 2 * bytes, PacketsIn: bytes / 100, PacketsOut: bytes / 50}
	}
	later := start.Add(time.Minute)
	for _, step := range []struct {
		what  string
		child Child
		want  uint64
	}{
		{"an SA of before the start", child(10, start.Add(-time.Hour), 5000), 0},
		{"it carries more", child(10, start.Add(-time.Hour), 5300), 300},
		{"an old count comes late", child(10, start.Add(-time.Hour), 5100), 300},
		{"and a new one", child(10, start.Add(-time.Hour), 5400), 400},
		{"it is rekeyed", child(20, later, 0), 400},
		{"the new child carries", child(20, later, 700), 1100},
		{"charon is restarted, and there is another SA", child(30, later, 100), 1200},
		{"the old one is listed once more", child(20, later, 700), 1200},
		{"a child of unknown age", child(40, time.Time{}, 50), 1250},
	} {
		l.Count(k, []Child{step.child})
		interfaces, peers := l.Read()
		want := Traffic{step.want, 2 * step.want, step.want / 100, step.want / 50}
		if step.want%100 != 0 {
			want.PacketsIn, want.PacketsOut = interfaces["gre1"].PacketsIn, peers[k].PacketsOut
		}
		if interfaces["gre1"] != want || peers[k] != want {
			t.Errorf("%s: want %+v, have %+v and %+v", step.what, want, interfaces, peers)
		}
		sas[1] = &SA{Interface: "gre1", RemoteHost: k.NBMA, Children: []Child{step.child}}
	}
	sas[2] = &SA{Interface: "gre1", RemoteHost: k.NBMA, Children: []Child{{SPIIn: 20, SPIOut: 21}}}
	l.Forget(sas)
	if len(l.seen) != 2 {
		t.Errorf("of children of the past it remembers %v", l.seen)
	}
	l.Count(k, []Child{child(20, later, 700)})
	if _, peers := l.Read(); peers[k].BytesIn != 1250 {
		t.Errorf("counted twice: %+v", peers[k])
	}
}

// The number of peers that are remembered is bounded. The sums of the interface have them all.
func TestLedgerIsBounded(t *testing.T) {
	l := NewLedger(time.Unix(1000, 0))
	nbma := netip.MustParseAddr("10.0.0.1")
	here := Key{Interface: "gre1", NBMA: nbma}
	for n := range 3 * mostPeers {
		k := Key{Interface: "gre1", NBMA: nbma}
		l.Count(k, []Child{{SPIIn: uint32(n), BytesIn: 1}})
		nbma = nbma.Next()
	}
	if len(l.peers) > 2*mostPeers || l.interfaces["gre1"].BytesIn != 3*mostPeers {
		t.Errorf("%d peers remembered, %+v", len(l.peers), l.interfaces)
	}
	l.Forget(map[uint32]*SA{1: {Interface: "gre1", RemoteHost: here.NBMA}})
	if _, peers := l.Read(); len(peers) != 1 || peers[here].BytesIn != 1 || len(l.seen) != 0 {
		t.Errorf("after that %d peers and %d children are remembered", len(peers), len(l.seen))
	}
}
