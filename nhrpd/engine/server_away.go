package engine

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// away is a client that is not registered any more and may come back to the NBMA address that it
// had. Until then no prefix may cover that address. Otherwise packets to the address, charon's
// answers included, would go into the tunnel, and the client could never come back.
//
// A router has at most one entry, and the entry ends when the router registers again.
type away struct {
	who    holder
	nbma   netip.Addr // the outer address
	until  time.Time
	expiry timers.Timer
}

// awayTime is how long the address of a client that went is kept free of prefixes. It is longer
// than most outages. A client that stays away for longer is likely to have another address when it
// comes back.
const awayTime = 24 * time.Hour

// goAway remembers the NBMA address of the router whose binding ends.
func (e *Engine) goAway(b *binding) {
	if b.holder != (holder{}) {
		e.newAway(b.ifc, b.holder, b.ifc.real(b.nbma), e.now.Add(awayTime))
	}
}

// newAway makes the entry of a router that is away, in place of the one that the router had. If the
// table is full, there is no entry.
func (e *Engine) newAway(ifc *iface, who holder, nbma netip.Addr, until time.Time) {
	e.endAway(ifc, who)
	if len(ifc.away) >= ifc.cfg.Limits.Bindings || inThisNetwork(nbma) {
		return
	}
	a := &away{who: who, nbma: nbma, until: until}
	a.expiry.Run = func() { e.endAway(ifc, who) }
	ifc.away[who] = a
	ifc.awayAt.Add(a.route())
	e.timers.Set(&a.expiry, until)
}

// endAway forgets the entry of a router: the router is back, or has stayed away for too long.
func (e *Engine) endAway(ifc *iface, who holder) {
	a := ifc.away[who]
	if a == nil {
		return
	}
	e.timers.Stop(&a.expiry)
	delete(ifc.away, who)
	ifc.awayAt.Remove(a.route())
}

// route returns the entry in the index by address. Several routers may have been at one address,
// behind a NAT, so the entry includes the identity.
func (a *away) route() Route { return Route{Prefix: hostPrefix(a.nbma), Device: a.who.identity} }

// awayInside returns the NBMA address of a client that is away, if one lies inside prefix.
// Otherwise it returns the zero address.
func (ifc *iface) awayInside(prefix netip.Prefix) netip.Addr {
	for r := range ifc.awayAt.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// SavedAway is a client that was away when the state was saved.
type SavedAway struct {
	Identity string // empty: without IPsec
	NBMA     netip.Addr
	Expires  time.Time
}

// saveAway returns a copy of all entries, in order.
func (e *Engine) saveAway(ifc *iface) []SavedAway {
	var list []SavedAway
	for _, a := range ifc.away {
		saved := SavedAway{Identity: a.who.identity, NBMA: a.nbma, Expires: e.onClock(a.until)}
		list = append(list, saved)
	}
	slices.SortFunc(list, func(a, b SavedAway) int {
		return cmp.Or(cmp.Compare(a.Identity, b.Identity), a.NBMA.Compare(b.NBMA))
	})
	return list
}

// restoreAway restores the entries that have not expired.
func (e *Engine) restoreAway(ifc *iface, saved []SavedAway) {
	for _, s := range saved {
		who := holderOf(s.Identity, s.NBMA)
		if left := min(s.Expires.Sub(e.now), awayTime); left > 0 && usableNBMA(s.NBMA) {
			e.newAway(ifc, who, s.NBMA, e.now.Add(left))
		}
	}
}
