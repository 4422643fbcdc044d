package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// owner is the identity that an overlay address belongs to after its SA went. It keeps the address
// for as long as the registration would have held. This matters where no rules say who may have an
// address: otherwise a router could take the address of another by cutting that one off for a few
// seconds. A router that takes its registration back gives the address up at once.
type owner struct {
	identity string
	until    time.Time
	expiry   timers.Timer
}

// keepOwner keeps the overlay address of a binding for its identity, when the binding ends because
// the SA went.
func (e *Engine) keepOwner(b *binding) {
	ifc := b.ifc
	if !ifc.cfg.Protected || ifc.cfg.Policy != nil || b.static || b.identity == "" ||
		len(b.sharers) > 0 || !e.now.Before(b.expires) {
		return
	}
	e.newOwner(ifc, b.protocol, b.identity, b.expires)
}

// newOwner keeps an overlay address for an identity until a time. The address counts as one of
// those that the identity has. If the table is full, the address is free at once.
func (e *Engine) newOwner(ifc *iface, protocol netip.Addr, identity string, until time.Time) {
	e.endOwner(ifc, protocol)
	if len(ifc.owners) >= ifc.cfg.Limits.Bindings {
		return
	}
	o := &owner{identity: identity, until: until}
	o.expiry.Run = func() { e.endOwner(ifc, protocol) }
	ifc.owners[protocol] = o
	ifc.addressesOf.Take(holderOf(identity, netip.Addr{}))
	e.timers.Set(&o.expiry, until)
}

// endOwner frees an overlay address.
func (e *Engine) endOwner(ifc *iface, protocol netip.Addr) {
	o := ifc.owners[protocol]
	if o == nil {
		return
	}
	e.timers.Stop(&o.expiry)
	delete(ifc.owners, protocol)
	ifc.addressesOf.GiveBack(holderOf(o.identity, netip.Addr{}), 1)
}

// ownedByOther reports whether an overlay address belongs to an identity that is none of the
// sender's. It returns the owner of the address, or nil if there is none.
func (e *Engine) ownedByOther(m *message, protocol netip.Addr) (*owner, bool) {
	o := m.ifc.owners[protocol]
	return o, o != nil && m.ifc.cfg.Policy == nil && !m.proven().isOneOf(o.identity)
}

// saveOwners returns a copy of all owners whose time is not over, in the order of their addresses.
func (e *Engine) saveOwners(ifc *iface) []SavedOwner {
	var list []SavedOwner
	for _, a := range slices.SortedFunc(maps.Keys(ifc.owners), byAddr) {
		if o := ifc.owners[a]; e.now.Before(o.until) {
			list = append(list, SavedOwner{
				Protocol: a,
				Identity: o.identity,
				Expires:  e.onClock(o.until),
			})
		}
	}
	return list
}

// restoreOwners restores the owners whose time is not over.
func (e *Engine) restoreOwners(ifc *iface, saved []SavedOwner) {
	for _, o := range saved {
		if left := e.remaining(o.Expires); left > 0 && ifc.clientAddress(o.Protocol) {
			e.newOwner(ifc, o.Protocol, o.Identity, e.now.Add(left))
		}
	}
}
