package engine

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/ratelimit"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
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
		sc := ifc.Requester.Shortcuts[prefix]
		if a := ifc.server.Announced[prefix]; a != nil && (sc == nil || !sc.Routed) {
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
		case sc == nil || sc.State != report.ShortcutUp || sc.NextHop != nextHop:
			return fmt.Errorf("route %s via %s, shortcut %+v", prefix, nextHop, sc)
		case !sc.Restored && !sc.Ref.Peer.Unlisted && !ifc.peers.Secured(sc.NBMA):
			return fmt.Errorf("route %s without an SA", prefix)
		case prefix.Bits() < 8 || prefix.Contains(ifc.Address()) || prefix.Contains(sc.NBMA):
			return fmt.Errorf("route %s covers what the tunnel rests on", prefix)
		}
	}
	for protocol, nbma := range n.neighbors {
		if have := ifc.neighbors.ByProtocol[protocol]; have == nil || have.NBMA != nbma {
			return fmt.Errorf("neighbour %s is wanted, but not known", protocol)
		}
	}
	return nil
}

// brokenHostRoute returns an error if a host route leads to a router that is not wanted, to this
// router itself, or to an address that no other route leads into the tunnel.
func (n *node) brokenHostRoute(ifc *iface, router netip.Addr) error {
	have := ifc.neighbors.ByProtocol[router]
	switch {
	case have == nil || !have.Routed || ifc.OnLink(router):
		return fmt.Errorf("host route to %s, neighbour %+v", router, have)
	case have.Best().Rank == neighbors.RankRelay, have.Best().Rank == neighbors.RankShortcut &&
		!ifc.neighbors.LeadsTo(router):
		return fmt.Errorf("host route to %s, which nothing leads to", router)
	case router == ifc.Address() || ifc.Table().IsLocal(router):
		return fmt.Errorf("host route to our own address %s", router)
	}
	return nil
}

func (n *node) brokenLimits(ifc *iface) error {
	l := ifc.Config.Limits
	goodbyes := 0
	if ifc.Leaving {
		goodbyes = 2 * len(ifc.client.NHS) // beside the purges of answers
	}
	if len(ifc.server.Bindings) > l.Bindings+len(ifc.Config.Maps) ||
		len(ifc.Requester.Shortcuts) > l.Shortcuts ||
		len(ifc.Responder.Answers) > l.Answers || len(ifc.peers.Held) > l.Held ||
		len(ifc.Requester.Requests) > l.Shortcuts || len(ifc.Requester.Unresolved) > l.Shortcuts ||
		len(ifc.purges.ByID) > l.Answers+goodbyes ||
		len(ifc.server.Announced) > l.Prefixes ||
		len(ifc.Relays.ByProtocol) > resolution.RelaysPerShortcut*l.Shortcuts {
		return fmt.Errorf(
			"a table is over its limit: bindings %d shortcuts %d answers %d held %d requests %d unresolved %d purges %d announced %d relays %d leaving %v",
			len(
				ifc.server.Bindings,
			),
			len(ifc.Requester.Shortcuts),
			len(ifc.Responder.Answers),
			len(ifc.peers.Held),
			len(
				ifc.Requester.Requests,
			),
			len(ifc.Requester.Unresolved),
			len(ifc.purges.ByID),
			len(ifc.server.Announced),
			len(ifc.Relays.ByProtocol),
			ifc.Leaving,
		)
	}
	if len(ifc.server.Owners) > l.Bindings {
		return fmt.Errorf("%d addresses are kept for their owners", len(ifc.server.Owners))
	}
	if err := brokenCounts(ifc); err != nil {
		return err
	}
	if err := ifc.peers.Rules.Check(); err != nil {
		return err
	}
	r := &ifc.purges.Revocations
	if len(r.List) > l.Bindings || len(r.Waiting) > len(r.Hearers) ||
		len(r.Hearers) == 0 && (len(r.List) > 0 || r.Tick.IsSet()) {
		return fmt.Errorf(
			"%d revoked routers are remembered for %d clients", len(r.List), len(r.Hearers),
		)
	}
	if err := brokenSeparation(ifc); err != nil {
		return err
	}
	if len(ifc.server.Away) > l.Bindings || ifc.server.AwayAt.Len() != len(ifc.server.Away) {
		return fmt.Errorf(
			"%d clients are away, %d in the index",
			len(ifc.server.Away),
			ifc.server.AwayAt.Len(),
		)
	}
	return brokenShares(ifc)
}

// brokenShares returns an error if a share differs from what the tables hold, or is over its limit.
func brokenShares(ifc *iface) error {
	answers, addresses, prefixes := ratelimit.Shares[overlay.Holder]{},
		ratelimit.Shares[overlay.Holder]{},
		ratelimit.Shares[overlay.Holder]{}
	for _, a := range ifc.Responder.Answers {
		if a.ChargedTo != (overlay.Holder{}) {
			answers.Take(a.ChargedTo)
		}
	}
	for _, b := range ifc.server.Bindings {
		if !b.Static {
			addresses.Take(b.Holder)
		}
	}
	for _, o := range ifc.server.Owners {
		addresses.Take(overlay.HolderOf(o.Identity, netip.Addr{}))
	}
	for _, a := range ifc.server.Announced {
		prefixes.Take(a.Owner.Holder)
	}
	for _, s := range []struct {
		what       string
		is, counts ratelimit.Shares[overlay.Holder]
		most       int
	}{
		{"answers", answers, ifc.Responder.Charged, ifc.Config.Limits.AnswersOfOne()},
		{"addresses", addresses, ifc.server.AddressesOf, overlay.MaxAddressesOfOne},
		{"prefixes", prefixes, ifc.server.PrefixesOf, overlay.PrefixesOfOne},
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
	times := slices.SortedFunc(maps.Values(ifc.peers.Separated), time.Time.Compare)
	if n := len(times); n > 0 && times[n-1].Sub(times[0]) >= peers.SeparationTime {
		return fmt.Errorf("routers told apart are remembered for %s", times[n-1].Sub(times[0]))
	}
	return nil
}

func (n *node) brokenPeers(ifc *iface) error {
	for nbma, p := range ifc.peers.ByNBMA {
		for _, c := range p.Refs {
			if c.Peer != p {
				return fmt.Errorf("%s has a reference of somebody else's", nbma)
			}
		}
		if p.RoutedTo.IsValid() && (peers.Parked(nbma) || !p.Secured && ifc.peers.Confirmed) {
			return fmt.Errorf("%s leads to %s without an SA", nbma, p.RoutedTo)
		}
		if n.want[nbma] != p.Want {
			return fmt.Errorf("%s: wanted %d, said %d", nbma, p.Want, n.want[nbma])
		}
		if len(p.Refs) == 0 && !p.Secured && p.Want == output.SANone {
			return fmt.Errorf("%s is kept for nothing", nbma)
		}
	}
	var places []netip.Addr
	for nbma := range ifc.peers.ByNBMA {
		places = append(places, ifc.peers.Outer(nbma))
	}
	slices.SortFunc(places, ordered.ByAddr)
	ifc.peers.PeerInside(netip.Prefix{}) // the first call makes the index
	var indexed []netip.Addr
	for r := range ifc.peers.Underlay.Inside(netip.PrefixFrom(netip.IPv4Unspecified(), 0)) {
		indexed = append(indexed, r.Prefix.Addr())
	}
	if !slices.Equal(places, indexed) {
		return fmt.Errorf("peers at %v, of the underlay is known %v", places, indexed)
	}
	for nbma := range n.want {
		if ifc.peers.ByNBMA[nbma] == nil {
			return fmt.Errorf("%s is wanted, but not known", nbma)
		}
	}
	return nil
}

// brokenAdmission returns an error if the kernel takes data from other routers than it should.
func (n *node) brokenAdmission(ifc *iface) error {
	if len(ifc.admissions.ByNBMA) > 2*ifc.Config.MostAdmitted() {
		return fmt.Errorf("%d addresses are admitted", len(ifc.admissions.ByNBMA))
	}
	reasons := map[netip.Addr]bool{}
	for _, x := range ifc.client.NHS {
		reasons[x.Admission.NBMA] = true
	}
	for _, b := range ifc.server.Bindings {
		reasons[b.NBMA] = true
	}
	for _, s := range ifc.Requester.Shortcuts {
		if s.State != report.ShortcutResolving {
			reasons[s.NBMA] = true
		}
	}
	for _, a := range ifc.Responder.Answers {
		reasons[a.Admission.NBMA] = true
	}
	for nbma, at := range ifc.admissions.ByNBMA {
		if at.Told != n.admitsData(nbma.String()) {
			return fmt.Errorf("%s is admitted: %v, and that was not told", nbma, at.Told)
		}
		if len(at.Reasons) > 0 != reasons[nbma] || len(at.Reasons) == 0 && !at.End.IsSet() {
			return fmt.Errorf(
				"%s is admitted for %d reasons, and that ends: %v",
				nbma, len(at.Reasons), at.End.IsSet(),
			)
		}
	}
	for nbma := range n.admits {
		if ifc.admissions.ByNBMA[nbma] == nil {
			return fmt.Errorf("%s is still admitted", nbma)
		}
	}
	return nil
}

// brokenAnnounced returns an error if the route to an announced prefix must not be there.
func (n *node) brokenAnnounced(a *server.Announced, nextHop netip.Addr) error {
	b := a.Owner
	ifc := b.Server
	_, found := ifc.Table().Announced.Enclosing(a.Prefix)
	switch {
	case ifc.Bindings[b.Protocol] != b || nextHop != b.Protocol || !b.Routed || !found:
		return fmt.Errorf("route %s via %s, announced by %+v", a.Prefix, nextHop, b)
	case !b.Restored && !b.Ref.Peer.Unlisted && !ifc.Peers.Secured(b.NBMA):
		return fmt.Errorf("route %s without an SA with %s", a.Prefix, b.Protocol)
	case !ifc.Config.Accepts(a.Prefix) ||
		ifc.Prefixes.ObjectToHiding(a.Prefix, b.Protocol).Raised():
		return fmt.Errorf("route %s hides what it must not", a.Prefix)
	}
	return nil
}

// brokenCounts returns an error if a count or an index differs from what a walk over everything
// gives.
func brokenCounts(ifc *iface) error {
	named := map[netip.Addr][]*peers.Peer{}
	for _, p := range ordered.Values(ifc.peers.ByNBMA, ordered.ByAddr) {
		var count peers.RefCounts
		for _, c := range p.Refs {
			count.Kinds[c.Kind]++
			count.Wishes[c.Security()]++
		}
		if p.Counts != count {
			return fmt.Errorf("the interests in %s are %+v, counted %+v", p.NBMA, count, p.Counts)
		}
		if p.Outer.IsValid() {
			named[p.Outer] = append(named[p.Outer], p)
		}
	}
	if !maps.EqualFunc(named, ifc.peers.ByOuter, slices.Equal) {
		return fmt.Errorf("names are %v, indexed %v", named, ifc.peers.ByOuter)
	}
	for protocol, n := range ifc.neighbors.ByProtocol {
		for _, c := range n.Claims {
			if c.Rank < n.Best().Rank {
				return fmt.Errorf("the neighbour %s is not that of the first rank", protocol)
			}
		}
	}
	for nbma, at := range ifc.admissions.ByNBMA {
		var as admission.As
		for _, a := range at.Reasons {
			as.NHS, as.Shared = as.NHS || a.As.NHS, as.Shared || a.As.Shared
		}
		if at.Together() != as {
			return fmt.Errorf("%s is admitted as %+v, counted %+v", nbma, as, at.Together())
		}
	}
	return nil
}
