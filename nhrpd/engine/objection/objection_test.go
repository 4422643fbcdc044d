package objection

import (
	"testing"

	"cygnet/nhrpd/packet"
)

// The code of a refusal follows from the rule that is broken (RFC 2332 §5.2.0.1 and §5.2.4): 5
// where room is short or clients are asked away, 12 where the client has to register first, 14
// where another router was there before, and 4 for whatever the administrator or common sense
// forbids.
func TestCodeOfAnObjection(t *testing.T) {
	codes := map[Kind]packet.Code{
		None:          packet.CodeSuccess,
		LimitReached:  packet.CodeInsufficientResources,
		Draining:      packet.CodeInsufficientResources,
		ClientUnknown: packet.CodeNoBinding,
		AddressTaken:  packet.CodeUniqueRegistered,
		PrefixTaken:   packet.CodeUniqueRegistered,
		Duplicate:     packet.CodeUniqueRegistered,
	}
	for kind := None; kind <= RouterKnownHere; kind++ {
		want, listed := codes[kind]
		if !listed {
			want = packet.CodeProhibited
		}
		o := New(kind, "")
		if got := o.Code(); got != want {
			t.Errorf("code %v for an objection of kind %d, want %v", got, kind, want)
		}
		if raised := kind != None; o.Raised() != raised {
			t.Errorf("objection of kind %d is raised: %v, want %v", kind, o.Raised(), raised)
		}
	}
}
