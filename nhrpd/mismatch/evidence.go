package mismatch

import (
	"fmt"
	"net/netip"
	"time"

	"cygnet/kernel/xfrm"
	"cygnet/nhrpd/api"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/wording"
)

// passage is what passed between this router and a peer in some time. The kernel counts what passed
// through the SA, and the engine counts what came out of the tunnel.
type passage struct {
	in, out     uint64 // packets through the SA
	nhrp, asked uint64 // NHRP packets from the peer and to the peer
	data        bool   // other packets of the peer came out of the tunnel
}

// plus returns what passed in both times together.
func (p passage) plus(o passage) passage {
	return passage{
		in:    p.in + o.in,
		out:   p.out + o.out,
		nhrp:  p.nhrp + o.nhrp,
		asked: p.asked + o.asked,
		data:  p.data || o.data,
	}
}

// evidence is what passed lately between this router and a peer with a mismatch. It forgets what
// passed longer ago, because the cause of the mismatch may have changed.
type evidence struct {
	passage               // before and now together; the conclusions rest on it
	before, now passage   // a new passage begins after some requests, or some time
	began       time.Time // when the passage now began
	quiet       time.Time // since when nothing came through the SA

	// The counters as update read them last.
	received, sent uint64            // NHRP packets
	heard          time.Time         // when data came from the peer
	seen           map[uint32]uint64 // packets by SPI
}

// A new passage begins after passageAsks requests to an NHS, and after passageTime for any other
// peer: a router repeats its registration at least that often.
const (
	passageAsks = 3
	passageTime = time.Minute
)

// newEvidence returns the evidence for a new mismatch. If this router has received no NHRP packet
// from the peer since the SA came, everything since then counts. Otherwise only what passes from
// now on counts.
func newEvidence(f *engine.Mismatch, states []xfrm.ESPState, now time.Time) *evidence {
	e := &evidence{began: now, quiet: f.Since, seen: make(map[uint32]uint64), heard: f.Heard}
	if f.Received > 0 || f.Since.IsZero() {
		e.quiet = now
		e.received, e.sent = f.Received, f.Sent
		for i := range states {
			if ofPeer(&states[i], f.Outer) {
				e.seen[states[i].SPI] = states[i].Packets
			}
		}
	}
	return e
}

// ofPeer reports whether an ESP state carries GRE from the peer or to the peer.
func ofPeer(s *xfrm.ESPState, nbma netip.Addr) bool {
	return s.GRE && s.MarkMask == 0 && (s.Src == nbma || s.Dst == nbma)
}

// update adds what passed since the last call. A state that came with a rekeying counts from zero,
// and with a new SA the engine counts from zero as well.
func (e *evidence) update(f *engine.Mismatch, states []xfrm.ESPState, now time.Time) {
	asks := f.Kind == engine.MismatchSilent
	if asks && e.now.asked >= passageAsks || !asks && now.Sub(e.began) >= passageTime {
		e.before, e.now, e.began = e.now, passage{}, now
	}
	seen := make(map[uint32]uint64)
	for i := range states {
		s := &states[i]
		if !ofPeer(s, f.Outer) {
			continue
		}
		passed := s.Packets - min(s.Packets, e.seen[s.SPI])
		seen[s.SPI] = s.Packets
		if s.Dst == f.Outer {
			e.now.out += passed
			continue
		}
		e.now.in += passed
		if passed > 0 {
			e.quiet = now
		}
	}
	if f.Received < e.received || f.Sent < e.sent {
		e.received, e.sent = 0, 0
	}
	e.now.nhrp += f.Received - e.received
	e.now.asked += f.Sent - e.sent
	e.now.data = e.now.data || f.Heard.After(e.heard)
	e.received, e.sent, e.heard, e.seen = f.Received, f.Sent, f.Heard, seen
	e.passage = e.before.plus(e.now)
}

// heardNothing reports whether nothing from the peer came out of the tunnel.
func (e *evidence) heardNothing() bool { return e.nhrp == 0 && !e.data }

// These are parts of sentences that tell the user what to look for.
const (
	dropsGRE = "a firewall that drops GRE (protocol 47)"
	dropsESP = "a firewall that drops ESP (protocol 50, or UDP 4500 behind NAT)"
)

// keyHere returns the tunnel's key as the configuration writes it.
func (t *Tunnel) keyHere() string {
	if t.Key == nil {
		return "none"
	}
	return fmt.Sprintf("key = %d", *t.Key)
}

// whySilent returns why an NHS does not answer. It returns an empty text if the counters do not
// show it.
func whySilent(t *Tunnel, e *evidence) string {
	switch {
	case !t.Protected:
		return `it does not answer; this interface has no IPsec (protection = "none"), and a server that requires it drops what comes in clear`
	case e == nil || !e.heardNothing() || e.asked == 0:
		return ""
	case e.out == 0:
		return "what is sent to it does not get into the SA: look for " + dropsGRE + " here, on its way out"
	case e.in == 0:
		return fmt.Sprintf("%s went to it through the SA and none came back: compare key with its (here: %s), look for %s there or %s "+
			"in between; cygnet status there tells which it is",
			wording.Packets(e.out), t.keyHere(), dropsGRE, dropsESP)
	}
	return fmt.Sprintf("its answers come through the SA (%s) and not out of the tunnel: look for %s here, behind decryption, or "+
		"compare key with its (here: %s)",
		wording.Packets(e.in), dropsGRE, t.keyHere())
}

// silentAfter is how long nothing may come through the SA of a router that dialled in here before
// that is a problem. Such a router repeats its registration within seconds.
const silentAfter = 15 * time.Second

// problemOf returns the problem that a mismatch with a peer means. It returns false if the mismatch
// means no problem yet.
func problemOf(f *engine.Mismatch, t *Tunnel, e *evidence, now time.Time) (api.Problem, bool) {
	p := api.Problem{
		Interface: f.Interface,
		Severity:  api.SeverityError,
		Subject:   f.Outer.String(),
		Since:     f.Since,
	}
	peer := p.Subject
	if f.Identity != "" {
		peer += " (" + f.Identity + ")"
	}
	switch f.Kind {
	case engine.MismatchUnheard:
		return p, unheard(&p, peer, t, e, now)
	case engine.MismatchDeaf:
		p.Code = api.ProblemAnswersUnheard
		p.Text = fmt.Sprintf("peer %s repeats registrations that were answered: the answers do not reach it",
			peer)
		p.Remedy = "look for " + dropsGRE + " there, behind decryption, and " + dropsESP + " in between"
		if e != nil && e.asked > 0 && e.out == 0 {
			p.Remedy = "they do not get into the SA: look for " + dropsGRE + " here, on its way out"
		}
	case engine.MismatchPassword:
		p.Code = api.ProblemPassword
		p.Text = fmt.Sprintf("packets of peer %s are dropped: %s", peer, f.Reason)
		p.Remedy = "set the same authentication on both routers"
	case engine.MismatchRefused:
		p.Code, p.Severity = api.ProblemRegistrationRefused, api.SeverityWarning
		p.Text = fmt.Sprintf("peer %s cannot register %s: %s", peer, f.Protocol, f.Reason)
	case engine.MismatchTwice:
		p.Code, p.Subject = api.ProblemAddressTwice, f.Protocol.String()
		p.Text = fmt.Sprintf("two routers have the overlay address %s: %s", f.Protocol, f.Reason)
		p.Remedy = "give each router an address of its own"
	default:
		return p, false
	}
	return p, true
}

// unheard completes the problem of a router that has an SA and does not register. It returns false
// if that is no problem yet.
func unheard(p *api.Problem, peer string, t *Tunnel, e *evidence, now time.Time) bool {
	switch {
	case e == nil || !e.heardNothing():
		return false
	case e.in > 0:
		p.Code = api.ProblemGRENotReceived
		p.Text = fmt.Sprintf("%s came from peer %s through its SA and none out of the tunnel: its key is not ours (here: %s), or a firewall "+
			"here drops GRE (protocol 47) behind decryption",
			wording.Packets(e.in), peer, t.keyHere())
		p.Remedy = "compare key on both routers; nft list ruleset shows the firewall"
		return true
	case now.Sub(e.quiet) < silentAfter:
		return false
	}
	p.Code, p.Severity = api.ProblemPeerSilent, api.SeverityWarning
	p.Text = fmt.Sprintf("nothing has come through the SA with peer %s for %s",
		peer, wording.Span(now.Sub(e.quiet)))
	p.Remedy = "look for " + dropsESP + " here and in between, and there for one that drops GRE (protocol 47) on its way out; or NHRP does not run there"
	return true
}

// strayProblem returns the problem of a router without an SA whose packets the tunnel cannot take.
func strayProblem(t *Tunnel, from netip.Addr) api.Problem {
	p := api.Problem{Interface: t.Name, Severity: api.SeverityWarning, Subject: from.String()}
	if t.Protected {
		p.Code = api.ProblemClearGRE
		p.Text = fmt.Sprintf("%s sends GRE in clear to this protected tunnel, which drops it", from)
		p.Remedy = `if it is a router of this overlay, its tunnel needs IPsec: protection = "ipsec" there`
		return p
	}
	p.Code = api.ProblemUnexpectedIKE
	p.Text = fmt.Sprintf(`%s tries IKE with this router, whose tunnel has no IPsec (protection = "none")`, from)
	p.Remedy = "if it is a router of this overlay, set the same protection on both"
	return p
}

// refusedProblem returns the problem of a router that cannot make an SA with this one.
func refusedProblem(t *Tunnel, f *refused) api.Problem {
	return api.Problem{
		Code:      api.ProblemPeerAuthentication,
		Severity:  api.SeverityWarning,
		Interface: t.Name,
		Subject:   f.NBMA.String(),
		Since:     f.first,
		Text:      fmt.Sprintf("%s cannot make an SA with this router: %s", f.NBMA, f.Reason),
	}
}
