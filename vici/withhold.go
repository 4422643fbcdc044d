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
type withholding struct {
	until time.Time
	both  bool // the other SA was seen on its way
}

// holds says whether a peer's SA is not to be told yet. dialled: an attempt was under way when it
// came.
func (r *reconciler) withholds(p *peer, dialled bool) bool {
	if p.up == nil && p.withheld == nil && dialled && p.want == Initiate {
		p.withheld = &withholding{until: time.Now().Add(r.times.withhold)}
		r.pollOther(p, p.withheld)
	}
	return p.withheld != nil
}

// lookForOther asks charon what is on its way with the peer.
func (r *reconciler) pollOther(p *peer, h *withholding) {
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
		if r.fatal(err) || p.withheld != h {
			return
		}
		waits := err == nil && time.Now().Before(h.until) &&
			slices.ContainsFunc(open, func(sa *SA) bool {
				return sa.RemoteHost == p.NBMA && sa.State == "CONNECTING"
			})
		switch {
		case waits:
			h.both = true
			r.after(r.times.withholdPoll, func() { r.pollOther(p, h) })
		case h.both:
			r.after(r.times.withholdPoll, func() { r.release(p, h) })
		default:
			r.release(p, h)
		}
	})
}

// release tells of a peer's SA.
func (r *reconciler) release(p *peer, h *withholding) {
	if h != nil && p.withheld == h {
		p.withheld = nil
		r.evaluate(p.Key)
	}
}
