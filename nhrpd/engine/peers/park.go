package peers

import (
	"net/netip"
	"slices"
)

// A name stands for the mark of a router's SA. A restarted strongSwan gives out the same marks
// again, to other routers. So a peer loses its name at once if strongSwan does not list the name's
// SA. Bindings and answers outlast the restart: they wait for the router under a retired name, one
// that is no SA's mark and that the kernel sends nothing for, until the router is back (reunite).

// retiredNames is the range of the retired names. All marks lie below it; see xfrm.MarkedNBMA.
var parkedIDs = netip.MustParsePrefix("0.255.0.0/16")

// retired reports whether a name is a retired one.
func Parked(name netip.Addr) bool { return parkedIDs.Contains(name) }

// Park lets the bindings and answers of a peer wait for it under a retired name. Everything else
// that depended on its SA ends: nothing can be sent to the router, and a hub has another way to it.
func (ps *Table) Park(p *Peer, heirs map[netip.Addr]*Peer) {
	for _, c := range slices.Clone(p.Refs) {
		c.Owner.MarkGone(p, heirs)
	}
	ps.Timers.Stop(&p.lost)
	ps.reviseSecurity(p)
}

// Successor returns the peer with the retired name under which the bindings and answers of p wait;
// it makes that peer once for each p. It returns nil if no retired name is free.
func (ps *Table) Successor(p *Peer, heirs map[netip.Addr]*Peer) *Peer {
	if to := heirs[p.NBMA]; to != nil {
		return to
	}
	name := ps.freeID()
	if !name.IsValid() {
		return nil
	}
	to := ps.At(name)
	to.IKE = p.IKE
	to.SeenAt(p.Outer)
	ps.awaitReturn(to, ResyncGrace)
	heirs[p.NBMA] = to
	return to
}

// freeName returns a retired name that is not in use, or the zero address if all are.
func (ps *Table) freeID() netip.Addr {
	for range 1 << 16 {
		ps.parkings++
		name := netip.AddrFrom4([4]byte{0, 255, byte(ps.parkings >> 8), byte(ps.parkings)})
		if ps.ByNBMA[name] == nil {
			return name
		}
	}
	return netip.Addr{}
}
