package client

import (
	"net/netip"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
)

// LocalAddressChanged registers with every NHS again, since the registrations name the address that
// the tunnel sends from. That address has changed, come or gone.
func (cl *Client) LocalAddressChanged() {
	for _, n := range cl.NHS {
		n.Public = netip.Addr{}
		before := n.NBMA
		if !cl.Left {
			cl.useResolved(n)
		}
		if n.NBMA == before {
			cl.RegisterAnew(n)
		}
	}
}

// ReviewDenied registers with the NHSs that the rules denied before and allow now.
func (cl *Client) ReviewDenied() {
	for _, n := range cl.NHS {
		if n.denied && !cl.objectToNHS(n).Raised() {
			cl.RegisterAnew(n)
		}
	}
}

// ReviewOverlay forgets the learned addresses of NHSs that lie outside the overlay, after the
// overlay's range has changed.
func (cl *Client) ReviewOverlay() {
	for _, n := range cl.NHS {
		if !n.Config.Protocol.IsValid() && n.Protocol.IsValid() && !cl.ClientAddress(n.Protocol) {
			cl.Neighbors.Withdraw(&n.neighbor)
			n.Protocol = n.Config.Protocol
			cl.RegisterAnew(n)
		}
	}
}

// RestoreNHS uses the addresses of an NHS that were saved before a restart, so that a host name
// which cannot be resolved does not keep this router from its NHS. The neighbour of the NHS is
// wanted at once.
func (cl *Client) RestoreNHS(saved *report.SavedNHS) {
	for _, n := range cl.NHS {
		if n.Config.Name != saved.Name || n.NBMA.IsValid() || !overlay.UsableNBMA(saved.NBMA) {
			continue
		}
		n.Addrs = []netip.Addr{saved.NBMA}
		cl.useResolved(n)
		if !n.Protocol.IsValid() && cl.ClientAddress(saved.Protocol) {
			n.Protocol = saved.Protocol
		}
		if n.Protocol.IsValid() {
			cl.Neighbors.Want(&n.neighbor, neighbors.RankNHS, n.Protocol, n.NBMA)
		}
	}
}

// WithdrawUnsecured withdraws the neighbours of NHSs that are not secured. Restored neighbours stay
// without an SA until this is called.
func (cl *Client) WithdrawUnsecured() {
	for _, n := range cl.NHS {
		if !n.NBMA.IsValid() || !cl.Peers.Secured(n.NBMA) {
			cl.Neighbors.Withdraw(&n.neighbor)
		}
	}
}

// Silence reports whether an NHS that could answer leaves our registrations unanswered. The
// mismatch that it returns lacks what the interface and the peer tell.
func (n *NHS) Silence() (m report.Mismatch, silent bool) {
	if n.attempts == 0 || n.refused ||
		!n.NBMA.IsValid() || !n.cl.Local.IsValid() || !n.cl.Peers.Secured(n.NBMA) {
		return report.Mismatch{}, false
	}
	m = report.Mismatch{Kind: report.MismatchSilent, NBMA: n.NBMA, Name: n.Config.Name,
		Protocol: n.Protocol, Attempts: n.attempts}
	if n.err != SilentNHS {
		m.Reason = n.err
	}
	return m, true
}
