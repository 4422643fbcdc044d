package vici

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"cygnet/vici/failure"
	"cygnet/vici/message"
	"cygnet/vici/peerstate"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// put enters an established IKE_SA as charon's last event reported it.
func (r *reconciler) put(sa *SA) {
	sa.AsOf = r.serial
	r.enter(sa)
}

// enter takes an IKE_SA into the table and acts on what follows.
func (r *reconciler) enter(sa *SA) {
	old := r.table.enter(sa)
	r.limits.limitIdentity(sa)
	if !r.synced {
		return
	}
	r.inspect(sa)
	switch {
	case old == nil || old.Key() == sa.Key():
	case old.Interface != sa.Interface: // the name of its connection told less than its child
		r.evaluate(old.Key())
	default:
		r.leftKey(old.Key(), sa)
	}
	r.evaluate(sa.Key())
	r.renewals.renewed(sa)
}

// leftKey reports what became of a peer's old key, which an SA does not have any more.
func (r *reconciler) leftKey(before Key, sa *SA) {
	if !r.move(before, sa.Key()) {
		r.reason(before, fmt.Sprintf("the peer moved to %v", sa.RemoteHost))
		r.evaluate(before)
	}
}

// move reports that a peer has another key now: it has no SA left under the old one, and nobody
// else had the new one before. The peer itself may have had it, if another SA with it moved first.
// move returns false if that is not the case.
func (r *reconciler) move(from, to Key) bool {
	old, p := r.peers[from], r.peer(to)
	sa := r.securing(to)
	if old == nil || old.up == nil || len(r.protecting(from).Accepted()) > 0 ||
		sa == nil || sa.RemoteID != old.up.Identity ||
		p.up != nil && p.up.Identity != old.up.Identity {
		return false
	}
	if p.up == nil {
		p.upSince = time.Now()
	}
	info := r.info(to, sa)
	p.up = &info
	old.up, old.reason = nil, ""
	r.dialler.leave(p, peerstate.Secured)
	r.emit(Moved{from, info})
	r.step(old)
	return true
}

// listed enters an IKE_SA from a list, unless it has ended or a newer event reported it. asked is
// the serial number of the last event when charon was asked for the list.
func (r *reconciler) listed(sa *SA, asked uint64) {
	if sa.Stands() && !r.newer(sa.ID, asked) {
		sa.AsOf = asked
		r.enter(sa)
	}
}

// forget drops an IKE_SA that does not exist any more.
func (r *reconciler) forget(sa *SA) {
	r.table.end(sa)
	delete(r.childless, sa.ID)
	delete(r.limits.closing, sa.ID)
	r.renewals.forget(sa)
}

// remove takes an IKE_SA that has ended out of the table and acts on what follows.
func (r *reconciler) remove(id uint32, reason string) {
	sa := r.sas[id]
	if sa == nil {
		r.ended[id] = time.Now()
		return
	}
	r.forget(sa)
	r.reason(sa.Key(), reason)
	r.evaluate(sa.Key())
}

// inspect closes an SA that must not stay: of an interface whose profile was removed, from an
// address that is no longer this end's, with a mark that packets cannot have, or not allowed by the
// profile. It starts the waits for an SA without a child, for duplicates, and for routers that
// share an address.
func (r *reconciler) inspect(sa *SA) {
	applied := r.profiles[sa.Interface]
	switch {
	case r.ending[sa.ID]:
		return
	case applied == nil:
		// charon may have been negotiating this SA when the connections were unloaded.
		if p := r.peers[sa.Key()]; r.removed[sa.Interface] &&
			(p == nil || !p.connection.ToClose()) {
			r.terminate(sa.ID)
		}
		return
	}
	switch wrong := applied.Refuses(sa); {
	case !applied.SendsFrom(sa.LocalHost):
		r.log.Info("closing an SA from an address that is not ours any more",
			slog.Any("peer", sa.Key()), slog.Any("local", sa.LocalHost))
		r.reason(sa.Key(), "this end's address changed")
		r.peer(sa.Key()).moved = true
		r.terminate(sa.ID)
	case sa.Mark() != 0 && !applied.Marks:
		r.log.Info("closing an SA with a mark, which packets cannot be given any more",
			slog.Any("peer", sa.Key()))
		r.reason(sa.Key(), "packets cannot be given its mark any more")
		r.terminate(sa.ID)
	case wrong != "":
		r.reason(sa.Key(), wrong)
		r.terminate(sa.ID)
		r.refuse(sa, failure.NotAllowed, failure.Closed(sa.Key(), wrong))
	case len(sa.Children) == 0 && !r.childless[sa.ID]:
		r.childless[sa.ID] = true
		r.after(r.times.childless, func() { r.pollChildless(sa.ID) })
	}
	r.duplicates.watchDuplicates(sa.Key())
	r.sharing.watchSharing(sa)
}

// pollChildless closes an IKE_SA that got no child in time: the peer refused the traffic selectors.
// It asks charon first, since the table may be behind.
func (r *reconciler) pollChildless(id uint32) {
	delete(r.childless, id)
	if sa := r.sas[id]; sa == nil || len(sa.Children) > 0 {
		return
	}
	var found []*SA
	asked := r.serial
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		found, err = salist.List(ctx, s, r.times.command, "ike-id",
			strconv.FormatUint(uint64(id), 10))
		return err
	}, func(err error) {
		if known := r.sas[id]; r.fatal(err) || err != nil || known == nil ||
			len(known.Children) > 0 {
			return
		}
		if found = r.own(found); len(found) == 0 {
			r.remove(id, "the SA ended")
			return
		}
		sa := found[0]
		if len(sa.Children) > 0 {
			r.listed(sa, asked)
			return
		}
		r.terminate(id)
		r.dialler.failedUnheard(r.peer(sa.Key()))
		r.refuse(sa, r.dialler.childlessCause(sa), r.dialler.childlessWords(sa))
	})
}

// refuse reports that an SA is not good enough, and ends the attempt that led to it. If this end
// does not dial the peer, no consumer may know the peer, so refuse logs the refusal.
func (r *reconciler) refuse(sa *SA, cause failure.Cause, reason string) {
	p := r.peer(sa.Key())
	if !p.want.dials() {
		r.logRefusal(sa, reason)
	}
	if p.up == nil {
		r.dialler.fail(p, cause, reason)
		return
	}
	r.countFailure(cause)
	r.emit(Failed{p.Key, reason})
}

// logRefusal logs the refusal of an SA with a peer that this end does not dial. No consumer may
// know that peer.
func (r *reconciler) logRefusal(sa *SA, reason string) {
	log, skipped := r.refusals.Note(sa.Key(), reason, time.Now())
	if !log {
		return
	}
	attrs := []any{slog.String("event", "sa-refused"), slog.String("interface", sa.Interface),
		slog.String("nbma", sa.Key().NBMA.String()),
		slog.String("identity", message.Shorten(sa.RemoteID)), slog.String("reason", reason)}
	if skipped > 0 {
		attrs = append(attrs, slog.Int("suppressed", skipped))
	}
	r.log.Warn("SA refused", attrs...)
}
