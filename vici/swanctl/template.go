package swanctl

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
)

// Template holds the parts of a connection that the connections of all DMVPN peers get. Its values
// are string, []string and map[string]any of these. Nobody may change it.
type Template struct {
	Name string // the name of the connection
	// the connection's keys and how both sides authenticate, without its children
	Connection map[string]any
	Child      map[string]any // the child that carries GRE
	PSK        bool           // this router proves its identity by a shared key
	Warnings   []*Problem     // what can be used but is probably not intended
	Obstacles  []*Problem     // what charon most likely does not accept
}

// Tunnel is what decides about a tunnel whether a connection fits it.
type Tunnel struct {
	// the address that the tunnel sends from; zero: the address of a device, which may change
	Local netip.Addr

	// Apart says that the underlay has routes of its own, so that a default route may lead into the
	// tunnel.
	Apart bool
}

// Template makes a template of the connection. If it cannot, it returns what stands in the way,
// each with the line to change.
func (c *Connection) Template(t Tunnel) (*Template, []*Problem) {
	k := &check{where: "connections." + c.Name}
	k.connection(c, t)
	local, remote := k.authentication(c, "local"), k.authentication(c, "remote")
	child := k.children(c)
	if len(k.problems) > 0 {
		return nil, k.problems
	}
	if (local == "psk") != (remote == "psk") {
		k.warn(c.At, "", "one side proves its identity by a shared key and the other by a certificate: two routers with this connection cannot secure each other")
	}
	template := &Template{Name: c.Name, Connection: c.Message(), Child: child.Message(),
		PSK:      local == "psk",
		Warnings: k.warnings, Obstacles: k.obstacles}
	maps.DeleteFunc(template.Connection, func(name string, _ any) bool {
		return strings.EqualFold(name, "children")
	})
	c.order(template.Connection, "local")
	c.order(template.Connection, "remote")
	return template, nil
}

// RemoteIdentity returns the identity or pattern that charon requires of every peer, if there is
// one round of authentication; with several, each round has its own.
func (t *Template) RemoteIdentity() Identity { return roundIdentity(t.Connection, "remote") }

// LocalIdentity returns the identity of this router, likewise.
func (t *Template) LocalIdentity() Identity { return roundIdentity(t.Connection, "local") }

func roundIdentity(connection map[string]any, side string) Identity {
	text, rounds := "", 0
	for name, round := range connection {
		if keys, ok := round.(map[string]any); ok &&
			strings.HasPrefix(strings.ToLower(name), side) {
			text, _ = keys["id"].(string)
			rounds++
		}
	}
	if rounds != 1 {
		text = ""
	}
	return ParseIdentity(text)
}

// order numbers the rounds of one side's authentication. Without numbers their order in the file
// would count, and a map has no order.
func (c *Connection) order(connection map[string]any, side string) {
	rounds := c.below(side)
	for _, r := range rounds {
		if _, numbered := r.key("round"); numbered || len(rounds) == 1 {
			return
		}
	}
	for i, r := range rounds {
		connection[r.Name].(map[string]any)["round"] = fmt.Sprint(i + 1)
	}
}

// check collects what is wrong with a connection.
type check struct {
	where     string // connections.NAME
	problems  []*Problem
	warnings  []*Problem
	obstacles []*Problem
}

func (k *check) problem(at Pos, key, format string, args ...any) {
	k.problems = append(k.problems, &Problem{at, k.path(key), fmt.Sprintf(format, args...)})
}

func (k *check) warn(at Pos, key, format string, args ...any) {
	k.warnings = append(k.warnings, &Problem{at, k.path(key), fmt.Sprintf(format, args...)})
}

func (k *check) path(key string) string {
	if key == "" {
		return k.where
	}
	return k.where + "." + key
}

// inside checks a part of the connection by f; what f finds is added to k.
func (k *check) inside(part string, f func(*check)) {
	below := &check{where: k.path(part)}
	f(below)
	k.problems = append(k.problems, below.problems...)
	k.warnings = append(k.warnings, below.warnings...)
	k.obstacles = append(k.obstacles, below.obstacles...)
}

// refuse reports keys that cannot be used whatever their value.
func (k *check) refuse(s *Section, reasons map[string]string) {
	for _, key := range s.Keys {
		if why, ok := reasons[key.Name]; ok {
			k.problem(key.At, key.Name, "%s; remove the line", why)
		}
	}
}

// known adds an obstacle for each key that charon does not know, since charon discards a whole
// connection for one unknown key. It is no problem, because a later version may know the key.
func (k *check) known(s *Section, keys []string) {
	for _, key := range s.Keys {
		if !contains(keys, key.Name) {
			k.obstacles = append(k.obstacles, &Problem{key.At, k.path(key.Name), "neither strongSwan 5.9 nor 6.0 knows this key, and charon discards " +
				"a connection for an unknown one" + meant(key.Name, keys)})
		}
	}
}

// isTrue reads a truth value as charon does. charon itself refuses what is not one.
func isTrue(text string) bool {
	return contains([]string{"yes", "true", "enabled", "1"}, strings.ToLower(text))
}

// ESPProposals returns the proposals of the child that carries GRE; none: it has no such key, and
// charon takes its default.
func (t *Template) ESPProposals() []string {
	for name, value := range t.Child {
		if !strings.EqualFold(name, "esp_proposals") {
			continue
		}
		switch value := value.(type) {
		case string:
			return []string{value}
		case []string:
			return value
		}
	}
	return nil
}
