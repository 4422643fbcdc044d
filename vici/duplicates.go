package vici

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"cygnet/vici/ike"
	"cygnet/vici/peerstate"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// When both ends dial at the same time, each may end up with two IKE_SAs and two CHILD_SAs, which
// all rekey for ever. Both ends must choose the same one to keep, and do not talk about it. The
// IKE_SA with the lowest initiator SPI stays. Each of the others is closed by the end that
// initiated it.
//
// The two ends forget a closed SA at different moments, and what one of them still sends through it
// is lost. Both send through the newest SA. So the one that stays is rekeyed first, which makes it
// the newest at both ends.

// duplicates closes SAs with a peer beside the one that is to stay. [peerstate.Duplicates] has the
// states of a peer.
type duplicates struct {
	*table
	sharing  *sharing
	renewals *renewals
}

// watchDuplicates closes a peer's duplicates after a while, if it has several SAs.
func (d *duplicates) watchDuplicates(k Key) {
	if len(d.index.SAs(k)) < 2 {
		return
	}
	p := d.peer(k)
	if p.duplicates.TimerRuns() {
		return
	}
	p.duplicates.On(peerstate.Several)
	d.after(d.times.duplicate, func() {
		p.duplicates.On(peerstate.TimeOver)
		d.closeDuplicates(p)
	})
}

// closeDuplicates closes those of a peer's SAs that are this end's to close.
func (d *duplicates) closeDuplicates(p *peer) {
	if d.peers[p.Key] != p {
		return
	}
	sas := d.index.SAs(p.Key)
	applied := d.profiles[p.Interface]
	if applied == nil {
		return
	}
	if d.protecting(p.Key).BehindOneNAT() && !d.sharing.separates(p.Key) && !p.ambiguous {
		p.ambiguous = true
		d.log.Warn(
			"several routers dial in from one address: behind a NAT they share, only the newest SA gets this end's traffic",
			slog.Any("peer", p.Key),
			slog.Any("identities", ike.Identities(sas)))
	}
	current := d.renewals.withoutOld(sas, applied.Accepts)
	closing := losers(current, applied.Accepts)
	if d.handOver(p, current, closing, applied.Accepts) {
		return
	}
	for _, sa := range closing {
		if d.ending[sa.ID] {
			continue
		}
		d.log.Debug("closing a duplicate SA", slog.Any("peer", p.Key),
			slog.Uint64("ike-id", uint64(sa.ID)))
		d.terminate(sa.ID)
	}
	d.closeDead(p, sas, applied)
}

// handOver rekeys the SA that stays, so that both ends send through it, before others are closed.
// It reports whether that is under way.
func (d *duplicates) handOver(p *peer, sas, closing []*SA, good func(*SA) bool) bool {
	if p.duplicates == peerstate.HandedOver || len(closing) == 0 {
		p.duplicates.On(peerstate.Evaluated)
		return false
	}
	goes := make(map[*SA]bool, len(closing))
	for _, sa := range closing {
		goes[sa] = true
	}
	stays := slices.IndexFunc(sas, func(sa *SA) bool {
		return good(sa) && sa.RemoteID == closing[0].RemoteID && !goes[sa]
	})
	if stays < 0 {
		return false
	}
	p.duplicates.On(peerstate.HandOver)
	child := sas[stays].NewestChild()
	d.rekey(sas[stays], "child-id", child)
	d.awaitHandOver(p, sas[stays].ID, child, time.Now().Add(d.times.handOver))
	return true
}

// awaitHandOver calls closeDuplicates again when charon does not list a child any more, because it
// was rekeyed and both ends agreed on its end, or when the time is over. The peer sends through the
// new child from that agreement on, not from the rekeying.
func (d *duplicates) awaitHandOver(p *peer, id, child uint32, until time.Time) {
	d.after(d.times.handOverPoll, func() {
		var found []*SA
		d.do(func(ctx context.Context, s *session.Session) (err error) {
			found, err = salist.List(ctx, s, d.times.command, "ike-id",
				strconv.FormatUint(uint64(id), 10))
			return err
		}, func(err error) {
			if d.fatal(err) {
				return
			}
			renewed := len(found) == 1 &&
				!slices.ContainsFunc(found[0].Children, func(c Child) bool {
					return c.ID == child
				})
			if err == nil && !renewed && time.Now().Before(until) {
				d.awaitHandOver(p, id, child, until)
				return
			}
			p.duplicates.On(peerstate.TimeOver)
			d.closeDuplicates(p)
		})
	})
}

// closeDead closes SAs that neither end has closed as a duplicate in good time. A peer whose
// charon was killed has lost its SAs and dials anew: then only the newest SA is there at both ends.
// Dead peer detection does not find the others, since charon takes traffic through the newest SA
// for a sign of life of all. Nobody would answer their deletion, so charon forgets them at once.
// If their initiator still has one of them, charon's message tells it that the SA is closed.
func (d *duplicates) closeDead(p *peer, sas []*SA, applied *appliedProfile) {
	dead, newest := superseded(sas, applied.Accepts)
	if len(dead) == 0 {
		return
	}
	if rest := d.times.dead - time.Since(newest); rest > 0 {
		d.watchDead(p, max(rest, d.times.duplicate))
		return
	}
	for _, sa := range dead {
		d.log.Info("closing an SA that the peer has lost", slog.Any("peer", p.Key),
			slog.Uint64("ike-id", uint64(sa.ID)))
		d.destroy(sa.ID, nil)
	}
}

// watchDead calls closeDuplicates again later. New duplicates that come meanwhile do not wait
// for that.
func (d *duplicates) watchDead(p *peer, rest time.Duration) {
	if p.deadTimer {
		return
	}
	p.deadTimer = true
	d.after(rest, func() {
		p.deadTimer = false
		if !p.duplicates.TimerRuns() {
			d.closeDuplicates(p)
		}
	})
}

// superseded returns the IKE_SAs that are older than another one with the same router, by age, and
// when the newest of those others was made. Routers behind one address differ by identity, or at
// least by their port.
func superseded(sas []*SA, good func(*SA) bool) (dead []*SA, newest time.Time) {
	type router struct {
		identity string
		port     uint16
	}
	last := map[router]*SA{}
	for _, sa := range sas {
		k := router{sa.RemoteID, sa.RemotePort}
		if best := last[k]; good(sa) && (best == nil || sa.ID > best.ID) {
			last[k] = sa
		}
	}
	for _, sa := range sas {
		best := last[router{sa.RemoteID, sa.RemotePort}]
		if best == nil || sa.ID >= best.ID {
			continue
		}
		dead = append(dead, sa)
		if best.Established.After(newest) {
			newest = best.Established
		}
	}
	slices.SortFunc(dead, func(a, b *SA) int { return cmp.Compare(a.ID, b.ID) })
	return dead, newest
}

// losers returns the IKE_SAs that this end has to close, by age: of the accepted ones with the same
// identity, those that this end initiated, except the one with the lowest initiator SPI.
func losers(sas []*SA, good func(*SA) bool) []*SA {
	winners := map[string]*SA{}
	for _, sa := range sas {
		if best := winners[sa.RemoteID]; good(sa) &&
			(best == nil || sa.InitiatorSPI < best.InitiatorSPI) {
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
