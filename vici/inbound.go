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

// A router whose attempt to dial this end fails raises no event. charon's counters tell that
// there was one: of the IKE_AUTH requests that came, fewer led to an IKE_SA. Then charon's log is
// heard for a while, since the router dials again, and the log says why it fails. The counters
// need charon's plugin of that name, which is one of its defaults; without it such routers are
// not noticed.

// inbound is what is known of attempts to dial this end.
type inbound struct {
	counted   bool
	auths     uint64    // IKE_AUTH requests by the last count
	ups       uint64    // IKE_SAs that others made since then
	suspected time.Time // when a count told of a failure last
	dialogs   map[string]dialog
	reported  map[Key]time.Time
}

// dialog is what the log said of one IKE_SA.
type dialog struct {
	local, remote netip.Addr
	identity      string // as the other end claims
}

const (
	maxDialogs   = 256              // IKE_SAs whose log lines are put together
	refusedAgain = 10 * time.Second // between two events about one router
	maxRefused   = 256              // routers that are remembered for that
	// IKE_SAs in one interval, from which attempts under way are too many to tell failures
	busyInbound = 20
)

// countInbound looks at intervals whether attempts of others fail.
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

// authRequests finds how many IKE_AUTH requests came, over all connections.
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

// inboundCounted compares the requests with the IKE_SAs that came of them.
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

// heardInbound puts the log lines of one IKE_SA together, and tells why another router cannot
// make one.
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

func causeOf(line string) (cause, bool) {
	for _, sign := range inboundSigns {
		if strings.Contains(line, sign.piece) {
			return sign.cause, true
		}
	}
	return noAnswer, false
}

// refusedInbound tells why a router cannot make an SA with this end, unless this end dials it and
// tells so itself.
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

// keyAt finds the interface that a router dialled.
func (r *reconciler) keyAt(d dialog) (Key, bool) {
	for _, iface := range r.interfaces() {
		if r.profiles[iface].SendsFrom(d.local) {
			return Key{Interface: iface, NBMA: d.remote}, true
		}
	}
	return Key{}, false
}

// inboundWords says why a router cannot make an SA with this end, and what to compare.
func (r *reconciler) inboundWords(d dialog, h hint) string {
	who := "it"
	if d.identity != "" {
		who = fmt.Sprintf("it claims to be %q and", message.Shorten(d.identity))
	}
	said := fmt.Sprintf(" (charon: %s)", message.Shorten(h.said))
	switch h.cause {
	case authentication:
		return who + " does not prove it by a key of this router's: compare the PSK (psk_file) of both" + said
	case noSecret:
		return who + " cannot be authenticated, since no PSK here is for the identities of the two: compare identity on both" + said
	case noKey:
		return who + " gets no proof of who this router is: the private key of its certificate is not loaded here" + said
	case untrusted:
		return who + " has a certificate that this router does not trust: compare the CAs of both, and look when it expires" + said
	}
	return who + " is not accepted under that identity: compare remote_identity here with identity there" + said
}

// countUp counts an IKE_SA that another router made, of whatever connection.
func (r *reconciler) countUp(m *govici.Message) {
	_, bodies := message.Sections(m)
	if message.Text(m, "up") == "yes" && len(bodies) > 0 &&
		message.Text(bodies[0], "initiator") != "yes" {
		r.inbound.ups++
	}
}
