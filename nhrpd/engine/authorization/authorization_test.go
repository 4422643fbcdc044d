package authorization

import (
	"testing"
	"time"

	"cygnet/nhrpd/engine/objection"
)

// Of several identities behind one address it is enough that one may. Otherwise the first
// identity's objection counts.
func TestObjectionOfSeveralIdentities(t *testing.T) {
	blocked := Authorization{identity: "blocked", block: &Block{}}
	unclear := Authorization{identity: "unclear", unclear: "it may be another router's"}
	free := Authorization{identity: "free"}
	for _, tt := range []struct {
		name string
		list []Authorization
		want objection.Kind
	}{
		{"nobody is known", nil, objection.None},
		{"blocked", []Authorization{blocked}, objection.IdentityBlocked},
		{"unclear, then blocked", []Authorization{unclear, blocked}, objection.IdentityUnclear},
		{"one of them may", []Authorization{blocked, free, unclear}, objection.None},
	} {
		o := OfAll(tt.list, (*Authorization).Objection)
		if o.Kind != tt.want {
			t.Errorf("%s: objection of kind %d (%s), want kind %d",
				tt.name, o.Kind, o.Text, tt.want)
		}
	}
}

// A block counts for the identity however charon writes it, and on every interface.
func TestBlockOfAnIdentity(t *testing.T) {
	ends := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	blocks := Blocks{"spoke1.example.net": {Identity: "spoke1.example.net", Ends: ends}}
	for _, r := range []*Rules{{}, {cfg: Config{Protected: true}}} {
		a := r.Of("Spoke1.Example.NET", blocks)
		o := a.Objection()
		if o.Kind != objection.IdentityBlocked || !a.Blocked() {
			t.Errorf("want a blocked identity, have objection kind %d (%s)", o.Kind, o.Text)
		}
		want := "its identity Spoke1.Example.NET is blocked until 2024-02-29T12:00:00Z"
		if o.Text != want {
			t.Errorf("want %q, have %q", want, o.Text)
		}
		free := r.Of("spoke2.example.net", blocks)
		if o := free.Objection(); o.Raised() {
			t.Errorf("want no objection to another identity, have %q", o.Text)
		}
	}
}

// Without IPsec nothing is proven, and without rules and blocks there is nothing to ask.
func TestNothingToAsk(t *testing.T) {
	blocks := Blocks{"spoke1": {Identity: "spoke1"}}
	clear, protected := &Rules{}, &Rules{cfg: Config{Protected: true}}
	if list := clear.OfSeveral("spoke1", nil, blocks); list != nil {
		t.Errorf("want nothing asked without IPsec, have %v", list)
	}
	if list := protected.OfSeveral("spoke1", []string{"spoke2"}, nil); list != nil {
		t.Errorf("want nothing asked without rules and blocks, have %v", list)
	}
	if list := protected.OfSeveral("spoke1", []string{"spoke2"}, blocks); len(list) != 2 {
		t.Errorf("want both identities asked about, have %v", list)
	}
}
