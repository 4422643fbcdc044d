package sagroup

import (
	"maps"
	"slices"
	"strconv"

	"cygnet/nhrpd/config"
)

// names assigns the interfaces of a configuration to groups.
type names struct {
	of     map[string]string // the group of each protected interface
	scopes map[string]scope  // of each group
}

// scope is what the SAs of a group are for.
type scope struct {
	underlay config.Underlay
	keyPort  uint16 // half of the GRE key that the SAs are for; 0: they are for all GRE
	remote   string // with keyPort: the pattern of the identities that routers must prove
}

// scopeOf returns the scope of a protected interface.
func scopeOf(ifc *config.Interface) scope {
	sc := scope{underlay: ifc.Underlay, keyPort: ifc.KeyPort()}
	if sc.keyPort != 0 {
		sc.remote = ifc.IPsec.RemoteIdentity
	}
	return sc
}

// assign returns the groups of a configuration. before has those of the configuration until now,
// and saved has the group of each interface in the last run of the daemon. A group with a scope
// that one had keeps its name. Any other is named as a group of one of its interfaces was, or after
// one of its interfaces.
func assign(c *config.Config, before names, saved map[string]string) names {
	after := names{of: make(map[string]string), scopes: make(map[string]scope)}
	members := make(map[scope][]string)
	var order []scope
	for i := range c.Interfaces {
		ifc := &c.Interfaces[i]
		if !ifc.Protected {
			continue
		}
		sc := scopeOf(ifc)
		if members[sc] == nil {
			order = append(order, sc)
		}
		members[sc] = append(members[sc], ifc.Name)
	}
	take := func(sc scope, name string) {
		after.scopes[name] = sc
		for _, m := range members[sc] {
			after.of[m] = name
		}
		delete(members, sc)
	}
	for name, sc := range before.scopes {
		if len(members[sc]) > 0 {
			take(sc, name)
		}
	}
	for _, known := range []map[string]string{before.of, saved} {
		for _, sc := range order {
			for _, m := range members[sc] {
				if _, taken := after.scopes[known[m]]; known[m] != "" && !taken {
					take(sc, known[m])
					break
				}
			}
		}
	}
	for _, sc := range order {
		if m := members[sc]; len(m) > 0 {
			take(sc, after.free(m))
		}
	}
	return after
}

// free returns a name for a group of these interfaces that no group has yet.
func (n *names) free(members []string) string {
	taken := func(name string) bool { _, is := n.scopes[name]; return is }
	if i := slices.IndexFunc(members, func(m string) bool { return !taken(m) }); i >= 0 {
		return members[i]
	}
	for i := 2; ; i++ {
		if name := members[0] + "." + strconv.Itoa(i); !taken(name) {
			return name
		}
	}
}

// beside returns the other groups on the underlay of a group, in order, without those that routers
// reach by other identities: charon tells these apart, and their secrets may differ.
func (n *names) beside(group string) []string {
	own, known := n.scopes[group]
	var others []string
	for _, name := range slices.Sorted(maps.Keys(n.scopes)) {
		other := n.scopes[name]
		if known && name != group && other.underlay == own.underlay &&
			other.remote == own.remote {
			others = append(others, name)
		}
	}
	return others
}
