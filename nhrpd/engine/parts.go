package engine

import (
	"iter"
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/server"
)

// upward passes on what a part of an interface asks of the parts above it, and tells them. It
// implements Parts of the packages peers, neighbors, proof, purge, client and server, where each
// method is documented.
type upward struct{ *iface }

// ReceivedFrom implements [peers.Parts].
func (up upward) ReceivedFrom(from peerid.ID, data []byte) { up.receivedFrom(from, data) }

// ReviseAdmission implements [peers.Parts].
func (up upward) ReviseAdmission(id peerid.ID) { up.admissions.ReviseAdmission(id) }

// ReviewAskers implements [peers.Parts].
func (up upward) ReviewAskers(p *peers.Peer) bool { return up.admissions.ReviewAskers(p) }

// EndAdmission implements [peers.Parts].
func (up upward) EndAdmission(id peerid.ID) { up.admissions.EndAdmission(id) }

// PeerReady implements [peers.Parts].
func (up upward) PeerReady(p *peers.Peer) { up.server.ConfirmWhereItIs(p) }

// NATMoved implements [peers.Parts].
func (up upward) NATMoved(before, now netip.Addr) { up.Responder.FollowNAT(before, now) }

// Answered implements [peers.Parts].
func (up upward) Answered(id peerid.ID) bool { return up.Responder.Answered(id) }

// UsesShortcuts implements [peers.Parts].
func (up upward) UsesShortcuts() bool { return up.Requester.AnyUp() }

// UsableNHS implements [neighbors.Parts].
func (up upward) UsableNHS(dest netip.Addr) (protocol netip.Addr, peer peerid.ID, ok bool) {
	return up.client.UsableNHS(dest)
}

// MissedRouter implements [neighbors.Parts].
func (up upward) MissedRouter(host netip.Prefix) bool { return up.Requester.Missed(host) }

// RouterKnown implements [neighbors.Parts].
func (up upward) RouterKnown(host netip.Prefix) { up.server.Announced.ReviewOver(host) }

// NeighborChanged implements [neighbors.Parts].
func (up upward) NeighborChanged(protocol netip.Addr) { up.receivers.Review(protocol) }

// RouterRouted implements [neighbors.Parts].
func (up upward) RouterRouted(host netip.Prefix) bool { return up.Requester.RouterRouted(host) }

// RegistrationReleased implements [inquiry.Parts].
func (up upward) RegistrationReleased(from peerid.ID, data []byte) {
	up.registrationReleased(from, data)
}

// RegisteredAs implements [inquiry.Parts].
func (up upward) RegisteredAs(s inquiry.Subject) (inquiry.Question, bool) {
	return up.server.RegisteredAs(s)
}

// Registered implements [inquiry.Parts].
func (up upward) Registered() iter.Seq[inquiry.Subject] { return up.server.Registered() }

// Ruled implements [inquiry.Parts].
func (up upward) Ruled(s inquiry.Subject, r *inquiry.Ruling) { up.ruled(s, r) }

// Clients implements [purge.Parts].
func (up upward) Clients() iter.Seq[netip.Addr] { return up.server.Clients() }

// BindingAt implements [purge.Parts].
func (up upward) BindingAt(protocol netip.Addr) (peer peerid.ID, client bool) {
	return up.server.BindingAt(protocol)
}

// MoveRelaysFrom implements [client.Parts].
func (up upward) MoveRelaysFrom(nhs peerid.ID) { up.Relays.MoveRelaysFrom(nhs) }

// DropRelaysBy implements [client.Parts].
func (up upward) DropRelaysBy(nhs peerid.ID) { up.Relays.DropRelaysBy(nhs) }

// EndSearchFor implements [client.Parts].
func (up upward) EndSearchFor(protocol netip.Addr) { up.Resolution.EndSearchFor(protocol) }

// HaveAllVouched implements [client.Parts].
func (up upward) HaveAllVouched() { up.Requester.HaveAllVouched() }

// ConfirmShortcuts implements [client.Parts].
func (up upward) ConfirmShortcuts() { up.Requester.ConfirmShortcuts() }

// PrefixRouted implements [server.Parts].
func (up upward) PrefixRouted(prefix netip.Prefix) { up.Requester.PrefixRouted(prefix) }

// PathProven implements [proof.Parts].
func (up upward) PathProven(peer peerid.ID, mtu uint16) { up.Requester.PathProven(peer, mtu) }

// PathFailed implements [proof.Parts].
func (up upward) PathFailed(peer peerid.ID, reason string, until time.Time) {
	up.Requester.PathFailed(peer, reason, until)
}

// PathDead implements [proof.Parts].
func (up upward) PathDead(peer peerid.ID) { up.Responder.PathDead(peer) }

// TakesDataFrom implements [proof.Parts].
func (up upward) TakesDataFrom(peer peerid.ID) bool { return up.admissions.TakesFrom(peer) }

// AnnouncedIn implements [server.Parts].
func (up upward) AnnouncedIn(prefix netip.Prefix) *server.Announced {
	for _, other := range up.engine.ifaces {
		a := other.server.Announced.ByPrefix[prefix]
		if a != nil && other.Config.Table == up.Config.Table {
			return a
		}
	}
	return nil
}

// UnderlayInside returns an NBMA address inside prefix that this router knows: its own, an NHS's, a
// peer's, or that of a client that is away. It returns the zero address if there is none.
func (up upward) UnderlayInside(prefix netip.Prefix) netip.Addr {
	for _, a := range []netip.Addr{up.Local, up.Second, up.client.Public(netip.Addr{})} {
		if prefix.Contains(a) {
			return a
		}
	}
	if a := up.client.Names.ResolvedInside(prefix); a.IsValid() {
		return a
	}
	if a := up.peers.Addresses.PeerInside(prefix); a.IsValid() {
		return a
	}
	return up.server.Away.AwayInside(prefix)
}

// EndDirectPaths implements [client.Parts].
func (up upward) EndDirectPaths() { up.endDirectPaths() }

// LeaveOn implements [purge.Parts].
func (up upward) LeaveOn() { up.leaveOn() }
