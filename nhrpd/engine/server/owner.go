package server

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// owner is the identity that an overlay address belongs to after its SA went. The address is
// reserved for that identity for as long as the registration would have held. This matters where no
// rules say who may have an address: otherwise a router could take the address of another by
// cutting that one off for a few seconds. A router that takes its registration back gives the
// address up at once.
type owner struct {
	Identity string
	until    time.Time // when the registration would have expired
	expiry   timers.Timer
}

// ReserveForOwner reserves the overlay address of a binding for its identity until the registration
// would have expired. It is called before a binding ends because its SA is gone. It does nothing
// where rules say who may have an address.
func (srv *Server) ReserveForOwner(b *Binding) {
	if !srv.Config.Protected || srv.Config.Policy != nil || b.Static || b.Identity == "" ||
		len(b.sharers) > 0 || !srv.Now.Before(b.Expires) {
		return
	}
	srv.newOwner(b.Protocol, b.Identity, b.Expires)
}

// newOwner reserves an overlay address for an identity until a time. The address counts as one of
// those that the identity has. If the table is full, the address is free at once.
func (srv *Server) newOwner(protocol netip.Addr, identity string, until time.Time) {
	srv.endOwner(protocol)
	if len(srv.Owners) >= srv.Config.Limits.Bindings {
		return
	}
	srv.StateChanged()
	o := &owner{Identity: identity, until: until}
	o.expiry.Run = func() { srv.endOwner(protocol) }
	srv.Owners[protocol] = o
	srv.AddressesOf.Take(overlay.HolderOf(identity, peerid.ID{}))
	srv.Timers.Set(&o.expiry, until)
}

// endOwner ends the reservation of an overlay address.
func (srv *Server) endOwner(protocol netip.Addr) {
	o := srv.Owners[protocol]
	if o == nil {
		return
	}
	srv.StateChanged()
	srv.Timers.Stop(&o.expiry)
	delete(srv.Owners, protocol)
	srv.AddressesOf.GiveBack(overlay.HolderOf(o.Identity, peerid.ID{}), 1)
}

// OwnedByOther reports whether an overlay address without a binding belongs to an identity that is
// none of the sender's.
func (srv *Server) OwnedByOther(m *overlay.Message, protocol netip.Addr) bool {
	o := srv.Owners[protocol]
	return o != nil && srv.Config.Policy == nil && !srv.Peers.Proven(m.From).IsOneOf(o.Identity)
}

// DropAll ends all bindings, and forgets who owned addresses and who is away.
func (srv *Server) DropAll() {
	for _, b := range ordered.Values(srv.Bindings, ordered.ByAddr) {
		srv.DropBinding(b)
	}
	for _, a := range slices.SortedFunc(maps.Keys(srv.Owners), ordered.ByAddr) {
		srv.endOwner(a)
	}
	for _, who := range slices.Collect(maps.Keys(srv.Away)) {
		srv.endAway(who)
	}
}

// SaveOwners returns a copy of all owners whose time is not over, in the order of their addresses.
func (srv *Server) SaveOwners() []report.SavedOwner {
	var list []report.SavedOwner
	for _, a := range slices.SortedFunc(maps.Keys(srv.Owners), ordered.ByAddr) {
		if o := srv.Owners[a]; srv.Now.Before(o.until) {
			list = append(list, report.SavedOwner{
				Protocol: a,
				Identity: o.Identity,
				Expires:  srv.OnClock(o.until),
			})
		}
	}
	return list
}

// RestoreOwners restores saved owners whose time is not over.
func (srv *Server) RestoreOwners(saved []report.SavedOwner) {
	for _, o := range saved {
		if left := srv.Remaining(o.Expires); left > 0 && srv.ClientAddress(o.Protocol) {
			srv.newOwner(o.Protocol, o.Identity, srv.Now.Add(left))
		}
	}
}

// SetHolder counts a binding and its prefixes against the shares of h, and no longer against those
// of the holder before.
func (b *Binding) SetHolder(h overlay.Holder) {
	switch {
	case b.Holder == h:
		return
	case b.Holder == (overlay.Holder{}):
		b.Server.AddressesOf.Take(h)
		b.Server.Announced.Shares.Move(overlay.Holder{}, h, len(b.Prefixes))
	default:
		b.Server.AddressesOf.Move(b.Holder, h, 1)
		b.Server.Announced.Shares.Move(b.Holder, h, len(b.Prefixes))
	}
	b.Holder = h
}
