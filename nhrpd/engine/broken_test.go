package engine

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ratelimit"
)

// broken returns an error that names the invariant that does not hold, or nil.
func (n *node) broken() error {
	ifc := n.engine.ifaces["gre1"]
	return cmp.Or(
		n.brokenRoutes(ifc), n.brokenLimits(ifc), n.brokenPeers(ifc), n.brokenAdmission(ifc),
	)
}

func (n *node) brokenRoutes(ifc *iface) error {
	for prefix, nextHop := range n.shortcuts {
		sc := ifc.shortcuts[prefix]
		if a := ifc.announced[prefix]; a != nil && (sc == nil || !sc.routed) {
			if err := n.brokenAnnounced(a, nextHop); err != nil {
				return err
			}
			continue
		}
		if !nextHop.IsValid() {
			if err := n.brokenHostRoute(ifc, prefix.Addr()); err != nil {
				return err
			}
			continue
		}
		switch {
		case sc == nil || sc.state != ShortcutUp || sc.nextHop != nextHop:
			return fmt.Errorf("route %s via %s, shortcut %+v", prefix, nextHop, sc)
		case !sc.restored && !sc.ref.peer.unlisted && !ifc.secured(sc.nbma):
			return fmt.Errorf("route %s without an SA", prefix)
		case prefix.Bits() < 8 || prefix.Contains(ifc.overlay()) || prefix.Contains(sc.nbma):
			return fmt.Errorf("route %s covers what the tunnel rests on", prefix)
		}
	}
	for protocol, nbma := range n.neighbors {
		if have := ifc.neighbors[protocol]; have == nil || have.nbma != nbma {
			return fmt.Errorf("neighbour %s is wanted, but not known", protocol)
		}
	}
	return nil
}

// brokenHostRoute returns an error if a host route leads to a router that is not wanted, to this
// router itself, or to an address that no other route leads into the tunnel.
func (n *node) brokenHostRoute(ifc *iface, router netip.Addr) error {
	have := ifc.neighbors[router]
	switch {
	case have == nil || !have.routed || ifc.onLink(router):
		return fmt.Errorf("host route to %s, neighbour %+v", router, have)
	case have.best().rank == rankRelay, have.best().rank == rankShortcut &&
		!n.engine.leadsTo(ifc, router):
		return fmt.Errorf("host route to %s, which nothing leads to", router)
	case router == ifc.overlay() || n.engine.table(ifc).IsLocal(router):
		return fmt.Errorf("host route to our own address %s", router)
	}
	return nil
}

func (n *node) brokenLimits(ifc *iface) error {
	l := ifc.cfg.Limits
	goodbyes := 0
	if ifc.leaving {
		goodbyes = 2 * len(ifc.nhs) // beside the purges of answers
	}
	if len(ifc.bindings) > l.Bindings+len(ifc.cfg.Maps) || len(ifc.shortcuts) > l.Shortcuts ||
		len(ifc.answers) > l.Answers || len(ifc.held) > l.Held ||
		len(ifc.requests) > l.Shortcuts || len(ifc.unresolved) > l.Shortcuts ||
		len(ifc.purges) > l.Answers+goodbyes || len(ifc.announced) > l.Prefixes ||
		len(ifc.relays) > relaysPerShortcut*l.Shortcuts {
		return fmt.Errorf(
			"a table is over its limit: bindings %d shortcuts %d answers %d held %d requests %d unresolved %d purges %d announced %d relays %d leaving %v",
			len(ifc.bindings), len(ifc.shortcuts), len(ifc.answers), len(ifc.held),
			len(ifc.requests), len(ifc.unresolved), len(ifc.purges), len(ifc.announced),
			len(ifc.relays), ifc.leaving,
		)
	}
	if len(ifc.owners) > l.Bindings {
		return fmt.Errorf("%d addresses are kept for their owners", len(ifc.owners))
	}
	if err := brokenCounts(ifc); err != nil {
		return err
	}
	if err := ifc.rules.Check(); err != nil {
		return err
	}
	r := &ifc.revocations
	if len(r.list) > l.Bindings || len(r.waiting) > len(r.hearers) ||
		len(r.hearers) == 0 && (len(r.list) > 0 || r.tick.IsSet()) {
		return fmt.Errorf(
			"%d revoked routers are remembered for %d clients", len(r.list), len(r.hearers),
		)
	}
	if err := brokenSeparation(ifc); err != nil {
		return err
	}
	if len(ifc.away) > l.Bindings || ifc.awayAt.Len() != len(ifc.away) {
		return fmt.Errorf("%d clients are away, %d in the index", len(ifc.away), ifc.awayAt.Len())
	}
	return brokenShares(ifc)
}

// brokenShares returns an error if a share differs from what the tables hold, or is over its limit.
func brokenShares(ifc *iface) error {
	answers, addresses, prefixes := ratelimit.Shares[holder]{}, ratelimit.Shares[holder]{},
		ratelimit.Shares[holder]{}
	for _, a := range ifc.answers {
		if a.asker != (holder{}) {
			answers.Take(a.asker)
		}
	}
	for _, b := range ifc.bindings {
		if !b.static {
			addresses.Take(b.holder)
		}
	}
	for _, o := range ifc.owners {
		addresses.Take(holderOf(o.identity, netip.Addr{}))
	}
	for _, a := range ifc.announced {
		prefixes.Take(a.owner.holder)
	}
	for _, s := range []struct {
		what       string
		is, counts ratelimit.Shares[holder]
		most       int
	}{
		{"answers", answers, ifc.askers, ifc.cfg.Limits.answersOfOne()},
		{"addresses", addresses, ifc.addressesOf, maxAddressesOfOne},
		{"prefixes", prefixes, ifc.prefixesOf, prefixesOfOne},
	} {
		if !maps.Equal(s.is, s.counts) {
			return fmt.Errorf("shares of the %s are %v, counted %v", s.what, s.is, s.counts)
		}
		for h, share := range s.is {
			if share > s.most {
				return fmt.Errorf("%+v has %d %s, more than %d", h, share, s.what, s.most)
			}
		}
	}
	return nil
}

// brokenSeparation returns an error if an address whose routers were told apart is remembered for
// longer than it has to be.
func brokenSeparation(ifc *iface) error {
	times := slices.SortedFunc(maps.Values(ifc.separated), time.Time.Compare)
	if n := len(times); n > 0 && times[n-1].Sub(times[0]) >= separationTime {
		return fmt.Errorf("routers told apart are remembered for %s", times[n-1].Sub(times[0]))
	}
	return nil
}

func (n *node) brokenPeers(ifc *iface) error {
	for nbma, p := range ifc.peers {
		for _, c := range p.refs {
			if c.peer != p {
				return fmt.Errorf("%s has a reference of somebody else's", nbma)
			}
		}
		if p.led.IsValid() && (retired(nbma) || !p.secured && ifc.confirmed) {
			return fmt.Errorf("%s leads to %s without an SA", nbma, p.led)
		}
		if n.want[nbma] != p.want {
			return fmt.Errorf("%s: wanted %d, said %d", nbma, p.want, n.want[nbma])
		}
		if len(p.refs) == 0 && !p.secured && p.want == SANone {
			return fmt.Errorf("%s is kept for nothing", nbma)
		}
	}
	var places []netip.Addr
	for nbma := range ifc.peers {
		places = append(places, ifc.real(nbma))
	}
	slices.SortFunc(places, byAddr)
	ifc.peerInside(netip.Prefix{}) // the first call makes the index
	var indexed []netip.Addr
	for r := range ifc.underlay.Inside(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		indexed = append(indexed, r.Prefix.Addr())
	}
	if !slices.Equal(places, indexed) {
		return fmt.Errorf("peers at %v, of the underlay is known %v", places, indexed)
	}
	for nbma := range n.want {
		if ifc.peers[nbma] == nil {
			return fmt.Errorf("%s is wanted, but not known", nbma)
		}
	}
	return nil
}

// brokenAdmission returns an error if the kernel takes data from other routers than it should.
func (n *node) brokenAdmission(ifc *iface) error {
	if len(ifc.admitted) > 2*ifc.cfg.mostAdmitted() {
		return fmt.Errorf("%d addresses are admitted", len(ifc.admitted))
	}
	reasons := map[netip.Addr]bool{}
	for _, x := range ifc.nhs {
		reasons[x.admission.nbma] = true
	}
	for _, b := range ifc.bindings {
		reasons[b.nbma] = true
	}
	for _, s := range ifc.shortcuts {
		if s.state != ShortcutResolving {
			reasons[s.nbma] = true
		}
	}
	for _, a := range ifc.answers {
		reasons[a.admission.nbma] = true
	}
	for nbma, at := range ifc.admitted {
		if at.told != n.admitsData(nbma.String()) {
			return fmt.Errorf("%s is admitted: %v, and that was not told", nbma, at.told)
		}
		if len(at.reasons) > 0 != reasons[nbma] || len(at.reasons) == 0 && !at.end.IsSet() {
			return fmt.Errorf(
				"%s is admitted for %d reasons, and that ends: %v",
				nbma, len(at.reasons), at.end.IsSet(),
			)
		}
	}
	for nbma := range n.admits {
		if ifc.admitted[nbma] == nil {
			return fmt.Errorf("%s is still admitted", nbma)
		}
	}
	return nil
}

// brokenAnnounced returns an error if the route to an announced prefix must not be there.
func (n *node) brokenAnnounced(a *announced, nextHop netip.Addr) error {
	b := a.owner
	ifc := b.ifc
	_, found := n.engine.table(ifc).Announced.Enclosing(a.prefix)
	switch {
	case ifc.bindings[b.protocol] != b || nextHop != b.protocol || !b.routed || !found:
		return fmt.Errorf("route %s via %s, announced by %+v", a.prefix, nextHop, b)
	case !b.restored && !b.ref.peer.unlisted && !ifc.secured(b.nbma):
		return fmt.Errorf("route %s without an SA with %s", a.prefix, b.protocol)
	case !ifc.cfg.accepts(a.prefix) || n.engine.hides(ifc, a.prefix, b.protocol).Raised():
		return fmt.Errorf("route %s hides what it must not", a.prefix)
	}
	return nil
}

// brokenCounts returns an error if a count or an index differs from what a walk over everything
// gives.
func brokenCounts(ifc *iface) error {
	named := map[netip.Addr][]*peer{}
	for _, p := range inOrder(ifc.peers, byAddr) {
		var count refCounts
		for _, c := range p.refs {
			count.kinds[c.kind]++
			count.wishes[c.security()]++
		}
		if p.counts != count {
			return fmt.Errorf("the interests in %s are %+v, counted %+v", p.nbma, count, p.counts)
		}
		if p.real.IsValid() {
			named[p.real] = append(named[p.real], p)
		}
	}
	if !maps.EqualFunc(named, ifc.named, slices.Equal) {
		return fmt.Errorf("names are %v, indexed %v", named, ifc.named)
	}
	for protocol, n := range ifc.neighbors {
		for _, c := range n.claims {
			if c.rank < n.best().rank {
				return fmt.Errorf("the neighbour %s is not that of the first rank", protocol)
			}
		}
	}
	for nbma, at := range ifc.admitted {
		var as admittedAs
		for _, a := range at.reasons {
			as.nhs, as.shared = as.nhs || a.as.nhs, as.shared || a.as.shared
		}
		if at.together() != as {
			return fmt.Errorf("%s is admitted as %+v, counted %+v", nbma, as, at.together())
		}
	}
	return nil
}
