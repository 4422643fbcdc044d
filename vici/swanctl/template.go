package swanctl

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
)

// Template is what a connection gives to the connections of all peers of a DMVPN. Its values are string, []string and map[string]any
// of the same. It is only read.
type Template struct {
	Name       string         // of the connection
	Connection map[string]any // its keys and how both sides authenticate, without its children
	Child      map[string]any // the child that carries GRE
	PSK        bool           // this end proves its identity by a key in common
	Warnings   []*Problem     // what can be used but is probably not meant
	Doubts     []*Problem     // what charon most likely does not take
}

// Tunnel is what of a tunnel decides whether a connection fits.
type Tunnel struct {
	Local netip.Addr // the address that it sends from; zero: that of a device, which may change
}

// Template makes a template of the connection, or says what stands in the way, each with the line to change.
func (c *Connection) Template(t Tunnel) (*Template, []*Problem) {
	k := &check{where: "connections." + c.Name}
	k.connection(c, t)
	local, remote := k.authentication(c, "local"), k.authentication(c, "remote")
	child := k.children(c)
	if len(k.problems) > 0 {
		return nil, k.problems
	}
	if (local == "psk") != (remote == "psk") {
		k.warn(c.At, "", "one side proves its identity by a key in common and the other by a certificate: two routers with this connection cannot secure each other")
	}
	template := &Template{Name: c.Name, Connection: c.Message(), Child: child.Message(), PSK: local == "psk",
		Warnings: k.warnings, Doubts: k.doubts}
	maps.DeleteFunc(template.Connection, func(name string, _ any) bool { return strings.EqualFold(name, "children") })
	c.order(template.Connection, "local")
	c.order(template.Connection, "remote")
	return template, nil
}

// RemoteIdentity is the identity or pattern that charon holds every peer to, as far as there is one round
// of authentication; with several each has its own.
func (t *Template) RemoteIdentity() Identity { return roundIdentity(t.Connection, "remote") }

// LocalIdentity likewise is this end's.
func (t *Template) LocalIdentity() Identity { return roundIdentity(t.Connection, "local") }

func roundIdentity(connection map[string]any, side string) Identity {
	text, rounds := "", 0
	for name, round := range connection {
		if keys, ok := round.(map[string]any); ok && strings.HasPrefix(strings.ToLower(name), side) {
			text, _ = keys["id"].(string)
			rounds++
		}
	}
	if rounds != 1 {
		text = ""
	}
	return ParseIdentity(text)
}

// order numbers the rounds of one side's authentication: without numbers their order in the file counts, which a map does not have.
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
	where    string // connections.NAME
	problems []*Problem
	warnings []*Problem
	doubts   []*Problem
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

// inside is the check of a part of the connection; what it finds goes to the whole.
func (k *check) inside(part string, f func(*check)) {
	below := &check{where: k.path(part)}
	f(below)
	k.problems = append(k.problems, below.problems...)
	k.warnings = append(k.warnings, below.warnings...)
	k.doubts = append(k.doubts, below.doubts...)
}

// refuse reports keys that cannot be used whatever their value.
func (k *check) refuse(s *Section, reasons map[string]string) {
	for _, key := range s.Keys {
		if why, ok := reasons[key.Name]; ok {
			k.problem(key.At, key.Name, "%s; remove the line", why)
		}
	}
}

// known doubts keys that charon does not know: it discards the whole connection for one. A later version may know them.
func (k *check) known(s *Section, keys []string) {
	for _, key := range s.Keys {
		if !contains(keys, key.Name) {
			k.doubts = append(k.doubts, &Problem{key.At, k.path(key.Name), "neither strongSwan 5.9 nor 6.0 knows this key, and charon discards " +
				"a connection for an unknown one" + meant(key.Name, keys)})
		}
	}
}

// isTrue reads a truth value as charon does; what is none, charon refuses itself.
func isTrue(text string) bool {
	return contains([]string{"yes", "true", "enabled", "1"}, strings.ToLower(text))
}
