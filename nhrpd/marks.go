package nhrpd

import (
	"context"
	"net/netip"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/vici"
)

// Several routers may be behind one NAT address. Their SAs then have marks, which tell them apart.
// In the place of the shared NBMA address, the engine and the kernel know each such router by its
// mark, written as an address (see xfrm.MarkedNBMA): a marked NBMA address. The daemon asks
// strongSwan for marks once it sees two routers behind one address, if the kernel can send to
// marked peers.

// nbmaOf returns the NBMA address, plain or marked, by which the engine and the kernel know a peer
// of strongSwan's.
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

// senderOf returns by which NBMA address, plain or marked, the engine knows the router that sent an
// NHRP packet. A packet with a mark is that router's only if its outer source is the router's
// address as well; otherwise a mark that the site's own firewall set would count. The eBPF programs
// apply the same rule.
func (i *iface) senderOf(now time.Time, m *nhrpsocket.Message) netip.Addr {
	marked := xfrm.MarkedNBMA(m.Mark)
	if !marked.IsValid() || !m.NBMA.IsValid() || !i.config.Protected {
		return m.NBMA
	}
	outer, known := i.marked[marked]
	if known && outer == m.NBMA {
		return marked
	}
	// The kernel may have the SA before strongSwan's event about it reaches the loop.
	if !known && i.hasPolicy(now, marked, m.NBMA) {
		return marked
	}
	return m.NBMA
}

// policyMarks is what the kernel's IPsec policies had of peers with marks when the loop last read
// them. Reading takes long where there are many policies, and a firewall may mark every packet. So
// the loop reads them again only after a pause.
type policyMarks struct {
	outer map[netip.Addr]netip.Addr // the peers' outer addresses, by marked NBMA address
	next  time.Time                 // when the loop may read again
}

// Two readings are at least readPause apart, and at least readShare times as long as the last
// reading took. Reading therefore takes about a twentieth of the loop's time at most.
const (
	readPause = time.Second
	readShare = 20
)

// hasPolicy reports whether the marked peer has an IPsec policy for that outer address.
func (i *iface) hasPolicy(now time.Time, marked, outer netip.Addr) bool {
	p := &i.policyMarks
	if p.outer[marked] == outer {
		return true
	}
	if now.Before(p.next) {
		return false
	}
	begun := time.Now()
	all, err := i.runner.platform.MarkedPeers(i.state.Local)
	if err != nil {
		all = nil
	}
	p.outer = all
	p.next = now.Add(max(readPause, readShare*time.Since(begun)))
	return all[marked] == outer
}

// setMarked records the engine's changes of marked peers, and tells the kernel their outer
// addresses. carryOut calls it first, because neighbours and packets may use the marked addresses
// right after.
func (l *loop) setMarked() {
	for _, c := range l.out.Marked {
		i := l.iface(c.Interface)
		if c.Delete {
			delete(i.marked, c.NBMA)
		} else {
			i.marked[c.NBMA] = c.Real
		}
		i.setMarked(map[netip.Addr]netip.Addr{c.NBMA: c.Real})
	}
}

// setMarked tells the kernel the outer address of each marked peer; an invalid address removes the
// peer.
func (i *iface) setMarked(outer map[netip.Addr]netip.Addr) {
	path := i.path()
	if len(outer) == 0 || path == nil {
		return
	}
	if err := path.SetMarked(outer); err != nil {
		i.log.Warn("peers behind one NAT address cannot be reached", "error", err)
		i.marksFault = err.Error()
	}
}

// separate asks for marks if strongSwan reports that other routers share the peer's address. Until
// it is decided whether marks can be had, the engine does not learn of the other routers.
func (l *loop) separate(peer *vici.Peer) {
	i := l.interfaces[peer.Interface]
	if i == nil || i.runner == nil ||
		len(peer.SharedWith) == 0 || peer.Separating || peer.Inseparable {
		return
	}
	if i.path() != nil && i.marksFault == "" {
		i.unannounced = append(i.unannounced, *peer)
		peer.SharedWith = nil
	}
	i.runner.askMarks()
}

// pathChanged has marks tried again if the kernel could not give any: the reason may be gone.
func (i *iface) pathChanged() {
	if i.marksFault != "" {
		i.runner.askMarks()
	}
}

// canMark reports whether the kernel can give packets marks, and enables marks if they are needed.
// They are needed once somebody asked for them (needed), and if peers have marks from before a
// restart. While there is no tunnel, the answer stays as it was.
func (r *runner) canMark(
	ctx context.Context, st tunnel.State, current *channel, needed bool,
) bool {
	switch {
	case !r.config.Protected:
		return false
	case current == nil || !st.Local.IsValid():
		return needed
	case current.path == nil:
		return false
	}
	if !needed {
		marked, err := r.platform.MarkedPeers(st.Local)
		if err != nil || len(marked) == 0 {
			return false
		}
	}
	err := current.path.EnableMarks()
	if err != nil {
		r.log.Warn("of several routers behind one NAT address only one can be reached",
			"error", err)
	}
	// The call fails only if the context has ended, and then nobody needs the decision.
	_ = r.loop.call(ctx, func(now time.Time) { r.loop.marksDecided(now, r.iface, err) })
	return err == nil
}

// marksDecided records whether the kernel can give packets marks. If it cannot, the engine now
// learns of the routers that share an address and have to stay so.
func (l *loop) marksDecided(now time.Time, i *iface, err error) {
	unannounced := i.unannounced
	i.unannounced, i.marksFault = nil, ""
	if err == nil {
		return
	}
	i.marksFault = err.Error()
	for _, peer := range unannounced {
		l.engine.Handle(now, engine.PeerSecured{Peer: enginePeer(peer)}, &l.out)
	}
}
