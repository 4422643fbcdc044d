package vici

import (
	"log/slog"
	"net/netip"
	"slices"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
	"cygnet/vici/rival"
)

// rivals reports connections of others that charon chooses for our peers.
type rivals struct {
	*table
	watch *rival.Watch
}

// up examines a CHILD_SA that came up by somebody else's connection; sa is nil if the event m could
// not be read.
func (r *rivals) up(sa *SA, m *govici.Message) {
	if sa != nil && message.Text(m, "up") == "yes" {
		r.watch.Up(sa, r.ownerOf, time.Now())
	}
}

// ownerOf returns the interface whose tunnel has an address.
func (r *rivals) ownerOf(local netip.Addr) (string, bool) {
	for iface, p := range r.profiles {
		if slices.Contains(p.LocalAddrs, local) {
			return iface, true
		}
	}
	return "", false
}

// down examines the end of an IKE_SA by somebody else's connection.
func (r *rivals) down(sa *SA) {
	if sa == nil {
		return
	}
	now := time.Now()
	found, ok := r.watch.Down(sa.ID, now)
	if !ok {
		return
	}
	fresh := false
	r.status(func(s *Status) { s.Rivals, fresh = rival.Add(s.Rivals, found, now) })
	if fresh {
		r.log.Warn(
			"charon chooses another connection for peers that dial in, and they do not take its SAs: set remote_identity, or narrow that connection",
			slog.String("interface", found.Interface),
			slog.String("connection", found.Connection),
			slog.Any("nbma", found.Peer), slog.String("identity", found.Identity))
	}
}

// forget forgets the rivals of an interface whose profile changed.
func (r *rivals) forget(iface string) {
	r.watch.Forget(iface)
	r.status(func(s *Status) {
		s.Rivals = slices.DeleteFunc(s.Rivals, func(v Rival) bool { return v.Interface == iface })
	})
}
