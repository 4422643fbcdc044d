package resolution

import (
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
)

// The hub trusts its NHS and the router with a static map to name the sender of what they pass on.
// Without IPsec it trusts everybody.
func TestTrustsRelay(t *testing.T) {
	for _, tt := range []struct {
		nbma      string
		protected bool
		want      bool
	}{
		{upperNBMA, true, true},
		{mappedNBMA, true, true},
		{spoke1NBMA, true, false},
		{"192.0.2.200", true, false},
		{spoke1NBMA, false, true},
	} {
		h := newHub(t, func(c *overlay.InterfaceConfig) { c.Protected = tt.protected })
		if got := h.authority.trustsRelay(peerid.At(addr(tt.nbma))); got != tt.want {
			t.Errorf("%s with IPsec %t: trusted %t, want %t", tt.nbma, tt.protected, got, tt.want)
		}
	}
}

// A router may use its own overlay address, and one that nobody has here. It may use no other
// router's.
func TestBelongsToOther(t *testing.T) {
	h := newHub(t)
	for _, tt := range []struct {
		from, protocol string
		want           bool
	}{
		{malloryNBMA, malloryProtocol, false},
		{malloryNBMA, unknownProtocol, false},
		{malloryNBMA, spoke1Protocol, true},
		{malloryNBMA, upperProtocol, true},
		{malloryNBMA, mappedProtocol, true},
		{malloryNBMA, goneProtocol, true},
		{goneNBMA, goneProtocol, false},
		{upperNBMA, spoke1Protocol, false},
		{upperNBMA, upperProtocol, false},
		{mappedNBMA, spoke1Protocol, false},
	} {
		m := h.message(t, tt.from, request(tt.from, tt.protocol, "172.16.2.10"))
		if got := h.authority.belongsToOther(m, addr(tt.protocol)); got != tt.want {
			t.Errorf("%s from %s: belongs to another router %t, want %t",
				tt.protocol, tt.from, got, tt.want)
		}
	}
}

// A client that moved may use its overlay address from where it is now, as its SA proves its
// identity there. That of a static map stays with the map's NBMA address.
func TestAddressOfAClientThatMoved(t *testing.T) {
	h := newHub(t)
	h.server.Bindings[addr(spoke1Protocol)].Identity = "mallory"
	m := h.message(t, malloryNBMA, request(malloryNBMA, spoke1Protocol, "172.16.2.10"))
	if h.authority.belongsToOther(m, addr(spoke1Protocol)) {
		t.Error("the address belongs to another router, want it to belong to the proven identity")
	}
	if h.authority.divertsAnswer(m, peerid.At(addr(malloryNBMA))) {
		t.Error("the answer is diverted, want it to reach the proven identity")
	}
	h.server.Bindings[addr(mappedProtocol)].Identity = "mallory"
	m = h.message(t, malloryNBMA, request(malloryNBMA, mappedProtocol, "172.16.2.10"))
	if !h.authority.belongsToOther(m, addr(mappedProtocol)) {
		t.Error("the address of a static map moved to another NBMA address")
	}
}

// The answer to a request must reach the router that the request names, or nobody that the hub
// knows.
func TestDivertsAnswer(t *testing.T) {
	h := newHub(t)
	for _, tt := range []struct {
		name                   string
		from, protocol, answer string
		want                   bool
	}{
		{"its own, to itself", malloryNBMA, malloryProtocol, malloryNBMA, false},
		{"its own, elsewhere", malloryNBMA, malloryProtocol, "192.0.2.200", true},
		{"another's, to itself", malloryNBMA, spoke1Protocol, malloryNBMA, true},
		{"another's, to that one", malloryNBMA, spoke1Protocol, spoke1NBMA, false},
		{"another's, elsewhere", malloryNBMA, spoke1Protocol, "192.0.2.200", true},
		{"an unknown router's", malloryNBMA, unknownProtocol, "192.0.2.200", false},
		{"a kept address, elsewhere", malloryNBMA, goneProtocol, "192.0.2.200", true},
		{"the NHS's, elsewhere", malloryNBMA, upperProtocol, "192.0.2.200", true},
		{"another's, elsewhere, by the NHS", upperNBMA, spoke1Protocol, "192.0.2.200", false},
	} {
		m := h.message(t, tt.from, request(tt.answer, tt.protocol, "172.16.2.10"))
		if got := h.authority.divertsAnswer(m, peerid.At(addr(tt.answer))); got != tt.want {
			t.Errorf("%s: diverts the answer %t, want %t", tt.name, got, tt.want)
		}
	}
}

// The next router takes the requester's address from the NAT address extension, if that has one.
func TestAnswerGoesTo(t *testing.T) {
	h := newHub(t)
	p := request("10.1.2.3", spoke1Protocol, "172.16.2.10")
	if got := h.authority.answerGoesTo(h.message(t, spoke1NBMA, p)); got != peerid.At(addr("10.1.2.3")) {
		t.Errorf("without an entry: want the source 10.1.2.3, have %s", got)
	}
	p.Extensions[3].CIEs = append(p.Extensions[3].CIEs,
		overlay.NATCIE(addr(spoke1Protocol), addr(spoke1NBMA)))
	got := h.authority.answerGoesTo(h.message(t, spoke1NBMA, p))
	if got != peerid.At(addr(spoke1NBMA)) {
		t.Errorf("with an entry: want %s, have %s", spoke1NBMA, got)
	}
}
