// Package schedule decides when a reconciler compares the kernel with what is wanted, and names the
// cause: after a failure with back-off, after a notification with a short delay, and at regular
// intervals even without a notification.
package schedule

import (
	"time"

	"github.com/cenkalti/backoff/v5"
)

// When a reconciler compares again.
const (
	// AuditInterval is how often a reconciler compares everything, even without a notification.
	AuditInterval = time.Minute
	// SettlingDelay is how long a reconciler waits after a notification, so that one comparison
	// serves all changes that come together.
	SettlingDelay = 20 * time.Millisecond
)

// Backoff returns the waits of a reconciler after a failure: 0.1 s to 0.2 s at first, 15 s to 30 s
// at last.
func Backoff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{
		InitialInterval:     150 * time.Millisecond,
		MaxInterval:         22500 * time.Millisecond,
		Multiplier:          2,
		RandomizationFactor: 1. / 3,
	}
}

// The causes of a comparison. The statistics and the log show them.
const (
	CauseStart   = "start"
	CauseAsked   = "asked for"
	CauseLink    = "link changed"
	CauseLost    = "notifications lost"
	CauseUnclear = "notification unclear"
	CauseRetry   = "retry"
	CauseAudit   = "audit"
)

// Alarm goes off at the earliest of the times that were set since it last went off. It is not for
// concurrent use.
type Alarm struct {
	// Timer's channel delivers a value when the alarm goes off. Only receive from the channel;
	// leave the rest of Timer to Alarm.
	Timer *time.Timer

	at    time.Time // when the alarm goes off
	cause string    // why; empty: the alarm is not set
}

// NewAlarm returns an alarm that is set to AuditInterval from now.
func NewAlarm() *Alarm {
	return &Alarm{
		Timer: time.NewTimer(AuditInterval),
		at:    time.Now().Add(AuditInterval),
		cause: CauseAudit,
	}
}

// Set makes the alarm go off after d at the latest. The alarm keeps the cause of the earliest time.
func (a *Alarm) Set(d time.Duration, cause string) {
	if a.cause != "" && d >= AuditInterval {
		return // the time that is set already is not later: nothing is set further ahead
	}
	at := time.Now().Add(d)
	if a.cause != "" && !at.Before(a.at) {
		return
	}
	a.at, a.cause = at, cause
	a.Timer.Reset(d)
}

// Fired returns the cause of an alarm that went off. Call it after a receive from Timer.C.
func (a *Alarm) Fired() string {
	cause := a.cause
	a.cause = ""
	return cause
}
