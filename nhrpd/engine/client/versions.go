package client

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/selection"
)

// standsBy reports whether we only keep an SA with an NHS: another address of its name, of the
// other IP version, is registered with.
func (n *NHS) standsBy() bool { return n.role == selection.Standby }

// standBy ends our registrations with an NHS and keeps its SA. We do not take the registrations
// back: the NHS is about to have them from the other IP version. Until then its neighbour stays,
// and we take its data.
func (n *NHS) standBy() {
	for _, r := range n.Registrations {
		err := r.err
		r.end()
		r.err = err
	}
	n.cl.Parts.MoveRelaysFrom(n.ID())
	n.phase, n.phaseSince = selection.Idle, n.cl.Now
}

// noteSecured takes note that an NHS has an SA.
func (n *NHS) noteSecured() {
	if n.ready.IsZero() {
		n.ready = n.cl.Now
	}
	if n.name != 0 {
		n.cl.chooseSoon()
	}
}

// answersSince returns since when an NHS has had an SA and has not failed. It returns the zero time
// if the NHS has no SA. For one that has registered us and waits to be used, it is when that was.
func (n *NHS) answersSince() time.Time {
	switch {
	case n.phase == selection.Connected:
		return n.phaseSince
	case n.ready.IsZero() || !n.cl.Peers.Secured(n.ID()):
		return time.Time{}
	case n.failed.After(n.ready):
		return n.failed
	}
	return n.ready
}

// VersionFails reports whether our NHSs can be reached over the other IP version than that of an
// NBMA address only, although we try an NHS over that version: our underlay may not carry it.
func (cl *Client) VersionFails(nbma netip.Addr) bool {
	tried, otherWorks := false, false
	for _, n := range cl.NHS {
		switch same := n.NBMA.Is4() == nbma.Is4(); {
		case !n.Wanted():
		case same && (n.Usable() || n.standsBy() && !n.answersSince().IsZero()):
			return false
		case same:
			tried = true
		case n.Usable():
			otherWorks = true
		}
	}
	return tried && otherWorks
}

// useOnStandby returns what the status says of an NHS that stands by.
func (n *NHS) useOnStandby() report.NHSUse {
	if n.NBMA.Is4() || n.answersSince().IsZero() {
		return report.UseProbing
	}
	return report.UseReturning
}

// byOtherVersion reports whether f holds for the registration of the same overlay address with an
// address of the NHS's name of the other IP version.
func (r *Registration) byOtherVersion(f func(*Registration) bool) bool {
	for other := range r.cl.registrations() {
		if r.otherVersion(other) && f(other) {
			return true
		}
	}
	return false
}

// otherVersion reports whether another registration is of the same overlay address, with the same
// router, over the other IP version.
func (r *Registration) otherVersion(other *Registration) bool {
	return r.name != 0 && other.name == r.name && other.NBMA.Is4() != r.NBMA.Is4() &&
		other.own == r.own && other.Protocol == r.Protocol && r.Protocol.IsValid()
}

// takeNeighborOver withdraws the neighbour that a registration over the other IP version left for
// the same router. It would come first, since it is older.
func (r *Registration) takeNeighborOver() {
	for other := range r.cl.registrations() {
		if r.otherVersion(other) {
			r.cl.Neighbors.Withdraw(&other.neighbor)
		}
	}
}

// registerWithOtherVersion registers again with what is used in the place of an NHS that still had
// a request of ours: that request may have come last, and moved our registration back.
func (n *NHS) registerWithOtherVersion() {
	for _, other := range n.cl.NHS {
		if n.name != 0 && other.name == n.name && other.NBMA.Is4() != n.NBMA.Is4() {
			n.cl.RegisterAnew(other)
		}
	}
}
