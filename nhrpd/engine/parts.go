package engine

import (
	"iter"
	"net/netip"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
)

// upward passes on what a part of an interface asks of the parts above it, and tells them. It
// implements Parts of the packages peers, neighbors, purge, client and server, where each method is
// documented.
type upward struct{ *iface }

// ReceivedFrom implements [peers.Parts].
func (up upward) ReceivedFrom(from netip.Addr, data []byte) { up.receivedFrom(from, data) }

// ReviseAdmission implements [peers.Parts].
func (up upward) ReviseAdmission(nbma netip.Addr) { up.admissions.ReviseAdmission(nbma) }

// ReviewAskers implements [peers.Parts].
func (up upward) ReviewAskers(p *peers.Peer) bool { return up.admissions.ReviewAskers(p) }

// EndAdmission implements [peers.Parts].
func (up upward) EndAdmission(nbma netip.Addr) { up.admissions.EndAdmission(nbma) }

// PeerReady implements [peers.Parts].
func (up upward) PeerReady(p *peers.Peer) { up.server.ConfirmWhereItIs(p) }

// NATMoved moves the answers that went to a NAT address: whoever asked from behind it moved with
// it.
func (up upward) NATMoved(before, now netip.Addr) {
	for _, a := range ordered.ValuesIf(up.Responder.Answers, resolution.AnswerKey.Compare,
		func(a *resolution.Answer) bool {
			return a.NBMA == before
		}) {
		up.Responder.MoveAnswer(a, now)
	}
}

// Answered implements [peers.Parts].
func (up upward) Answered(nbma netip.Addr) bool {
	for _, a := range up.Responder.Answers {
		if a.NBMA == nbma && up.Now.Before(a.Expires) {
			return true
		}
	}
	return false
}

// UsesShortcuts implements [peers.Parts].
func (up upward) UsesShortcuts() bool {
	for _, s := range up.Requester.Shortcuts {
		if s.State == report.ShortcutUp {
			return true
		}
	}
	return false
}

// UsableNHS implements [neighbors.Parts].
func (up upward) UsableNHS() (protocol, nbma netip.Addr, ok bool) {
	for _, n := range up.client.NHS {
		if n.Usable() {
			return n.Protocol, n.NBMA, true
		}
	}
	return netip.Addr{}, netip.Addr{}, false
}

// MissedRouter implements [neighbors.Parts].
func (up upward) MissedRouter(host netip.Prefix) bool {
	s := up.Requester.Shortcuts[host]
	return s != nil && s.Missed
}

// RouterKnown implements [neighbors.Parts].
func (up upward) RouterKnown(host netip.Prefix) { up.server.ReviewAnnouncedOver(host) }

// RouterRouted implements [neighbors.Parts].
func (up upward) RouterRouted(host netip.Prefix) bool {
	s := up.Requester.Shortcuts[host]
	if s == nil || s.State == report.ShortcutResolving || s.NextHop == host.Addr() {
		return false
	}
	up.Requester.EndShortcut(s, "its destination is a router that is known now")
	return true
}

// Clients implements [purge.Parts].
func (up upward) Clients() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, b := range ordered.Values(up.server.Bindings, ordered.ByAddr) {
			if !b.Static && up.peers.Secured(b.NBMA) && !yield(b.Protocol) {
				return
			}
		}
	}
}

// BindingAt implements [purge.Parts].
func (up upward) BindingAt(protocol netip.Addr) (nbma netip.Addr, client bool) {
	b := up.server.Bindings[protocol]
	if b == nil {
		return netip.Addr{}, false
	}
	return b.NBMA, !b.Static
}

// MoveRelaysFrom implements [client.Parts].
func (up upward) MoveRelaysFrom(nbma netip.Addr) { up.Relays.MoveRelaysFrom(nbma) }

// DropRelaysBy implements [client.Parts].
func (up upward) DropRelaysBy(nbma netip.Addr) { up.Relays.DropRelaysBy(nbma) }

// EndSearchFor ends the shortcut or relay to an overlay address. The engine may have begun one
// because the kernel missed that neighbour before the engine knew that the address is an NHS's.
func (up upward) EndSearchFor(protocol netip.Addr) {
	if s := up.Requester.Shortcuts[overlay.HostPrefix(protocol)]; s != nil {
		up.Requester.RemoveShortcut(s)
	}
	if r := up.Relays.ByProtocol[protocol]; r != nil {
		up.Relays.DropRelay(r)
	}
}

// HaveAllVouched implements [client.Parts].
func (up upward) HaveAllVouched() {
	for _, s := range ordered.Values(up.Requester.Shortcuts, ordered.ByPrefix) {
		up.Requester.HaveVouched(s)
	}
}

// ConfirmShortcuts implements [client.Parts].
func (up upward) ConfirmShortcuts() { up.Requester.ConfirmShortcuts() }

// PrefixRouted implements [server.Parts].
func (up upward) PrefixRouted(prefix netip.Prefix) {
	if s := up.Requester.Shortcuts[prefix]; s != nil && s.Routed {
		up.Requester.EndShortcut(s, "a client has registered this very prefix")
	}
}

// AnnouncedIn implements [server.Parts].
func (up upward) AnnouncedIn(prefix netip.Prefix) *server.Announced {
	for _, other := range up.engine.ifaces {
		if a := other.server.Announced[prefix]; a != nil && other.Config.Table == up.Config.Table {
			return a
		}
	}
	return nil
}

// UnderlayInside returns an NBMA address inside prefix that this router knows: its own, an NHS's, a
// peer's, or that of a client that is away. It returns the zero address if there is none.
func (up upward) UnderlayInside(prefix netip.Prefix) netip.Addr {
	for _, a := range []netip.Addr{up.Local, up.client.Public()} {
		if prefix.Contains(a) {
			return a
		}
	}
	for _, n := range up.client.NHS {
		for _, a := range n.Addrs {
			if prefix.Contains(a) {
				return a
			}
		}
	}
	if a := up.peers.PeerInside(prefix); a.IsValid() {
		return a
	}
	return up.server.AwayInside(prefix)
}

// EndDirectPaths implements [client.Parts].
func (up upward) EndDirectPaths() { up.endDirectPaths() }

// LeaveOn implements [purge.Parts].
func (up upward) LeaveOn() { up.leaveOn() }
