package nhrpd

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine/peerid"
)

const (
	mostWatchers = 4    // at a time
	watchQueue   = 1024 // packets that wait for one of them
)

// watcher is somebody who watches the NHRP packets.
type watcher struct {
	peer    string     // part of an identity; empty: all peers
	address netip.Addr // overlay or NBMA address, if peer is one
	packets chan api.Monitored
	lost    uint64 // since the last packet that found a place
}

// Monitor returns copies of the NHRP packets that come and go until the context ends; see
// api.Daemon. Nothing is copied while nobody watches.
func (d *Daemon) Monitor(ctx context.Context, peer string) (<-chan api.Monitored, error) {
	w := &watcher{peer: peer, packets: make(chan api.Monitored, watchQueue)}
	w.address, _ = netip.ParseAddr(peer)
	full := false
	err := d.loop.call(ctx, func(time.Time) {
		if full = len(d.loop.watchers) >= mostWatchers; !full {
			d.loop.watchers = append(d.loop.watchers, w)
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("watch the NHRP packets: %w", err)
	case full:
		return nil, fmt.Errorf("watch the NHRP packets: %w: %d watch already, and no more may",
			api.ErrRefused, mostWatchers)
	}
	context.AfterFunc(ctx, func() {
		// The loop ends with the daemon, and then nobody sends to the channel any more.
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestTurn)
		defer cancel()
		_ = d.loop.call(ending, func(time.Time) {
			d.loop.watchers = slices.DeleteFunc(d.loop.watchers,
				func(o *watcher) bool { return o == w })
			close(w.packets)
		})
	})
	return w.packets, nil
}

// watched hands a copy of a packet from a peer, or to it (out), to those who watch. i may be nil.
func (l *loop) watched(now time.Time, i *iface, peer peerid.ID, data []byte, out bool) {
	if i == nil {
		return
	}
	outer, identity := l.engine.PeerOf(i.name, peer)
	m := api.Monitored{At: now, Interface: i.name, Out: out, NBMA: outer, Identity: identity,
		Verdict: "sent"}
	m.Mark, _ = peer.Mark()
	if !out {
		m.Verdict = l.engine.Made()
	}
	for _, a := range i.state.Addresses() {
		if a.Is4() == outer.Is4() {
			m.Local = a
		}
	}
	for _, w := range l.watchers {
		if !w.wants(l, &m) {
			continue
		}
		if m.Data == nil {
			m.Data = l.engine.WithoutPassword(i.name, data)
		}
		m.Lost = w.lost
		select {
		case w.packets <- m:
			w.lost = 0
		default:
			w.lost++
		}
	}
}

// wants reports whether the watcher watches the router that a packet is from or to.
func (w *watcher) wants(l *loop, m *api.Monitored) bool {
	switch {
	case w.peer == "":
		return true
	case !w.address.IsValid():
		return strings.Contains(m.Identity, w.peer)
	case w.address == m.NBMA:
		return true
	}
	router, ok := l.engine.FindRouter(w.address)
	return ok && router.Interface == m.Interface && router.Outer == m.NBMA
}
