package vici

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
)

// A profile that was changed may refuse the algorithms of SAs that it allowed before. Such an SA is
// outdated, and carries traffic until its peer has a new one:
//
//	profile loaded ── dial the peer beside the SA ─┬─ new SA ── close the outdated one 2 s later
//	                                               └─ none within 10 s ── close it, dial as usual
//
// Packets that are under way through the outdated SA when the new one comes arrive, since both ends
// still have both. An SA that the profile refuses for anything else than its algorithms is closed
// at once. So is an SA with a peer that cannot be dialled beside it: one with a mark, or one of
// several routers that share an address.

// replaceable returns the SAs of an interface that the profile allows and whose peers can be
// dialled beside them, in the order in which the peers are dialled.
func (rs *renewals) replaceable(iface string) (sas []*SA) {
	if !rs.synced {
		return nil
	}
	for k, p := range rs.peers {
		group := rs.protecting(k)
		if k.Interface == iface && p.want != None && p.up != nil && k.NBMA.IsValid() &&
			k.Mark == 0 && !p.connection.ToClose() && rs.sharing.addresses[k] == nil &&
			!group.BehindOneNAT() {
			sas = append(sas, group.Accepted()...)
		}
	}
	slices.SortFunc(sas, func(a, b *SA) int {
		return cmp.Or(cmp.Compare(rs.precedence(a), rs.precedence(b)), cmp.Compare(a.ID, b.ID))
	})
	return sas
}

// precedence returns 0 for an SA with an InitiateFirst peer, and 1 for others.
func (rs *renewals) precedence(sa *SA) int {
	if rs.peers[sa.Key()].want == InitiateFirst {
		return 0
	}
	return 1
}

// replaceOutdated has the peers dialled whose SAs a changed profile refuses for their algorithms
// alone. sas has those that were replaceable before the change.
func (rs *renewals) replaceOutdated(applied *appliedProfile, sas []*SA) {
	clear(applied.outdated)
	for _, sa := range sas {
		p := rs.peers[sa.Key()]
		if rs.ending[sa.ID] || !applied.RefusesAlgorithms(sa) {
			continue
		}
		applied.outdated[sa.ID] = true
		if p.renewal == nil || !p.renewal.outdated {
			lost := p.renewal != nil && p.renewal.lost
			rs.endRenewal(p)
			p.renewal = &renewal{outdated: true, lost: lost}
			rs.queue = append(rs.queue, p)
		}
	}
	applied.revision++
	rs.places.dispatch()
}

// closeOutdated closes the outdated SAs of an interface, except those whose replacement is under
// way.
func (rs *renewals) closeOutdated(iface string) {
	applied := rs.profiles[iface]
	if applied == nil {
		return
	}
	for _, id := range slices.Sorted(maps.Keys(applied.outdated)) {
		sa := rs.sas[id]
		if sa == nil {
			delete(applied.outdated, id)
			continue
		}
		if p := rs.peers[sa.Key()]; p != nil && p.renewal != nil && p.renewal.outdated {
			continue
		}
		delete(applied.outdated, id)
		applied.revision++
		if rs.ending[id] {
			continue
		}
		if len(rs.protecting(sa.Key()).Accepted()) == 0 {
			rs.inspect(sa)
			continue
		}
		rs.log.Info("closing an SA with algorithms that are not allowed any more: there is a new one",
			slog.Any("peer", sa.Key()), slog.Uint64("ike-id", uint64(id)))
		rs.terminate(id)
	}
}
