package vici

import (
	"log/slog"

	govici "github.com/strongswan/govici/vici"

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

// charonLog is charon's log, which the reconciler subscribes to while it needs the log.
type charonLog struct {
	*core
	sub    *logSubscription // nil: none
	needed func() bool      // reports whether something fails whose reason the log may tell
}

// linkLost drops the subscription, which ends with the link.
func (l *charonLog) linkLost() { l.sub = nil }

// events returns the channel of log events; nil: there is no subscription, or it is not open yet.
func (l *charonLog) events() <-chan govici.Event {
	if l.sub == nil {
		return nil
	}
	return l.sub.Events()
}

// alerts reports whether charon itself raises an event that says why an attempt failed.
func (l *charonLog) alerts() bool { return session.AtLeast(l.Version, 6, 0, 3) }

// explains reports whether the reason of a failure would be known now.
func (l *charonLog) explains() bool { return l.alerts() || l.sub != nil && l.sub.Open() }

// subscribe subscribes to charon's log where the log is the only source of reasons.
func (l *charonLog) subscribe() {
	if !l.alerts() {
		l.subscribeAlways()
	}
}

// subscribeAlways subscribes to charon's log, unless that is subscribed to already.
func (l *charonLog) subscribeAlways() {
	if l.sub != nil {
		return
	}
	sub := &logSubscription{}
	sub.LogSubscription = l.link.SubscribeLog(func(err error) { l.opened(sub, err) })
	l.sub = sub
	l.after(l.times.logReview, func() { l.review(sub) })
}

// review ends the subscription once no wanted peer fails for another reason than silence, and no
// router has failed lately to dial this end.
func (l *charonLog) review(sub *logSubscription) {
	if l.sub != sub {
		return
	}
	if l.needed() {
		l.after(l.times.logReview, func() { l.review(sub) })
		return
	}
	l.close()
}

// close ends the subscription.
func (l *charonLog) close() {
	l.sub.Close()
	l.sub = nil
}

// opened goes on with what waited for the subscription. With an error there is none, and failures
// are reported without a reason.
func (l *charonLog) opened(sub *logSubscription, err error) {
	if l.sub != sub {
		return
	}
	waiting := sub.waiting
	sub.waiting = nil
	if err != nil {
		l.log.Warn("charon's log cannot be heard: why attempts fail stays unknown",
			slog.Any("error", err))
		l.close()
	}
	for _, f := range waiting {
		f()
	}
}
