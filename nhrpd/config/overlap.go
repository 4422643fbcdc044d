package config

// overlaps checks the interfaces against each other.
func (c *checker) overlaps(all []Interface) {
	for i := range all {
		for j := range i {
			c.tunnelClash(&all[j], &all[i])
			c.overlayClash(&all[j], &all[i])
		}
	}
}

// tunnelClash refuses two tunnels that cannot be told apart. The kernel tells tunnels on one
// underlay apart only by their keys. Nothing tells their SAs apart, since an SA is for all GRE
// between two addresses: with a router that is in both overlays, there would be one SA, which this
// router might count for one interface and the other router for the other.
func (c *checker) tunnelClash(a, b *Interface) {
	if a.Underlay != b.Underlay || a.Underlay == (Underlay{}) {
		return
	}
	at := path{}.key("interface").key(b.Name)
	if a.Protected != b.Protected {
		c.problem(at.key("protection"), "differs from that of %s on the same underlay %s, and the block on clear GRE is for the whole address; allowed is one for all tunnels on an underlay", a.Name, b.Underlay)
	}
	switch {
	case a.Protected && b.Protected:
		c.problem(at.key("underlay"), "found %s, which %s is protected on too; allowed is one protected tunnel on an underlay, since an SA is for all GRE between two addresses: give one of the two another address of this router", b.Underlay, a.Name)
	case a.Key == nil && b.Key == nil:
		c.problem(at.key("underlay"), "found %s without a key, which %s has too; allowed is one tunnel without a key on an underlay: give each a key", b.Underlay, a.Name)
	case a.Key != nil && b.Key != nil && *a.Key == *b.Key:
		c.problem(at.key("key"), "found %d, which %s has on the same underlay %s; allowed is each key once", *b.Key, a.Name, b.Underlay)
	}
}

// overlayClash refuses two interfaces with overlapping prefixes in one routing table, where a
// prefix can lead to one interface only.
func (c *checker) overlayClash(a, b *Interface) {
	if !a.Address.IsValid() || !b.Address.IsValid() {
		return
	}
	at := path{}.key("interface").key(b.Name).key("address")
	switch {
	case a.Address.Addr() == b.Address.Addr():
		c.problem(at, "found %s, the overlay address of %s; allowed is each address once",
			b.Address, a.Name)
	case a.Table == b.Table && a.ownRange().Overlaps(b.ownRange()):
		c.problem(at, "found %s, which overlaps with %s of %s in the same routing table; allowed are separate overlays, or a table for each", b.Address, a.Address, a.Name)
	}
}
