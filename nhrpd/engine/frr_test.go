package engine

import (
	"bufio"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// captured is a packet that FRR 8.4.4 sent.
type captured struct {
	from, to string
	data     []byte
	packet.Packet
}

func captures(t testing.TB) []captured {
	t.Helper()
	f, err := os.Open("testdata/frr-8.4.4.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []captured
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if strings.HasPrefix(s.Text(), "#") {
			continue
		}
		data, err := hex.DecodeString(fields[2])
		if err != nil {
			t.Fatal(err)
		}
		c := captured{from: fields[0], to: fields[1], data: data}
		if err := c.Parse(data); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

func noIPsec(c *overlay.InterfaceConfig) { c.Protected = false }

// As the hub of FRR's spokes, the engine sends in essence what FRR's hub sent to them: the reply to
// the registration with the address behind NAT, and the resolution messages that it passes on.
func TestHubOfFRR(t *testing.T) {
	list := captures(t)
	hub := hubAlone(t, noIPsec)
	ours := make(map[packet.Type][]packet.Packet)
	theirs := make(map[packet.Type][]packet.Packet)
	feed := func(types ...packet.Type) {
		for _, c := range list {
			for _, want := range types {
				if c.Type == want && c.to == "192.0.2.1" {
					for _, p := range (sender{t, hub, c.from}).saysBytes(c.data) {
						ours[p.Type] = append(ours[p.Type], p)
					}
				}
			}
		}
	}
	feed(packet.RegistrationRequest)
	feed(packet.ResolutionRequest, packet.ResolutionReply)
	for _, c := range list {
		if c.from == "192.0.2.1" {
			theirs[c.Type] = append(theirs[c.Type], c.Packet)
		}
	}
	for _, kind := range []packet.Type{
		packet.RegistrationReply, packet.ResolutionRequest, packet.ResolutionReply,
	} {
		if len(ours[kind]) != len(theirs[kind]) || len(ours[kind]) != 2 {
			t.Fatalf("%s: we sent %d, FRR's hub %d", kind, len(ours[kind]), len(theirs[kind]))
		}
		for i, want := range theirs[kind] {
			got := ours[kind][i]
			if got.RequestID != want.RequestID || got.SourceProtocol != want.SourceProtocol ||
				got.DestProtocol != want.DestProtocol ||
				got.SourceNBMA != want.SourceNBMA {
				t.Errorf("%s %d: %+v, FRR's hub sent %+v", kind, i, got, want)
			}
			for _, protocol := range []string{"10.255.0.11", "10.255.0.12"} {
				if g, w := overlay.NATAddress(&got, addr(protocol)),
					overlay.NATAddress(&want, addr(protocol)); g != w {
					t.Errorf(
						"%s %d: NAT address of %s is %s, FRR's hub sent %s",
						kind, i, protocol, g, w,
					)
				}
			}
		}
	}
}

// As a spoke, the engine understands FRR's indication and FRR's answer, and answers FRR's request.
func TestSpokeBesideFRR(t *testing.T) {
	n, hub := spokeAlone(t, noIPsec)
	for _, c := range captures(t) {
		switch {
		case c.Type == packet.TrafficIndication && c.to == "192.0.2.50":
			request := only(t, hub.saysBytes(c.data))
			if request.DestProtocol != addr("172.16.2.1") {
				t.Fatalf("asked for %s", request.DestProtocol)
			}
		case c.Type == packet.ResolutionRequest && c.to == "192.0.2.50":
			// The hub sent this packet to the spoke behind NAT, whose place the engine takes.
			reply := only(t, hub.saysBytes(c.data))
			if reply.Type != packet.ResolutionReply || reply.CIEs[0].PrefixLength != 24 ||
				reply.CIEs[0].Protocol != addr("10.255.0.11") {
				t.Errorf("%+v", reply)
			}
		case c.Type == packet.ResolutionReply && c.to == "192.0.2.50":
			reply := c.Packet
			s := n.engine.ifaces["gre1"].Requester.Shortcuts[mustPrefix("172.16.2.1/32")]
			reply.RequestID, reply.SourceNBMA = s.RequestID, n.local
			hub.says(reply)
		}
	}
	if n.shortcuts[mustPrefix(lan2)] != addr("10.255.0.12") ||
		n.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.12") {
		t.Errorf("routes %v, neighbours %v\n%v", n.shortcuts, n.neighbors, n.engine.Stats())
	}
}
