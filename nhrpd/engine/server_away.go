package engine

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/timers"
)

// away is a client that is not registered any more and may come back to the NBMA address that it
// had. No prefix may cover that address meanwhile: packets to it, charon's answers included,
// would go into the tunnel, and the client could never come back.
//
// There is at most one for each router, and it ends when that router registers again.
type away struct {
	who    holder
	nbma   netip.Addr // as the world sees it
	until  time.Time
	expiry timers.Timer
}

// awayTime is how long the address of a client that went is kept free of prefixes. It is longer
// than most outages; a client that stays away for longer is likely to have another address by
// then.
const awayTime = 24 * time.Hour

// goAway remembers where the router was that lost a binding.
func (e *Engine) goAway(b *binding) {
	if b.holder != (holder{}) {
		e.newAway(b.ifc, b.holder, b.ifc.real(b.nbma), e.now.Add(awayTime))
	}
}

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

// endAway forgets it: the router is back, or stays away.
func (e *Engine) endAway(ifc *iface, who holder) {
	a := ifc.away[who]
	if a == nil {
		return
	}
	e.timers.Stop(&a.expiry)
	delete(ifc.away, who)
	ifc.awayAt.Remove(a.route())
}

// route is the place in the index: several routers may have been at one address, behind a NAT.
func (a *away) route() Route { return Route{Prefix: hostPrefix(a.nbma), Device: a.who.identity} }

// awayInside finds the NBMA address of a client that is away inside prefix.
func (ifc *iface) awayInside(prefix netip.Prefix) netip.Addr {
	for r := range ifc.awayAt.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// SavedAway is a client that was away when the state was saved.
type SavedAway struct {
	Identity string // empty: there was no IPsec
	NBMA     netip.Addr
	Expires  time.Time
}

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

func (e *Engine) restoreAway(ifc *iface, saved []SavedAway) {
	for _, s := range saved {
		who := holderOf(s.Identity, s.NBMA)
		if left := min(s.Expires.Sub(e.now), awayTime); left > 0 && usableNBMA(s.NBMA) {
			e.newAway(ifc, who, s.NBMA, e.now.Add(left))
		}
	}
}
