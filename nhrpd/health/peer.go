package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// nhs reports what is wrong with one next hop server. It returns whether it reported something. If
// another server is used in the place of one that does not answer, that is a warning.
func (r *reporter) nhs(s *api.Status, i *api.Interface, n *api.NHS) bool {
	before := len(r.found)
	reported := false
	for k, registration := range n.Each() {
		// What concerns the router and not one registration is reported with the first.
		if registration.State != api.NHSReserve && (k == 0 || ofRegistration(i, &registration)) {
			reported = r.server(s, i, &registration, address(n, k)) || reported
		}
	}
	if n.Use == api.NHSUseProbing && replaced(i, n) {
		instead := "; another one of its cluster is used in its place"
		if i.UsesOtherVersion(n) {
			instead = "; its name is used over the other IP version"
		}
		for k := range r.found[before:] {
			p := &r.found[before+k]
			p.Severity = api.SeverityWarning
			p.Text += instead
		}
	}
	return reported
}

// ofRegistration reports whether what may be wrong with an NHS concerns one registration only: the
// NHS is another router, and has an address and an SA.
func ofRegistration(i *api.Interface, n *api.NHS) bool {
	return n.NBMA != i.NBMA && n.State != api.NHSUnresolved && n.State != api.NHSSecuring
}

// address returns which overlay address the k-th registration with an NHS is of, as the end of a
// text. It is empty if there is only one.
func address(n *api.NHS, k int) string {
	if len(n.Registrations) < 2 {
		return ""
	}
	return " of " + n.Registrations[k].Address.String()
}

// replaced reports whether another server of the same cluster is used.
func replaced(i *api.Interface, n *api.NHS) bool {
	return slices.ContainsFunc(i.NHS, func(other api.NHS) bool {
		return other.Cluster == n.Cluster && other.Use == api.NHSUseInUse
	})
}

// How the daemon's reasons begin: for a refusal, which the text of the problem names already, and
// where an NHS does not say why it does not answer.
const (
	refusal = "the NHS refuses our registration: "
	silence = "does not answer registrations"
)

// server does what nhs does, without looking at the other servers.
func (r *reporter) server(s *api.Status, i *api.Interface, n *api.NHS, of string) bool {
	next := ""
	if n.Next.After(s.Now) {
		next = "; next try in " + wording.Span(n.Next.Sub(s.Now))
	}
	switch {
	case n.NBMA.IsValid() && n.NBMA == i.NBMA:
		if n.NBMA.String() == n.Name {
			// the configured address is compared with all addresses of the host, and that problem
			// is reported already
			return true
		}
		r.error(api.ProblemNHSIsSelf, n.Name,
			fmt.Sprintf("NHS %s is this router itself", Server(n)), "give the address of the hub")
	case n.State == api.NHSRefused:
		r.error(api.ProblemNHSRefused, n.Name,
			fmt.Sprintf("NHS %s refuses our registration%s%s%s",
				Server(n), of, fault(strings.TrimPrefix(n.Error, refusal)), next),
			"\"cygnet events\" on the hub names the rule, prefix or router that is in the way")
	case n.State == api.NHSUnresolved:
		r.error(api.ProblemNHSUnresolved, n.Name,
			fmt.Sprintf("NHS %s: its name has no address%s%s", n.Name, fault(n.Error), next),
			fmt.Sprintf("see that \"getent hosts %s\" finds one here", n.Name))
	case n.Attempts > 0:
		r.unanswered(s, n, of, next)
	case n.State == api.NHSRegistered && !n.Protocol.IsValid() && n.Error != "":
		r.error(api.ProblemNHSUnusable, n.Name, fmt.Sprintf("NHS %s registered us%s, but no packet can be sent to it%s", Server(n), of, fault(n.Error)), "")
	case n.State == api.NHSSecuring && n.Error != "":
		r.error(api.ProblemNHSUnsecured, n.Name,
			fmt.Sprintf("NHS %s is not secured%s", Server(n), fault(n.Error)),
			"\"cygnet events\" on the hub has what the hub makes of it, if IKE gets there")
	default:
		return false
	}
	return true
}

// fewAttempts is how many requests in a row may stay unanswered because packets are lost now and
// then.
const fewAttempts = 3

// unanswered reports an NHS that does not answer, from the first request on.
func (r *reporter) unanswered(s *api.Status, n *api.NHS, of, next string) {
	asked := ""
	if !n.Asked.IsZero() {
		asked = ", the first asked " + wording.Span(s.Now.Sub(n.Asked)) + " ago"
	}
	if of != "" {
		of = " of the registration" + of
	}
	requests := "requests"
	if n.Attempts == 1 {
		requests = "request"
	}
	text := fmt.Sprintf("NHS %s unanswered: %d %s%s in a row%s%s%s",
		Server(n), n.Attempts, requests, of, asked, fault(n.Error), next)
	remedy := ""
	if n.Error == "" || strings.HasPrefix(n.Error, silence) {
		remedy = "compare the GRE key of both ends, and see that the hub's firewall lets GRE in " +
			"that IPsec decrypted (protocol 47)"
	}
	if n.Attempts < fewAttempts || n.State == api.NHSRegistered {
		r.warn(api.ProblemNHSUnanswered, n.Name, text, remedy)
		return
	}
	r.error(api.ProblemNHSUnanswered, n.Name, text, remedy)
}

// Server names an NHS by its configured name, and also by its address if that differs.
func Server(n *api.NHS) string {
	if n.NBMA.IsValid() && n.NBMA.String() != n.Name {
		return fmt.Sprintf("%s (%s)", n.Name, n.NBMA)
	}
	return n.Name
}

// path reports a direct path that is not used because it failed.
func (r *reporter) path(s *api.Status, p *api.Peer) {
	to := p.NBMA.String()
	if len(p.Protocols) > 0 {
		to = fmt.Sprintf("%s (%s)", p.Protocols[0], p.NBMA)
	}
	text := fmt.Sprintf("the direct path to %s is not used, and traffic goes through a hub: %s",
		to, p.Path.Reason)
	if p.Path.Retry.After(s.Now) {
		text += "; tried again in " + wording.Span(p.Path.Retry.Sub(s.Now))
	}
	r.warn(api.ProblemPathFailed, p.NBMA.String(), text,
		"let ESP, or UDP 4500 with NAT, and fragments pass both ways between the two sites")
}

// peer reports what is wrong with one peer. If the peer is an NHS in reported, it is not reported
// again.
func (r *reporter) peer(s *api.Status, i *api.Interface, p *api.Peer, reported map[string]bool) {
	at := p.NBMA.String()
	if p.Path != nil && p.Path.State == api.PathFailed {
		r.path(s, p)
	}
	switch {
	case len(p.SharedWith) > 0:
		r.error(api.ProblemPeerSharedAddress, at, sharedAddress(p, i.MarksError),
			"give each an address of its own, or routes to each other inside their site")
	case p.Prohibited != "":
		r.error(api.ProblemPeerProhibited, at,
			fmt.Sprintf("peer %s may do nothing here: %s", at, p.Prohibited), "")
	case p.Error == "" || p.State == api.PeerSecured || reported[at]:
	case needed(p):
		r.error(api.ProblemPeerUnsecured, at,
			fmt.Sprintf("peer %s is not secured: %s", at, p.Error), "")
	default:
		r.warn(api.ProblemPeerUnsecured, at, fmt.Sprintf("peer %s is not secured, and traffic with it stays on the hub: %s", at, p.Error), "")
	}
}

// needed reports whether a registration, this router's or the peer's, depends on the SA with the
// peer. Otherwise only a shorter path depends on it.
func needed(p *api.Peer) bool {
	return slices.Contains(p.Interest, "nhs") || slices.Contains(p.Interest, "binding")
}

// sharedAddress explains the effects of several routers behind one NAT address.
func sharedAddress(p *api.Peer, marksError string) string {
	routers := slices.Sorted(slices.Values(append([]string{p.Identity}, p.SharedWith...)))
	text := fmt.Sprintf("%s share the address %s behind NAT: what is sent there goes into the newest SA",
		strings.Join(routers, ", "), p.NBMA)
	if p.Reached != "" {
		text += ", that of " + p.Reached + ", and the others get nothing"
	}
	if marksError != "" {
		text += " (" + marksError + ")"
	}
	return text
}

// duplicates reports identities that several routers prove. A router that moves looks like that for
// some seconds as well.
func (r *reporter) duplicates(peers []api.Peer) {
	at := map[string][]string{}
	for i := range peers {
		if p := &peers[i]; p.State == api.PeerSecured && p.Identity != "" {
			at[p.Identity] = append(at[p.Identity], p.NBMA.String())
		}
	}
	for _, identity := range slices.Sorted(maps.Keys(at)) {
		if len(at[identity]) < 2 {
			continue
		}
		r.warn(api.ProblemIdentityTwice, identity, fmt.Sprintf("%s is proven from %s: either two routers have one identity, "+
			"and an overlay address leads to the one that registered last, or one router moved within the last half minute",
			identity, join(at[identity])), "give each router an identity of its own")
	}
}
