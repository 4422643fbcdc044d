package nhrpd

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// A watcher of an interface or of a type of messages gets no others, and one of something that does
// not exist is told so.
func TestWatcherOfAnInterfaceAndAType(t *testing.T) {
	serverWith(t, func(t *testing.T, w *world, d *Daemon) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		watch := func(q api.MonitorQuery) <-chan api.Monitored {
			t.Helper()
			packets, err := d.Monitor(ctx, q)
			if err != nil {
				t.Fatal(err)
			}
			return packets
		}
		all := watch(api.MonitorQuery{Interface: "gre1"})
		requests := watch(api.MonitorQuery{Interface: "gre1", Type: "registration-request"})
		replies := watch(api.MonitorQuery{Type: "registration-reply"})
		purges := watch(api.MonitorQuery{Type: "purge-request"})
		socket := w.socket(0)
		socket.in <- registrationOf(t, packet.CIE{PrefixLength: 32, HoldingTime: 600})
		synctest.Wait()
		if len(all) != 2 || len(requests) != 1 || len(replies) != 1 || len(purges) != 0 {
			t.Fatalf("of a request and its reply %d are of the interface, %d requests, "+
				"%d replies and %d purges", len(all), len(requests), len(replies), len(purges))
		}
		if request, reply := <-requests, <-replies; request.Out || !reply.Out {
			t.Errorf("want a request that comes and a reply that goes, have %+v and %+v",
				request, reply)
		}
		for want, q := range map[error]api.MonitorQuery{
			api.ErrNoInterface: {Interface: "gre9"},
			api.ErrRefused:     {Type: "registration"},
		} {
			if _, err := d.Monitor(ctx, q); !errors.Is(err, want) {
				t.Errorf("%+v: want the error %v, have %v", q, want, err)
			}
		}
	})
}

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
