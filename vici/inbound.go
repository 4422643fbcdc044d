package vici

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
	"cygnet/vici/session"
)

// charon raises no event when a router fails to dial this end. Its counters show that an attempt
// failed: charon got more IKE_AUTH requests than it made IKE_SAs. The reconciler then subscribes to
// charon's log for a while. The router dials again, and the log says why the attempt fails. The
// counters come from charon's plugin "counters", which charon loads by default. Without the plugin,
// the reconciler does not notice such routers.

// inbound is what the reconciler knows of other routers' attempts to dial this end.
type inbound struct {
	counted   bool              // auths is valid
	auths     uint64            // IKE_AUTH requests at the last count
	ups       uint64            // IKE_SAs that others made since then
	suspected time.Time         // when a count last showed a failure
	dialogs   map[string]dialog // by charon's unique ID of the IKE_SA
	reported  map[Key]time.Time // when the last event about a router was sent
}

// dialog is what charon's log said about one IKE_SA.
type dialog struct {
	local, remote netip.Addr
	identity      string // the identity that the router claims
}

const (
	maxDialogs   = 256              // IKE_SAs whose log lines are remembered
	refusedAgain = 10 * time.Second // between two events about one router
	maxRefused   = 256              // routers that are remembered for refusedAgain

	// busyInbound is the largest number of IKE_SAs in one interval with which a count is used. With
	// more, too many attempts are under way to tell which failed.
	busyInbound = 20
)

// countInbound reads charon's counters regularly.
func (r *reconciler) countInbound() {
	var auths uint64
	var ok bool
	r.do(func(ctx context.Context, s *session.Session) error {
		answer, err := s.Call(ctx, r.times.command, "get-counters", govici.NewMessage())
		if err != nil {
			return err
		}
		auths, ok = authRequests(answer)
		return nil
	}, func(err error) {
		if r.fatal(err) {
			return
		}
		if err != nil || !ok {
			r.log.Debug(
				"charon has no counters: routers that fail to dial this end are not noticed",
				slog.Any("error", err))
			return
		}
		r.inboundCounted(auths)
		r.after(r.times.inbound, r.countInbound)
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

// inboundCounted subscribes to charon's log if charon got more IKE_AUTH requests than it made
// IKE_SAs since the last count. The argument auths counts the requests since charon's start.
func (r *reconciler) inboundCounted(auths uint64) {
	in := &r.inbound
	before, ups, counted := in.auths, in.ups, in.counted
	in.auths, in.ups, in.counted = auths, 0, true
	if !counted || auths < before || ups > busyInbound || auths-before <= ups {
		return
	}
	in.suspected = time.Now()
	r.subscribeLogAlways()
}

// suspects reports whether an attempt of another router failed lately.
func (in *inbound) suspects(within time.Duration) bool { return time.Since(in.suspected) < within }

// heardInbound combines the log lines of one IKE_SA, and reports why another router cannot make an
// IKE_SA.
func (r *reconciler) heardInbound(id, line string) {
	if id == "" {
		return
	}
	in := &r.inbound
	d := in.dialogs[id]
	switch {
	case strings.HasPrefix(line, "received packet: from "):
		d.remote, d.local = endpoints(line)
	case strings.HasPrefix(line, "looking for peer configs matching "):
		d.identity = claimed(line)
	default:
		if c, found := causeOf(line); found && d.remote.IsValid() {
			r.refusedInbound(d, hint{c, line})
		}
		return
	}
	if len(in.dialogs) >= maxDialogs {
		clear(in.dialogs)
	}
	if in.dialogs == nil {
		in.dialogs = make(map[string]dialog)
	}
	in.dialogs[id] = d
}

// endpoints reads "received packet: from REMOTE[PORT] to LOCAL[PORT] (N bytes)".
func endpoints(line string) (remote, local netip.Addr) {
	words := strings.Fields(line)
	if len(words) < 6 {
		return netip.Addr{}, netip.Addr{}
	}
	parse := func(word string) netip.Addr {
		host, _, _ := strings.Cut(word, "[")
		a, _ := netip.ParseAddr(host)
		return a.Unmap()
	}
	return parse(words[3]), parse(words[5])
}

// claimed reads the identity in "looking for peer configs matching LOCAL[ID]...REMOTE[ID]".
func claimed(line string) string {
	_, remote, _ := strings.Cut(line, "...")
	_, identity, _ := strings.Cut(remote, "[")
	return strings.TrimSuffix(identity, "]")
}

// inboundSigns are pieces of charon's log messages at the end that is dialled.
var inboundSigns = []struct {
	piece string
	cause cause
}{
	{"no matching peer config found", wrongIdentity},
	{"no alternative config found", wrongIdentity},
	{"MAC mismatched", authentication},
	{"no shared key found", noSecret},
	{"no private key found", noKey},
	{"no trusted", untrusted},
	{"no issuer certificate found", untrusted},
	{"certificate expired", untrusted},
	{"certificate was revoked", untrusted},
	{"constraint check failed", wrongIdentity},
}

// causeOf returns the cause that a line of charon's log names. It returns false if the line names
// none.
func causeOf(line string) (cause, bool) {
	for _, sign := range inboundSigns {
		if strings.Contains(line, sign.piece) {
			return sign.cause, true
		}
	}
	return noAnswer, false
}

// refusedInbound reports why a router cannot make an SA with this end. If this end dials the
// router, that attempt reports its own failure.
func (r *reconciler) refusedInbound(d dialog, h hint) {
	k, ok := r.keyAt(d)
	if !ok {
		return
	}
	if p := r.peers[k]; p != nil && (p.attempt != nil || p.up != nil) {
		return
	}
	now, told := time.Now(), r.inbound.reported
	if last, known := told[k]; known && now.Sub(last) < refusedAgain {
		return
	}
	for known, at := range told {
		if now.Sub(at) >= refusedAgain {
			delete(told, known)
		}
	}
	if len(told) >= maxRefused {
		return
	}
	if told == nil {
		told = make(map[Key]time.Time)
		r.inbound.reported = told
	}
	told[k] = now
	reason := r.inboundWords(d, h)
	r.emit(Refused{Key: k, Identity: message.Shorten(d.identity), Reason: reason})
	if tell, untold := r.refusals.note(k, reason, now); tell {
		attrs := []any{slog.String("interface", k.Interface), slog.String("nbma", k.NBMA.String()),
			slog.String("identity", message.Shorten(d.identity)),
			slog.String("reason", reason)}
		if untold > 0 {
			attrs = append(attrs, slog.Int("untold", untold))
		}
		r.log.Warn("a router cannot make an SA with this one", attrs...)
	}
}

// keyAt returns the key of a router on the interface that it dialled.
func (r *reconciler) keyAt(d dialog) (Key, bool) {
	for _, iface := range r.interfaces() {
		if r.profiles[iface].SendsFrom(d.local) {
			return Key{Interface: iface, NBMA: d.remote}, true
		}
	}
	return Key{}, false
}

// inboundWords returns why a router cannot make an SA with this end, and what to compare.
func (r *reconciler) inboundWords(d dialog, h hint) string {
	who := "it"
	if d.identity != "" {
		who = fmt.Sprintf("it claims to be %q and", message.Shorten(d.identity))
	}
	said := fmt.Sprintf(" (charon: %s)", message.Shorten(h.said))
	switch h.cause {
	case authentication:
		return who +
			" does not prove it by a key of this router's: compare the PSK (psk_file) of both" +
			said
	case noSecret:
		return who +
			" cannot be authenticated, since no PSK here is for the identities of the two: compare identity on both" +
			said
	case noKey:
		return who +
			" gets no proof of who this router is: the private key of its certificate is not loaded here" +
			said
	case untrusted:
		return who +
			" has a certificate that this router does not trust: compare the CAs of both, and look when it expires" +
			said
	}
	return who +
		" is not accepted under that identity: compare remote_identity here with identity there" +
		said
}

// countUp counts an IKE_SA that another router made, by any connection.
func (r *reconciler) countUp(m *govici.Message) {
	_, bodies := message.Sections(m)
	if message.Text(m, "up") == "yes" && len(bodies) > 0 &&
		message.Text(bodies[0], "initiator") != "yes" {
		r.inbound.ups++
	}
}
