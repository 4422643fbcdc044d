package profile

import (
	"cmp"
	"maps"
	"net/netip"
)

// Site is a connection that the site loads by swanctl, and that the connections of a profile are
// made like. charon may prefer it for a peer that dials in, so SAs by it are the interface's, too.
// So are those that it had before this program was installed.
type Site struct {
	Name       string         // under which the site loads it
	Connection map[string]any // its keys and authentication sections, as load-conn has them
	Child      map[string]any // the keys of the child that carries GRE
}

// child returns the keys of a child. Nothing in them makes charon begin or end SAs by itself.
func (s *Site) child() map[string]any {
	gre := maps.Clone(s.Child)
	gre["start_action"], gre["close_action"], gre["dpd_action"] = "none", "none", "clear"
	if priorityOf(gre) == 0 {
		gre["priority"] = saPriority
	}
	return gre
}

// connection returns the keys of a connection for the profile p. Where the site says nothing and
// charon's default is wrong, they are as in a profile without a site.
func (s *Site) connection(p Profile, peer netip.Addr) map[string]any {
	conn := map[string]any{
		"remote_addrs": []string{"%any"},
		"mobike":       "no",
		"unique":       p.unique(),
		"dpd_delay":    seconds(cmp.Or(p.DPDDelay, DefaultDPDDelay)),
	}
	maps.Copy(conn, s.Connection)
	conn["version"], conn["keyingtries"], conn["childless"] = "2", "1", "never"
	if peer.IsValid() {
		conn["remote_addrs"] = []string{peer.String()}
	}
	return conn
}
