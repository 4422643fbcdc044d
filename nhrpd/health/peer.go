package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"cygnet/nhrpd/api"
)

// nhs reports what is wrong with one next hop server. It returns whether it reported something.
func (r *reporter) nhs(s *api.Status, i *api.Interface, n *api.NHS) bool {
	next := ""
	if n.Next.After(s.Now) {
		next = "; next try in " + Span(n.Next.Sub(s.Now))
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
			fmt.Sprintf("NHS %s refuses our registration%s%s", Server(n), fault(n.Error), next), "")
	case n.State == api.NHSUnresolved:
		r.error(api.ProblemNHSUnresolved, n.Name,
			fmt.Sprintf("NHS %s: its name has no address%s%s", n.Name, fault(n.Error), next), "")
	case n.Attempts > 0:
		r.unanswered(s, n, next)
	case n.State == api.NHSRegistered && !n.Protocol.IsValid() && n.Error != "":
		r.error(api.ProblemNHSUnusable, n.Name, fmt.Sprintf("NHS %s registered us, but no packet can be sent to it%s", Server(n), fault(n.Error)), "")
	case n.State == api.NHSSecuring && n.Error != "":
		r.error(api.ProblemNHSUnsecured, n.Name,
			fmt.Sprintf("NHS %s is not secured%s", Server(n), fault(n.Error)), "")
	default:
		return false
	}
	return true
}

// fewAttempts is how many requests in a row may stay unanswered because packets are lost now and
// then.
const fewAttempts = 3

// unanswered reports an NHS that does not answer, from the first request on.
func (r *reporter) unanswered(s *api.Status, n *api.NHS, next string) {
	asked := ""
	if !n.Asked.IsZero() {
		asked = ", the first asked " + Span(s.Now.Sub(n.Asked)) + " ago"
	}
	text := fmt.Sprintf("NHS %s unanswered: %d requests in a row%s%s%s",
		Server(n), n.Attempts, asked, fault(n.Error), next)
	if n.Attempts < fewAttempts || n.State == api.NHSRegistered {
		r.warn(api.ProblemNHSUnanswered, n.Name, text, "")
		return
	}
	r.error(api.ProblemNHSUnanswered, n.Name, text, "")
}

// Server names an NHS by its configured name, and also by its address if that differs.
func Server(n *api.NHS) string {
	if n.NBMA.IsValid() && n.NBMA.String() != n.Name {
		return fmt.Sprintf("%s (%s)", n.Name, n.NBMA)
	}
	return n.Name
}

// peer reports what is wrong with one peer. If the peer is an NHS in reported, it is not reported
// again.
func (r *reporter) peer(s *api.Status, i *api.Interface, p *api.Peer, reported map[string]bool) {
	at := p.NBMA.String()
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
