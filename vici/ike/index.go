package ike

import (
	"cmp"
	"iter"
	"maps"
	"slices"
)

// Index finds SAs by what look-ups ask for. Every event about an SA asks several times, and
// thousands of routers may be behind one NAT address, so the index keeps each list up to date and
// in order rather than make it for each look-up. It belongs to one goroutine. The lists that its
// methods return are its own: a caller may not change them, and may not keep them past the next
// change.
type Index struct {
	byPeer     map[Key]*Group
	byAddress  map[Key]*Group // by interface and address, with marks or without
	byIdentity map[Identity][]*SA
	visited    uint64 // SAs and identities that look-ups went through one by one
}

// Policy decides which SAs count: those that may carry traffic.
type Policy interface {
	Accepts(*SA) bool
	// Revision changes whenever Accepts may answer differently.
	Revision() uint64
}

// NewIndex returns an empty index.
func NewIndex() Index {
	return Index{
		byPeer: map[Key]*Group{}, byAddress: map[Key]*Group{}, byIdentity: map[Identity][]*SA{},
	}
}

// Add enters an SA that the index does not have.
func (x *Index) Add(sa *SA) {
	for _, in := range []struct {
		groups map[Key]*Group
		key    Key
	}{{x.byPeer, sa.Key()}, {x.byAddress, sa.AddressKey()}} {
		g := in.groups[in.key]
		if g == nil {
			g = &Group{visited: &x.visited}
			in.groups[in.key] = g
		}
		g.add(sa)
	}
	x.Count(sa)
}

// Count enters an SA among those of its identity. Add does that, too.
func (x *Index) Count(sa *SA) {
	k := sa.Identity()
	x.byIdentity[k] = withSA(x.byIdentity[k], sa)
}

// Replace enters an SA in the place of what the index has of it.
func (x *Index) Replace(old, sa *SA) {
	if old.Key() != sa.Key() || old.AddressKey() != sa.AddressKey() ||
		old.Identity() != sa.Identity() ||
		old.RemotePort != sa.RemotePort || old.RemoteNAT != sa.RemoteNAT {
		x.Remove(old)
		x.Add(sa)
		return
	}
	x.byPeer[sa.Key()].replace(old, sa)
	x.byAddress[sa.AddressKey()].replace(old, sa)
	x.Count(sa)
}

// Remove takes an SA out.
func (x *Index) Remove(sa *SA) {
	for _, in := range []struct {
		groups map[Key]*Group
		key    Key
	}{{x.byPeer, sa.Key()}, {x.byAddress, sa.AddressKey()}} {
		if g := in.groups[in.key]; g != nil {
			if g.remove(sa); len(g.sas) == 0 {
				delete(in.groups, in.key)
			}
		}
	}
	x.Uncount(sa)
}

// Uncount takes an SA out of those of its identity, and leaves it in all other lists.
func (x *Index) Uncount(sa *SA) {
	k := sa.Identity()
	if list := withoutSA(x.byIdentity[k], sa); len(list) > 0 {
		x.byIdentity[k] = list
	} else {
		delete(x.byIdentity, k)
	}
}

// withSA adds an SA to a list in order of the ids, which is the order in which charon made them.
func withSA(list []*SA, sa *SA) []*SA {
	at, there := slices.BinarySearchFunc(list, sa.ID, byID)
	if there {
		list[at] = sa
		return list
	}
	return slices.Insert(list, at, sa)
}

func withoutSA(list []*SA, sa *SA) []*SA {
	if at, there := slices.BinarySearchFunc(list, sa.ID, byID); there {
		return slices.Delete(list, at, at+1)
	}
	return list
}

func byID(sa *SA, id uint32) int { return cmp.Compare(sa.ID, id) }

// Group holds the SAs that have one key. Its methods tell about those that count: the SAs that the
// policy given to [Index.Group] accepts.
type Group struct {
	sas     []*SA // by id
	visited *uint64

	// What follows is about the SAs that policy accepted at revision.
	policy   Policy // nil: no SA counts
	revision uint64
	accepted []*SA            // by id
	of       map[string][]*SA // by identity, each by id
	names    []string         // the identities, in order
	ports    map[uint16]int   // how many SAs have a remote port
	nat      int              // how many peers are behind NAT

	others []string // names without one of them; nil: not made yet
	but    string   // that one
}

func (g *Group) add(sa *SA) {
	g.sas = withSA(g.sas, sa)
	if g.policy != nil && g.policy.Accepts(sa) {
		g.count(sa)
	}
}

func (g *Group) remove(sa *SA) {
	g.sas = withoutSA(g.sas, sa)
	if _, counted := slices.BinarySearchFunc(g.accepted, sa.ID, byID); counted {
		g.uncount(sa)
	}
}

// replace enters an SA in the place of an old one. If both count, or neither does, the lists stay
// in order without a search.
func (g *Group) replace(old, sa *SA) {
	_, counted := slices.BinarySearchFunc(g.accepted, old.ID, byID)
	if g.policy == nil || counted != g.policy.Accepts(sa) {
		g.remove(old)
		g.add(sa)
		return
	}
	g.sas = withSA(g.sas, sa)
	if counted {
		g.accepted = withSA(g.accepted, sa)
		g.of[sa.RemoteID] = withSA(g.of[sa.RemoteID], sa)
	}
}

// count adds an accepted SA that is not counted yet.
func (g *Group) count(sa *SA) {
	if g.of == nil {
		g.of, g.ports = map[string][]*SA{}, map[uint16]int{}
	}
	g.accepted = withSA(g.accepted, sa)
	if g.of[sa.RemoteID] == nil {
		at, _ := slices.BinarySearch(g.names, sa.RemoteID)
		g.names, g.others = slices.Insert(g.names, at, sa.RemoteID), nil
	}
	g.of[sa.RemoteID] = withSA(g.of[sa.RemoteID], sa)
	g.ports[sa.RemotePort]++
	if sa.RemoteNAT {
		g.nat++
	}
}

// uncount takes out an accepted SA.
func (g *Group) uncount(sa *SA) {
	g.accepted = withoutSA(g.accepted, sa)
	if list := withoutSA(g.of[sa.RemoteID], sa); len(list) > 0 {
		g.of[sa.RemoteID] = list
	} else {
		delete(g.of, sa.RemoteID)
		at, _ := slices.BinarySearch(g.names, sa.RemoteID)
		g.names, g.others = slices.Delete(g.names, at, at+1), nil
	}
	if g.ports[sa.RemotePort]--; g.ports[sa.RemotePort] == 0 {
		delete(g.ports, sa.RemotePort)
	}
	if sa.RemoteNAT {
		g.nat--
	}
}

// evaluated brings the lists of the SAs that count in line with a policy as it is now.
func (g *Group) evaluated(p Policy) *Group {
	if p == nil {
		g.policy = nil
		g.clear()
		return g
	}
	if g.policy == p && g.revision == p.Revision() {
		return g
	}
	g.policy, g.revision = p, p.Revision()
	g.clear()
	for _, sa := range g.sas {
		*g.visited++
		if p.Accepts(sa) {
			g.count(sa)
		}
	}
	return g
}

func (g *Group) clear() {
	g.accepted, g.of, g.names, g.ports, g.nat, g.others = nil, nil, nil, nil, 0, nil
}

// BehindOneNAT reports whether the SAs that count are with several routers that a NAT hides, rather
// than with routers that had the address one after the other. That is so if two of the SAs have
// neither identity nor port in common, and one of the two is behind NAT.
//
// With two identities and two ports or more, some two SAs have nothing in common. If all are behind
// NAT, that answers the question. Otherwise each SA behind NAT is compared with the rest.
func (g *Group) BehindOneNAT() bool {
	switch {
	case g.nat == 0 || len(g.of) < 2 || len(g.ports) < 2:
		return false
	case g.nat == len(g.accepted):
		return true
	}
	for _, sa := range g.accepted {
		*g.visited++
		if sa.RemoteNAT && g.apart(sa) > 0 {
			return true
		}
	}
	return false
}

// apart returns how many of the accepted SAs have neither identity nor port in common with one of
// them.
func (g *Group) apart(sa *SA) int {
	same := 0
	for _, o := range g.of[sa.RemoteID] {
		*g.visited++
		if o.RemotePort == sa.RemotePort {
			same++
		}
	}
	return len(g.accepted) - len(g.of[sa.RemoteID]) - g.ports[sa.RemotePort] + same
}

// Accepted returns the SAs that count, by age.
func (g *Group) Accepted() []*SA { return g.accepted }

// Oldest returns the oldest SA of an identity that counts; nil if there is none.
func (g *Group) Oldest(identity string) *SA {
	if list := g.of[identity]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// OthersThan returns the identities of the SAs that count, without one of them, in order. The list
// stays as it is: a caller may keep it.
func (g *Group) OthersThan(identity string) []string {
	if g.others == nil || g.but != identity {
		g.others, g.but = make([]string, 0, len(g.names)), identity
		*g.visited += uint64(len(g.names))
		for _, name := range g.names {
			if name != identity {
				g.others = append(g.others, name)
			}
		}
	}
	return g.others
}

// At returns the SAs with a remote address, with and without marks, by age.
func (x *Index) At(address Key) []*SA {
	if g := x.byAddress[address]; g != nil {
		return g.sas
	}
	return nil
}

// SAs returns the SAs with a peer, by age.
func (x *Index) SAs(k Key) []*SA {
	if g := x.byPeer[k]; g != nil {
		return g.sas
	}
	return nil
}

// OfIdentity returns the SAs of an identity that were not taken out by Uncount, by age.
func (x *Index) OfIdentity(id Identity) []*SA { return x.byIdentity[id] }

// HasChild reports whether an identity has an SA with a child at an address.
func (x *Index) HasChild(address Key, identity string) bool {
	for _, sa := range x.byIdentity[IdentityOn(address.Interface, identity)] {
		x.visited++
		if sa.RemoteHost == address.NBMA && len(sa.Children) > 0 {
			return true
		}
	}
	return false
}

var noGroup = &Group{visited: new(uint64)}

// Group returns the SAs with a peer, as a policy evaluates them; nil: no SA counts.
func (x *Index) Group(k Key, p Policy) *Group {
	if g := x.byPeer[k]; g != nil {
		return g.evaluated(p)
	}
	return noGroup
}

// Keys returns an iterator over the keys of all peers that have an SA.
func (x *Index) Keys() iter.Seq[Key] { return maps.Keys(x.byPeer) }

// Visited returns how many SAs and identities the look-ups so far went through one by one. Tests
// hold it against the number of SAs.
func (x *Index) Visited() uint64 { return x.visited }
