package vici

import (
	"fmt"
	"log/slog"
	"time"

	"cygnet/vici/message"
)

// refusals are what was logged about SAs that this end closed or refused, by whose they were. A
// refused peer dials again, perhaps at once and for ever, so the log gets one line a minute.
type refusals[K comparable] map[K]refusal

// refusal is the last line about one of them.
type refusal struct {
	reason   string
	reported time.Time
	untold   int // since then
}

const (
	refusalAgain = time.Minute
	maxRefusals  = 256 // peers that are remembered
)

// note counts a refusal. It returns whether to log it, and how many were not logged since the last
// line.
func (r refusals[K]) note(k K, reason string, now time.Time) (tell bool, untold int) {
	last, known := r[k]
	if known && last.reason == reason && now.Sub(last.reported) < refusalAgain {
		last.untold++
		r[k] = last
		return false, 0
	}
	if !known && len(r) >= maxRefusals {
		r.forget(now)
	}
	if !known && len(r) >= maxRefusals {
		return false, 0
	}
	r[k] = refusal{reason: reason, reported: now}
	return true, last.untold
}

// forget drops what was logged long enough ago.
func (r refusals[K]) forget(now time.Time) {
	for k, last := range r {
		if now.Sub(last.reported) >= refusalAgain {
			delete(r, k)
		}
	}
}

// logRefusal logs the refusal of an SA with a peer that this end does not dial. No consumer may
// know that peer.
func (r *reconciler) logRefusal(sa *SA, reason string) {
	tell, untold := r.refusals.note(sa.Key(), reason, time.Now())
	if !tell {
		return
	}
	attrs := []any{slog.String("interface", sa.Interface),
		slog.String("identity", message.Shorten(sa.RemoteID)), slog.String("reason", reason)}
	if untold > 0 {
		attrs = append(attrs, slog.Int("untold", untold))
	}
	r.log.Warn("SA refused", attrs...)
}

// refusalWords returns why an SA was closed.
func refusalWords(sa *SA, wrong string) string {
	return fmt.Sprintf("%v %s (the SA was closed)", sa.Key(), wrong)
}
