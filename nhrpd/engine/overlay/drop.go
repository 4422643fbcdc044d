package overlay

import (
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// DropReason is why the engine dropped a packet, or ignored another input.
type DropReason uint8

// The reasons. Each is counted and shown under its text in dropNames.
const (
	DropNoInterface DropReason = iota
	DropInactive
	DropUnsecured
	DropHeldFull
	DropMalformed
	DropWrongFamily
	DropAuthentication
	DropRateLimit
	DropOwnPacket
	DropNotForUs
	DropUnsolicited
	DropAnswered
	DropThirdParty
	DropNoWay
	DropUnknownExtension
	DropHopCount
	DropLoop
	DropUnreachable
	DropNoBinding
	DropShortcutOff
	DropNotFirstHop
	DropNotVia
	DropNotTunnel
	DropKnown
	DropTableFull
	DropNotOwner
	DropRedirectOff
	DropIndicated
	DropIndicationLimit
	DropMissLimit
	dropErrorLimit
	dropUnsendable
	DropTooLong
	DropTooMany
	DropForeignError
	DropSeparating
	DropSameAddress
	DropProhibited
	DropNotAdmitted
	DropUnruled
	DropInquiriesFull
	dropReasons // the number of reasons
)

// dropNames has the text of each reason.
var dropNames = [dropReasons]string{
	DropNoInterface:      "interface not configured",
	DropInactive:         "interface not active",
	DropUnsecured:        "peer not secured",
	DropHeldFull:         "too many packets wait for their sender's SA",
	DropMalformed:        "malformed",
	DropWrongFamily:      "address missing or of another family",
	DropAuthentication:   "authentication",
	DropRateLimit:        "rate limit of the sender",
	DropOwnPacket:        "our own packet came back",
	DropNotForUs:         "not for us",
	DropUnsolicited:      "reply without a request",
	DropAnswered:         "answer came a second time",
	DropThirdParty:       "reply from somebody we did not ask",
	DropNoWay:            "answer about a shortcut that is up: no way is known",
	DropUnknownExtension: "unknown compulsory extension",
	DropHopCount:         "hop count exceeded",
	DropLoop:             "loop",
	DropUnreachable:      "no route",
	DropNoBinding:        "no binding",
	DropShortcutOff:      "indication, but shortcuts are off",
	DropNotFirstHop:      "indication, but we are not the first router",
	DropNotVia:           "indication from somebody we do not send through",
	DropNotTunnel:        "indication, but the route is not through the tunnel",
	DropKnown:            "indication, but shortcut or resolution is there",
	DropTableFull:        "table full",
	DropNotOwner:         "purge of what is somebody else's",
	DropRedirectOff:      "redirected packet, but redirect is off",
	DropIndicated:        "redirected packet of a flow that was indicated a moment ago",
	DropIndicationLimit:  "redirected packet not indicated: too many a second",
	DropMissLimit:        "missing neighbour not asked for: too many a second",
	dropErrorLimit:       "error indication not sent: limit or size",
	dropUnsendable:       "could not be sent",
	DropTooLong:          "longer than the tunnel's MTU",
	DropTooMany:          "more entries than a request may have",
	DropForeignError:     "error indication about no request of ours",
	DropSeparating:       "sender not certain: another router came to its NAT address",
	DropSameAddress:      "redirected packet between routers behind one NAT address",
	DropProhibited:       "administratively prohibited",
	DropNotAdmitted:      "probe of a router that may send no data",
	DropUnruled:          "registration repeated, or too long, while the authorizer is asked",
	DropInquiriesFull:    "registration: too many wait for the authorizer",
}

// String returns the text of the reason, under which Stats counts it.
func (r DropReason) String() string { return dropNames[r] }

// messageTypes is the length of an array that is indexed by packet.Type.
const messageTypes = int(packet.TrafficIndication) + 1

// counters count packets by type, drops by reason, and the results of registrations by code.
type counters struct {
	received, sent     [messageTypes]uint64
	dropped            [dropReasons]uint64
	registered, served [packet.MaxCode + 2]uint64 // the last is that of all other codes
}

// CountRegistration counts the result that an NHS gave to a registration of ours.
func (r *Router) CountRegistration(code packet.Code) { r.counters.registered[codeIndex(code)]++ }

// CountServed counts the result that this router gave to a registration of a client.
func (r *Router) CountServed(code packet.Code) { r.counters.served[codeIndex(code)]++ }

// codeIndex returns where a code is counted. Other routers may send codes that no RFC has: they are
// all counted together.
func codeIndex(code packet.Code) packet.Code { return min(code, packet.MaxCode+1) }

// results returns the counts of results by their text. Counts that are 0 are left out.
func results(counts [packet.MaxCode + 2]uint64) map[string]uint64 {
	byText := map[string]uint64{}
	for code, n := range counts {
		if n > 0 {
			byText[resultText(packet.Code(code))] += n
		}
	}
	return byText
}

// resultText returns the text of a code, of which there are few.
func resultText(code packet.Code) string {
	if !code.Known() {
		return "another code"
	}
	return code.String()
}

// Drop counts a drop. It does not stop the caller from going on.
func (r *Router) Drop(why DropReason) {
	r.counters.dropped[why]++
	if len(r.drops) < mostDrops {
		r.drops = append(r.drops, why)
	}
}

// CountReceived counts a packet that was parsed.
func (r *Router) CountReceived(t packet.Type) { r.counters.received[t]++ }

// Stats returns a copy of the counters. Counters that are 0 are left out.
func (r *Router) Stats() report.Stats {
	c := &r.counters
	s := report.Stats{
		Received: map[string]uint64{}, Sent: map[string]uint64{}, Dropped: map[string]uint64{}}
	for t := packet.ResolutionRequest; t <= packet.TrafficIndication; t++ {
		if n := c.received[t]; n > 0 {
			s.Received[t.String()] = n
		}
		if n := c.sent[t]; n > 0 {
			s.Sent[t.String()] = n
		}
	}
	for r := range dropReasons {
		if n := c.dropped[r]; n > 0 {
			s.Dropped[r.String()] = n
		}
	}
	s.Registered, s.Served = results(c.registered), results(c.served)
	return s
}
