package engine

import (
	"slices"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
)

// Mismatches returns what does not fit between this router and others, ordered by interface, kind
// and address. Silent NHSs are in the order of the configuration.
func (e *Engine) Mismatches(now time.Time) []report.Mismatch {
	var list []report.Mismatch
	for _, ifc := range e.interfaces() {
		if ifc.Left {
			continue
		}
		for _, n := range ifc.client.NHS {
			if m, silent := n.Silence(); silent {
				list = append(list, ifc.mismatch(m))
			}
		}
		first := len(list)
		for _, p := range ifc.peers.ByID {
			if ifc.unheard(now, p) {
				list = append(
					list,
					ifc.mismatch(report.Mismatch{Kind: report.MismatchUnheard, Peer: p.ID,
						Identity: p.IKE.Identity, Since: p.Since}),
				)
			}
		}
		for _, m := range ifc.mismatches.List(now) {
			list = append(list, ifc.mismatch(m))
		}
		slices.SortFunc(list[first:], func(a, b report.Mismatch) int {
			if a.Kind != b.Kind {
				return int(a.Kind) - int(b.Kind)
			}
			return a.Peer.Compare(b.Peer)
		})
	}
	return list
}

// mismatch returns m with the fields that the interface and the peer fill.
func (ifc *iface) mismatch(m report.Mismatch) report.Mismatch {
	m.Interface, m.Outer = ifc.Config.Name, ifc.peers.Outer(m.Peer)
	m.Secured = ifc.peers.Secured(m.Peer)
	if p := ifc.peers.ByID[m.Peer]; p != nil {
		m.Received, m.Sent, m.Heard = p.Received, p.Sent, p.In
		for q := range ifc.peers.Elsewhere(p) { // the counters of the SA have their packets too
			m.Received, m.Sent = m.Received+q.Received, m.Sent+q.Sent
			m.Heard = overlay.Later(m.Heard, q.In)
		}
	}
	return m
}

// unheard reports whether a peer has made an SA with us and not registered. A router that makes an
// SA with a server is usually about to register. Where several interfaces share the SA, the router
// may have made it for another one. A router that is registered over the other IP version may keep
// the SA to see whether that way is there.
func (ifc *iface) unheard(now time.Time, p *peers.Peer) bool {
	for q := range ifc.peers.Elsewhere(p) {
		if len(q.Refs) > 0 || q.Received > 0 {
			return false
		}
	}
	return ifc.Config.Protected && ifc.Config.Server &&
		p.Secured && !p.IKE.Initiator && len(p.Refs) == 0 &&
		now.Sub(p.Since) >= unheardAfter && !ifc.peers.ObjectTo(p.ID).Raised() &&
		!ifc.server.RegisteredByOtherVersion(p)
}

// unheardAfter is how long a router may take to register once its SA is up.
const unheardAfter = 5 * time.Second
