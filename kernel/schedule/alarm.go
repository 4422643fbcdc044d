// Package schedule says when a reconciler looks at the kernel again, and why: after a failure with
// back-off, after a notification with a short delay, and at regular intervals whatever was
// notified.
package schedule

import "time"

// When a reconciler looks at the kernel again.
const (
	// AuditInterval is how often everything is compared, whatever was notified.
	AuditInterval = time.Minute
	// SettlingDelay is how long a look waits, so that changes that come together are looked at
	// together.
	SettlingDelay = 20 * time.Millisecond
	// RetryFirst and RetryLimit are the bounds of the back-off after a failure.
	RetryFirst = 200 * time.Millisecond
	RetryLimit = 30 * time.Second
)

// Why a reconciler looks at the kernel: the statistics and the log name it.
const (
	CauseStart   = "start"
	CauseAsked   = "asked for"
	CauseLink    = "link changed"
	CauseLost    = "notifications lost"
	CauseUnclear = "notification unclear"
	CauseRetry   = "retry"
	CauseAudit   = "audit"
)

// Alarm goes off at the earliest of the times set since it last went off. It is not for concurrent
// use.
type Alarm struct {
	Timer *time.Timer // its channel tells that the alarm went off; nothing else may be done with it
	at    time.Time
	cause string
}

// NewAlarm returns an alarm that is set to AuditInterval from now.
func NewAlarm() *Alarm {
	return &Alarm{Timer: time.NewTimer(AuditInterval), at: time.Now().Add(AuditInterval), cause: CauseAudit}
}

// Set makes the alarm go off after d at the latest. The cause of the earliest time counts.
func (a *Alarm) Set(d time.Duration, cause string) {
	if a.cause != "" && d >= AuditInterval {
		return // the one that is set is not later: nothing is set further ahead
	}
	at := time.Now().Add(d)
	if a.cause != "" && !at.Before(a.at) {
		return
	}
	a.at, a.cause = at, cause
	a.Timer.Reset(d)
}

// Fired returns the cause of the alarm. The caller has received from Timer.C.
func (a *Alarm) Fired() string {
	cause := a.cause
	a.cause = ""
	return cause
}
