package engine

import (
	"testing"

	"cygnet/nhrpd/packet"
)

// The code of a refusal follows from the rule that is broken (RFC 2332 §5.2.0.1 and §5.2.4): 5
// where room is short, 12 where the client has to register first, 14 where another router was there
// before, and 4 for whatever the administrator or common sense forbids.
func TestCodeOfAnObjection(t *testing.T) {
	codes := map[objectionKind]packet.Code{
		noObjection:   packet.CodeSuccess,
		limitReached:  packet.CodeInsufficientResources,
		clientUnknown: packet.CodeNoBinding,
		addressTaken:  packet.CodeUniqueRegistered,
		prefixTaken:   packet.CodeUniqueRegistered,
		duplicate:     packet.CodeUniqueRegistered,
	}
	for kind := noObjection; kind <= routerKnownHere; kind++ {
		want, listed := codes[kind]
		if !listed {
			want = packet.CodeProhibited
		}
		o := object(kind, "")
		if got := o.code(); got != want {
			t.Errorf("code %v for an objection of kind %d, want %v", got, kind, want)
		}
		if raised := kind != noObjection; o.raised() != raised {
			t.Errorf("objection of kind %d is raised: %v, want %v", kind, o.raised(), raised)
		}
	}
}

// Of several identities behind one address it is enough that one may. Otherwise the first
// identity's objection counts.
func TestObjectionOfSeveralIdentities(t *testing.T) {
	blocked := authorization{identity: "blocked", block: &block{}}
	unclear := authorization{identity: "unclear", unclear: "it may be another router's"}
	free := authorization{identity: "free"}
	for _, tt := range []struct {
		name string
		list []authorization
		want objectionKind
	}{
		{"nobody is known", nil, noObjection},
		{"blocked", []authorization{blocked}, identityBlocked},
		{"unclear, then blocked", []authorization{unclear, blocked}, identityUnclear},
		{"one of them may", []authorization{blocked, free, unclear}, noObjection},
	} {
		o := objectsAll(tt.list, (*authorization).objection)
		if o.kind != tt.want {
			t.Errorf("%s: objection of kind %d (%s), want kind %d", tt.name, o.kind, o.text, tt.want)
		}
	}
}
