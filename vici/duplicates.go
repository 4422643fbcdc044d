package vici

import (
	"cmp"
	"log/slog"
	"slices"
)

// When both ends dial at the same time, each may end up with two IKE_SAs and two CHILD_SAs, which both rekey for ever. Which
// one goes, both ends must see alike without talking: the pair with the lowest initiator SPI stays, and of the others each is
// closed by the end that initiated it, by its id, which loses no packet.

// watchDuplicates has a peer's SAs looked at after a while if there are several.
func (r *reconciler) watchDuplicates(k Key) {
	if len(r.byPeer[k]) < 2 {
		return
	}
	p := r.peer(k)
	if p.settling {
		return
	}
	p.settling = true
	r.after(r.times.duplicate, func() {
		p.settling = false
		r.closeDuplicates(p)
	})
}

func (r *reconciler) closeDuplicates(p *peer) {
	sas := make([]*SA, 0, len(r.byPeer[p.Key]))
	for _, sa := range r.byPeer[p.Key] {
		sas = append(sas, sa)
	}
	profile := r.profiles[p.Interface]
	if profile == nil {
		return
	}
	if behindOneNAT(sas) && !r.separates(p.Key) && !p.mixed {
		p.mixed = true
		r.log.Warn("several routers dial in from one address: behind a NAT they share, only the newest SA gets this end's traffic",
			slog.Any("peer", p.Key), slog.Any("identities", identities(sas)))
	}
	for _, sa := range losers(sas, profile.good) {
		if r.ending[sa.ID] {
			continue
		}
		r.log.Debug("closing a duplicate SA", slog.Any("peer", p.Key), slog.Uint64("ike-id", uint64(sa.ID)))
		r.terminate(sa.ID)
	}
}

// losers gives the IKE_SAs that this end has to close: those it initiated that are not the one with the lowest initiator SPI
// among the good ones with the same identity.
func losers(sas []*SA, good func(*SA) bool) []*SA {
	winners := map[string]*SA{}
	for _, sa := range sas {
		if best := winners[sa.RemoteID]; good(sa) && (best == nil || sa.InitiatorSPI < best.InitiatorSPI) {
			winners[sa.RemoteID] = sa
		}
	}
	var close []*SA
	for _, sa := range sas {
		if best := winners[sa.RemoteID]; good(sa) && sa != best && sa.Initiator {
			close = append(close, sa)
		}
	}
	slices.SortFunc(close, func(a, b *SA) int { return cmp.Compare(a.ID, b.ID) })
	return close
}

func identities(sas []*SA) []string {
	var ids []string
	for _, sa := range sas {
		ids = append(ids, sa.RemoteID)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
