package vici

import (
	"context"
	"slices"
	"time"

	"cygnet/vici/profile"
	"cygnet/vici/salist"
	"cygnet/vici/session"
)

// When both ends dial, one of the two SAs is up a little before the other. Both ends send through
// the newest, and its responder has it before its initiator, which drops packets until it has it,
// too. So the reconciler withholds the report of an SA with a peer that it dials, until the other
// SA is up at both ends or has failed. Until then traffic goes the way that it went before.
//
// It does the same for a peer that it dialled a moment ago and has left to dial: charon goes on
// with the attempt, and a second SA comes all the same.

// withholding is the wait for the other SA. There is none for an InitiateFirst peer: an NHS does
// not dial its clients.
type withholding struct {
	until time.Time
	both  bool // the other SA was seen being negotiated
}

// withholder withholds the reports of SAs.
type withholder struct {
	*table
	evaluate func(Key) // compares what was reported about a peer with the table
}

// withholds reports whether the report of a peer's SA is withheld. dialled reports whether charon
// may have been at work on an attempt when the SA came.
func (w *withholder) withholds(p *peer, dialled bool) bool {
	if p.up == nil && p.withheld == nil && dialled && (p.want == Initiate || p.want == Accept) {
		p.withheld = &withholding{until: time.Now().Add(w.times.withhold)}
		w.pollOther(p, p.withheld)
	}
	return p.withheld != nil
}

// pollOther asks charon whether another SA with the peer is being negotiated.
func (w *withholder) pollOther(p *peer, h *withholding) {
	var open []*SA
	name, command := profile.ConnectionName(p.Interface, p.NBMA), w.times.command
	w.do(func(ctx context.Context, s *session.Session) (err error) {
		// An SA that the peer initiates has no connection's name before the peer has authenticated.
		for _, name := range []string{name, "(unnamed)"} {
			found, listErr := salist.List(ctx, s, command, "ike", name)
			if listErr != nil {
				return listErr
			}
			open = append(open, found...)
		}
		return nil
	}, func(err error) {
		if w.fatal(err) || p.withheld != h {
			return
		}
		waits := err == nil && time.Now().Before(h.until) &&
			(p.connection.Busy() || slices.ContainsFunc(open, func(sa *SA) bool {
				return sa.RemoteHost == p.NBMA && sa.State == "CONNECTING"
			}))
		switch {
		case waits:
			h.both = true
			w.after(w.times.withholdPoll, func() { w.pollOther(p, h) })
		case h.both:
			w.after(w.times.withholdPoll, func() { w.release(p, h) })
		default:
			w.release(p, h)
		}
	})
}

// release reports a peer's SA that was withheld; h is the wait that ends.
func (w *withholder) release(p *peer, h *withholding) {
	if h != nil && p.withheld == h {
		p.withheld = nil
		w.evaluate(p.Key)
	}
}
