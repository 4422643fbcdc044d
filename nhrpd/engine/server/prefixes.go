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
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// Announced is a network behind a client, which the client registered beside its own address. It
// ends with the client's binding at the latest. A route to it is wanted while the client is
// secured.
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
	a := srv.Announced[prefix]
	if a != nil && a.Owner != b {
		srv.dropAnnounced(a) // the same router under its new overlay address
		a = nil
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, LeastHolding)
	cie.HoldingTime = overlay.Seconds(holding)
	if a == nil {
		a = srv.NewAnnounced(b, prefix)
		srv.Notice(output.Notice{
			Kind:     output.NoticePrefixBound,
			Prefix:   prefix,
			NextHop:  b.Protocol,
			NBMA:     b.NBMA,
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
	case b.NBMA != m.From:
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
// First come, first served: a prefix stays with its router until it ends there. A longer prefix
// inside another router's prefix is accepted, and the longest match decides between the two. That
// is how a site and the region that announces the site's prefix as part of its own fit together.
//
// A prefix must never hide what this router itself depends on or leads to: the overlay, the
// underlay, its own and connected networks, or a route with the same prefix.
func (srv *Server) ObjectToAnnouncing(b *Binding, prefix netip.Prefix) objection.Objection {
	s := srv.Peers.Rules.Of(b.Identity, srv.Blocks)
	if o := s.ToPrefix(prefix); o.Raised() {
		return o
	}
	if !srv.Config.Accepts(prefix) && (!s.Bounded() || len(srv.Config.Accept) > 0) {
		return objection.New(
			objection.PrefixNotAccepted,
			"the prefix is not in what is accepted here (accept)",
		)
	}
	a := srv.Parts.AnnouncedIn(prefix)
	switch { // the limits come before the rules that need a search
	case a != nil:
	case len(srv.Announced) >= srv.Config.Limits.Prefixes:
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
	case a != nil && a.Owner == b:
		return objection.Objection{}
	case a != nil && !(a.Owner.Server == srv && srv.Config.Protected &&
		a.Owner.Identity == b.Identity):
		return objection.New(
			objection.PrefixTaken,
			"another router has the prefix: "+a.Owner.Protocol.String()+" "+a.Owner.Identity,
		)
	}
	if o := srv.Prefixes.ObjectToPrefix(prefix, b.NBMA); o.Raised() {
		return o
	}
	return objection.Objection{}
}

// NewAnnounced makes an announced prefix of a client, to which there is no objection. The caller
// sets when it expires. The route to it is wanted at once if the client is secured.
func (srv *Server) NewAnnounced(b *Binding, prefix netip.Prefix) *Announced {
	srv.StateChanged()
	a := &Announced{Prefix: prefix, Owner: b}
	a.Expiry.Run = func() { srv.EndAnnounced(a, "not refreshed within its holding time") }
	srv.Announced[prefix] = a
	b.Prefixes = append(b.Prefixes, a)
	srv.PrefixesOf.Take(b.Holder)
	if b.Routed {
		srv.routePrefix(a)
	} else {
		srv.routePrefixes(b)
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
		NBMA:     b.NBMA,
		Identity: b.Identity,
		Reason:   reason,
	})
	srv.dropAnnounced(a)
}

// dropAnnounced forgets an announced prefix and takes back its route.
func (srv *Server) dropAnnounced(a *Announced) {
	srv.StateChanged()
	b := a.Owner
	if b.Routed {
		srv.unroutePrefix(a)
	}
	srv.Timers.Stop(&a.Expiry)
	delete(srv.Announced, a.Prefix)
	srv.PrefixesOf.GiveBack(b.Holder, 1)
	b.Prefixes = slices.DeleteFunc(b.Prefixes, func(o *Announced) bool { return o == a })
}

// routePrefixes asks the kernel for routes to a client's prefixes, once the client can be reached.
func (srv *Server) routePrefixes(b *Binding) {
	if b.Routed || !b.Restored && !srv.Peers.Secured(b.NBMA) {
		return
	}
	for _, a := range slices.Clone(b.Prefixes) {
		srv.reviewPrefix(a) // changes of the routes reviewed only the prefixes with a route
	}
	b.Routed = true
	for _, a := range b.Prefixes {
		srv.routePrefix(a)
	}
}

// unroutePrefixes takes back the routes to a client's prefixes.
func (srv *Server) unroutePrefixes(b *Binding) {
	if !b.Routed {
		return
	}
	for _, a := range b.Prefixes {
		srv.unroutePrefix(a)
	}
	b.Routed = false
}

// routePrefix asks the kernel for the route to a prefix. It also adds the route to the index that
// look-ups search, since the mirror leaves out the daemon's own routes.
func (srv *Server) routePrefix(a *Announced) {
	srv.Parts.PrefixRouted(a.Prefix)
	srv.Out.Routes = append(srv.Out.Routes, output.RouteChange{
		Interface: srv.Config.Name,
		Prefix:    a.Prefix,
		NextHop:   a.Owner.Protocol,
	})
	srv.Table().Announced.Add(a.route())
	srv.RouteMoved(srv.Config.Table, a.Prefix)
}

// unroutePrefix takes back the route to a prefix, also from the index.
func (srv *Server) unroutePrefix(a *Announced) {
	srv.Out.Routes = append(srv.Out.Routes, output.RouteChange{
		Interface: srv.Config.Name,
		Prefix:    a.Prefix,
		NextHop:   a.Owner.Protocol,
		Delete:    true,
	})
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

// BehindClient reports whether an NBMA address lies inside an announced prefix. A router with such
// an address could not be reached: packets to it would go into the tunnel.
func (srv *Server) BehindClient(nbma netip.Addr) bool {
	_, is := srv.Table().Announced.Lookup(srv.Peers.Outer(nbma))
	return is
}

// ReviewAnnounced ends the prefixes that the configuration or the routes no longer allow. The
// client learns of it when it refreshes its registration.
func (srv *Server) ReviewAnnounced() {
	for _, a := range ordered.Values(srv.Announced, ordered.ByPrefix) {
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

// prefixList returns a copy of the binding's prefixes, in order.
func (b *Binding) prefixList() []netip.Prefix {
	var list []netip.Prefix
	for _, a := range b.Prefixes {
		list = append(list, a.Prefix)
	}
	slices.SortFunc(list, ordered.ByPrefix)
	return list
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
