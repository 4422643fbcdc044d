package peers

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
)

// Check returns an error if an index or a count differs from what a walk over all peers gives, or
// if a peer is kept that should not be. It is for tests, and slow.
func (ps *Table) Check() error {
	if err := ps.Rules.Check(); err != nil {
		return err
	}
	for _, p := range ordered.Values(ps.ByID, peerid.ID.Compare) {
		if err := checkPeer(ps, p); err != nil {
			return err
		}
	}
	if err := checkIndexes(ps); err != nil {
		return err
	}
	times := slices.SortedFunc(maps.Values(ps.Separations.since), time.Time.Compare)
	if n := len(times); n > 0 && times[n-1].Sub(times[0]) >= SeparationTime {
		return fmt.Errorf("routers told apart are remembered for %s", times[n-1].Sub(times[0]))
	}
	if most := ps.Config.Limits.Held; len(ps.Held.bySender) > most {
		return fmt.Errorf("%d packets are held, the limit is %d", len(ps.Held.bySender), most)
	}
	return nil
}

// checkPeer returns an error if a peer's state contradicts itself.
func checkPeer(ps *Table, p *Peer) error {
	var counts refCounts
	for _, r := range p.Refs {
		if r.Peer != p {
			return fmt.Errorf("%s has a reference to another peer", p.ID)
		}
		counts.add(r, 1)
	}
	switch {
	case p.counts != counts:
		return fmt.Errorf("references to %s are %+v, counted %+v", p.ID, counts, p.counts)
	case p.routedTo.IsValid() && (!p.Secured && ps.Confirmed):
		return fmt.Errorf("%s is routed to %s without an SA", p.ID, p.routedTo)
	case len(p.Refs) == 0 && !p.Secured && p.Want == output.SANone:
		return fmt.Errorf("%s is kept for nothing", p.ID)
	}
	return nil
}

// checkIndexes returns an error if an index by outer addresses lacks a peer, or has one too many.
func checkIndexes(ps *Table) error {
	byOuter := outerIndex{}
	var outer []netip.Addr
	for _, p := range ordered.Values(ps.ByID, peerid.ID.Compare) {
		if p.Outer.IsValid() {
			outer = append(outer, p.Outer)
		}
		if p.ID.Shares() && p.Outer.IsValid() {
			byOuter[p.Outer] = append(byOuter[p.Outer], p)
		}
	}
	if indexed := ps.Addresses.byOuter; !maps.EqualFunc(byOuter, indexed, slices.Equal) {
		return fmt.Errorf("peers behind NAT addresses are %v, indexed %v", byOuter, indexed)
	}
	slices.SortFunc(outer, ordered.ByAddr)
	outer = slices.Compact(outer)
	ps.Addresses.PeerInside(netip.Prefix{}) // the first call makes the index
	var indexed []netip.Addr
	for _, all := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		for r := range ps.Addresses.underlay.trie.Inside(netip.PrefixFrom(all, 0)) {
			indexed = append(indexed, r.Prefix.Addr())
		}
	}
	if !slices.Equal(outer, indexed) {
		return fmt.Errorf("outer addresses of peers are %v, indexed %v", outer, indexed)
	}
	return nil
}
