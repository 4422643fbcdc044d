package account

import (
	"fmt"
	"net/netip"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// verdictText says in a sentence which way packets go and, if not directly, why.
func verdictText(x *api.Explanation) string {
	switch x.Verdict.Path {
	case api.PathDirect:
		return "DIRECT, by a shortcut to " + wording.Or(hop(x, api.RoleDirect), "the router there")
	case api.PathRouted:
		return fmt.Sprintf("AS ROUTED, to %s: the route leads to that router itself, "+
			"and no hub is in between", wording.Or(hop(x, api.RoleWay), "the router there"))
	case api.PathElsewhere:
		return "NOT THROUGH A TUNNEL of cygnetd's: the kernel's route leads elsewhere"
	case api.PathUnknown:
		return "cygnetd is NOT RUNNING; what it left in the kernel goes on: packets go to " +
			wording.Or(hop(x, api.RoleWay), "the next hop")
	case api.PathNone:
		return "NOWHERE: " + reasonText(x)
	}
	if hop(x, api.RoleSource).IsValid() {
		return fmt.Sprintf("THROUGH THIS ROUTER, to %s: %s", wording.Or(hop(x, api.RoleWay), "?"),
			reasonText(x))
	}
	return fmt.Sprintf("BY THE HUB %s: %s", wording.Or(hop(x, api.RoleWay), "?"), reasonText(x))
}

// hop returns the overlay address of a router in an account; the zero address if it is not there.
func hop(x *api.Explanation, of api.RouterRole) netip.Addr {
	for i := range x.Steps {
		if s := &x.Steps[i]; s.NextHop != nil && s.Of == of {
			return s.NextHop.Protocol
		}
	}
	return netip.Addr{}
}

// question returns the question of an account, this router's own or the other's; an empty one if it
// is not there.
func question(x *api.Explanation, own bool) *api.ExplainedQuestion {
	for i := range x.Steps {
		if q := x.Steps[i].Question; q != nil && q.Own == own {
			return q
		}
	}
	return &api.ExplainedQuestion{}
}

// reasonText says why a path is not direct.
func reasonText(x *api.Explanation) string {
	v := &x.Verdict
	if text := pairReason(x); text != "" {
		return text
	}
	switch q := question(x, true); v.Reason {
	case api.ReasonLeft:
		return "this router said goodbye on the interface (cygnet leave)"
	case api.ReasonNoRoute:
		return "the kernel has no route there"
	case api.ReasonNoBinding:
		return "nobody knows where the next hop is, and no NHS is usable"
	case api.ReasonOff:
		return "this router asks for no direct paths (shortcut is not set)"
	case api.ReasonNoIndication:
		return "no router indicated a shorter way"
	case api.ReasonIgnored:
		return "an indication came and nothing followed from it: " + v.Detail
	case api.ReasonAsking:
		return "the question for the direct path is out and not answered yet"
	case api.ReasonSecuring:
		return "the answer is there, and its router has no SA yet"
	case api.ReasonProving:
		return "the SA is there, and the path is being probed"
	case api.ReasonUnanswered:
		return fmt.Sprintf("nobody answered the question, which went to %s %d times",
			wording.Or(q.Via, "no router"), q.Sent)
	case api.ReasonRefused:
		return fmt.Sprintf("%s refused the question: code %d, %s",
			wording.Or(q.Answerer, "a router"), q.Code, q.CodeText)
	case api.ReasonNoVersion:
		return "no common IP version: " + v.Detail
	case api.ReasonError:
		return "a router reported an error about the question: " + v.Detail
	case api.ReasonInadmissible:
		return fmt.Sprintf("the answer may not be used here: %s", v.Detail)
	case api.ReasonShared:
		return "shared address: " + v.Detail
	case api.ReasonProhibited:
		return "a rule here allows no direct path: " + v.Detail
	case api.ReasonBlocked:
		return fmt.Sprintf("%s is blocked here", blockedIdentity(x))
	case api.ReasonNoSA:
		return fmt.Sprintf("no SA with %s could be had: %s",
			wording.Or(q.NBMA, "its router"), v.Detail)
	case api.ReasonNAT:
		return fmt.Sprintf("both routers are behind NAT, and no SA with %s could be had: %s",
			wording.Or(q.NBMA, "the other"), v.Detail)
	case api.ReasonCoolDown:
		return "the direct path failed, and is not tried again yet: " + v.Detail
	case api.ReasonEnded:
		text := "the shortcut ended, and no router indicated a shorter way since"
		if v.Detail != "" {
			text += ": " + v.Detail
		}
		return text
	}
	return string(v.Reason)
}

// pairReason says why the packets of a pair of other routers go through this one. It returns "" for
// a reason that is about this router's own packets.
func pairReason(x *api.Explanation) string {
	from, to := wording.Or(hop(x, api.RoleSource), "the router of the source"),
		wording.Or(hop(x, api.RoleWay), "the router of the destination")
	q := question(x, false)
	switch v := &x.Verdict; v.Reason {
	case api.ReasonRedirectOff:
		return "this router tells nobody of shorter ways (redirect is not set)"
	case api.ReasonSameNAT:
		return fmt.Sprintf("%s and %s are behind one NAT address, "+
			"and cannot reach each other from outside", from, to)
	case api.ReasonSameRouter:
		return fmt.Sprintf("the packets would go back to %s, from which they came", from)
	case api.ReasonNoPacket:
		if v.Detail != "" {
			return "this router did not tell " + from + " of a shorter way: " + v.Detail
		}
		return "no packet of the pair has come through here that told of a shorter way, " +
			"as far as is remembered"
	case api.ReasonIndicated:
		return fmt.Sprintf("%s was told of the shorter way and has not asked here", from)
	case api.ReasonPassedOn:
		return fmt.Sprintf("the question of %s was passed on; the answer may go past this router, "+
			"and the packets too then", from)
	case api.ReasonRefused:
		if hop(x, api.RoleSource).IsValid() {
			return fmt.Sprintf("%s refused the question of %s: code %d, %s",
				wording.Or(q.Answerer, "a router"), from, q.Code, q.CodeText)
		}
	}
	return ""
}

// blockedIdentity returns the blocked identity of an account.
func blockedIdentity(x *api.Explanation) string {
	for i := range x.Steps {
		if p := x.Steps[i].Policy; p != nil {
			for _, r := range p.Identities {
				if r.Blocked {
					return r.Identity
				}
			}
		}
	}
	return "its router"
}
