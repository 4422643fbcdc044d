package server

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
)

// away is a client that is not registered any more and may come back to the NBMA address that it
// had. Until then no prefix may cover that address. Otherwise packets to the address, charon's
// answers included, would go into the tunnel, and the client could never come back.
//
// A router has at most one entry, and the entry ends when the router registers again.
type away struct {
	Who    overlay.Holder
	nbma   netip.Addr // the outer address
	until  time.Time
	expiry timers.Timer
}

// AwayTime is how long the address of a client that went is kept free of prefixes. It is longer
// than most outages. A client that stays away for longer is likely to have another address when it
// comes back.
const AwayTime = 24 * time.Hour

// markAway remembers the NBMA address of the router whose binding ends.
func (srv *Server) markAway(b *Binding) {
	if b.Holder != (overlay.Holder{}) {
		srv.setAway(b.Holder, srv.Peers.Outer(b.NBMA), srv.Now.Add(AwayTime))
	}
}

// setAway makes the entry of a router that is away, in place of the one that the router had. If the
// table is full, there is no entry.
func (srv *Server) setAway(who overlay.Holder, nbma netip.Addr, until time.Time) {
	srv.endAway(who)
	if len(srv.Away) >= srv.Config.Limits.Bindings || overlay.InThisNetwork(nbma) {
		return
	}
	srv.StateChanged()
	a := &away{Who: who, nbma: nbma, until: until}
	a.expiry.Run = func() { srv.endAway(who) }
	srv.Away[who] = a
	srv.AwayAt.Add(a.route())
	srv.Timers.Set(&a.expiry, until)
}

// endAway forgets the entry of a router: the router is back, or has stayed away for too long.
func (srv *Server) endAway(who overlay.Holder) {
	a := srv.Away[who]
	if a == nil {
		return
	}
	srv.StateChanged()
	srv.Timers.Stop(&a.expiry)
	delete(srv.Away, who)
	srv.AwayAt.Remove(a.route())
}

// route returns the entry in the index by address. Several routers may have been at one address,
// behind a NAT, so the entry includes the identity.
func (a *away) route() event.Route {
	return event.Route{Prefix: overlay.HostPrefix(a.nbma), Device: a.Who.Identity}
}

// AwayInside returns the NBMA address of a client that is away, if one lies inside prefix.
// Otherwise it returns the zero address.
func (srv *Server) AwayInside(prefix netip.Prefix) netip.Addr {
	for r := range srv.AwayAt.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// SaveAway returns a copy of all entries, in order.
func (srv *Server) SaveAway() []report.SavedAway {
	var list []report.SavedAway
	for _, a := range srv.Away {
		saved := report.SavedAway{
			Identity: a.Who.Identity,
			NBMA:     a.nbma,
			Expires:  srv.OnClock(a.until),
		}
		list = append(list, saved)
	}
	slices.SortFunc(list, func(a, b report.SavedAway) int {
		return cmp.Or(cmp.Compare(a.Identity, b.Identity), a.NBMA.Compare(b.NBMA))
	})
	return list
}

// RestoreAway restores the entries that have not expired.
func (srv *Server) RestoreAway(saved []report.SavedAway) {
	for _, s := range saved {
		who := overlay.HolderOf(s.Identity, s.NBMA)
		if left := min(s.Expires.Sub(srv.Now), AwayTime); left > 0 && overlay.UsableNBMA(s.NBMA) {
			srv.setAway(who, s.NBMA, srv.Now.Add(left))
		}
	}
}
