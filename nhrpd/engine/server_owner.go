package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// owner is whose an overlay address is after its SA went, for as long as the registration would
// have held: where no rules say who may have an address, nobody else gets it by cutting somebody
// off for a few seconds. Who says goodbye gives it up at once.
type owner struct {
	identity string
	until    time.Time
	expiry   timers.Timer
}

// keepOwner remembers whose the address of a binding is that ends for want of an SA.
func (e *Engine) keepOwner(b *binding) {
	ifc := b.ifc
	if !ifc.cfg.Protected || ifc.cfg.Policy != nil || b.static || b.identity == "" || len(b.sharers) > 0 || !e.now.Before(b.expires) {
		return
	}
	e.newOwner(ifc, b.protocol, b.identity, b.expires)
}

// newOwner keeps an overlay address for an identity until a time. It counts as one of the addresses
// that the identity has. Where the table is full, the address is free at once.
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

// ownedByOther is whose an overlay address is, if it is not one of the sender's identities.
func (e *Engine) ownedByOther(m *message, protocol netip.Addr) (*owner, bool) {
	o := m.ifc.owners[protocol]
	return o, o != nil && m.ifc.cfg.Policy == nil && !m.proven().isOneOf(o.identity)
}

func (e *Engine) saveOwners(ifc *iface) []SavedOwner {
	var list []SavedOwner
	for _, a := range slices.SortedFunc(maps.Keys(ifc.owners), byAddr) {
		if o := ifc.owners[a]; e.now.Before(o.until) {
			list = append(list, SavedOwner{Protocol: a, Identity: o.identity, Expires: e.onClock(o.until)})
		}
	}
	return list
}

func (e *Engine) restoreOwners(ifc *iface, saved []SavedOwner) {
	for _, o := range saved {
		if left := e.remaining(o.Expires); left > 0 && ifc.clientAddress(o.Protocol) {
			e.newOwner(ifc, o.Protocol, o.Identity, e.now.Add(left))
		}
	}
}
