package vici

import (
	"log/slog"

	"cygnet/vici/peerstate"
	"cygnet/vici/session"
)

// Before strongSwan 6.0.3 only charon's log says why an attempt failed. Log events are a good part
// of what a handshake costs ([session.LogSubscription]), so the reconciler subscribes to the log
// only while attempts fail. A peer whose failure came without a subscription is dialled once more
// with one, before its failure is reported.

// logSubscription is a subscription to charon's log, and what waits for it.
type logSubscription struct {
	*session.LogSubscription
	waiting []func() // run when it is open or cannot be opened
}

// alerts reports whether charon itself raises an event that says why an attempt failed.
func (r *reconciler) alerts() bool { return session.AtLeast(r.Version, 6, 0, 3) }

// hears reports whether the reason of a failure would be known now.
func (r *reconciler) hears() bool { return r.alerts() || r.charonLog != nil && r.charonLog.Open() }

// subscribeLog subscribes to charon's log where the log is the only source of reasons.
func (r *reconciler) subscribeLog() {
	if !r.alerts() {
		r.subscribeLogAlways()
	}
}

// subscribeLogAlways subscribes to charon's log, unless that is subscribed to already.
func (r *reconciler) subscribeLogAlways() {
	if r.charonLog != nil {
		return
	}
	sub := &logSubscription{}
	sub.LogSubscription = r.link.SubscribeLog(func(err error) { r.logOpened(sub, err) })
	r.charonLog = sub
	r.after(r.times.logReview, func() { r.reviewLog(sub) })
}

// reviewLog ends the subscription once no wanted peer fails for another reason than silence, and no
// router has failed lately to dial this end.
func (r *reconciler) reviewLog(sub *logSubscription) {
	if r.charonLog != sub {
		return
	}
	needed := r.inbound.suspects(r.times.logReview)
	for _, p := range r.peers {
		needed = needed || p.failure.NeedsLog() && p.want.dials() && p.up == nil
	}
	if needed {
		r.after(r.times.logReview, func() { r.reviewLog(sub) })
		return
	}
	r.closeLog()
}

// closeLog ends the subscription.
func (r *reconciler) closeLog() {
	r.charonLog.Close()
	r.charonLog = nil
}

// logOpened goes on with what waited for the subscription. With an error there is none, and
// failures are reported without a reason.
func (r *reconciler) logOpened(sub *logSubscription, err error) {
	if r.charonLog != sub {
		return
	}
	waiting := sub.waiting
	sub.waiting = nil
	if err != nil {
		r.log.Warn("charon's log cannot be heard: why attempts fail stays unknown",
			slog.Any("error", err))
		r.closeLog()
	}
	for _, f := range waiting {
		f()
	}
}

// tryAgain dials a peer once more that failed for no known reason, with a subscription to charon's
// log. The attempt loads the PSK again, in case somebody cleared it.
func (r *reconciler) tryAgain(p *peer) {
	r.leaveAttempt(p, peerstate.Stop)
	p.failure.On(peerstate.Unheard)
	r.subscribeLog()
	if !r.hears() {
		wait := &pause{}
		p.dialling.On(peerstate.Pause)
		p.pause = wait
		r.charonLog.waiting = append(r.charonLog.waiting, func() { r.resume(p, wait) })
	}
	r.step(p)
}

// failedUnheard subscribes to charon's log for a peer that an attempt did not secure for no known
// reason, so that further attempts show it.
func (r *reconciler) failedUnheard(p *peer) {
	if p.attempt != nil && p.hint == nil {
		p.failure.On(peerstate.Explained)
		r.subscribeLog()
	}
}
