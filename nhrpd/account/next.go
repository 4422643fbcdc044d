package account

import (
	"fmt"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// nextText says what can be done about a verdict, and what it depends on; "" if nothing has to be.
func nextText(x *api.Explanation) string {
	again := ""
	if x.Verdict.Until.After(x.Now) {
		again = " cygnetd tries again with the first packet after " +
			wording.Span(x.Verdict.Until.Sub(x.Now)) + "."
	}
	pair := fmt.Sprintf("cygnet explain %s from SOURCE", x.Destination)
	if x.Verdict.Path == api.PathDirect && unanswered(x) {
		return "Data went there, and none came back since: \"cygnet explain\" on that router, with an " +
			"address of this side, says which way its answers take."
	}
	switch x.Verdict.Reason {
	case api.ReasonNoIndication, api.ReasonEnded:
		return "A hub indicates a shorter way when a packet goes through it from one spoke to another. " +
			"Send one; if nothing follows, \"" + pair + "\" on the hub says why."
	case api.ReasonNoPacket:
		return "Send a packet and ask again."
	case api.ReasonOff:
		return "shortcut = true in the interface's table has this router ask."
	case api.ReasonRedirectOff:
		return "redirect = true in the interface's table has this router tell them."
	case api.ReasonRefused:
		return "\"cygnet explain\" on the router that refused, and its log, say which rule " +
			"it was." + again
	case api.ReasonUnanswered, api.ReasonError:
		return "\"" + pair + "\" on the hub tells where the question went." + again
	case api.ReasonBlocked:
		return "\"cygnet peer unblock\" lets it come back."
	case api.ReasonProhibited:
		return "The rule is in the file and line above." + again
	case api.ReasonNoSA, api.ReasonNAT:
		return "The log of charon on both routers says more; " +
			"IKE needs UDP ports 500 and 4500 open between them." + again
	case api.ReasonCoolDown:
		return "Let ESP, or UDP port 4500 with NAT, and fragments pass both ways between the two " +
			"sites." + again
	case api.ReasonInadmissible:
		return "Either what this router knows is out of date (a map, a route, an announced prefix), " +
			"or the answer is wrong: \"cygnet status\" on the router that answered shows its " +
			"addresses." + again
	case api.ReasonIgnored:
		return "Once that is put right, the next indication counts."
	case api.ReasonShared, api.ReasonSameNAT:
		return "Give each router a public address of its own, or have them reach each other inside their " +
			"site." + again
	case api.ReasonNoVersion:
		return "Give one of the two routers an address of the other IP version." + again
	case api.ReasonNoRoute:
		if !x.Daemon {
			break
		}
		return "The routing protocol, or the administrator, has to set a route there."
	case api.ReasonSameRouter:
		return "If the destination is not behind that router, the route above is wrong."
	case api.ReasonNoBinding:
		return "\"cygnet nhs\" shows whether this router is registered; on a hub, " +
			"\"cygnet bindings\" shows who is."
	case api.ReasonIndicated:
		return "\"cygnet explain " + x.Destination.String() + "\" there says what it made of that."
	case api.ReasonLeft:
		return "\"systemctl reload cygnetd\" has it join again."
	}
	if again != "" {
		return again[1:]
	}
	if !x.Daemon {
		return "\"systemctl start cygnetd\", and ask again, for what only the daemon knows."
	}
	return ""
}

// oneWayAfter is how long nothing may come back from a router before that is worth a word.
const oneWayAfter = 5 * time.Second

// unanswered reports whether data went to the router of the direct path, and none came back since.
func unanswered(x *api.Explanation) bool {
	for i := range x.Steps {
		if h := x.Steps[i].NextHop; h != nil && x.Steps[i].Of == api.RoleDirect {
			return h.Out.After(h.In) && h.Out.Sub(h.In) > oneWayAfter
		}
	}
	return false
}
