package vici

import (
	"context"
	"log/slog"

	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// owner returns the interface that a connection is for: the one in its name, or the one whose
// profile is made like it. ours is false if there is none.
func (r *reconciler) owner(connection string) (iface string, ours bool) {
	if iface, _, ours = profile.ParseName(connection); ours {
		return iface, true
	}
	for iface, p := range r.profiles {
		if p.Site != nil && p.Site.Name == connection {
			return iface, true
		}
	}
	return "", false
}

// own returns those SAs that are of our interfaces.
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

// takeOver makes the SAs that a site's connection has those of a new profile, before this end dials
// anybody by that profile.
func (r *reconciler) takeOver(p *appliedProfile) {
	var listed []*SA
	name := p.Site.Name
	r.do(func(ctx context.Context, s *session.Session) (err error) {
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
			if sa.Stands() {
				r.put(sa)
			}
		}
		r.adopt(p.Interface)
		r.emit(r.snapshot(p.Interface))
		r.load(p)
		r.review(p.Interface)
	})
}
