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
	"cygnet/nhrpd/packet"
)

const (
	mostWatchers = 4    // at a time
	watchQueue   = 1024 // packets that wait for one of them
)

// watcher is somebody who watches the NHRP packets.
type watcher struct {
	iface   string      // empty: all interfaces
	of      packet.Type // 0: all types of messages
	peer    string      // part of an identity; empty: all peers
	address netip.Addr  // overlay or NBMA address, if peer is one
	packets chan api.Monitored
	lost    uint64 // since the last packet that found a place
}

// Monitor returns copies of the NHRP packets that come and go until the context ends; see
// api.Daemon. Nothing is copied while nobody watches.
func (d *Daemon) Monitor(
	ctx context.Context, q api.MonitorQuery,
) (<-chan api.Monitored, error) {
	w := &watcher{iface: q.Interface, peer: q.Peer,
		packets: make(chan api.Monitored, watchQueue)}
	w.address, _ = netip.ParseAddr(q.Peer)
	if q.Type != "" {
		var err error
		if w.of, err = packet.TypeNamed(q.Type); err != nil {
			return nil, fmt.Errorf("watch the NHRP packets: %w: %w", api.ErrRefused, err)
		}
	}
	unknown, full := false, false
	err := d.loop.call(ctx, func(time.Time) {
		unknown = q.Interface != "" && d.loop.interfaces[q.Interface] == nil
		full = len(d.loop.watchers) >= mostWatchers
		if !unknown && !full {
			d.loop.watchers = append(d.loop.watchers, w)
		}
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("watch the NHRP packets: %w", err)
	case unknown:
		return nil, fmt.Errorf("watch the NHRP packets of %s: %w", q.Interface,
			api.ErrNoInterface)
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
		if !w.wants(l, &m, data) {
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

// wants reports whether the watcher watches the interface and the type of a packet, and the router
// that the packet is from or to.
func (w *watcher) wants(l *loop, m *api.Monitored, data []byte) bool {
	switch {
	case w.of != 0 && w.of != packet.TypeOf(data):
		return false
	case w.iface != "" && w.iface != m.Interface:
		return false
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
