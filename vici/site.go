package vici

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/netip"
)

// Site is a connection that the site has loaded by swanctl, and that those of this package are made like. SAs that come up by it, as
// they do when charon prefers it for a peer that dials in, are the interface's as well, and so are those from before this package came.
type Site struct {
	Name       string         // under which the site loads it
	Connection map[string]any // its keys and how both sides authenticate, as load-conn has them, without its children
	Child      map[string]any // the child that carries GRE
}

// child gives the keys of a child. When SAs begin and end is not charon's to decide.
func (s *Site) child() map[string]any {
	gre := maps.Clone(s.Child)
	gre["start_action"], gre["close_action"], gre["dpd_action"] = "none", "none", "clear"
	if priorityOf(gre) == 0 {
		gre["priority"] = saPriority
	}
	return gre
}

// connection gives the keys of a connection for the profile p. What the site does not say, and charon's default is wrong for, is as in a
// profile without a site.
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

// owner names the interface that a connection is for: by its name, or because a profile is made like it.
func (r *reconciler) owner(connection string) (iface string, ours bool) {
	if iface, _, ours = parseName(connection); ours {
		return iface, true
	}
	for iface, p := range r.profiles {
		if p.Site != nil && p.Site.Name == connection {
			return iface, true
		}
	}
	return "", false
}

// own keeps the SAs of our interfaces.
func (r *reconciler) own(listed []*SA) []*SA {
	var ours []*SA
	for _, sa := range listed {
		if iface, ok := r.owner(sa.Connection); ok {
			sa.Interface = iface
			ours = append(ours, sa)
		}
	}
	return ours
}

// takeOver makes the SAs that are up by a site's connection a new profile's, before anything is dialled by it.
func (r *reconciler) takeOver(p *profile) {
	var listed []*SA
	name := p.Site.Name
	r.do(func(ctx context.Context, s *session) (err error) {
		listed, err = listSAs(ctx, s, r.times.list, "ike", name)
		return err
	}, func(err error) {
		if r.fatal(err) || r.profiles[p.Interface] != p {
			return
		}
		if err != nil {
			r.log.Warn("list-sas failed", slog.String("connection", name), slog.Any("error", err))
		}
		for _, sa := range r.own(listed) {
			if sa.established() {
				r.put(sa)
			}
		}
		r.adopt(p.Interface)
		r.emit(r.snapshot(p.Interface))
		r.load(p)
		r.review(p.Interface)
	})
}
