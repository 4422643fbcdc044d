package server

import (
	"net/netip"
	"slices"

	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/ordered"
	"cygnet/nhrpd/engine/output"
)

// Two branch routers announce the network that both are in. The first to announce it has the
// route. The other one is in reserve, if a peer rule says that it may announce the prefix; without
// such a rule two sites may have the same network by mistake, and the second is refused. When the
// client that has the route ends the prefix or loses its SA, the first in reserve whose client has
// an SA takes its place. Nothing gives the place back: a router that returns is in reserve.

// reserve is the announcements of prefixes that another client has the route to.
type reserve struct {
	of    map[netip.Prefix][]*Announced // in order of arrival
	count int                           // of all of them
}

// add adds an announcement behind the others of its prefix.
func (r *reserve) add(a *Announced) {
	r.of[a.Prefix] = append(r.of[a.Prefix], a)
	r.count++
}

// remove removes an announcement. It reports whether the announcement was in reserve.
func (r *reserve) remove(a *Announced) bool {
	list := r.of[a.Prefix]
	i := slices.Index(list, a)
	if i < 0 {
		return false
	}
	r.count--
	if list = slices.Delete(list, i, i+1); len(list) == 0 {
		delete(r.of, a.Prefix)
	} else {
		r.of[a.Prefix] = list
	}
	return true
}

// announced returns the client's own announcement of a prefix, in use or in reserve. It returns nil
// if there is none.
func (b *Binding) announced(prefix netip.Prefix) *Announced {
	for _, a := range b.Prefixes {
		if a.Prefix == prefix {
			return a
		}
	}
	return nil
}

// inUse reports whether the announcement is the one that has the route to the prefix, or gets it
// with the SA of its client.
func (a *Announced) inUse() bool { return a.Owner.Server.Announced.ByPrefix[a.Prefix] == a }

// mayReserve reports whether the client, with this authorization, may announce in reserve a prefix
// that another client announced.
func (b *Binding) mayReserve(a *Announced, who *authorization.Authorization) bool {
	return a.Owner.Server == b.Server && who.Bounded()
}

// announcers returns all announcements of a prefix, the one in use first.
func (ap *AnnouncedPrefixes) announcers(prefix netip.Prefix) []*Announced {
	var list []*Announced
	if a := ap.ByPrefix[prefix]; a != nil {
		list = append(list, a)
	}
	return append(list, ap.reserve.of[prefix]...)
}

// succeed gives the place of an announcement that has no route any more to the first in reserve
// whose client can be reached. Its route is wanted at once. If there is none, the place stays as
// it is.
func (ap *AnnouncedPrefixes) succeed(prefix netip.Prefix) {
	for _, next := range slices.Clone(ap.reserve.of[prefix]) {
		if !next.Owner.Routed {
			continue
		}
		if ap.reviewPrefix(next); next.Owner.announced(prefix) == next {
			ap.takeOver(next)
			ap.routePrefix(next)
			return
		}
	}
}

// takeOver puts an announcement from the reserve into the place of the one in use, which goes into
// the reserve.
func (ap *AnnouncedPrefixes) takeOver(next *Announced) {
	ap.reserve.remove(next)
	if a := ap.ByPrefix[next.Prefix]; a != nil {
		ap.reserve.add(a)
	}
	ap.ByPrefix[next.Prefix] = next
	ap.StateChanged()
	ap.Notice(output.Notice{
		Kind:     output.NoticePrefixTakeover,
		Prefix:   next.Prefix,
		NextHop:  next.Owner.Protocol,
		Peer:     next.Owner.Peer,
		Identity: next.Owner.Identity,
	})
}

// fill gives the place of an announcement that ended to the first in reserve, if no other one can
// be reached.
func (ap *AnnouncedPrefixes) fill(prefix netip.Prefix) {
	ap.succeed(prefix)
	if list := ap.reserve.of[prefix]; ap.ByPrefix[prefix] == nil && len(list) > 0 {
		ap.takeOver(list[0])
	}
}

// all returns all announcements, in the order of their prefixes.
func (ap *AnnouncedPrefixes) all() []*Announced {
	var list []*Announced
	for _, a := range ordered.Values(ap.ByPrefix, ordered.ByPrefix) {
		list = append(list, ap.announcers(a.Prefix)...)
	}
	return list
}
