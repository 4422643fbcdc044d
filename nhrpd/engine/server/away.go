package server

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/rib"
	"cygnet/nhrpd/engine/timers"
)

// away is a client that is not registered any more and may come back to the NBMA address that it
// had. Until then no prefix may cover that address. Otherwise packets to the address, charon's
// answers included, would go into the tunnel, and the client could never come back.
//
// A router has at most one entry, and the entry ends when the router registers again.
type away struct {
	holder overlay.Holder
	nbma   netip.Addr // the outer address
	until  time.Time
	expiry timers.Timer
}

// AwayTime is how long no prefix may cover the NBMA address of a client that went away. It is
// longer than most outages. A client that stays away for longer is likely to have another address
// when it comes back.
const AwayTime = 24 * time.Hour

// AwayClients has the clients that are not registered now and may come back.
type AwayClients struct {
	*overlay.Interface
	Peers *peers.Table

	// ByHolder has at most one entry for each router.
	ByHolder map[overlay.Holder]*away
	// ByNBMA is the index of ByHolder by NBMA address.
	ByNBMA rib.Trie
}

// newAwayClients returns a table in which no client is away.
func newAwayClients(needs Needs) AwayClients {
	return AwayClients{
		Interface: needs.Interface,
		Peers:     needs.Peers,
		ByHolder:  make(map[overlay.Holder]*away),
	}
}

// mark records that the router of a binding, which ends, is away from its NBMA address.
func (aw *AwayClients) mark(b *Binding) {
	if b.Holder != (overlay.Holder{}) {
		aw.set(b.Holder, aw.Peers.Outer(b.Peer), aw.Now.Add(AwayTime))
	}
}

// set records until when a router is away from an NBMA address, in place of what was recorded of it
// before. If the table is full, it records nothing.
func (aw *AwayClients) set(who overlay.Holder, nbma netip.Addr, until time.Time) {
	aw.end(who)
	if len(aw.ByHolder) >= aw.Config.Limits.Bindings || !nbma.IsValid() {
		return
	}
	aw.StateChanged()
	a := &away{holder: who, nbma: nbma, until: until}
	a.expiry.Run = func() { aw.end(who) }
	aw.ByHolder[who] = a
	aw.ByNBMA.Add(a.route())
	aw.Timers.Set(&a.expiry, until)
}

// end forgets that a router is away: it is back, or has been away for too long.
func (aw *AwayClients) end(who overlay.Holder) {
	a := aw.ByHolder[who]
	if a == nil {
		return
	}
	aw.StateChanged()
	aw.Timers.Stop(&a.expiry)
	delete(aw.ByHolder, who)
	aw.ByNBMA.Remove(a.route())
}

// route returns the entry as the index by address holds it. Several routers may have been at one
// address, behind a NAT, so the entry includes the identity.
func (a *away) route() event.Route {
	return event.Route{Prefix: overlay.HostPrefix(a.nbma), Device: a.holder.Identity}
}

// endAll forgets who is away.
func (aw *AwayClients) endAll() {
	for _, who := range slices.Collect(maps.Keys(aw.ByHolder)) {
		aw.end(who)
	}
}

// AwayInside returns the NBMA address of a client that is away, if one lies inside prefix.
// Otherwise it returns the zero address.
func (aw *AwayClients) AwayInside(prefix netip.Prefix) netip.Addr {
	for r := range aw.ByNBMA.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// Save returns which routers are away, ordered by identity and address.
func (aw *AwayClients) Save() []report.SavedAway {
	var list []report.SavedAway
	for _, a := range aw.ByHolder {
		saved := report.SavedAway{
			Identity: a.holder.Identity,
			NBMA:     a.nbma,
			Expires:  aw.OnClock(a.until),
		}
		list = append(list, saved)
	}
	slices.SortFunc(list, func(a, b report.SavedAway) int {
		return cmp.Or(cmp.Compare(a.Identity, b.Identity), a.NBMA.Compare(b.NBMA))
	})
	return list
}

// Restore restores saved entries that have not expired.
func (aw *AwayClients) Restore(saved []report.SavedAway) {
	for _, s := range saved {
		who := overlay.HolderOf(s.Identity, peerid.At(s.NBMA))
		if left := min(s.Expires.Sub(aw.Now), AwayTime); left > 0 && overlay.UsableNBMA(s.NBMA) {
			aw.set(who, s.NBMA, aw.Now.Add(left))
		}
	}
}
