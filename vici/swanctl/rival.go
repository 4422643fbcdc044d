package swanctl

import (
	"net/netip"
	"slices"
	"strings"
)

// Own describes the daemon's connections for one tunnel, as far as charon compares connections when
// a peer dials in.
type Own struct {
	Name           string       // the connection that the daemon's own are made like; empty: none
	Locals         []netip.Addr // the addresses that the tunnel may send from
	RemoteIdentity string       // empty: any identity that authenticates
	PSK            bool         // peers prove their identity by a shared key
}

// Rival is a connection that charon chooses for the peers of a tunnel, instead of the daemon's own
// connection.
type Rival struct {
	Name     string
	At       Pos
	Identity string // the identity that it requires of peers; empty: any
}

// Rivals returns the connections of a file that charon chooses for peers of a tunnel. Such a
// connection fits every peer that dials in. It also either requires an identity by a pattern where
// the daemon's connection requires none, or fits as well as the daemon's in every respect. Of equal
// connections charon chooses the one that was loaded first, and swanctl loads the file before the
// daemon starts. A measurement with strongSwan 5.9.8 shows that a connection without version = 2
// fits less well.
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

// takes reports whether charon prefers the connection to the daemon's own for any peer, and returns
// the identity that it requires.
func (c *Connection) takes(o Own) (identity string, ok bool) {
	version, _ := c.key("version")
	local, localGiven := c.key("local_addrs")
	remote, remoteGiven := c.key("remote_addrs")
	wide := !localGiven || slices.ContainsFunc(local.List, manyHosts)
	here := slices.ContainsFunc(o.Locals, func(a netip.Addr) bool {
		return slices.Contains(local.List, a.String())
	})
	switch {
	case version.Text == "1", remoteGiven && !slices.ContainsFunc(remote.List, manyHosts), !wide &&
		!here:
		return "", false
	}
	for _, side := range []string{"local", "remote"} {
		rounds := c.below(side)
		if len(rounds) != 1 {
			return "", false
		}
		auth, given := rounds[0].key("auth")
		isKey := given && auth.Text == "psk"
		isCertificate := !given || slices.ContainsFunc(publicKeys, func(prefix string) bool {
			return strings.HasPrefix(auth.Text, prefix)
		})
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

// anyIdentity reports whether a required identity is one that every peer matches.
func anyIdentity(identity string) bool {
	return identity == "" || strings.HasPrefix(identity, "%any")
}
