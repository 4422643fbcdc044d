package vici

import (
	"fmt"
	"log/slog"
	"time"

	"cygnet/vici/message"
)

// refusals are what was told of the SAs that were closed because the profile does not allow them.
// Who is refused dials again, maybe at once and for ever: that is one line a minute.
type refusals[K comparable] map[K]refusal

type refusal struct {
	reason   string
	reported time.Time
	untold   int // since then
}

const (
	refusalAgain = time.Minute
	maxRefusals  = 256 // peers that are remembered
)

// note counts a refusal. It tells whether the log should have it, and how many it did not have
// since the last.
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

// forget drops what was told long enough ago.
func (r refusals[K]) forget(now time.Time) {
	for k, last := range r {
		if now.Sub(last.reported) >= refusalAgain {
			delete(r, k)
		}
	}
}

// logRefusal tells of an SA that was refused though this end did not dial: its peer may be nobody's
// yet.
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

// refusalWords says why an SA was closed.
func refusalWords(sa *SA, wrong string) string {
	return fmt.Sprintf("%v %s (the SA was closed)", sa.Key(), wrong)
}
