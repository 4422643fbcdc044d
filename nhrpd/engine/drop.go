package engine

import "cygnet/nhrpd/packet"

// dropReason is why the engine dropped a packet, or ignored another input.
type dropReason uint8

const (
	dropNoInterface dropReason = iota
	dropInactive
	dropUnsecured
	dropHeldFull
	dropMalformed
	dropWrongFamily
	dropAuthentication
	dropRateLimit
	dropOwnPacket
	dropNotForUs
	dropUnsolicited
	dropAnswered
	dropThirdParty
	dropUnknownExtension
	dropHopCount
	dropLoop
	dropUnreachable
	dropNoBinding
	dropShortcutOff
	dropNotFirstHop
	dropNotVia
	dropNotTunnel
	dropKnown
	dropTableFull
	dropNotOwner
	dropRedirectOff
	dropIndicated
	dropIndicationLimit
	dropMissLimit
	dropErrorLimit
	dropUnsendable
	dropTooLong
	dropTooMany
	dropForeignError
	dropSeparating
	dropSameAddress
	dropProhibited
	dropReasons // the number of reasons
)

// dropNames has the text of each reason.
var dropNames = [dropReasons]string{
	dropNoInterface:      "interface not configured",
	dropInactive:         "interface not active",
	dropUnsecured:        "peer not secured",
	dropHeldFull:         "too many packets wait for their sender's SA",
	dropMalformed:        "malformed",
	dropWrongFamily:      "address missing or of another family",
	dropAuthentication:   "authentication",
	dropRateLimit:        "rate limit of the sender",
	dropOwnPacket:        "our own packet came back",
	dropNotForUs:         "not for us",
	dropUnsolicited:      "reply without a request",
	dropAnswered:         "answer came a second time",
	dropThirdParty:       "reply from somebody we did not ask",
	dropUnknownExtension: "unknown compulsory extension",
	dropHopCount:         "hop count exceeded",
	dropLoop:             "loop",
	dropUnreachable:      "no route",
	dropNoBinding:        "no binding",
	dropShortcutOff:      "indication, but shortcuts are off",
	dropNotFirstHop:      "indication, but we are not the first router",
	dropNotVia:           "indication from somebody we do not send through",
	dropNotTunnel:        "indication, but the route is not through the tunnel",
	dropKnown:            "indication, but shortcut or resolution is there",
	dropTableFull:        "table full",
	dropNotOwner:         "purge of what is somebody else's",
	dropRedirectOff:      "redirected packet, but redirect is off",
	dropIndicated:        "redirected packet of a flow that was indicated a moment ago",
	dropIndicationLimit:  "redirected packet not indicated: too many a second",
	dropMissLimit:        "missing neighbour not asked for: too many a second",
	dropErrorLimit:       "error indication not sent: limit or size",
	dropUnsendable:       "could not be sent",
	dropTooLong:          "longer than the tunnel's MTU",
	dropTooMany:          "more entries than a request may have",
	dropForeignError:     "error indication about no request of ours",
	dropSeparating:       "sender not certain: another router came to its NAT address",
	dropSameAddress:      "redirected packet between routers behind one NAT address",
	dropProhibited:       "administratively prohibited",
}

// String returns the text of the reason, under which Stats counts it.
func (r dropReason) String() string { return dropNames[r] }

// messageTypes is the length of an array that is indexed by packet.Type.
const messageTypes = int(packet.TrafficIndication) + 1

// counters count packets by type, and drops by reason.
type counters struct {
	received, sent [messageTypes]uint64
	dropped        [dropReasons]uint64
}

// drop counts a drop. It does not stop the caller from going on.
func (e *Engine) drop(r dropReason) { e.stats.dropped[r]++ }

// Stats returns a copy of the counters. Counters that are 0 are left out.
func (e *Engine) Stats() Stats {
	s := Stats{
		Received: map[string]uint64{}, Sent: map[string]uint64{}, Dropped: map[string]uint64{}}
	for t := packet.ResolutionRequest; t <= packet.TrafficIndication; t++ {
		if n := e.stats.received[t]; n > 0 {
			s.Received[t.String()] = n
		}
		if n := e.stats.sent[t]; n > 0 {
			s.Sent[t.String()] = n
		}
	}
	for r := range dropReasons {
		if n := e.stats.dropped[r]; n > 0 {
			s.Dropped[r.String()] = n
		}
	}
	return s
}
