package neighbors

import (
	"fmt"
	"net/netip"
	"slices"
)

// Check returns an error if a neighbour is not that of its first claim, or if a host route leads to
// this router itself, to an address on the link, or to one that no other route leads into the
// tunnel. It is for tests, and slow.
func (ns *Table) Check() error {
	for protocol, n := range ns.byProtocol {
		byRank := func(a, b *Claim) int { return int(a.rank) - int(b.rank) }
		if !slices.IsSortedFunc(n.claims, byRank) || n.peer != n.best().Peer {
			return fmt.Errorf("the neighbour %s is not that of the first rank", protocol)
		}
	}
	for _, router := range ns.HostRoutes() {
		if err := ns.checkHostRoute(router, ns.byProtocol[router].best().rank); err != nil {
			return err
		}
	}
	return nil
}

// checkHostRoute returns an error if there must be no host route to a router of that rank.
func (ns *Table) checkHostRoute(router netip.Addr, rank Rank) error {
	switch {
	case ns.OnLink(router):
		return fmt.Errorf("host route to %s, which is on the link", router)
	case rank == RankRelay, rank == RankShortcut && !ns.leadsTo(router):
		return fmt.Errorf("host route to %s, which nothing leads to", router)
	case ns.IsOwn(router) || ns.Table().IsLocal(router):
		return fmt.Errorf("host route to our own address %s", router)
	}
	return nil
}
