package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// Routers behind one NAT address have SAs with marks, and in the place of that address a name each, which is the mark: see
// xfrm.MarkedNBMA. strongSwan is asked for marks once two such routers are seen and the kernel can lead to them.

// nbmaOf is the NBMA address, or the name, by which the engine and the kernel know a peer of strongSwan's.
func nbmaOf(k vici.Key) netip.Addr {
	if k.Mark != 0 {
		return xfrm.MarkedNBMA(k.Mark)
	}
	return k.NBMA
}

// saKey is the inverse of nbmaOf.
func saKey(k engine.PeerKey) vici.Key {
	if mark, ok := xfrm.MarkOf(k.NBMA); ok {
		return vici.Key{Interface: k.Interface, Mark: mark}
	}
	return vici.Key{Interface: k.Interface, NBMA: k.NBMA}
}

// lead has the kernel lead to the peers that have names, before neighbours and packets use those.
func (l *loop) lead() {
	for _, c := range l.out.Marked {
		names := l.names[c.Interface]
		if names == nil {
			names = make(map[netip.Addr]netip.Addr)
			l.names[c.Interface] = names
		}
		if c.Delete {
			delete(names, c.NBMA)
		} else {
			names[c.NBMA] = c.Real
		}
		if p := l.ports[c.Interface]; p != nil {
			p.lead(map[netip.Addr]netip.Addr{c.NBMA: c.Real})
		}
	}
}

// lead tells the kernel where peers with names are; the zero address: nowhere. It runs on the loop.
func (p *port) lead(names map[netip.Addr]netip.Addr) {
	if len(names) == 0 || p.line == nil || p.line.path == nil {
		return
	}
	if err := p.line.path.SetMarked(names); err != nil {
		p.log.Warn("peers behind one NAT address cannot be reached", "error", err)
		p.marksFault = err.Error()
	}
}

// sharing asks for marks where several routers turn out to share an address. Until that is decided, the engine does not hear of the others.
func (l *loop) sharing(peer *vici.Peer) {
	p := l.ports[peer.Interface]
	if p == nil || len(peer.SharedWith) == 0 || peer.Separating || peer.Inseparable {
		return
	}
	if p.line != nil && p.line.path != nil && p.marksFault == "" {
		p.undecided = append(p.undecided, *peer)
		peer.SharedWith = nil
	}
	p.askMarks()
}

// askMarks has keepLine see to it that packets can be given marks; asked again before it did, it sees once.
func (p *port) askMarks() {
	select {
	case p.marksAsked <- struct{}{}:
	default:
	}
}

// canMark says whether packets can be given marks. Until somebody needs that, nothing is prepared for it, but where marks are in use from
// before a restart. While the tunnel is not there it stays as it was.
func (p *port) canMark(ctx context.Context, st kernel.TunnelState, current *line, needed bool) bool {
	switch {
	case !p.config.Protected:
		return false
	case current == nil || !st.Local.IsValid():
		return needed
	case current.path == nil:
		return false
	}
	if !needed {
		marked, err := p.platform.MarkedPeers(st.Local)
		if err != nil || len(marked) == 0 {
			return false
		}
	}
	err := current.path.EnableMarks()
	if err != nil {
		p.log.Warn("of several routers behind one NAT address only one can be reached", "error", err)
	}
	// The context's end is the only error, and then nobody asks for what was decided.
	_ = p.loop.call(ctx, func(now time.Time) { p.marksDecided(now, err) })
	return err == nil
}

// marksDecided notes whether packets can be given marks. Who shares an address stays as he is if they cannot. It runs on the loop.
func (p *port) marksDecided(now time.Time, err error) {
	undecided := p.undecided
	p.undecided, p.marksFault = nil, ""
	if err == nil {
		return
	}
	p.marksFault = err.Error()
	for _, peer := range undecided {
		p.loop.engine.Handle(now, engine.PeerSecured{Peer: enginePeer(peer)}, &p.loop.out)
	}
}
