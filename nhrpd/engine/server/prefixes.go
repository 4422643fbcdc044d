package server

import (
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/objection"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/ratelimit"
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

// AnnouncedPrefixes are the prefixes that the clients of a server have announced, and the routes to
// them.
type AnnouncedPrefixes struct {
	*overlay.Interface
	Peers *peers.Table
	Rules *prefixes.Rules
	Parts Parts

	// ByPrefix has the announced prefixes, each with the client that it leads to.
	ByPrefix map[netip.Prefix]*Announced
	// reserve has the further clients that announced what is in ByPrefix.
	reserve reserve
	// Shares has how many prefixes each router has announced.
	Shares ratelimit.Shares[overlay.Holder]
}

// newAnnouncedPrefixes returns a table without prefixes.
func newAnnouncedPrefixes(needs Needs) AnnouncedPrefixes {
	return AnnouncedPrefixes{
		Interface: needs.Interface,
		Peers:     needs.Peers,
		Rules:     needs.Prefixes,
		Parts:     needs.Parts,
		ByPrefix:  make(map[netip.Prefix]*Announced),
		reserve:   reserve{of: make(map[netip.Prefix][]*Announced)},
		Shares:    make(ratelimit.Shares[overlay.Holder]),
	}
}

// registerPrefix registers the prefix that one CIE names, or returns the objection to it. b is the
// binding of the router that the packet names as its source; it is nil if there is none.
func (ap *AnnouncedPrefixes) registerPrefix(
	m *overlay.Message, cie *packet.CIE, b *Binding, prefix netip.Prefix,
) objection.Objection {
	if o := ap.objectToAnnouncer(m, cie, b); o.Raised() {
		return o
	}
	if o := ap.ObjectToAnnouncing(b, prefix); o.Raised() {
		return o
	}
	a := b.announced(prefix)
	for _, other := range ap.announcers(prefix) {
		if other.Owner != b && b.isSameRouter(other.Owner) {
			ap.drop(other) // the same router under its old overlay address
		}
	}
	holding := max(time.Duration(cie.HoldingTime)*time.Second, LeastHolding)
	cie.HoldingTime = overlay.Seconds(holding)
	if a == nil {
		a = ap.New(b, prefix)
		kind := output.NoticePrefixBound
		if !a.inUse() {
			kind = output.NoticePrefixReserve
		}
		ap.Notice(output.Notice{
			Kind:     kind,
			Prefix:   prefix,
			NextHop:  b.Protocol,
			Peer:     b.Peer,
			Identity: b.Identity,
		})
	}
	a.Expires = ap.Now.Add(holding)
	ap.Timers.Set(&a.Expiry, a.Expires)
	return objection.Objection{}
}

// objectToAnnouncer objects to the registration of a prefix by a sender that may announce none
// here. b is the binding of the router that the packet names as its source; it is nil if there is
// none.
func (ap *AnnouncedPrefixes) objectToAnnouncer(
	m *overlay.Message, cie *packet.CIE, b *Binding,
) objection.Objection {
	switch {
	case m.Flags&packet.RegistrationUnique != 0:
		// RFC 2332 §5.2.0.1: with U set, only a host can be registered.
		return objection.New(objection.Malformed, "a prefix cannot be registered as unique")
	case !ap.Config.TakesPrefixes():
		return objection.New(
			objection.ServiceOff,
			"prefixes are not accepted here (accept is not configured, and no peer rule has announce)",
		)
	case b == nil:
		return objection.New(
			objection.ClientUnknown,
			"prefixes are taken from routers only that are registered themselves",
		)
	case b.Static || !b.MayBe(ap.Peers.Proven(m.From)):
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
	case cie.NBMA.IsValid() && cie.NBMA != m.SourceNBMA && cie.NBMA != ap.Peers.Outer(m.From):
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
func (ap *AnnouncedPrefixes) ObjectToAnnouncing(
	b *Binding, prefix netip.Prefix,
) objection.Objection {
	s := ap.Peers.Rules.Of(b.Identity, ap.Blocks)
	if o := s.ToPrefix(prefix); o.Raised() {
		return o
	}
	if o := b.objectToRuledPrefix(prefix); o.Raised() {
		return o
	}
	if !ap.Config.Accepts(prefix) && (!s.Bounded() || len(ap.Config.Accept) > 0) {
		return objection.New(
			objection.PrefixNotAccepted,
			"the prefix is not in what is accepted here (accept)",
		)
	}
	a := ap.Parts.AnnouncedIn(prefix)
	own := b.announced(prefix) != nil || a != nil && b.isSameRouter(a.Owner)
	switch { // the limits come before the rules that need a search
	case own:
	case a != nil && !b.mayReserve(a, &s):
	case ap.Count() >= ap.Config.Limits.Prefixes:
		return objection.New(
			objection.LimitReached,
			"as many prefixes are registered as the configuration allows (limits.prefixes)",
		)
	case ap.Shares[b.Holder] >= overlay.PrefixesOfOne:
		return objection.New(
			objection.LimitReached,
			"the client has registered as many prefixes as one may",
		)
	}
	if o := ap.Rules.ObjectToHiding(prefix, b.Protocol); o.Raised() {
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
	if o := ap.Rules.ObjectToPrefix(prefix, b.Peer); o.Raised() {
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

// New makes an announced prefix of a client, to which there is no objection. The caller sets when
// it expires. The route to it is wanted at once if the client is secured and no other client has
// it.
func (ap *AnnouncedPrefixes) New(b *Binding, prefix netip.Prefix) *Announced {
	ap.StateChanged()
	a := &Announced{Prefix: prefix, Owner: b}
	a.Expiry.Run = func() { ap.End(a, "not refreshed within its holding time") }
	b.Prefixes = append(b.Prefixes, a)
	ap.Shares.Take(b.Holder)
	before := ap.ByPrefix[prefix]
	if before != nil {
		ap.reserve.add(a)
	} else {
		ap.ByPrefix[prefix] = a
	}
	switch {
	case !b.Routed:
		ap.routePrefixes(b)
	case before == nil:
		ap.routePrefix(a)
	case !before.Owner.Routed:
		ap.succeed(prefix)
	}
	return a
}

// End ends a prefix whose client stays registered, and logs the reason.
func (ap *AnnouncedPrefixes) End(a *Announced, reason string) {
	b := a.Owner
	ap.Notice(output.Notice{
		Kind:     output.NoticePrefixUnbound,
		Prefix:   a.Prefix,
		NextHop:  b.Protocol,
		Peer:     b.Peer,
		Identity: b.Identity,
		Reason:   reason,
	})
	ap.drop(a)
}

// drop forgets an announced prefix and takes back its route. Another client that has it in reserve
// takes its place.
func (ap *AnnouncedPrefixes) drop(a *Announced) {
	ap.StateChanged()
	b := a.Owner
	ap.Timers.Stop(&a.Expiry)
	ap.Shares.GiveBack(b.Holder, 1)
	b.Prefixes = slices.DeleteFunc(b.Prefixes, func(o *Announced) bool { return o == a })
	if ap.reserve.remove(a) {
		return
	}
	if b.Routed {
		ap.unroutePrefix(a)
	}
	delete(ap.ByPrefix, a.Prefix)
	ap.fill(a.Prefix)
}

// routePrefixes asks the kernel for routes to a client's prefixes, once the client can be reached.
func (ap *AnnouncedPrefixes) routePrefixes(b *Binding) {
	if b.Routed || !b.Restored && !ap.Peers.Secured(b.Peer) {
		return
	}
	for _, a := range slices.Clone(b.Prefixes) {
		ap.reviewPrefix(a) // changes of the routes reviewed only the prefixes with a route
	}
	b.Routed = true
	for _, a := range slices.Clone(b.Prefixes) {
		switch holder := ap.ByPrefix[a.Prefix]; {
		case holder == a:
			ap.routePrefix(a)
		case holder != nil && !holder.Owner.Routed:
			ap.succeed(a.Prefix)
		}
	}
}

// unroutePrefixes takes back the routes to a client's prefixes. Clients that have these in reserve
// take its place.
func (ap *AnnouncedPrefixes) unroutePrefixes(b *Binding) {
	if !b.Routed {
		return
	}
	b.Routed = false
	for _, a := range slices.Clone(b.Prefixes) {
		if a.inUse() {
			ap.unroutePrefix(a)
			ap.succeed(a.Prefix)
		}
	}
}

// Routes returns the routes to clients' prefixes that the kernel is to have, in order.
func (ap *AnnouncedPrefixes) Routes() []output.RouteChange {
	var list []output.RouteChange
	for _, a := range ordered.Values(ap.ByPrefix, ordered.ByPrefix) {
		if a.Owner.Routed {
			list = append(list, output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol})
		}
	}
	return list
}

// routePrefix asks the kernel for the route to a prefix. It also adds the route to the index that
// look-ups search, since the mirror leaves out the daemon's own routes.
func (ap *AnnouncedPrefixes) routePrefix(a *Announced) {
	ap.Parts.PrefixRouted(a.Prefix)
	ap.ChangeRoute(output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol})
	ap.Table().Announced.Add(a.route())
	ap.RouteMoved(ap.Config.Table, a.Prefix)
}

// unroutePrefix takes back the route to a prefix, also from the index.
func (ap *AnnouncedPrefixes) unroutePrefix(a *Announced) {
	ap.ChangeRoute(output.RouteChange{Prefix: a.Prefix, NextHop: a.Owner.Protocol, Delete: true})
	ap.Table().Announced.Remove(a.route())
	ap.RouteMoved(ap.Config.Table, a.Prefix)
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
func (ap *AnnouncedPrefixes) BehindClient(id peerid.ID) bool {
	_, is := ap.Table().Announced.Lookup(ap.Peers.Outer(id))
	return is
}

// Review ends the prefixes that the configuration or the routes no longer allow. The client learns
// of it when it refreshes its registration.
func (ap *AnnouncedPrefixes) Review() {
	for _, a := range ap.all() {
		if a.Owner.announced(a.Prefix) != a {
			continue // it ended with one before it
		}
		if !ap.Config.Accepts(a.Prefix) &&
			(len(ap.Config.Accept) > 0 || !ap.Config.Policy.Announces()) {
			ap.End(a, "the prefix is not in what is accepted here any more (accept)")
		} else {
			ap.reviewPrefix(a)
		}
	}
}

// ReviewOver does for the prefixes that overlap a changed route what Review does for all, as far as
// routes matter.
func (ap *AnnouncedPrefixes) ReviewOver(changed netip.Prefix) {
	if changed.Bits() == 0 {
		return // a default route is never in the way of a prefix
	}
	var over []*Announced
	for bits := 1; bits < changed.Bits(); bits++ {
		if p, err := changed.Addr().Prefix(bits); err == nil && ap.ByPrefix[p] != nil {
			over = append(over, ap.ByPrefix[p])
		}
	}
	for r := range ap.Table().Announced.Inside(changed) {
		if a := ap.ByPrefix[r.Prefix]; a != nil {
			over = append(over, a)
		}
	}
	for _, a := range over {
		ap.reviewPrefix(a)
	}
}

// reviewPrefix ends a prefix that hides what it must not hide.
func (ap *AnnouncedPrefixes) reviewPrefix(a *Announced) {
	if o := ap.Rules.ObjectToHiding(a.Prefix, a.Owner.Protocol); o.Raised() {
		ap.End(a, o.Text)
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

// TakeBack ends the sender's own announced prefixes inside a prefix that it purges. It reports
// whether it refuses the purge because another router announces the prefix.
func (ap *AnnouncedPrefixes) TakeBack(m *overlay.Message, prefix netip.Prefix) (refused bool) {
	announced := ap.announcers(prefix)
	if len(announced) > 0 && !slices.ContainsFunc(announced,
		func(a *Announced) bool { return a.Owner.isSendersOwn(m) }) {
		ap.Drop(overlay.DropNotOwner)
		refused = true
	}
	for _, b := range slices.Collect(BindingsOf(ap.Peers.ByID[m.From])) {
		if !b.isSendersOwn(m) {
			continue
		}
		for _, a := range slices.Clone(b.Prefixes) {
			if prefix.Bits() <= a.Prefix.Bits() && prefix.Contains(a.Prefix.Addr()) {
				ap.End(a, "the client took it back")
			}
		}
	}
	return refused
}

// Count returns how many prefixes clients have registered, with those in reserve.
func (ap *AnnouncedPrefixes) Count() int { return len(ap.ByPrefix) + ap.reserve.count }
