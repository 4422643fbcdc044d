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

// The methods in this file carry what one part of an interface asks of another part above it, or
// tells it; see peerParts, neighborParts, purgeParts, clientParts and serverParts.

func (ifc *iface) ReviseAdmission(nbma netip.Addr) { ifc.admissions.ReviseAdmission(nbma) }

func (ifc *iface) ReviewAskers(p *peers.Peer) bool { return ifc.admissions.ReviewAskers(p) }

func (ifc *iface) EndAdmission(nbma netip.Addr) { ifc.admissions.EndAdmission(nbma) }

func (ifc *iface) PeerReady(p *peers.Peer) { ifc.server.ConfirmWhereItIs(p) }

// NATMoved moves the answers that went to a NAT address: whoever asked from behind it moved with
// it.
func (ifc *iface) NATMoved(before, now netip.Addr) {
	for _, a := range ordered.ValuesIf(ifc.Responder.Answers, resolution.AnswerKey.Compare,
		func(a *resolution.Answer) bool {
			return a.NBMA == before
		}) {
		ifc.Responder.MoveAnswer(a, now)
	}
}

func (ifc *iface) Answered(nbma netip.Addr) bool {
	for _, a := range ifc.Responder.Answers {
		if a.NBMA == nbma && ifc.Now.Before(a.Expires) {
			return true
		}
	}
	return false
}

func (ifc *iface) UsesShortcuts() bool {
	for _, s := range ifc.Requester.Shortcuts {
		if s.State == report.ShortcutUp {
			return true
		}
	}
	return false
}

func (ifc *iface) UsableNHS() (protocol, nbma netip.Addr, ok bool) {
	for _, n := range ifc.client.NHS {
		if n.Usable() {
			return n.Protocol, n.NBMA, true
		}
	}
	return netip.Addr{}, netip.Addr{}, false
}

func (ifc *iface) MissedRouter(host netip.Prefix) bool {
	s := ifc.Requester.Shortcuts[host]
	return s != nil && s.Missed
}

func (ifc *iface) RouterKnown(host netip.Prefix) { ifc.server.ReviewAnnouncedOver(host) }

func (ifc *iface) RouterRouted(host netip.Prefix) bool {
	s := ifc.Requester.Shortcuts[host]
	if s == nil || s.State == report.ShortcutResolving || s.NextHop == host.Addr() {
		return false
	}
	ifc.Requester.EndShortcut(s, "its destination is a router that is known now")
	return true
}

func (ifc *iface) Clients() iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, b := range ordered.Values(ifc.server.Bindings, ordered.ByAddr) {
			if !b.Static && ifc.peers.Secured(b.NBMA) && !yield(b.Protocol) {
				return
			}
		}
	}
}

func (ifc *iface) BindingAt(protocol netip.Addr) (nbma netip.Addr, client bool) {
	b := ifc.server.Bindings[protocol]
	if b == nil {
		return netip.Addr{}, false
	}
	return b.NBMA, !b.Static
}

func (ifc *iface) MoveRelaysFrom(nbma netip.Addr) { ifc.Relays.MoveRelaysFrom(nbma) }

func (ifc *iface) DropRelaysBy(nbma netip.Addr) { ifc.Relays.DropRelaysBy(nbma) }

// EndSearchFor ends the shortcut or relay to an overlay address. The engine may have begun one
// because the kernel missed that neighbour before the engine knew that the address is an NHS's.
func (ifc *iface) EndSearchFor(protocol netip.Addr) {
	if s := ifc.Requester.Shortcuts[overlay.HostPrefix(protocol)]; s != nil {
		ifc.Requester.RemoveShortcut(s)
	}
	if r := ifc.Relays.ByProtocol[protocol]; r != nil {
		ifc.Relays.DropRelay(r)
	}
}

func (ifc *iface) HaveAllVouched() {
	for _, s := range ordered.Values(ifc.Requester.Shortcuts, ordered.ByPrefix) {
		ifc.Requester.HaveVouched(s)
	}
}

func (ifc *iface) ConfirmShortcuts() { ifc.Requester.ConfirmShortcuts() }

func (ifc *iface) PrefixRouted(prefix netip.Prefix) {
	if s := ifc.Requester.Shortcuts[prefix]; s != nil && s.Routed {
		ifc.Requester.EndShortcut(s, "a client has registered this very prefix")
	}
}

func (ifc *iface) AnnouncedIn(prefix netip.Prefix) *server.Announced {
	for _, other := range ifc.engine.ifaces {
		if a := other.server.Announced[prefix]; a != nil && other.Config.Table == ifc.Config.Table {
			return a
		}
	}
	return nil
}

// UnderlayInside returns an NBMA address inside prefix that this router knows: its own, an NHS's, a
// peer's, or that of a client that is away. It returns the zero address if there is none.
func (ifc *iface) UnderlayInside(prefix netip.Prefix) netip.Addr {
	for _, a := range []netip.Addr{ifc.Local, ifc.client.Public()} {
		if prefix.Contains(a) {
			return a
		}
	}
	for _, n := range ifc.client.NHS {
		for _, a := range n.Addrs {
			if prefix.Contains(a) {
				return a
			}
		}
	}
	if a := ifc.peers.PeerInside(prefix); a.IsValid() {
		return a
	}
	return ifc.server.AwayInside(prefix)
}
