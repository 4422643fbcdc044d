package nhrpd

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"cygnet/kernel/nhrpsocket"
	"cygnet/kernel/tunnel"
	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/translate"
	"cygnet/vici"
)

// Several routers may be behind one NAT address. Their SAs then have marks, which tell them apart.
// strongSwan knows such a router by its mark, and so does the engine. The kernel has only addresses
// for it: the link-layer address of its neighbours and the address of its NHRP packets are the mark
// written as an address (see xfrm.MarkedNBMA). Only this file and the packages translate and
// peername translate between the three. The daemon asks strongSwan for marks once it sees two
// routers behind one address, if the kernel can send to marked peers.

// senderOf returns the router that sent an NHRP packet. A packet with a mark is that router's only
// if its outer source is the router's address as well; otherwise a mark that the site's own
// firewall set would count. The eBPF programs apply the same rule. byPolicy reports whether the
// kernel has a policy for the packet (package policymark): it may have the SA before strongSwan's
// event about it reaches the loop.
func (l *loop) senderOf(i *iface, m *nhrpsocket.Message, byPolicy bool) peerid.ID {
	if _, linked := xfrm.LinkedNumber(m.NBMA); linked {
		return l.names.PeerAt(m.NBMA)
	}
	if !xfrm.MarkedNBMA(m.Mark).IsValid() || !m.NBMA.IsValid() || !i.config.Protected {
		return peerid.At(m.NBMA)
	}
	outer, known := i.marked[m.Mark]
	if known && outer == m.NBMA || !known && byPolicy {
		return peerid.Marked(m.Mark)
	}
	return peerid.At(m.NBMA)
}

// setMarked records the engine's changes of marked peers, and tells the kernel their outer
// addresses, all of an interface at once. carryOut calls it first, because neighbours and packets
// may use the marks right after.
func (l *loop) setMarked() {
	if len(l.out.Marked) == 0 {
		return
	}
	changed := make(map[*iface]map[uint32]netip.Addr)
	gone := make(map[*iface][]xfrm.MarkGuard)
	for _, c := range l.out.Marked {
		i := l.iface(c.Interface)
		before := i.marked[c.Mark]
		if before.IsValid() && before != c.Outer && i.state.Local.Is4() {
			gone[i] = append(gone[i],
				xfrm.MarkGuard{Local: i.state.Local, Outer: before, Mark: c.Mark})
		}
		if c.Delete {
			delete(i.marked, c.Mark)
		} else {
			i.marked[c.Mark] = c.Outer
		}
		if changed[i] == nil {
			changed[i] = make(map[uint32]netip.Addr)
		}
		changed[i][c.Mark] = c.Outer
	}
	for i, marked := range changed {
		i.setMarked(marked)
		for mark := range marked {
			i.receiverMoved(mark)
		}
	}
	for i, guards := range gone {
		l.unguard(i, guards...)
	}
}

// setMarked tells the kernel the outer address of each marked peer; an invalid address removes the
// peer.
func (i *iface) setMarked(marked map[uint32]netip.Addr) {
	path := i.path()
	if len(marked) == 0 || path == nil {
		return
	}
	outer := make(map[netip.Addr]netip.Addr, len(marked))
	var guards []xfrm.MarkGuard
	for mark, address := range marked {
		outer[xfrm.MarkedNBMA(mark)] = address
		if address.IsValid() && i.state.Local.Is4() {
			guards = append(guards,
				xfrm.MarkGuard{Local: i.state.Local, Outer: address, Mark: mark})
		}
	}
	if i.config.Protected && len(guards) > 0 {
		if err := i.runner.platform.SetMarkGuards(guards); err != nil {
			i.log.Warn("packets for peers behind one NAT address may reach another peer there "+
				"while an SA ends", "error", err)
		}
	}
	if err := path.SetMarked(outer); err != nil {
		i.log.Warn("peers behind one NAT address cannot be reached", "error", err)
		i.marksFault = err.Error()
	}
}

// unguard removes mark guards, except those of peers that an open interface knows.
func (l *loop) unguard(i *iface, guards ...xfrm.MarkGuard) {
	guards = slices.DeleteFunc(guards, func(g xfrm.MarkGuard) bool {
		for other := range l.opened() {
			if other.state.Local == g.Local && other.marked[g.Mark] == g.Outer {
				return true
			}
		}
		return false
	})
	if i.runner == nil || len(guards) == 0 {
		return
	}
	if err := i.runner.platform.RemoveMarkGuards(guards); err != nil {
		i.log.Warn("policies of peers that have gone stay in the kernel", "error", err)
	}
}

// unguardStale removes the mark guards that an earlier run left behind at a local address.
func (r *runner) unguardStale(ctx context.Context, local netip.Addr) {
	if !r.config.Protected || !local.Is4() {
		return
	}
	stale, err := r.platform.StaleMarkGuards(local)
	if err != nil {
		r.log.Warn("cannot look for policies of peers that have gone", "error", err)
		return
	}
	if len(stale) > 0 {
		// The call fails only if the context has ended. The next run looks again.
		_ = r.loop.call(ctx, func(time.Time) { r.loop.unguard(r.iface, stale...) })
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
	if l.canSeparate(i) {
		i.unannounced = append(i.unannounced, *peer)
		peer.SharedWith = nil
	}
	i.runner.askMarks()
}

// canSeparate reports whether, as far as is known, every interface that shares the SAs can give
// packets marks.
func (l *loop) canSeparate(i *iface) bool {
	for _, name := range append(l.groups.With(i.name), i.name) {
		if m := l.interfaces[name]; m != nil && (m.path() == nil || m.marksFault != "") {
			return false
		}
	}
	return true
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
		l.engine.Handle(now, engine.PeerSecured{Peer: translate.EnginePeer(peer)}, &l.out)
	}
	if len(l.groups.With(i.name)) > 0 { // the others have to learn of those routers, too
		l.strongswan.Report(l.groups.Of(i.name))
	}
}
