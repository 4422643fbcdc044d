package vici

import (
	"context"
	"log/slog"
	"maps"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/failure"
	"cygnet/vici/message"
	"cygnet/vici/session"
)

// charon raises no event when a router fails to dial this end. Its counters show that an attempt
// failed: charon got more IKE_AUTH requests than it made IKE_SAs. The reconciler then subscribes to
// charon's log for a while. The router dials again, and the log says why the attempt fails. The
// counters come from charon's plugin "counters", which charon loads by default. Without the plugin,
// the reconciler does not notice such routers.

// inbound notices other routers' attempts to dial this end that fail, and reports them.
type inbound struct {
	*table
	charonLog *charonLog
	refusals  failure.Repeats[Key] // what was logged

	counted  bool              // auths is valid
	auths    uint64            // IKE_AUTH requests at the last count
	ups      uint64            // IKE_SAs that others made since then
	failed   time.Time         // when a count last showed a failure
	dialogs  failure.Dialogs   // charon's log, by IKE_SA
	reported map[Key]time.Time // when the last event about a router was sent
}

const (
	reportedAgain = 10 * time.Second // between two events about one router
	maxReported   = 256              // routers that are remembered for reportedAgain

	// busyInbound is the largest number of IKE_SAs in one interval with which a count is used. With
	// more, too many attempts are under way to tell which failed.
	busyInbound = 20
)

// linkLost drops what belonged to the link that ended.
func (in *inbound) linkLost() {
	in.counted, in.auths, in.ups, in.failed = false, 0, 0, time.Time{}
	in.dialogs, in.reported = failure.Dialogs{}, nil
}

// countInbound reads charon's counters regularly.
func (in *inbound) countInbound() {
	var auths uint64
	var ok bool
	in.do(func(ctx context.Context, s *session.Session) error {
		answer, err := s.Call(ctx, in.times.command, "get-counters", govici.NewMessage())
		if err != nil {
			return err
		}
		auths, ok = authRequests(answer)
		return nil
	}, func(err error) {
		if in.fatal(err) {
			return
		}
		if err != nil || !ok {
			in.log.Debug(
				"charon has no counters: routers that fail to dial this end are not noticed",
				slog.Any("error", err))
			return
		}
		in.evaluate(auths)
		in.after(in.times.inbound, in.countInbound)
	})
}

// authRequests returns how many IKE_AUTH requests charon got, over all connections. It returns
// false if charon's answer does not say.
func authRequests(answer *govici.Message) (uint64, bool) {
	counters, ok := message.Section(answer, "counters")
	if !ok {
		return 0, false
	}
	_, bodies := message.Sections(counters)
	for _, body := range bodies {
		if message.Text(body, "ike-auth-in-req") != "" {
			return message.Number(body, "ike-auth-in-req", 10), true
		}
	}
	return 0, false
}

// evaluate subscribes to charon's log if charon got more IKE_AUTH requests than it made IKE_SAs
// since the last count. The argument auths counts the requests since charon's start.
func (in *inbound) evaluate(auths uint64) {
	before, ups, counted := in.auths, in.ups, in.counted
	in.auths, in.ups, in.counted = auths, 0, true
	if !counted || auths < before || ups > busyInbound || auths-before <= ups {
		return
	}
	in.failed = time.Now()
	in.charonLog.subscribeAlways()
}

// failedWithin reports whether an attempt of another router failed lately.
func (in *inbound) failedWithin(d time.Duration) bool { return time.Since(in.failed) < d }

// logLine takes a line of charon's log about the IKE_SA with an id.
func (in *inbound) logLine(id, line string) {
	if attempt, failed := in.dialogs.Line(id, line); failed {
		in.countRefusal(attempt.Reason.Cause)
		in.refused(attempt)
	}
}

// refused reports why a router cannot make an SA with this end, to each interface that it may have
// dialled.
func (in *inbound) refused(a failure.Attempt) {
	for _, iface := range in.interfaces() {
		if in.profiles[iface].SendsFrom(a.Local) {
			in.refusedBy(Key{Interface: iface, NBMA: a.Remote}, a)
		}
	}
}

// refusedBy reports to one interface why a router cannot make an SA with this end. If this end
// dials the router, that attempt reports its own failure.
func (in *inbound) refusedBy(k Key, a failure.Attempt) {
	if p := in.peers[k]; p != nil && (p.attempt != nil || p.up != nil) {
		return
	}
	now := time.Now()
	if !in.toReport(k, now) {
		return
	}
	identity := message.Shorten(a.Identity)
	reason := a.Reason.InboundWords(a.Identity)
	in.emit(Refused{Key: k, Identity: identity, Reason: reason})
	if log, skipped := in.refusals.Note(k, reason, now); log {
		attrs := []any{slog.String("event", "sa-refused"),
			slog.String("interface", k.Interface), slog.String("nbma", k.NBMA.String()),
			slog.String("identity", identity), slog.String("reason", reason)}
		if skipped > 0 {
			attrs = append(attrs, slog.Int("suppressed", skipped))
		}
		in.log.Warn("a router cannot make an SA with this one", attrs...)
	}
}

// toReport reports whether an event about a router is due, and notes that it is sent.
func (in *inbound) toReport(k Key, now time.Time) bool {
	if last, known := in.reported[k]; known && now.Sub(last) < reportedAgain {
		return false
	}
	maps.DeleteFunc(in.reported, func(_ Key, at time.Time) bool {
		return now.Sub(at) >= reportedAgain
	})
	if len(in.reported) >= maxReported {
		return false
	}
	if in.reported == nil {
		in.reported = make(map[Key]time.Time)
	}
	in.reported[k] = now
	return true
}

// countUp counts an IKE_SA that another router made, by any connection.
func (in *inbound) countUp(m *govici.Message) {
	_, bodies := message.Sections(m)
	if message.Text(m, "up") == "yes" && len(bodies) > 0 &&
		message.Text(bodies[0], "initiator") != "yes" {
		in.ups++
	}
}
