package nhrpd

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
)

// Who watches and is too slow loses packets and is told how many. A watcher of one peer gets the
// packets of that peer alone.
func TestSlowWatcherIsToldWhatItLost(t *testing.T) {
	e := engine.New(rand.New(rand.NewPCG(1, 2)), 1)
	l := newLoop(slog.New(slog.DiscardHandler), e, nil, nil)
	slow := &watcher{packets: make(chan api.Monitored, watchQueue)}
	one := &watcher{packets: make(chan api.Monitored, watchQueue),
		peer: "192.0.2.12", address: netip.MustParseAddr("192.0.2.12")}
	l.watchers = []*watcher{slow, one}
	i := l.iface("gre1")
	from := func(peer string) {
		l.watched(time.Now(), i, peerid.At(netip.MustParseAddr(peer)), []byte{1}, true)
	}
	const over = 5
	for range watchQueue + over {
		from("192.0.2.11")
	}
	if p := <-slow.packets; p.Lost != 0 || p.Verdict != "sent" || len(p.Data) != 1 {
		t.Errorf("the first packet is %+v", p)
	}
	from("192.0.2.12")
	var last api.Monitored
	for range watchQueue {
		last = <-slow.packets
	}
	if last.Lost != over || last.NBMA != netip.MustParseAddr("192.0.2.12") {
		t.Errorf("want %d lost before the last packet, have %+v", over, last)
	}
	if n := len(one.packets); n != 1 {
		t.Errorf("the watcher of one peer has %d packets, want 1", n)
	}
}
