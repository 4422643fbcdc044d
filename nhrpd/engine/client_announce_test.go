package engine

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/packet"
)

// announcer returns a spoke with prefixes to announce, the hub that the test plays, and the first
// announcement, which the hub has not answered.
func announcer(t testing.TB, prefixes ...string) (*node, sender, packet.Packet) {
	t.Helper()
	n, hub := spokeAlone(t, announcing(prefixes...))
	sent := n.sentSince(0)
	if len(sent) != 2 {
		t.Fatalf("sent %v", typesOf(sent))
	}
	return n, hub, sent[1]
}

// RFC 2332 §5.2.0.1: a request with U set has a single CIE, so prefixes go in a request of their
// own without U.
func TestAnnouncementOnTheWire(t *testing.T) {
	n, hub := spokeAlone(t, announcing(lan1, "172.17.1.0/24"), func(c *overlay.InterfaceConfig) {
		c.Unique = true
	})
	got := n.sentSince(0)[1]
	want := registrationFrom("192.0.2.11", "10.255.0.11")
	want.RequestID, want.DestProtocol = got.RequestID, addr("10.255.0.1")
	want.CIEs = []packet.CIE{
		{PrefixLength: 24, MTU: 1400, HoldingTime: 600, Protocol: addr("172.16.1.0")},
		{PrefixLength: 24, MTU: 1400, HoldingTime: 600, Protocol: addr("172.17.1.0")},
	}
	want.Extensions[3].CIEs[0].Protocol = addr("10.255.0.1")
	samePacket(t, got, want)

	hub.says(acceptance(got))
	if st := n.status().NHS[0]; !slices.Equal(
		st.Announced, prefixesOf([]string{lan1, "172.17.1.0/24"}),
	) || st.Error != "" {
		t.Errorf("%+v", st)
	}
	before := len(n.sent)
	n.w.until("a refresh", 3*time.Minute+20*time.Second, func() bool {
		return len(n.sent) > before
	})
	hub.says(acceptance(n.sentSince(before)[0]))
	if got := typesOf(n.sentSince(before)); !slices.Equal(got, []string{
		"registration request", "registration request",
	}) {
		t.Errorf("a refresh sends %v", got)
	}
}

// As many prefixes as a configuration may announce fit into one packet, and so does the reply. That
// holds even for the smallest tunnel, with the longest password, behind NAT.
func TestAnnouncementFitsTheSmallestTunnel(t *testing.T) {
	for _, most := range []int{24, 25} {
		w := newWorld(t)
		with := func(c overlay.InterfaceConfig) overlay.InterfaceConfig {
			c.MTU, c.Authentication, c.Limits.Prefixes = 576, strings.Repeat("x", 64), 100
			return c
		}
		hubCfg, spokeCfg := with(hubConfig()), with(spokeConfig("10.255.0.11/24"))
		hubCfg.Accept = prefixesOf([]string{"172.16.0.0/12"})
		for i := range most {
			spokeCfg.Announce = append(
				spokeCfg.Announce,
				netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24),
			)
		}
		hub := w.add("hub", hubCfg, "192.0.2.1", "172.31.0.1/24")
		spoke := w.add("spoke1", spokeCfg, "10.9.9.9", "172.16.0.1/24")
		spoke.public = addr("192.0.2.11")
		w.run(5 * time.Second)
		accepted := len(spoke.status().NHS[0].Announced)
		if most == 24 && (accepted != 24 || hub.has(output.NoticeUnsent) > 0) {
			t.Errorf("%d of 24 accepted", accepted)
		}
		if most == 25 &&
			(accepted != 0 || hub.has(output.NoticeUnsent) == 0 ||
				hub.last(output.NoticeUnsent).Reason !=
					"registration reply: longer than the tunnel's MTU") {
			t.Errorf(
				"%d of 25 accepted, which is more than a configuration may have; told %d times",
				accepted, hub.has(output.NoticeUnsent),
			)
		}
	}
}

// The registration of the address stands, whatever happens to the prefixes. An NHS that does not
// accept prefixes gets no more of them.
func TestRefusedAnnouncements(t *testing.T) {
	tests := []struct {
		rule   string
		refuse func(n *node, hub sender, p packet.Packet)
		held   []string
	}{
		{"by a NAK", func(_ *node, hub sender, p packet.Packet) {
			p = acceptance(p)
			p.CIEs[0].Code, p.CIEs[1].Code = packet.CodeProhibited, packet.CodeProhibited
			hub.says(p)
		}, nil},
		{"one of two by a NAK", func(_ *node, hub sender, p packet.Packet) {
			p = acceptance(p)
			p.CIEs[0].Code = packet.CodeInsufficientResources
			hub.says(p)
		}, []string{"172.17.1.0/24"}},
		{"by an Error Indication", func(n *node, hub sender, _ packet.Packet) {
			hub.says(packet.Packet{
				Type:           packet.ErrorIndication,
				SourceNBMA:     addr("192.0.2.1"),
				SourceProtocol: addr("10.255.0.1"),
				DestProtocol:   addr("10.255.0.11"),
				ErrorCode:      packet.ErrorProtocol,
				Quoted:         n.sent[len(n.sent)-1].data,
			})
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			n, hub, p := announcer(t, lan1, "172.17.1.0/24")
			tt.refuse(n, hub, p)
			st := n.status().NHS[0]
			if st.State != report.NHSRegistered || st.Error == "" ||
				!slices.Equal(
					st.Announced,
					prefixesOf(tt.held),
				) || n.has(output.NoticeRefused) == 0 {
				t.Fatalf("%+v\n%s", st, n.w)
			}
			before := len(n.sent)
			for n.w.now.Before(n.w.start.Add(client.AnnounceAgain - time.Minute)) {
				sent := len(n.sent)
				n.w.run(time.Second)
				for _, p := range n.sentSince(sent) {
					hub.says(acceptance(p))
				}
			}
			for _, p := range n.sentSince(before) {
				for _, c := range p.CIEs {
					if prefix, _ := c.PrefixOf(c.Protocol); c.Protocol.IsValid() &&
						!slices.Contains(prefixesOf(tt.held), prefix) {
						t.Fatalf("tried again: %s", prefix)
					}
				}
			}
			for n.w.now.Before(n.w.start.Add(2 * client.AnnounceAgain)) {
				sent := len(n.sent)
				n.w.run(time.Second)
				for _, p := range n.sentSince(sent) {
					hub.says(acceptance(p))
				}
			}
			if st := n.status().NHS[0]; len(st.Announced) != 2 || st.Error != "" {
				t.Errorf("later: %+v", st)
			}
		})
	}
}

// Silence is not taken for a lasting refusal. The NHS may have lost packets, or may have learned of
// prefixes meanwhile, so the spoke announces again once a minute.
func TestUnansweredAnnouncement(t *testing.T) {
	n, hub, _ := announcer(t, lan1)
	n.w.run(2 * time.Minute)
	if st := n.status().NHS[0]; st.State != report.NHSRegistered || st.Error == "" ||
		n.has(output.NoticeRefused) != 1 {
		t.Errorf(
			"after two minutes of silence: %+v, told %d times",
			st,
			n.has(output.NoticeRefused),
		)
	}
	before := len(n.sent)
	n.w.run(client.RetryMost)
	asked := n.sentSince(before)
	if len(asked) == 0 || len(asked) > 2 {
		t.Fatalf("asked %d times in a minute", len(asked))
	}
	hub.says(acceptance(asked[len(asked)-1]))
	if st := n.status().NHS[0]; !slices.Equal(st.Announced, prefixesOf([]string{lan1})) ||
		st.Error != "" {
		t.Errorf("at last: %+v", st)
	}
}

// A spoke announces a prefix that another router has with each refresh, and logs it once. Networks
// move, and goodbyes get lost.
func TestPrefixOfAnotherRouter(t *testing.T) {
	n, hub, p := announcer(t, lan1)
	taken := func(p packet.Packet) packet.Packet {
		p = acceptance(p)
		p.CIEs[0].Code = packet.CodeUniqueRegistered
		return p
	}
	refresh := func() packet.Packet {
		before := len(n.sent)
		n.w.until("a refresh", 3*time.Minute+20*time.Second, func() bool {
			return len(n.sent) > before
		})
		hub.says(acceptance(only(t, n.sentSince(before))))
		return n.sentSince(before)[1]
	}
	hub.says(taken(p))
	for range 3 {
		hub.says(taken(refresh()))
	}
	if st := n.status().NHS[0]; n.has(output.NoticeRefused) != 1 || st.Error == "" {
		t.Errorf("told %d times: %+v", n.has(output.NoticeRefused), st)
	}
	hub.says(acceptance(refresh()))
	if st := n.status().NHS[0]; !slices.Equal(st.Announced, prefixesOf([]string{lan1})) ||
		st.Error != "" {
		t.Errorf("when it is free: %+v", st)
	}
}

// If the NHS does not know the spoke any more when it announces, the spoke registers again soon,
// but not without end.
func TestForgottenBeforeAnnouncement(t *testing.T) {
	n, hub, p := announcer(t, lan1)
	forgotten := func(p packet.Packet) packet.Packet {
		p = acceptance(p)
		p.CIEs[0].Code = packet.CodeNoBinding
		return p
	}
	registrations := 0
	for end := n.w.now.Add(time.Minute); n.w.now.Before(end); registrations++ {
		hub.says(forgotten(p))
		before := len(n.sent)
		n.w.until("a registration", client.RetryMost, func() bool { return len(n.sent) > before })
		hub.says(acceptance(only(t, n.sentSince(before))))
		p = n.sentSince(before)[1]
	}
	if registrations < 4 || registrations > 8 {
		t.Errorf("registered %d times in a minute", registrations)
	}
	hub.says(acceptance(p))
	if st := n.status().NHS[0]; !slices.Equal(st.Announced, prefixesOf([]string{lan1})) ||
		st.Error != "" {
		t.Errorf("in the end: %+v", st)
	}
}

// A lost packet does not cost a prefix that was accepted before.
func TestAnnouncementLost(t *testing.T) {
	n, hub, p := announcer(t, lan1)
	hub.says(acceptance(p))
	for range 2 {
		before := len(n.sent)
		n.w.run(3*time.Minute + 20*time.Second)
		sent := n.sentSince(before)
		registration := slices.IndexFunc(sent, func(p packet.Packet) bool {
			return !p.CIEs[0].Protocol.IsValid()
		})
		hub.says(acceptance(sent[registration]))
		n.w.run(10 * time.Second)
	}
	sent := n.sentSince(0)
	if last := sent[len(sent)-1]; n.has(output.NoticeRefused) != 0 ||
		last.CIEs[0].Protocol != addr("172.16.1.0") {
		t.Errorf("the last packet is %+v\n%s", last, n.w)
	}
}

// The spoke takes back a prefix that is not configured any more, and announces a new one. A goodbye
// takes back all of them.
func TestAnnouncementsFollowTheConfiguration(t *testing.T) {
	n, hub, p := announcer(t, lan1, "172.17.1.0/24")
	hub.says(acceptance(p))
	before := len(n.sent)
	n.cfg.Announce = prefixesOf([]string{lan1, "172.18.1.0/24"})
	n.engine.Configure(
		n.w.now,
		overlay.Config{Interfaces: []overlay.InterfaceConfig{n.cfg}},
		&n.out,
	)
	n.carryOut()
	sent := n.sentSince(before)
	if got := typesOf(sent); !slices.Equal(got, []string{"purge request", "registration request"}) {
		t.Fatalf("sent %v", got)
	}
	if len(sent[0].CIEs) != 1 || sent[0].CIEs[0].Protocol != addr("172.17.1.0") ||
		sent[0].CIEs[0].PrefixLength != 24 || len(sent[1].CIEs) != 2 {
		t.Errorf("%+v", sent)
	}
	hub.says(acceptance(sent[1]))
	before = len(n.sent)
	n.handle(event.Leave{Interface: "gre1"})
	sent = n.sentSince(before)
	if got := typesOf(sent); !slices.Equal(got, []string{"purge request", "purge request"}) ||
		len(sent[0].CIEs) != 2 {
		t.Errorf("the goodbye is %v", sent)
	}
}
