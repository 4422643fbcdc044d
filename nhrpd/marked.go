package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// Several routers may be behind one NAT address. Their SAs then have marks, which tell them apart.
// In the place of the shared NBMA address, the engine and the kernel know each such router by a
// name: an address that stands for the router's mark (see xfrm.MarkedNBMA). The daemon asks
// strongSwan for marks once it sees two routers behind one address, if the kernel can send to
// marked peers.

// nbmaOf returns the NBMA address or the name by which the engine and the kernel know a peer of
// strongSwan's.
func nbmaOf(k vici.Key) netip.Addr {
	if k.Mark != 0 {
		return xfrm.MarkedNBMA(k.Mark)
	}
	return k.NBMA
}

// saKey is the inverse of nbmaOf: it returns how strongSwan knows a peer of the engine's.
func saKey(k engine.PeerKey) vici.Key {
	if mark, ok := xfrm.MarkOf(k.NBMA); ok {
		return vici.Key{Interface: k.Interface, Mark: mark}
	}
	return vici.Key{Interface: k.Interface, NBMA: k.NBMA}
}

// lead tells the kernel the outer addresses of peers with names. carryOut calls it first, because
// neighbours and packets may use the names right after.
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

// lead tells the kernel the outer address of each name; an invalid address removes the name. It
// runs on the loop.
func (p *port) lead(names map[netip.Addr]netip.Addr) {
	if len(names) == 0 || p.line == nil || p.line.path == nil {
		return
	}
	if err := p.line.path.SetMarked(names); err != nil {
		p.log.Warn("peers behind one NAT address cannot be reached", "error", err)
		p.marksFault = err.Error()
	}
}

// sharing asks for marks if strongSwan reports that other routers share the peer's address. Until
// it is decided whether marks can be had, the engine does not learn of the other routers. It runs
// on the loop.
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

// askMarks has keepLine enable marks. Several calls before keepLine does so cause one try.
func (p *port) askMarks() {
	select {
	case p.marksAsked <- struct{}{}:
	default:
	}
}

// canMark reports whether the kernel can give packets marks, and enables marks if they are needed.
// They are needed once somebody asked for them (needed), and if peers have marks from before a
// restart. While there is no tunnel, the answer stays as it was.
func (p *port) canMark(
	ctx context.Context, st tunnel.State, current *line, needed bool,
) bool {
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
		p.log.Warn("of several routers behind one NAT address only one can be reached",
			"error", err)
	}
	// The call fails only if the context has ended, and then nobody needs the decision.
	_ = p.loop.call(ctx, func(now time.Time) { p.marksDecided(now, err) })
	return err == nil
}

// marksDecided records whether the kernel can give packets marks. If it cannot, the engine now
// learns of the routers that share an address and have to stay so. It runs on the loop.
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
