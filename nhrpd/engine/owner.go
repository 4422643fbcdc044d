package engine

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// owner is whose an overlay address is after its SA went, for as long as the registration would have held: where no rules say who may have
// an address, nobody else gets it by cutting somebody off for a few seconds. Who says goodbye gives it up at once.
type owner struct {
	identity string
	until    time.Time
}

// keepOwner remembers whose the address of a binding is that ends for want of an SA.
func (e *Engine) keepOwner(b *binding) {
	ifc := b.ifc
	if !ifc.cfg.Protected || ifc.cfg.Policy != nil || b.static || b.identity == "" || len(b.sharers) > 0 || !e.now.Before(b.expires) {
		return
	}
	if len(ifc.owners) >= ifc.cfg.Limits.Bindings {
		for a, o := range ifc.owners {
			if !e.now.Before(o.until) {
				delete(ifc.owners, a)
			}
		}
	}
	if len(ifc.owners) < ifc.cfg.Limits.Bindings {
		ifc.owners[b.protocol] = owner{identity: b.identity, until: b.expires}
	}
}

// ownedByOther is whose an overlay address is, if it is not one of the sender's identities.
func (e *Engine) ownedByOther(m *message, protocol netip.Addr) (owner, bool) {
	o, there := m.ifc.owners[protocol]
	if there && (!e.now.Before(o.until) || m.proven().isOneOf(o.identity) || m.ifc.cfg.Policy != nil) {
		delete(m.ifc.owners, protocol)
		there = false
	}
	return o, there
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
		if left := e.remaining(o.Expires); left > 0 && ifc.clientAddress(o.Protocol) && len(ifc.owners) < ifc.cfg.Limits.Bindings {
			ifc.owners[o.Protocol] = owner{identity: o.Identity, until: e.now.Add(left)}
		}
	}
}
