package swanctl

import (
	"net/netip"
	"slices"
	"strings"
)

// Own is what charon compares a connection of the daemon's by, when a peer dials in.
type Own struct {
	Name           string       // of the connection that the daemon's are made like; empty: none
	Locals         []netip.Addr // that the tunnel may send from
	RemoteIdentity string       // empty: any that authenticates
	PSK            bool         // peers prove who they are by a key in common
}

// Rival is a connection that charon chooses for the peers of a tunnel, in place of the daemon's
// own.
type Rival struct {
	Name     string
	At       Pos
	Identity string // that it wants of peers; empty: any
}

// Rivals finds the connections of a file that charon chooses for peers of a tunnel: those that
// fit every peer that dials in, and either ask for an identity by a pattern where the daemon's
// asks for none, or fit as well as the daemon's in everything. Of equal connections charon takes
// the one that was loaded first, and swanctl loads the file before the daemon starts. Measured
// with strongSwan 5.9.8: a connection without version = 2 fits less well.
func (f *File) Rivals(o Own) []Rival {
	if !anyIdentity(o.RemoteIdentity) {
		return nil
	}
	var all []Rival
	for _, name := range f.Names() {
		c, err := f.Connection(name)
		if err != nil || name == o.Name {
			continue
		}
		if identity, ok := c.takes(o); ok {
			all = append(all, Rival{name, c.At, identity})
		}
	}
	return all
}

// takes reports whether charon prefers the connection to the daemon's own for any peer, and the
// identity that it asks for.
func (c *Connection) takes(o Own) (identity string, ok bool) {
	version, _ := c.key("version")
	local, localGiven := c.key("local_addrs")
	remote, remoteGiven := c.key("remote_addrs")
	wide := !localGiven || slices.ContainsFunc(local.List, manyHosts)
	here := slices.ContainsFunc(o.Locals, func(a netip.Addr) bool { return slices.Contains(local.List, a.String()) })
	switch {
	case version.Text == "1", remoteGiven && !slices.ContainsFunc(remote.List, manyHosts), !wide && !here:
		return "", false
	}
	for _, side := range []string{"local", "remote"} {
		rounds := c.below(side)
		if len(rounds) != 1 {
			return "", false
		}
		auth, given := rounds[0].key("auth")
		isKey := given && auth.Text == "psk"
		isCertificate := !given || slices.ContainsFunc(publicKeys, func(prefix string) bool { return strings.HasPrefix(auth.Text, prefix) })
		if o.PSK && !isKey || !o.PSK && !isCertificate {
			return "", false
		}
		if side == "remote" {
			id, _ := rounds[0].key("id")
			identity = id.Text
		}
	}
	if anyIdentity(identity) {
		return "", !wide && version.Text == "2"
	}
	return identity, strings.Contains(identity, "*")
}

// anyIdentity reports whether an identity that is asked for is everybody's.
func anyIdentity(identity string) bool { return identity == "" || strings.HasPrefix(identity, "%any") }
