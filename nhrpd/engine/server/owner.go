package server

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/ratelimit"
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

// Owners has the identities for which overlay addresses are reserved.
type Owners struct {
	*overlay.Interface
	Peers *peers.Table

	// ByAddress has the owners by overlay address.
	ByAddress map[netip.Addr]*owner
	// addresses are the shares of the server, in which an owned address counts too.
	addresses ratelimit.Shares[overlay.Holder]
}

// newOwners returns a table without owners. The address of an owner counts in shares.
func newOwners(needs Needs, shares ratelimit.Shares[overlay.Holder]) Owners {
	return Owners{
		Interface: needs.Interface,
		Peers:     needs.Peers,
		ByAddress: make(map[netip.Addr]*owner),
		addresses: shares,
	}
}

// ReserveForOwner reserves the overlay address of a binding for its identity until the registration
// would have expired. It is called before a binding ends because its SA is gone. It does nothing
// where rules say who may have an address.
func (ow *Owners) ReserveForOwner(b *Binding) {
	if !ow.Config.Protected || ow.Config.Policy != nil || b.Static || b.Identity == "" ||
		len(b.sharers) > 0 || !ow.Now.Before(b.Expires) {
		return
	}
	ow.add(b.Protocol, b.Identity, b.Expires)
}

// add reserves an overlay address for an identity until a time. The address counts as one of those
// that the identity has. If the table is full, the address is free at once.
func (ow *Owners) add(protocol netip.Addr, identity string, until time.Time) {
	ow.end(protocol)
	if len(ow.ByAddress) >= ow.Config.Limits.Bindings {
		return
	}
	ow.StateChanged()
	o := &owner{Identity: identity, until: until}
	o.expiry.Run = func() { ow.end(protocol) }
	ow.ByAddress[protocol] = o
	ow.addresses.Take(overlay.HolderOf(identity, peerid.ID{}))
	ow.Timers.Set(&o.expiry, until)
}

// end ends the reservation of an overlay address.
func (ow *Owners) end(protocol netip.Addr) {
	o := ow.ByAddress[protocol]
	if o == nil {
		return
	}
	ow.StateChanged()
	ow.Timers.Stop(&o.expiry)
	delete(ow.ByAddress, protocol)
	ow.addresses.GiveBack(overlay.HolderOf(o.Identity, peerid.ID{}), 1)
}

// OwnedByOther reports whether an overlay address without a binding belongs to an identity that is
// none of the sender's.
func (ow *Owners) OwnedByOther(m *overlay.Message, protocol netip.Addr) bool {
	o := ow.ByAddress[protocol]
	return o != nil && ow.Config.Policy == nil && !ow.Peers.Proven(m.From).IsOneOf(o.Identity)
}

// endAll ends all reservations.
func (ow *Owners) endAll() {
	for _, a := range slices.SortedFunc(maps.Keys(ow.ByAddress), ordered.ByAddr) {
		ow.end(a)
	}
}

// Save returns a copy of all owners whose time is not over, in the order of their addresses.
func (ow *Owners) Save() []report.SavedOwner {
	var list []report.SavedOwner
	for _, a := range slices.SortedFunc(maps.Keys(ow.ByAddress), ordered.ByAddr) {
		if o := ow.ByAddress[a]; ow.Now.Before(o.until) {
			list = append(list, report.SavedOwner{
				Protocol: a,
				Identity: o.Identity,
				Expires:  ow.OnClock(o.until),
			})
		}
	}
	return list
}

// Restore restores saved owners whose time is not over.
func (ow *Owners) Restore(saved []report.SavedOwner) {
	for _, o := range saved {
		if left := ow.Remaining(o.Expires); left > 0 && ow.ClientAddress(o.Protocol) {
			ow.add(o.Protocol, o.Identity, ow.Now.Add(left))
		}
	}
}
