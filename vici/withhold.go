package vici

import (
	"context"
	"slices"
	"time"

	"cygnet/vici/profile"
	"cygnet/vici/session"
)

// When both ends dial, one of the two SAs is up a little before the other. Both ends send through
// the newest, and its responder has it before its initiator, who drops what comes until he has it,
// too. So an SA with a peer that is dialled is not told before the other one is up at both ends or
// has come to nothing; until then traffic has the way that it had.

// hold is the wait for that. An NHS is not waited for: it does not dial its clients.
type hold struct {
	until time.Time
	both  bool // the other SA was seen on its way
}

// holds says whether a peer's SA is not to be told yet. dialled: an attempt was under way when it
// came.
func (r *reconciler) holds(p *peer, dialled bool) bool {
	if p.up == nil && p.hold == nil && dialled && p.want == Initiate {
		p.hold = &hold{until: time.Now().Add(r.times.hold)}
		r.lookForOther(p, p.hold)
	}
	return p.hold != nil
}

// lookForOther asks charon what is on its way with the peer.
func (r *reconciler) lookForOther(p *peer, h *hold) {
	var open []*SA
	name, command := profile.ConnectionName(p.Interface, p.NBMA), r.times.command
	r.do(func(ctx context.Context, s *session.Session) (err error) {
		// Who dials in has no connection's name before he has proved who he is.
		for _, name := range []string{name, "(unnamed)"} {
			found, listErr := listSAs(ctx, s, command, "ike", name)
			if listErr != nil {
				return listErr
			}
			open = append(open, found...)
		}
		return nil
	}, func(err error) {
		if r.fatal(err) || p.hold != h {
			return
		}
		waits := err == nil && time.Now().Before(h.until) &&
			slices.ContainsFunc(open, func(sa *SA) bool {
				return sa.RemoteHost == p.NBMA && sa.State == "CONNECTING"
			})
		switch {
		case waits:
			h.both = true
			r.after(r.times.holdLook, func() { r.lookForOther(p, h) })
		case h.both:
			r.after(r.times.holdLook, func() { r.release(p, h) })
		default:
			r.release(p, h)
		}
	})
}

// release tells of a peer's SA.
func (r *reconciler) release(p *peer, h *hold) {
	if h != nil && p.hold == h {
		p.hold = nil
		r.evaluate(p.Key)
	}
}
