package engine

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/packet"
)

// errorAbout returns an Error Indication about a packet, as a router with these addresses makes it.
func errorAbout(quoted []byte, nbma, overlay, to string) packet.Packet {
	return packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       255,
		SourceNBMA:     addr(nbma),
		SourceProtocol: addr(overlay),
		DestProtocol:   addr(to),
		ErrorCode:      packet.ErrorProtocol,
		Quoted:         quoted,
	}
}

// The hub passes an Error Indication on only in the sender's own name. A router cannot report an
// error as another client, as the hub, as the recipient, or as an NHS of the hub.
func TestWhoseErrorsGoOn(t *testing.T) {
	const mallory = "192.0.2.66"
	quoted := encode(t, registrationFrom("192.0.2.11", "10.255.0.11"))
	for _, tt := range []struct {
		rule          string
		from          string
		nbma, overlay string
		goes          bool
	}{
		{"its own", mallory, mallory, "10.255.0.66", true},
		{"another client's", mallory, "192.0.2.12", "10.255.0.12", false},
		{"another client's, with its own NBMA address", mallory, mallory, "10.255.0.12", false},
		{"that of a client whose SA went", mallory, "192.0.2.14", "10.255.0.14", false},
		{"the recipient's own", mallory, mallory, "10.255.0.11", false},
		{"that of the hub's own NHS", mallory, "192.0.2.2", "10.255.0.2", false},
		{"the hub's", mallory, "192.0.2.1", "10.255.0.1", false},
		{"with the hub's NBMA address", mallory, "192.0.2.1", "10.255.0.66", false},
		{
			"that of a router behind the sender, which nobody knows here", mallory, "192.0.2.77",
			"10.255.0.77", true,
		},
		{"from an NHS", "192.0.2.2", "192.0.2.12", "10.255.0.12", true},
		{"from a router with a static map", "192.0.2.99", "192.0.2.12", "10.255.0.12", true},
	} {
		hub := knowingHub(t)
		got := len(sender{t, hub, tt.from}.says(errorAbout(
			quoted, tt.nbma, tt.overlay, "10.255.0.11",
		)))
		if (got == 1) != tt.goes {
			t.Errorf("%s: %d packets sent on, dropped %v", tt.rule, got, hub.engine.Stats().Dropped)
		}
	}
}

// An error about a spoke's registration or announcement counts only if it is the NHS's own. It does
// not count from another router with an SA, or from one whose error the NHS passed on.
func TestWhoseErrorsCount(t *testing.T) {
	for _, tt := range []struct {
		rule          string
		from          string
		nbma, overlay string
		counts        bool
	}{
		{"the NHS", "192.0.2.1", "192.0.2.1", "10.255.0.1", true},
		{"another spoke, along the NHS", "192.0.2.1", "192.0.2.66", "10.255.0.66", false},
		{
			"another spoke with the NHS's NBMA address, along the NHS", "192.0.2.1", "192.0.2.1",
			"10.255.0.66", false,
		},
		{"another spoke itself", "192.0.2.66", "192.0.2.66", "10.255.0.66", false},
		{"another spoke in the NHS's name", "192.0.2.66", "192.0.2.1", "10.255.0.1", false},
	} {
		n, _, _ := announcer(t, lan1)
		n.from("192.0.2.66", "mallory")
		says := sender{t, n, tt.from}
		says.says(errorAbout(n.sent[len(n.sent)-1].data, tt.nbma, tt.overlay, "10.255.0.11"))
		if refused := n.status().NHS[0].Error != ""; refused != tt.counts {
			t.Errorf("%s: the announcement is refused: %v, want %v", tt.rule, refused, tt.counts)
		}
		if got := n.has(output.NoticeError) > 0; got != tt.counts {
			t.Errorf("%s: told: %v", tt.rule, got)
		}
		before := len(n.sent)
		n.w.run(2 * time.Second)
		if repeated := len(n.sent) > before; repeated == tt.counts {
			t.Errorf("%s: the announcement is repeated: %v, want %v", tt.rule, repeated, !tt.counts)
		}
	}
}

// The same holds for an error about the registration itself, which changes only the reason in the
// status. While the NHS's overlay address is not known, the NHS's own error is one that names its
// NBMA address.
func TestErrorAboutRegistration(t *testing.T) {
	for _, tt := range []struct {
		rule          string
		protocol      string // the NHS's configured overlay address
		from          string
		nbma, overlay string
		counts        bool
	}{
		{"the NHS", "10.255.0.1", "192.0.2.1", "192.0.2.1", "10.255.0.1", true},
		{
			"another spoke, along the NHS", "10.255.0.1", "192.0.2.1", "192.0.2.66", "10.255.0.66",
			false,
		},
		{"another spoke itself", "10.255.0.1", "192.0.2.66", "192.0.2.66", "10.255.0.1", false},
		{
			"an NHS whose overlay address is not known", "", "192.0.2.1", "192.0.2.1", "10.255.0.1",
			true,
		},
		{"another spoke, along such an NHS", "", "192.0.2.1", "192.0.2.66", "10.255.0.66", false},
	} {
		cfg := spokeConfig("10.255.0.11/24")
		if cfg.NHS[0].Protocol = (netip.Addr{}); tt.protocol != "" {
			cfg.NHS[0].Protocol = addr(tt.protocol)
		}
		n := newWorld(t).add("spoke1", cfg, "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16")
		n.from("192.0.2.1", "hub")
		n.from("192.0.2.66", "mallory")
		sender{t, n, tt.from}.says(errorAbout(n.sent[0].data, tt.nbma, tt.overlay, "10.255.0.11"))
		if got := n.status().NHS[0].Error != ""; got != tt.counts {
			t.Errorf("%s: counts: %v, %q", tt.rule, got, n.status().NHS[0].Error)
		}
	}
}

// The whole attack: a spoke sends the hub errors about the announcements of another spoke, with
// every id that they may have. The other spoke goes on announcing, and its prefixes stay.
func TestForgedErrorsThroughTheHub(t *testing.T) {
	w := newWorld(t)
	cfg := hubConfig()
	cfg.Accept = []netip.Prefix{mustPrefix("172.16.0.0/12")}
	cfg.Limits.Prefixes = 10
	hub := w.add("hub", cfg, "192.0.2.1", "")
	spoke := spokeConfig("10.255.0.11/24")
	spoke.Announce = []netip.Prefix{mustPrefix(lan1)}
	n := w.add("spoke1", spoke, "192.0.2.11", "172.16.1.1/24")
	w.until("announced", time.Minute, func() bool {
		return len(n.status().NHS) > 0 && len(n.status().NHS[0].Announced) == 1
	})
	mallory := hub.client("192.0.2.66", "mallory", "10.255.0.66")
	var attempts int
	n.w.lose = func(from, to *node, data []byte) bool {
		if from != n || packet.Type(data[17]) != packet.RegistrationRequest {
			return false
		}
		for _, source := range [][2]string{
			{"192.0.2.1", "10.255.0.1"}, {"192.0.2.66", "10.255.0.66"},
			{"192.0.2.11", "10.255.0.11"}, {"192.0.2.1", "10.255.0.66"},
		} {
			attempts++
			p := errorAbout(slices.Clone(data), source[0], source[1], "10.255.0.11")
			w.after(0, func() { mallory.says(p) })
		}
		return false
	}
	w.run(20 * time.Minute)
	a := n.status().NHS[0]
	if attempts == 0 || len(a.Announced) != 1 || a.Error != "" || n.has(output.NoticeError) > 0 {
		t.Errorf(
			"after %d forged errors: announced %v, error %q, told %d times",
			attempts, a.Announced, a.Error, n.has(output.NoticeError),
		)
	}
}
