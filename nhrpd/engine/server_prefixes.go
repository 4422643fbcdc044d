package engine

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// announced is a network behind a client, which the client registered beside its own address. It
// ends with the client's binding at the latest. A route to it is wanted while the client is
// secured.
type announced struct {
	prefix  netip.Prefix
	owner   *binding
	expires time.Time
	expiry  timers.Timer
}

// registerPrefix registers the prefix that one CIE names, or returns the objection to it.
func (e *Engine) registerPrefix(
	m *message, cie *packet.CIE, prefix netip.Prefix,
) objection.Objection {
	ifc := m.ifc
	b := ifc.bindings[m.SourceProtocol]
	switch {
	case m.Flags&packet.RegistrationUnique != 0:
		// RFC 2332 §5.2.0.1: with U set, only a host can be registered.
		return objection.New(objection.Malformed, "a prefix cannot be registered as unique")
	case !ifc.cfg.takesPrefixes():
		return objection.New(
			objection.ServiceOff,
			"prefixes are not accepted here (accept is not configured, and no peer rule has announce)",
		)
	case b == nil:
		return objection.New(
			objection.ClientUnknown,
			"prefixes are taken from routers only that are registered themselves",
		)
	case b.static || !b.mayBe(m.proven()):
		return objection.New(
			objection.OtherClient,
			"prefixes are taken from routers only that are registered themselves",
		)
	case b.nbma != m.from:
		// The client moved, and its registration from there was lost or is still under way. The
		// code of this objection makes the client register again.
		return objection.New(
			objection.ClientUnknown,
			"prefixes are taken from routers only that are registered from the same NBMA address",
		)
	case cie.NBMA.IsValid() && cie.NBMA != m.SourceNBMA && cie.NBMA != ifc.real(m.from):
		return objection.New(objection.OtherNBMA, "it is for somebody else's NBMA address")
	}
	if o := e.objectToAnnouncing(b, prefix); o.Raised() {
		return o
	}
	a := ifc.announced[prefix]
	if a != nil && a.owner != b {
		e.dropAnnounced(a) // the same router under its new overlay address
		a = nil
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, leastHolding)
	cie.HoldingTime = seconds(holding)
	if a == nil {
		a = e.newAnnounced(b, prefix)
		e.notice(ifc, Notice{
			Kind:     NoticePrefixBound,
			Prefix:   prefix,
			NextHop:  b.protocol,
			NBMA:     b.nbma,
			Identity: b.identity,
		})
	}
	a.expires = e.now.Add(holding)
	e.timers.Set(&a.expiry, a.expires)
	return objection.Objection{}
}

// objectToAnnouncing objects to a prefix that a client may not announce, whether it is new or was
// announced before. All rules about announced prefixes are applied here.
//
// First come, first served: a prefix stays with its router until it ends there. A longer prefix
// inside another router's prefix is accepted, and the longest match decides between the two. That
// is how a site and the region that announces the site's prefix as part of its own fit together.
//
// A prefix must never hide what this router itself depends on or leads to: the overlay, the
// underlay, its own and connected networks, or a route with the same prefix.
func (e *Engine) objectToAnnouncing(b *binding, prefix netip.Prefix) objection.Objection {
	ifc := b.ifc
	s := ifc.rules.Of(b.identity, e.blocks)
	if o := s.ToPrefix(prefix); o.Raised() {
		return o
	}
	if !ifc.cfg.accepts(prefix) && (!s.Bounded() || len(ifc.cfg.Accept) > 0) {
		return objection.New(
			objection.PrefixNotAccepted,
			"the prefix is not in what is accepted here (accept)",
		)
	}
	a := e.announcedIn(ifc.cfg.Table, prefix)
	switch { // the limits come before the rules that need a search
	case a != nil:
	case len(ifc.announced) >= ifc.cfg.Limits.Prefixes:
		return objection.New(
			objection.LimitReached,
			"as many prefixes are registered as the configuration allows (limits.prefixes)",
		)
	case ifc.prefixesOf[b.holder] >= prefixesOfOne:
		return objection.New(
			objection.LimitReached,
			"the client has registered as many prefixes as one may",
		)
	}
	if o := e.hides(ifc, prefix, b.protocol); o.Raised() {
		return o
	}
	switch {
	case a != nil && a.owner == b:
		return objection.Objection{}
	case a != nil && !(a.owner.ifc == ifc && ifc.cfg.Protected && a.owner.identity == b.identity):
		return objection.New(
			objection.PrefixTaken,
			"another router has the prefix: "+a.owner.protocol.String()+" "+a.owner.identity,
		)
	}
	if o := e.objectToPrefix(ifc, prefix, b.nbma); o.Raised() {
		return o
	}
	return objection.Objection{}
}

// accepts reports whether the configuration lets clients announce a prefix.
func (c *InterfaceConfig) accepts(prefix netip.Prefix) bool {
	return slices.ContainsFunc(c.Accept, func(p netip.Prefix) bool {
		return p.Bits() <= prefix.Bits() && p.Contains(prefix.Addr())
	})
}

// takesPrefixes reports whether any client may announce anything at all.
func (c *InterfaceConfig) takesPrefixes() bool { return len(c.Accept) > 0 || c.Policy.Announces() }

// announcedIn returns the announced prefix that equals prefix, on any interface that forwards by
// that routing table. It returns nil if there is none.
func (e *Engine) announcedIn(table uint32, prefix netip.Prefix) *announced {
	for _, ifc := range e.ifaces {
		if a := ifc.announced[prefix]; a != nil && ifc.cfg.Table == table {
			return a
		}
	}
	return nil
}

// newAnnounced makes an announced prefix of a client. The route to it is wanted at once if the
// client is secured.
func (e *Engine) newAnnounced(b *binding, prefix netip.Prefix) *announced {
	a := &announced{prefix: prefix, owner: b}
	a.expiry.Run = func() { e.endAnnounced(a, "not refreshed within its holding time") }
	b.ifc.announced[prefix] = a
	b.prefixes = append(b.prefixes, a)
	b.ifc.prefixesOf.Take(b.holder)
	if b.routed {
		e.routePrefix(a)
	} else {
		e.routePrefixes(b)
	}
	return a
}

// endAnnounced ends a prefix whose client stays registered, and logs why.
func (e *Engine) endAnnounced(a *announced, reason string) {
	b := a.owner
	e.notice(b.ifc, Notice{
		Kind:     NoticePrefixUnbound,
		Prefix:   a.prefix,
		NextHop:  b.protocol,
		NBMA:     b.nbma,
		Identity: b.identity,
		Reason:   reason,
	})
	e.dropAnnounced(a)
}

// dropAnnounced forgets an announced prefix and takes back its route.
func (e *Engine) dropAnnounced(a *announced) {
	b := a.owner
	if b.routed {
		e.unroutePrefix(a)
	}
	e.timers.Stop(&a.expiry)
	delete(b.ifc.announced, a.prefix)
	b.ifc.prefixesOf.GiveBack(b.holder, 1)
	b.prefixes = slices.DeleteFunc(b.prefixes, func(o *announced) bool { return o == a })
}

// routePrefixes asks the kernel for routes to a client's prefixes, once the client can be reached.
func (e *Engine) routePrefixes(b *binding) {
	if b.routed || !b.restored && !b.ifc.secured(b.nbma) {
		return
	}
	for _, a := range slices.Clone(b.prefixes) {
		e.reviewPrefix(a) // changes of the routes reviewed only the prefixes with a route
	}
	b.routed = true
	for _, a := range b.prefixes {
		e.routePrefix(a)
	}
}

// unroutePrefixes takes back the routes to a client's prefixes.
func (e *Engine) unroutePrefixes(b *binding) {
	if !b.routed {
		return
	}
	for _, a := range b.prefixes {
		e.unroutePrefix(a)
	}
	b.routed = false
}

// routePrefix asks the kernel for the route to a prefix. It also adds the route to the index that
// look-ups search, since the mirror leaves out the daemon's own routes.
func (e *Engine) routePrefix(a *announced) {
	ifc := a.owner.ifc
	if s := ifc.shortcuts[a.prefix]; s != nil && s.routed {
		e.endShortcut(s, "a client has registered this very prefix")
	}
	e.out.Routes = append(e.out.Routes, RouteChange{
		Interface: ifc.cfg.Name,
		Prefix:    a.prefix,
		NextHop:   a.owner.protocol,
	})
	e.table(ifc).Announced.Add(a.route())
	e.routeMoved(ifc.cfg.Table, a.prefix)
}

// unroutePrefix takes back the route to a prefix, also from the index.
func (e *Engine) unroutePrefix(a *announced) {
	ifc := a.owner.ifc
	e.out.Routes = append(e.out.Routes, RouteChange{
		Interface: ifc.cfg.Name,
		Prefix:    a.prefix,
		NextHop:   a.owner.protocol,
		Delete:    true,
	})
	e.table(ifc).Announced.Remove(a.route())
	e.routeMoved(ifc.cfg.Table, a.prefix)
}

// route returns the route to the prefix, as the index holds it.
func (a *announced) route() Route {
	return Route{Prefix: a.prefix, NextHop: a.owner.protocol, Device: a.owner.ifc.cfg.Name}
}

// behindClient reports whether an NBMA address lies inside an announced prefix. A router with such
// an address could not be reached: packets to it would go into the tunnel.
func (e *Engine) behindClient(ifc *iface, nbma netip.Addr) bool {
	_, is := e.table(ifc).Announced.Lookup(ifc.real(nbma))
	return is
}

// reviewAnnounced ends the prefixes that the configuration or the routes no longer allow. The
// client learns of it when it refreshes its registration.
func (e *Engine) reviewAnnounced(ifc *iface) {
	for _, a := range inOrder(ifc.announced, byPrefix) {
		if !ifc.cfg.accepts(a.prefix) && (len(ifc.cfg.Accept) > 0 || !ifc.cfg.Policy.Announces()) {
			e.endAnnounced(a, "the prefix is not in what is accepted here any more (accept)")
		} else {
			e.reviewPrefix(a)
		}
	}
}

// reviewAnnouncedOver does for the prefixes that overlap a changed route what reviewAnnounced does
// for all, as far as routes matter.
func (e *Engine) reviewAnnouncedOver(ifc *iface, changed netip.Prefix) {
	if changed.Bits() == 0 {
		return // a default route is never in the way of a prefix
	}
	var over []*announced
	for bits := 1; bits < changed.Bits(); bits++ {
		if p, err := changed.Addr().Prefix(bits); err == nil && ifc.announced[p] != nil {
			over = append(over, ifc.announced[p])
		}
	}
	for r := range e.table(ifc).Announced.Inside(changed) {
		if a := ifc.announced[r.Prefix]; a != nil {
			over = append(over, a)
		}
	}
	for _, a := range over {
		e.reviewPrefix(a)
	}
}

// reviewPrefix ends a prefix that hides what it must not hide.
func (e *Engine) reviewPrefix(a *announced) {
	if o := e.hides(a.owner.ifc, a.prefix, a.owner.protocol); o.Raised() {
		e.endAnnounced(a, o.Text)
	}
}

// prefixList returns a copy of the binding's prefixes, in order.
func (b *binding) prefixList() []netip.Prefix {
	var list []netip.Prefix
	for _, a := range b.prefixes {
		list = append(list, a.prefix)
	}
	slices.SortFunc(list, byPrefix)
	return list
}
