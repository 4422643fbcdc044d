package client

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
)

// LocalAddressChanged registers with every NHS again, since the registrations name the address that
// the tunnel sends from. That address has changed, come or gone.
func (cl *Client) LocalAddressChanged() {
	for _, n := range cl.NHS {
		n.Public = netip.Addr{}
		if n.phase == selection.Trying {
			n.phaseSince = cl.Now // without an address nothing could come of it
		}
	}
	if cl.Left {
		return
	}
	cl.findNHSs()
	for _, n := range cl.NHS {
		cl.RegisterAnew(n)
	}
}

// TunnelReplaced ends our registrations, since no reply can come before there is another tunnel and
// the NHS has one that fits. RegisterNow registers over that tunnel.
func (cl *Client) TunnelReplaced() {
	for _, n := range cl.NHS {
		if !n.Wanted() || !n.any(func(r *Registration) bool { return r.Registered }) {
			continue
		}
		for _, r := range n.Registrations {
			r.lose("this router's tunnel is another one since a reload, and the NHS has not answered over it yet")
		}
		cl.Parts.MoveRelaysFrom(n.ID())
		n.lost()
	}
}

// ReviewDenied registers with the NHSs that the rules denied before and allow now.
func (cl *Client) ReviewDenied() {
	for r := range cl.registrations() {
		if r.denied && !cl.objectToNHS(r).Raised() {
			r.registerAnew()
		}
	}
}

// ReviewOverlay forgets the learned addresses of NHSs that lie outside the overlay, after the
// overlay's range has changed.
func (cl *Client) ReviewOverlay() {
	for r := range cl.registrations() {
		if !r.configured().IsValid() && r.Protocol.IsValid() && !cl.ClientAddress(r.Protocol) {
			cl.Neighbors.Withdraw(&r.neighbor)
			r.Protocol = netip.Addr{}
			r.registerAnew()
		}
	}
}

// RestoreNHS uses an NHS at once that was registered with before a restart, so that neither a host
// name which cannot be resolved nor a better NHS that does not answer keeps this router from it.
// The neighbour of the NHS is wanted at once.
func (cl *Client) RestoreNHS(saved *report.SavedNHS) {
	if !cl.Names.configured(saved.Name) || !overlay.UsableNBMA(saved.NBMA) {
		return
	}
	if addrs := cl.Names.resolved[saved.Name]; !slices.Contains(addrs, saved.NBMA) {
		cl.Names.resolved[saved.Name] = append(addrs, saved.NBMA)
	}
	cl.findNHSs()
	for _, n := range cl.NHS {
		if n.Config.Name != saved.Name || n.NBMA != saved.NBMA || n.Usable() {
			continue
		}
		if !n.Wanted() {
			n.try()
		}
		n.role, n.phase, n.phaseSince = selection.Use, selection.Lost, cl.Now
		for _, r := range n.Registrations {
			r.restore(saved.Protocol)
		}
	}
}

// restore wants the neighbour of an NHS by its overlay address of before a restart. It does nothing
// if that address is of the other family.
func (r *Registration) restore(protocol netip.Addr) {
	if protocol.IsValid() && protocol.Is4() != r.own.Is4() {
		return
	}
	if !r.Protocol.IsValid() && r.cl.ClientAddress(protocol) {
		r.Protocol = protocol
	}
	if r.Protocol.IsValid() {
		r.cl.Neighbors.Want(&r.neighbor, neighbors.RankNHS, r.Protocol, r.ID())
	}
}

// WithdrawUnsecured withdraws the neighbours of NHSs that are not secured. Restored neighbours stay
// without an SA until this is called.
func (cl *Client) WithdrawUnsecured() {
	for _, n := range cl.NHS {
		if !n.Wanted() || !cl.Peers.Secured(n.ID()) {
			n.withdraw()
		}
	}
}

// Silence reports whether an NHS that could answer leaves a registration unanswered, and answers
// none of the other family. The mismatch that it returns lacks what the interface and the peer
// tell.
func (n *NHS) Silence() (m report.Mismatch, silent bool) {
	if !n.NBMA.IsValid() || !n.cl.LocalFor(n.NBMA).IsValid() || !n.cl.Peers.Secured(n.ID()) ||
		n.any(func(r *Registration) bool { return r.attempts == 0 || r.refused }) {
		return report.Mismatch{}, false
	}
	r := n.Registrations[0]
	m = report.Mismatch{Kind: report.MismatchSilent, Peer: n.ID(), Name: n.Config.Name,
		Protocol: r.Protocol, Attempts: r.attempts}
	if r.err != SilentNHS {
		m.Reason = r.err
	}
	return m, true
}
