package engine

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
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
	if err := n.brokenHostTable(ifc); err != nil {
		return err
	}
	for prefix, nextHop := range n.shortcuts {
		sc := ifc.Requester.Placements.RoutedAt(prefix)
		if a := ifc.server.Announced.ByPrefix[prefix]; a != nil && sc == nil {
			if err := n.brokenAnnounced(a, nextHop); err != nil {
				return err
			}
			continue
		}
		if !nextHop.IsValid() {
			if !slices.Contains(ifc.neighbors.HostRoutes(), prefix.Addr()) {
				return fmt.Errorf("host route to %s, which is not wanted", prefix.Addr())
			}
			continue
		}
		switch {
		case sc == nil || sc.State != report.ShortcutUp || sc.CutOff || sc.NextHop != nextHop:
			return fmt.Errorf("route %s via %s, shortcut %+v", prefix, nextHop, sc)
		case !sc.Restored && !sc.Ref.Peer.Unlisted && !ifc.peers.Secured(sc.Peer):
			return fmt.Errorf("route %s without an SA", prefix)
		case prefix.Bits() < 8 || prefix.Contains(ifc.Address()) ||
			prefix.Contains(ifc.peers.Outer(sc.Peer)):
			return fmt.Errorf("route %s covers what the tunnel rests on", prefix)
		}
	}
	for protocol, nbma := range n.neighbors {
		if have, _, ok := ifc.neighbors.Lookup(protocol); !ok || have != nbma {
			return fmt.Errorf("neighbour %s is wanted, but not known", protocol)
		}
	}
	return nil
}

// brokenHostTable returns an error if a route in the table for host routes is neither that of a
// shortcut nor the host route to a router.
func (n *node) brokenHostTable(ifc *iface) error {
	for prefix, nextHop := range n.hostTable {
		sc := ifc.Requester.Shortcuts[prefix]
		switch {
		case !nextHop.IsValid() && !slices.Contains(ifc.neighbors.InHostTable(), prefix.Addr()):
			return fmt.Errorf("host route to %s, which is not wanted", prefix.Addr())
		case nextHop.IsValid() && (sc == nil || sc.Placement != report.PlacedHostTable ||
			sc.State != report.ShortcutUp || sc.NextHop != nextHop):
			return fmt.Errorf("host route %s via %s, shortcut %+v", prefix, nextHop, sc)
		case nextHop.IsValid() && !sc.Restored && !sc.Ref.Peer.Unlisted &&
			!ifc.peers.Secured(sc.Peer):
			return fmt.Errorf("host route %s without an SA", prefix)
		}
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
		len(ifc.Responder.Answers) > l.Answers || len(ifc.peers.Held.Senders()) > l.Held ||
		len(ifc.Requester.Requests.ByID) > l.Shortcuts ||
		len(ifc.Requester.Unresolved.ByDest) > l.Shortcuts ||
		len(ifc.purges.ByID) > l.Answers+goodbyes ||
		len(ifc.server.Announced.ByPrefix) > l.Prefixes ||
		len(ifc.Relays.ByProtocol) > resolution.RelaysPerShortcut*l.Shortcuts {
		return fmt.Errorf(
			"a table is over its limit: bindings %d shortcuts %d answers %d held %d requests %d unresolved %d purges %d announced %d relays %d leaving %v",
			len(
				ifc.server.Bindings,
			),
			len(ifc.Requester.Shortcuts),
			len(ifc.Responder.Answers),
			len(ifc.peers.Held.Senders()),
			len(
				ifc.Requester.Requests.ByID,
			),
			len(ifc.Requester.Unresolved.ByDest),
			len(ifc.purges.ByID),
			len(ifc.server.Announced.ByPrefix),
			len(ifc.Relays.ByProtocol),
			ifc.Leaving,
		)
	}
	if err := ifc.bothVersions(); err != nil {
		return err
	}
	if kept := len(ifc.server.Owners.ByAddress); kept > l.Bindings {
		return fmt.Errorf("%d addresses are kept for their owners", kept)
	}
	if err := cmp.Or(
		ifc.peers.Check(), ifc.neighbors.Check(), ifc.proofs.Check(ifc.Requester.Paths()),
		ifc.inquiries.Check(),
	); err != nil {
		return err
	}
	r := &ifc.purges.Revocations
	if len(r.Revoked) > l.Bindings || len(r.Waiting) > len(r.Recipients) ||
		len(r.Recipients) == 0 && (len(r.Revoked) > 0 || r.Tick.IsSet()) {
		return fmt.Errorf(
			"%d revoked routers are remembered for %d clients", len(r.Revoked), len(r.Recipients),
		)
	}
	away, indexed := len(ifc.server.Away.ByHolder), ifc.server.Away.ByNBMA.Len()
	if away > l.Bindings || indexed != away {
		return fmt.Errorf("%d clients are away, %d in the index", away, indexed)
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
	for _, o := range ifc.server.Owners.ByAddress {
		addresses.Take(overlay.HolderOf(o.Identity, peerid.ID{}))
	}
	for _, a := range ifc.server.Announced.ByPrefix {
		prefixes.Take(a.Owner.Holder)
	}
	for _, s := range []struct {
		what       string
		is, counts ratelimit.Shares[overlay.Holder]
		most       int
	}{
		{"answers", answers, ifc.Responder.Charged, ifc.Config.Limits.AnswersOfOne()},
		{"addresses", addresses, ifc.server.AddressesOf, overlay.MaxAddressesOfOne},
		{"prefixes", prefixes, ifc.server.Announced.Shares, overlay.PrefixesOfOne},
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

// brokenPeers returns an error if strongSwan was last asked for something else than is wanted.
func (n *node) brokenPeers(ifc *iface) error {
	for id, p := range ifc.peers.ByID {
		want := p.Want
		if id.IsParked() {
			want = output.SANone // strongSwan knows no such peer
		}
		if n.want[id] != want {
			return fmt.Errorf("%s: wanted %d, said %d", id, want, n.want[id])
		}
	}
	for id := range n.want {
		if ifc.peers.ByID[id] == nil {
			return fmt.Errorf("%s is wanted, but not known", id)
		}
	}
	return nil
}

// brokenAdmission returns an error if the kernel takes data from other routers than it should.
func (n *node) brokenAdmission(ifc *iface) error {
	reasons := map[peerid.ID]bool{}
	for _, x := range ifc.client.NHS {
		reasons[x.Admission.Peer] = true
	}
	for _, b := range ifc.server.Bindings {
		reasons[b.Peer] = true
	}
	for _, s := range ifc.Requester.Shortcuts {
		if s.State != report.ShortcutResolving {
			reasons[s.Peer] = true
		}
	}
	for _, a := range ifc.Responder.Answers {
		reasons[a.Admission.Peer] = true
	}
	admitted := map[peerid.ID]output.AdmissionChange{}
	for _, c := range ifc.admissions.Wanted() {
		admitted[c.ID] = c
	}
	if !maps.Equal(admitted, n.admits) {
		return fmt.Errorf("admitted are %v, the kernel was told %v", admitted, n.admits)
	}
	return ifc.admissions.Check(func(id peerid.ID) bool { return reasons[id] })
}

// brokenAnnounced returns an error if the route to an announced prefix must not be there.
func (n *node) brokenAnnounced(a *server.Announced, nextHop netip.Addr) error {
	b := a.Owner
	ifc := b.Server
	_, found := ifc.Table().Announced.Enclosing(a.Prefix)
	switch {
	case ifc.Bindings[b.Protocol] != b || nextHop != b.Protocol || !b.Routed || !found:
		return fmt.Errorf("route %s via %s, announced by %+v", a.Prefix, nextHop, b)
	case !b.Restored && !b.Ref.Peer.Unlisted && !ifc.Peers.Secured(b.Peer):
		return fmt.Errorf("route %s without an SA with %s", a.Prefix, b.Protocol)
	case !ifc.Config.Accepts(a.Prefix) ||
		ifc.Prefixes.ObjectToHiding(a.Prefix, b.Protocol).Raised():
		return fmt.Errorf("route %s hides what it must not", a.Prefix)
	}
	return nil
}

// bothVersions returns an error if a name is used over both IP versions at a time.
func (ifc *iface) bothVersions() error {
	used := map[string]netip.Addr{}
	for _, n := range ifc.client.NHS {
		st := n.Status()
		if st.Use != report.UseInUse {
			continue
		}
		if other, is := used[st.Name]; is && other.Is4() != st.NBMA.Is4() {
			return fmt.Errorf("%s is used at %s and at %s", st.Name, other, st.NBMA)
		}
		used[st.Name] = st.NBMA
	}
	return nil
}
