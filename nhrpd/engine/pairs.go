package engine

import (
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// Pairs returns what an interface remembers of the questions of other routers for direct paths, and
// of the indications that it sent them, the oldest first.
func (e *Engine) Pairs(ifname string) []report.PairStatus {
	ifc := e.ifaces[ifname]
	if ifc == nil {
		return nil
	}
	all := make([]report.PairStatus, 0, ifc.Requester.Questions.Others.Len())
	ifc.Requester.Questions.Others.Each(func(by peerid.ID, dest netip.Addr, q *report.Question) {
		if q.Indicated.IsZero() && q.Asked.IsZero() {
			return // this router answered itself: no packet came through
		}
		p := report.PairStatus{
			By: by, Outer: ifc.peers.Outer(by), Identity: ifc.peers.Identity(by),
			Dest: dest, Question: *q,
		}
		if way, fault := ifc.neighbors.PathTo(dest); fault == neighbors.PathOK {
			p.NextHop = way.NextHop
		}
		all = append(all, p)
	})
	ifc.addSources(all)
	return all
}

// addSources adds to each pair an overlay address that its router registered here, of the
// destination's family: the lowest, if there are several.
func (ifc *iface) addSources(pairs []report.PairStatus) {
	type place struct {
		id   peerid.ID
		four bool
	}
	found := make(map[place]netip.Addr, len(pairs))
	for i := range pairs {
		found[place{pairs[i].By, pairs[i].Dest.Is4()}] = netip.Addr{}
	}
	for protocol, b := range ifc.server.Bindings {
		at := place{b.Peer, protocol.Is4()}
		if known, wanted := found[at]; wanted && (!known.IsValid() || protocol.Less(known)) {
			found[at] = protocol
		}
	}
	for i := range pairs {
		pairs[i].Source = found[place{pairs[i].By, pairs[i].Dest.Is4()}]
	}
}
