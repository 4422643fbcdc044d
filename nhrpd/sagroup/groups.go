package sagroup

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"

	"cygnet/nhrpd/config"
	"cygnet/vici/profile"
)

// Strongswan is what Groups tells strongSwan; see vici.Client.
type Strongswan interface {
	SetProfile(p profile.Profile)
	RemoveProfile(group string)
	Report(group string)
}

// Groups has the SA groups of the daemon. Its methods may be called from any goroutine.
type Groups struct {
	strongswan Strongswan

	mu    sync.Mutex
	names names
	open  map[string]map[string]profile.Profile // by group and interface: what each told Secure
	// newest is the member of each open group that called Secure last, and told is what strongSwan
	// has of the group.
	newest map[string]string
	told   map[string]profile.Profile
}

// New returns groups without interfaces, which tell strongswan of their profiles.
func New(strongswan Strongswan) *Groups {
	return &Groups{strongswan: strongswan, open: make(map[string]map[string]profile.Profile),
		newest: make(map[string]string), told: make(map[string]profile.Profile)}
}

// Assign assigns the interfaces of a configuration to groups. saved has the group of each interface
// in the last run of the daemon; nil: it is not known. An interface that changes its group has to
// leave the old one first (see Leave).
func (g *Groups) Assign(c *config.Config, saved map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.names = assign(c, g.names, saved)
	for _, group := range slices.Sorted(maps.Keys(g.open)) {
		g.tell(group) // there may be other groups beside it now
	}
}

// Of returns the group of an interface. An interface that Assign has not seen is a group of its
// own.
func (g *Groups) Of(iface string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of(iface)
}

func (g *Groups) of(iface string) string { return cmp.Or(g.names.of[iface], iface) }

// Has reports whether a group of that name is configured.
func (g *Groups) Has(group string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, has := g.names.scopes[group]
	return has
}

// Members returns the open interfaces of a group, in order.
func (g *Groups) Members(group string) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Sorted(maps.Keys(g.open[group]))
}

// Shown returns the interfaces under which the status shows what strongSwan has of a group: the
// open ones, or if there is none, the one whose name the group has.
func (g *Groups) Shown(group string) []string {
	if m := g.Members(group); len(m) > 0 {
		return m
	}
	return []string{group}
}

// With returns the other open interfaces of an interface's group, in order.
func (g *Groups) With(iface string) []string {
	all := g.Members(g.Of(iface))
	return slices.DeleteFunc(all, func(m string) bool { return m == iface })
}

// Secure sets or replaces the profile of an interface, which is open from then on. strongSwan gets
// one profile for the whole group. If the interface is new in a group that strongSwan knows, it
// reports the group's SAs once more, since the interface has not heard of them.
func (g *Groups) Secure(p profile.Profile) {
	g.mu.Lock()
	defer g.mu.Unlock()
	group := g.of(p.Interface)
	members := g.open[group]
	if members == nil {
		members = make(map[string]profile.Profile)
		g.open[group] = members
	}
	_, known := members[p.Interface]
	members[p.Interface], g.newest[group] = p, p.Interface
	g.tell(group)
	g.tellBeside(group)
	if !known && len(members) > 1 {
		g.strongswan.Report(group)
	}
}

// Leave takes an interface out of its group. If it was the last one, strongSwan ends the SAs of the
// group. It returns the group, and whether the interface was the last one.
func (g *Groups) Leave(iface string) (group string, last bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	group = g.of(iface)
	for name, members := range g.open { // its group may have another name by now
		if _, is := members[iface]; is {
			group = name
		}
	}
	members := g.open[group]
	delete(members, iface)
	if len(members) == 0 {
		delete(g.open, group)
		delete(g.told, group)
		g.strongswan.RemoveProfile(group)
		g.tellBeside(group)
		return group, true
	}
	g.newest[group] = slices.Sorted(maps.Keys(members))[0]
	g.tell(group)
	return group, false
}

// Moved reports whether an open interface belongs to another group since the last Assign. It has to
// leave the old one.
func (g *Groups) Moved(iface string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, members := range g.open {
		if _, is := members[iface]; is {
			return g.names.of[iface] != "" && g.names.of[iface] != name
		}
	}
	return false
}

// tell sets the profile of an open group, if it is another one than strongSwan has.
func (g *Groups) tell(group string) {
	p := g.merged(group)
	if told, is := g.told[group]; is && reflect.DeepEqual(told, p) {
		return
	}
	g.told[group] = p
	g.strongswan.SetProfile(p)
}

// tellBeside does so for the open groups on the underlay of a group that changed.
func (g *Groups) tellBeside(group string) {
	for _, other := range g.names.beside(group) {
		if len(g.open[other]) > 0 {
			g.tell(other)
		}
	}
}

// merged returns the profile of an open group. It is that of the newest member, since the
// configuration gives all members the same IPsec settings, apart from what the members are to other
// routers: many dial in if they do so at one of them, and an identity may have as many SAs as the
// most generous of them allows. Packets for routers behind one NAT address get marks only if every
// member can give them, since an SA with a mark takes nothing else. The same goes for all groups on
// one underlay, whose connections have a child for each of them.
func (g *Groups) merged(group string) profile.Profile {
	members := g.open[group]
	p := members[g.newest[group]]
	p.Interface = group
	for _, m := range members {
		p.Hub = p.Hub || m.Hub
		p.Marks = p.Marks && m.Marks
		if m.SAsPerIdentity() > p.SAsPerIdentity() {
			p.MaxSAs = m.MaxSAs
		}
	}
	for _, other := range g.names.beside(group) {
		p.Beside = append(p.Beside,
			profile.Keyed{Interface: other, KeyPort: g.names.scopes[other].keyPort})
		for _, m := range g.open[other] {
			p.Marks = p.Marks && m.Marks
		}
	}
	return p
}
