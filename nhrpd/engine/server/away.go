package server

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
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

// markAway records that the router of a binding, which ends, is away from its NBMA address.
func (srv *Server) markAway(b *Binding) {
	if b.Holder != (overlay.Holder{}) {
		srv.setAway(b.Holder, srv.Peers.Outer(b.Peer), srv.Now.Add(AwayTime))
	}
}

// setAway records until when a router is away from an NBMA address, in place of what was recorded
// of it before. If the table is full, it records nothing.
func (srv *Server) setAway(who overlay.Holder, nbma netip.Addr, until time.Time) {
	srv.endAway(who)
	if len(srv.Away) >= srv.Config.Limits.Bindings || !nbma.IsValid() {
		return
	}
	srv.StateChanged()
	a := &away{holder: who, nbma: nbma, until: until}
	a.expiry.Run = func() { srv.endAway(who) }
	srv.Away[who] = a
	srv.AwayAt.Add(a.route())
	srv.Timers.Set(&a.expiry, until)
}

// endAway forgets that a router is away: it is back, or has been away for too long.
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

// route returns the entry as the index by address holds it. Several routers may have been at one
// address, behind a NAT, so the entry includes the identity.
func (a *away) route() event.Route {
	return event.Route{Prefix: overlay.HostPrefix(a.nbma), Device: a.holder.Identity}
}

// AwayInside returns the NBMA address of a client that is away, if one lies inside prefix.
// Otherwise it returns the zero address.
func (srv *Server) AwayInside(prefix netip.Prefix) netip.Addr {
	for r := range srv.AwayAt.Inside(prefix) {
		return r.Prefix.Addr()
	}
	return netip.Addr{}
}

// SaveAway returns which routers are away, ordered by identity and address.
func (srv *Server) SaveAway() []report.SavedAway {
	var list []report.SavedAway
	for _, a := range srv.Away {
		saved := report.SavedAway{
			Identity: a.holder.Identity,
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

// RestoreAway restores saved entries that have not expired.
func (srv *Server) RestoreAway(saved []report.SavedAway) {
	for _, s := range saved {
		who := overlay.HolderOf(s.Identity, peerid.At(s.NBMA))
		if left := min(s.Expires.Sub(srv.Now), AwayTime); left > 0 && overlay.UsableNBMA(s.NBMA) {
			srv.setAway(who, s.NBMA, srv.Now.Add(left))
		}
	}
}
