package server

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Announced is a network behind a client, which the client registered beside its own address. It
// ends with the client's binding at the latest. A route to it is wanted while the client is
// secured, unless it is in reserve.
type Announced struct {
	// Prefix is the network.
	Prefix netip.Prefix
	// Owner is the binding of the client.
	Owner *Binding
	// Expires is when the registration of the prefix expires. Expiry ends the prefix then.
	Expires time.Time
	Expiry  timers.Timer
}

// registerPrefix registers the prefix that one CIE names, or returns the objection to it.
func (srv *Server) registerPrefix(
	m *overlay.Message, cie *packet.CIE, prefix netip.Prefix,
) objection.Objection {
	b := srv.Bindings[m.SourceProtocol]
	if o := srv.objectToAnnouncer(m, cie, b); o.Raised() {
		return o
	}
	if o := srv.ObjectToAnnouncing(b, prefix); o.Raised() {
		return o
	}
	a := b.announced(prefix)
	for _, other := range srv.announcers(prefix) {
		if other.Owner != b && b.isSameRouter(other.Owner) {
			srv.dropAnnounced(other) // the same router under its old overlay address
		}
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, LeastHolding)
	cie.HoldingTime = overlay.Seconds(holding)
	if a == nil {
		a = srv.NewAnnounced(b, prefix)
		kind := output.NoticePrefixBound
		if !a.inUse() {
			kind = output.NoticePrefixReserve
		}
		srv.Notice(output.Notice{
			Kind:     kind,
			Prefix:   prefix,
			NextHop:  b.Protocol,
			Peer:     b.Peer,
			Identity: b.Identity,
		})
	}
	a.Expires = srv.Now.Add(holding)
	srv.Timers.Set(&a.Expiry, a.Expires)
	return objection.Objection{}
}

// objectToAnnouncer objects to the registration of a prefix by a sender that may announce none
// here. b is the binding of the router that the packet names as its source; it is nil if there is
// none.
func (srv *Server) objectToAnnouncer(
	m *overlay.Message, cie *packet.CIE, b *Binding,
) objection.Objection {
	switch {
	case m.Flags&packet.RegistrationUnique != 0:
		// RFC 2332 §5.2.0.1: with U set, only a host can be registered.
		return objection.New(objection.Malformed, "a prefix cannot be registered as unique")
	case !srv.Config.TakesPrefixes():
		return objection.New(
			objection.ServiceOff,
			"prefixes are not accepted here (accept is not configured, and no peer rule has announce)",
		)
	case b == nil:
		return objection.New(
			objection.ClientUnknown,
			"prefixes are taken from routers only that are registered themselves",
		)
	case b.Static || !b.MayBe(srv.Peers.Proven(m.From)):
		return objection.New(
			objection.OtherClient,
			"prefixes are taken from routers only that are registered themselves",
		)
	case b.Peer != m.From:
		// The client moved, and its registration from there was lost or is still under way. The
		// code of this objection makes the client register again.
		return objection.New(
			objection.ClientUnknown,
			"prefixes are taken from routers only that are registered from the same NBMA address",
		)
	case cie.NBMA.IsValid() && cie.NBMA != m.SourceNBMA && cie.NBMA != srv.Peers.Outer(m.From):
		return objection.New(objection.OtherNBMA, "it is for somebody else's NBMA address")
	}
	return objection.Objection{}
}

// ObjectToAnnouncing objects to a prefix that a client may not announce, whether it is new or was
// announced before. All rules about announced prefixes are applied here.
//
// First come, first served: a prefix stays with its router until it ends there; others may be in
// reserve for it (mayReserve). A longer prefix inside another router's prefix is accepted, and the
// longest match decides between the two. That is how a site and the region that announces the
// site's prefix as part of its own fit together.
//
// A prefix must never hide what this router itself depends on or leads to: the overlay, the
// underlay, its own and connected networks, or a route with the same prefix.
func (srv *Server) ObjectToAnnouncing(b *Binding, prefix netip.Prefix) objection.Objection {
	s := srv.Peers.Rules.Of(b.Identity, srv.Blocks)
	if o := s.ToPrefix(prefix); o.Raised() {
		return o
	}
	if o := b.objectToRuledPrefix(prefix); o.Raised() {
		return o
	}
	if !srv.Config.Accepts(prefix) && (!s.Bounded() || len(srv.Config.Accept) > 0) {
		return objection.New(
			objection.PrefixNotAccepted,
			"the prefix is not in what is accepted here (accept)",
		)
	}
	a := srv.Parts.AnnouncedIn(prefix)
	own := b.announced(prefix) != nil || a != nil && b.isSameRouter(a.Owner)
	switch { // the limits come before the rules that need a search
	case own:
	case a != nil && !b.mayReserve(a, &s):
	case srv.PrefixCount() >= srv.Config.Limits.Prefixes:
		return objection.New(
			objection.LimitReached,
			"as many prefixes are registered as the configuration allows (limits.prefixes)",
		)
	case srv.PrefixesOf[b.Holder] >= overlay.PrefixesOfOne:
		return objection.New(
			objection.LimitReached,
			"the client has registered as many prefixes as one may",
		)
	}
	if o := srv.Prefixes.ObjectToHiding(prefix, b.Protocol); o.Raised() {
		return o
	}
	switch {
	case b.announced(prefix) != nil:
		return objection.Objection{}
	case a != nil && !own && !b.mayReserve(a, &s):
		return objection.New(
			objection.PrefixTaken,
			"another router has the prefix: "+a.Owner.Protocol.String()+" "+a.Owner.Identity,
		)
	}
	if o := srv.Prefixes.ObjectToPrefix(prefix, b.Peer); o.Raised() {
		return o
	}
	return objection.Objection{}
}

// isSameRouter reports whether another binding is the same router's, by the identity that IKE
// proved.
func (b *Binding) isSameRouter(o *Binding) bool {
	return b == o ||
		b.Server == o.Server && b.Server.Config.Protected && b.Identity == o.Identity
}

// NewAnnounced makes an announced prefix of a client, to which there is no objection. The caller
// sets when it expires. The route to it is wanted at once if the client is secured and no other
// client has it.
func (srv *Server) NewAnnounced(b *Binding, prefix netip.Prefix) *Announced {
	srv.StateChanged()
	a := &Announced{Prefix: prefix, Owner: b}
	a.Expiry.Run = func() { srv.EndAnnounced(a, "not refreshed within its holding time") }
	b.Prefixes = append(b.Prefixes, a)
	srv.PrefixesOf.Take(b.Holder)
	before := srv.Announced[prefix]
	if before != nil {
		srv.reserve.add(a)
	} else {
		srv.Announced[prefix] = a
	}
	switch {
	case !b.Routed:
		srv.routePrefixes(b)
	case before == nil:
		srv.routePrefix(a)
	case !before.Owner.Routed:
		srv.succeed(prefix)
	}
	return a
}

// EndAnnounced ends a prefix whose client stays registered, and logs the reason.
func (srv *Server) EndAnnounced(a *Announced, reason string) {
	b := a.Owner
	srv.Notice(output.Notice{
		Kind:     output.NoticePrefixUnbound,
		Prefix:   a.Prefix,
		NextHop:  b.Protocol,
		Peer:     b.Peer,
		Identity: b.Identity,
		Reason:   reason,
	})
	srv.dropAnnounced(a)
}

// dropAnnounced forgets an announced prefix and takes back its route. Another client that has it in
// reserve takes its place.
func (srv *Server) dropAnnounced(a *Announced) {
	srv.StateChanged()
	b := a.Owner
	srv.Timers.Stop(&a.Expiry)
	srv.PrefixesOf.GiveBack(b.Holder, 1)
	b.Prefixes = slices.DeleteFunc(b.Prefixes, func(o *Announced) bool { return o == a })
	if srv.reserve.remove(a) {
		return
	}
	if b.Routed {
		srv.unroutePrefix(a)
	}
	delete(srv.Announced, a.Prefix)
	srv.fill(a.Prefix)
}

// routePrefixes asks the kernel for routes to a client's prefixes, once the client can be reached.
func (srv *Server) routePrefixes(b *Binding) {
	if b.Routed || !b.Restored && !srv.Peers.Secured(b.Peer) {
		return
	}
	for _, a := range slices.Clone(b.Prefixes) {
		srv.reviewPrefix(a) // changes of the routes reviewed only the prefixes with a route
	}
	b.Routed = true
	for _, a := range slices.Clone(b.Prefixes) {
		switch holder := srv.Announced[a.Prefix]; {
		case holder == a:
			srv.routePrefix(a)
		case holder != nil && !holder.Owner.Routed:
			srv.succeed(a.Prefix)
		}
	}
}

// unroutePrefixes takes back the routes to a client's prefixes. Clients that have these in reserve
// take its place.
func (srv *Server) unroutePrefixes(b *Binding) {
	if !b.Routed {
		return
	}
	b.Routed = false
	for _, a := range slices.Clone(b.Prefixes) {
		if a.inUse() {
			srv.unroutePrefix(a)
			srv.succeed(a.Prefix)
		}
	}
}

// Routes returns the routes to clients' prefixes that the kernel is to have, in order.
func (srv *Server) Routes() []output.RouteChange {
	var list []output.RouteChange
	for _, a := range ordered.Values(srv.Announced, ordered.ByPrefix) {
		if a.Owner.Server == srv && a.Owner.Routed {
			list = append(list, output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol})
		}
	}
	return list
}

// routePrefix asks the kernel for the route to a prefix. It also adds the route to the index that
// look-ups search, since the mirror leaves out the daemon's own routes.
func (srv *Server) routePrefix(a *Announced) {
	srv.Parts.PrefixRouted(a.Prefix)
	srv.ChangeRoute(output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol})
	srv.Table().Announced.Add(a.route())
	srv.RouteMoved(srv.Config.Table, a.Prefix)
}

// unroutePrefix takes back the route to a prefix, also from the index.
func (srv *Server) unroutePrefix(a *Announced) {
	srv.ChangeRoute(output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol, Delete: true})
	srv.Table().Announced.Remove(a.route())
	srv.RouteMoved(srv.Config.Table, a.Prefix)
}

// route returns the route to the prefix, as the index holds it.
func (a *Announced) route() event.Route {
	return event.Route{
		Prefix:  a.Prefix,
		NextHop: a.Owner.Protocol,
		Device:  a.Owner.Server.Config.Name,
	}
}

// BehindClient reports whether the outer address of a peer lies inside an announced prefix. A
// router with such an address could not be reached: packets to it would go into the tunnel.
func (srv *Server) BehindClient(id peerid.ID) bool {
	_, is := srv.Table().Announced.Lookup(srv.Peers.Outer(id))
	return is
}

// ReviewAnnounced ends the prefixes that the configuration or the routes no longer allow. The
// client learns of it when it refreshes its registration.
func (srv *Server) ReviewAnnounced() {
	for _, a := range srv.everyAnnounced() {
		if a.Owner.announced(a.Prefix) != a {
			continue // it ended with one before it
		}
		if !srv.Config.Accepts(a.Prefix) &&
			(len(srv.Config.Accept) > 0 || !srv.Config.Policy.Announces()) {
			srv.EndAnnounced(a, "the prefix is not in what is accepted here any more (accept)")
		} else {
			srv.reviewPrefix(a)
		}
	}
}

// ReviewAnnouncedOver does for the prefixes that overlap a changed route what ReviewAnnounced does
// for all, as far as routes matter.
func (srv *Server) ReviewAnnouncedOver(changed netip.Prefix) {
	if changed.Bits() == 0 {
		return // a default route is never in the way of a prefix
	}
	var over []*Announced
	for bits := 1; bits < changed.Bits(); bits++ {
		if p, err := changed.Addr().Prefix(bits); err == nil && srv.Announced[p] != nil {
			over = append(over, srv.Announced[p])
		}
	}
	for r := range srv.Table().Announced.Inside(changed) {
		if a := srv.Announced[r.Prefix]; a != nil {
			over = append(over, a)
		}
	}
	for _, a := range over {
		srv.reviewPrefix(a)
	}
}

// reviewPrefix ends a prefix that hides what it must not hide.
func (srv *Server) reviewPrefix(a *Announced) {
	if o := srv.Prefixes.ObjectToHiding(a.Prefix, a.Owner.Protocol); o.Raised() {
		srv.EndAnnounced(a, o.Text)
	}
}

// prefixLists returns copies of the binding's prefixes, in order: those that lead to the client,
// and those in reserve.
func (b *Binding) prefixLists() (inUse, reserve []netip.Prefix) {
	for _, a := range b.Prefixes {
		if a.inUse() {
			inUse = append(inUse, a.Prefix)
		} else {
			reserve = append(reserve, a.Prefix)
		}
	}
	slices.SortFunc(inUse, ordered.ByPrefix)
	slices.SortFunc(reserve, ordered.ByPrefix)
	return inUse, reserve
}

// ObjectToBinding objects to a binding if the rules do not give its client the address any more. It
// objects only
// if none of the identities that the binding may belong to may have the address.
func (srv *Server) ObjectToBinding(b *Binding) objection.Objection {
	if b.Static || b.Identity == "" {
		return objection.Objection{}
	}
	all := srv.Peers.Rules.OfSeveral(b.Identity, b.sharers, srv.Blocks)
	return authorization.OfAll(all, func(a *authorization.Authorization) objection.Objection {
		return a.ToAddress(b.Protocol)
	})
}

// ObjectToAnnounced objects to an announced prefix that the rules do not let its client announce
// any more.
func (srv *Server) ObjectToAnnounced(b *Binding, prefix netip.Prefix) objection.Objection {
	s := srv.Peers.Rules.Of(b.Identity, srv.Blocks)
	return s.ToPrefix(prefix)
}

// PrefixCount returns how many prefixes clients have registered, with those in reserve.
func (srv *Server) PrefixCount() int { return len(srv.Announced) + srv.reserve.count }
