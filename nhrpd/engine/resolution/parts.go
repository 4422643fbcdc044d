package resolution

import (
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
)

// This file has what other parts of an interface ask of shortcuts, relays and answers, and tell
// them.

// FollowNAT moves the answers that went to a NAT address, which is another one now: whoever asked
// from behind it moved with it.
func (rs *Responder) FollowNAT(before, now netip.Addr) {
	for _, a := range ordered.ValuesIf(rs.Answers, AnswerKey.Compare,
		func(a *Answer) bool { return a.Peer == peerid.At(before) }) {
		rs.MoveAnswer(a, peerid.At(now))
	}
}

// Answered reports whether an answer went to a peer and still holds.
func (rs *Responder) Answered(id peerid.ID) bool {
	for _, a := range rs.Answers {
		if a.Peer == id && rs.unexpired(a) {
			return true
		}
	}
	return false
}

// AnyUp reports whether any shortcut is up.
func (rq *Requester) AnyUp() bool {
	for _, s := range rq.Shortcuts {
		if s.State == report.ShortcutUp {
			return true
		}
	}
	return false
}

// Missed reports whether the kernel missed the neighbour for the router with a host prefix, and
// there is therefore a shortcut to that router or a question for one.
func (rq *Requester) Missed(host netip.Prefix) bool {
	s := rq.Shortcuts[host]
	return s != nil && s.Missed
}

// RouterRouted ends a shortcut that leads to the router with a host prefix by another router,
// because the router is about to get a host route of its own. It reports whether it ended one.
func (rq *Requester) RouterRouted(host netip.Prefix) bool {
	s := rq.Shortcuts[host]
	if s == nil || s.State == report.ShortcutResolving || s.NextHop == host.Addr() {
		s = rq.Placements.RoutedAt(host) // as a half of a prefix with two addresses
		if s == nil || s.Prefix == host {
			return false
		}
	}
	rq.EndShortcut(s, "its destination is a router that is known now")
	return true
}

// PrefixRouted ends the shortcuts that have a route to a prefix that a client has registered.
func (rq *Requester) PrefixRouted(prefix netip.Prefix) {
	for s := rq.Placements.RoutedAt(prefix); s != nil; s = rq.Placements.RoutedAt(prefix) {
		rq.EndShortcut(s, "a client has registered this very prefix")
	}
}

// HaveAllVouched calls HaveVouched for every shortcut.
func (rq *Requester) HaveAllVouched() {
	for _, s := range ordered.Values(rq.Shortcuts, ordered.ByPrefix) {
		rq.HaveVouched(s)
	}
}

// EndSearchFor ends the shortcut or relay to an overlay address. The engine may have begun one
// because the kernel missed that neighbour before the engine knew that the address is an NHS's.
func (r *Resolution) EndSearchFor(protocol netip.Addr) {
	if s := r.Requester.Shortcuts[overlay.HostPrefix(protocol)]; s != nil {
		r.Requester.RemoveShortcut(s)
	}
	if relay := r.Relays.ByProtocol[protocol]; relay != nil {
		r.Relays.DropRelay(relay)
	}
}
