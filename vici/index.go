package vici

import (
	"cmp"
	"slices"
	"strings"
)

// index finds SAs by what look-ups ask for. Every event about an SA asks several times, and
// thousands of routers may be behind one NAT address, so each list is kept up to date and in order
// rather than made when it is asked for.
type index struct {
	byPeer     map[Key]*group
	byAddress  map[Key]*group // by interface and address, with marks or without
	byIdentity map[identityKey][]*SA
	looked     uint64 // SAs and identities that look-ups went through one by one
}

// identityKey names an identity on an interface.
type identityKey struct{ iface, identity string }

func newIndex() index {
	return index{byPeer: map[Key]*group{}, byAddress: map[Key]*group{}, byIdentity: map[identityKey][]*SA{}}
}

// addressKey names the address of an SA, whatever its mark.
func (s *SA) addressKey() Key { return Key{Interface: s.Interface, NBMA: s.RemoteHost} }

func (s *SA) identityKey() identityKey { return identityOn(s.Interface, s.RemoteID) }

// identityOn names an identity. charon takes names that differ in case for the same, so that
// otherwise a router could have as many identities as there are ways to write its name.
func identityOn(iface, identity string) identityKey {
	return identityKey{iface, strings.ToLower(identity)}
}

// add enters an SA that is not there.
func (x *index) add(sa *SA) {
	for _, in := range []struct {
		groups map[Key]*group
		key    Key
	}{{x.byPeer, sa.Key()}, {x.byAddress, sa.addressKey()}} {
		g := in.groups[in.key]
		if g == nil {
			g = &group{looked: &x.looked}
			in.groups[in.key] = g
		}
		g.add(sa)
	}
	x.count(sa)
}

// count enters an SA among those of its identity.
func (x *index) count(sa *SA) {
	k := sa.identityKey()
	x.byIdentity[k] = withSA(x.byIdentity[k], sa)
}

// replace enters an SA in the place of what was known of it.
func (x *index) replace(old, sa *SA) {
	if old.Key() != sa.Key() || old.addressKey() != sa.addressKey() || old.identityKey() != sa.identityKey() ||
		old.RemotePort != sa.RemotePort || old.RemoteNAT != sa.RemoteNAT {
		x.remove(old)
		x.add(sa)
		return
	}
	x.byPeer[sa.Key()].replace(old, sa)
	x.byAddress[sa.addressKey()].replace(old, sa)
	x.count(sa)
}

// remove takes an SA out.
func (x *index) remove(sa *SA) {
	for _, in := range []struct {
		groups map[Key]*group
		key    Key
	}{{x.byPeer, sa.Key()}, {x.byAddress, sa.addressKey()}} {
		if g := in.groups[in.key]; g != nil {
			if g.remove(sa); len(g.sas) == 0 {
				delete(in.groups, in.key)
			}
		}
	}
	x.uncount(sa)
}

// uncount takes an SA out of those of its identity.
func (x *index) uncount(sa *SA) {
	k := sa.identityKey()
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

// group holds the SAs that have one key.
type group struct {
	sas    []*SA // by id
	looked *uint64

	// The others are about the SAs that a profile takes, and as new as that profile.
	profile  *profile
	revision uint64
	good     []*SA            // by id
	of       map[string][]*SA // by identity, each by id
	names    []string         // the identities, in order
	ports    map[uint16]int
	nat      int // behind NAT

	others []string // names without one; nil: not made yet
	but    string   // that one
}

func (g *group) add(sa *SA) {
	g.sas = withSA(g.sas, sa)
	if g.profile != nil && g.profile.good(sa) {
		g.count(sa)
	}
}

func (g *group) remove(sa *SA) {
	g.sas = withoutSA(g.sas, sa)
	if _, counted := slices.BinarySearchFunc(g.good, sa.ID, byID); counted {
		g.uncount(sa)
	}
}

// replace has an SA stand for an old one that counts alike, where it counts.
func (g *group) replace(old, sa *SA) {
	_, counted := slices.BinarySearchFunc(g.good, old.ID, byID)
	if g.profile == nil || counted != g.profile.good(sa) {
		g.remove(old)
		g.add(sa)
		return
	}
	g.sas = withSA(g.sas, sa)
	if counted {
		g.good = withSA(g.good, sa)
		g.of[sa.RemoteID] = withSA(g.of[sa.RemoteID], sa)
	}
}

// count adds a good SA that is not counted yet.
func (g *group) count(sa *SA) {
	if g.of == nil {
		g.of, g.ports = map[string][]*SA{}, map[uint16]int{}
	}
	g.good = withSA(g.good, sa)
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

// uncount takes out a good SA.
func (g *group) uncount(sa *SA) {
	g.good = withoutSA(g.good, sa)
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

// judged has the group's lists of good SAs be those of a profile as it is now.
func (g *group) judged(p *profile) *group {
	if p == nil {
		g.profile = nil
		g.clear()
		return g
	}
	if g.profile == p && g.revision == p.revision {
		return g
	}
	g.profile, g.revision = p, p.revision
	g.clear()
	for _, sa := range g.sas {
		*g.looked++
		if p.good(sa) {
			g.count(sa)
		}
	}
	return g
}

func (g *group) clear() {
	g.good, g.of, g.names, g.ports, g.nat, g.others = nil, nil, nil, nil, 0, nil
}

// behindOneNAT reports whether the SAs are with several routers that a NAT hides, rather than with
// routers that had the address one after the other: two of them have neither identity nor port in
// common, and one of the two is behind NAT.
//
// With two identities and two ports or more, some two SAs have nothing in common. If all are behind
// NAT, that answers the question. Else those behind NAT are gone through.
func (g *group) behindOneNAT() bool {
	switch {
	case g.nat == 0 || len(g.of) < 2 || len(g.ports) < 2:
		return false
	case g.nat == len(g.good):
		return true
	}
	for _, sa := range g.good {
		*g.looked++
		if sa.RemoteNAT && g.apart(sa) > 0 {
			return true
		}
	}
	return false
}

// apart counts the good SAs that have neither identity nor port in common with one of them.
func (g *group) apart(sa *SA) int {
	same := 0
	for _, o := range g.of[sa.RemoteID] {
		*g.looked++
		if o.RemotePort == sa.RemotePort {
			same++
		}
	}
	return len(g.good) - len(g.of[sa.RemoteID]) - g.ports[sa.RemotePort] + same
}

// oldest returns the oldest good SA of an identity; nil if there is none.
func (g *group) oldest(identity string) *SA {
	if list := g.of[identity]; len(list) > 0 {
		return list[0]
	}
	return nil
}

// othersThan returns the identities of the good SAs but one, in order. The list is not changed any
// more.
func (g *group) othersThan(identity string) []string {
	if g.others == nil || g.but != identity {
		g.others, g.but = make([]string, 0, len(g.names)), identity
		*g.looked += uint64(len(g.names))
		for _, name := range g.names {
			if name != identity {
				g.others = append(g.others, name)
			}
		}
	}
	return g.others
}

// at returns the SAs with an address, with and without marks.
func (x *index) at(address Key) []*SA {
	if g := x.byAddress[address]; g != nil {
		return g.sas
	}
	return nil
}

// with reports whether an identity has an SA with a child at an address.
func (x *index) with(address Key, identity string) bool {
	for _, sa := range x.byIdentity[identityOn(address.Interface, identity)] {
		x.looked++
		if sa.RemoteHost == address.NBMA && len(sa.Children) > 0 {
			return true
		}
	}
	return false
}

// sas returns the SAs with a peer.
func (x *index) sas(k Key) []*SA {
	if g := x.byPeer[k]; g != nil {
		return g.sas
	}
	return nil
}

var noGroup = &group{looked: new(uint64)}

// protecting returns the SAs with a peer that count.
func (r *reconciler) protecting(k Key) *group {
	if g := r.index.byPeer[k]; g != nil {
		return g.judged(r.profiles[k.Interface])
	}
	return noGroup
}
