package vici

import (
	"fmt"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
	"cygnet/vici/profile"
)

// hint is why an attempt fails, according to charon's log or an alert.
type hint struct {
	cause cause
	said  string // the log message or alert itself
}

// cause sorts failures by what the administrator has to check.
type cause uint8

const (
	noAnswer cause = iota
	authentication
	noSecret
	noKey
	untrusted
	wrongIdentity
	proposals
	selectors
	unsupported
	unknown
)

// signs are parts of charon's log messages and alert types, each with the cause that it tells. If
// several fit, the first one counts.
var signs = []struct {
	piece string
	cause cause
}{
	{"no shared key found", noSecret},
	{"no private key found", noKey},
	{"no trusted", untrusted},
	{"no issuer certificate found", untrusted},
	{"certificate expired", untrusted},
	{"certificate was revoked", untrusted},
	{"constraint check failed", wrongIdentity},
	{"not supported", unsupported},
	{"MAC mismatched", authentication},
	{"AUTHENTICATION_FAILED", authentication},
	{"auth-failed", authentication},
	{"NO_PROPOSAL_CHOSEN", proposals},
	{"INVALID_KE_PAYLOAD notify error", proposals},
	{"proposal-mismatch", proposals},
	{"TS_UNACCEPTABLE", selectors},
	{"ts-mismatch", selectors},
	{"giving up after", noAnswer},
	{"unreachable", noAnswer},
}

// heard takes a line of charon's log about a connection. It ignores the connections of others.
func (r *reconciler) heard(connection, line string) {
	if connection == "" || !strings.HasPrefix(connection, profile.Prefix) {
		return
	}
	for _, sign := range signs {
		if strings.Contains(line, sign.piece) {
			if sign.cause == noSecret {
				r.secretMissing(connection)
			}
			r.suspect(connection, hint{sign.cause, line})
			return
		}
	}
}

// secretMissing loads a PSK again that an administrator cleared. It does nothing if the reconciler
// loaded the PSK a moment ago, since then another secret is missing. If peers only dial in, the
// reconciler may have no log subscription and so may not call secretMissing; the comparison every
// minute then loads the PSK.
func (r *reconciler) secretMissing(connection string) {
	iface, _, _ := profile.ParseName(connection)
	if p := r.profiles[iface]; p != nil && len(p.PSK) > 0 &&
		time.Since(p.since) > r.times.connections {
		r.load(p)
	}
}

// alerted takes an alert, which charon sends since strongSwan 6.0.3. An alert has a type and the
// IKE_SA that it is about.
func (r *reconciler) alerted(m *govici.Message) {
	names, _ := message.Sections(m)
	if len(names) == 0 {
		return
	}
	for _, key := range m.Keys() {
		if value := message.Text(m, key); value != "" {
			r.heard(names[0], strings.ReplaceAll(strings.ToLower(value), "_", "-"))
		}
	}
}

// suspect records why a connection's attempt fails, and polls the attempt a moment later. Only the
// first hint counts: later ones are consequences of the same cause.
func (r *reconciler) suspect(connection string, h hint) {
	iface, addr, _ := profile.ParseName(connection)
	p := r.peers[Key{Interface: iface, NBMA: addr}]
	if p == nil || p.attempt == nil || p.hint != nil {
		return
	}
	p.hint = &h
	a := p.attempt
	r.after(50*time.Millisecond, func() { r.pollAttempt(p, a) })
}

// failureWords returns why a peer's attempt failed.
func (r *reconciler) failureWords(p *peer) string {
	h := hint{cause: noAnswer}
	if p.hint != nil {
		h = *p.hint
	}
	k, applied := p.Key, r.profiles[p.Interface]
	identity := "this end's identity"
	if applied != nil && applied.Identity != "" {
		identity = fmt.Sprintf("the identity %q", applied.Identity)
	}
	remote := ""
	if applied != nil && applied.RemoteIdentity != "" {
		remote = fmt.Sprintf(" and has the identity %q (remote_identity)", applied.RemoteIdentity)
	}
	said := ""
	if h.said != "" {
		said = fmt.Sprintf(" (charon: %s)", message.Shorten(h.said))
	}
	switch h.cause {
	case authentication:
		return fmt.Sprintf(
			"authentication with %v failed: check that both ends have the same PSK, or certificates of CAs that the other trusts, and that the peer accepts %s%s%s",
			k, identity, remote, said)
	case noSecret:
		return fmt.Sprintf(
			"no PSK for %v: check that the identities of both ends match those the PSK is for%s",
			k, said)
	case noKey:
		return fmt.Sprintf(
			"no private key to authenticate to %v: check that /etc/swanctl/private holds the key of %s and that swanctl --load-creds has loaded it%s",
			k, identity, said)
	case untrusted:
		return fmt.Sprintf(
			"the certificate of %v is not trusted: check that its CA is in /etc/swanctl/x509ca, loaded by swanctl --load-creds, and that it is valid now%s",
			k, said)
	case wrongIdentity:
		return fmt.Sprintf(
			"%v is not who it must be: check the remote identity of the profile against the peer's%s",
			k, said)
	case proposals:
		return fmt.Sprintf(
			"%v shares no algorithms with this end: check that the proposals of both ends have one in common%s",
			k, said)
	case selectors:
		return fmt.Sprintf(
			"%v does not let GRE through the SA: check that both ends use transport mode with local_ts and remote_ts dynamic[gre]%s",
			k, said)
	case unknown:
		return fmt.Sprintf(
			"charon gave up dialling %v and did not say why: see its log at both ends", k)
	case unsupported:
		return fmt.Sprintf(
			"charon here lacks an algorithm of the proposals for %v: install its plugins (Debian: libstrongswan-standard-plugins) or change the proposals%s",
			k, said)
	}
	return fmt.Sprintf(
		"no answer from %v: check that the peer is up, that its tunnel has IPsec too and its charon runs, and that UDP ports 500 and 4500 get through in both directions%s",
		k, said)
}

// childlessWords returns why an IKE_SA without a CHILD_SA was closed.
func (r *reconciler) childlessWords(sa *SA) string {
	p := r.peer(sa.Key())
	if p.hint != nil && p.hint.cause != noAnswer {
		return r.failureWords(p)
	}
	return fmt.Sprintf(
		"%v authenticated, but no SA for GRE came of it: check that both ends use transport mode with local_ts and remote_ts dynamic[gre], and share an ESP proposal",
		p.Key)
}

// refusedWords returns why charon did not even begin an initiation.
func refusedWords(k Key, err error) string {
	return fmt.Sprintf("charon does not dial %v: %v: check the connection settings of the profile",
		k, err)
}

// Reasons of a Down that is no failure.
const (
	closedByPeer = "closed by the peer, or by an administrator here"
	childClosed  = "the CHILD_SA was closed"
)

// Closed reports whether the peer or an administrator at this end closed the SA. This is no
// failure.
func (d Down) Closed() bool { return d.Reason == closedByPeer || d.Reason == childClosed }

// downWords returns why an IKE_SA ended, as far as charon's event says.
func downWords(sa *SA) string {
	if sa.State == "DELETING" {
		return closedByPeer
	}
	return "the peer stopped answering, or the SA expired"
}
