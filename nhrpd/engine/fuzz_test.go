package engine

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/packet"
)

// script reads events from bytes. At the end of the bytes it reads zeros.
type script struct {
	*node
	rest []byte
}

func (s *script) byte() byte {
	if len(s.rest) == 0 {
		return 0
	}
	b := s.rest[0]
	s.rest = s.rest[1:]
	return b
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(s.rest))
	b := s.rest[:n]
	s.rest = s.rest[n:]
	return bytes.Clone(b)
}

// of picks an element of a list.
func of[T any](s *script, list []T) T { return list[int(s.byte())%len(list)] }

func (s *script) nbma() netip.Addr { return addr(of(s, stormNBMA)) }

// templates returns packets that make sense, for the script to change.
func (s *script) templates() [][]byte {
	list := append(
		s.ownRequests()[1:],
		encode(s.w.t, registrationFrom("192.0.2.12", "10.255.0.12")),
		encode(s.w.t, requestFrom("192.0.2.12", "10.255.0.12", host1)),
		encode(s.w.t, requestFrom("192.0.2.12", "10.255.0.12", host2)),
		encode(s.w.t, indicationOf(host1, host2)),
		encode(s.w.t, purgeOf("192.0.2.12", "10.255.0.12", "10.255.0.11", lan2)),
		encode(s.w.t, packet.Packet{
			Type:           packet.ErrorIndication,
			HopCount:       255,
			SourceNBMA:     addr("192.0.2.1"),
			SourceProtocol: addr("10.255.0.1"),
			DestProtocol:   addr("10.255.0.11"),
			ErrorCode:      packet.ErrorLoop,
			Quoted:         make([]byte, 40),
		}),
		encode(s.w.t, announcementFrom(
			"192.0.2.12", "10.255.0.12", "172.18.0.0/16", "172.18.7.0/24",
		)),
	)
	for _, own := range s.ownRequests()[1:] {
		list = append(list, reply(own))
	}
	return list
}

// reply returns an answer to one of the node's own requests.
func reply(own []byte) []byte {
	var p packet.Packet
	if err := p.Parse(own); err != nil {
		panic(err)
	}
	switch p.Type {
	case packet.RegistrationRequest:
		p = acceptance(p)
	case packet.ResolutionRequest:
		p = answerTo(p, 24, "10.255.0.12", "192.0.2.12")
	default:
		p.Type++
	}
	data, err := p.Append(nil)
	if err != nil {
		panic(err)
	}
	return data
}

// changed returns a template with some bytes changed, cut off or added, whose size and checksum are
// right again.
func (s *script) changed() []byte {
	data := bytes.Clone(of(s, s.templates()))
	for range s.byte() % 8 {
		data[int(s.byte())%len(data)] = s.byte()
	}
	if cut := int(s.byte()); cut > 200 {
		data = data[:max(28, len(data)-(cut-200))]
	} else if cut > 190 {
		data = append(data, s.bytes(int(s.byte()))...)
	}
	return sealed(data)
}

// sealed sets the size and the checksum of what may be a packet.
func sealed(data []byte) []byte {
	if len(data) < 28 {
		return data
	}
	binary.BigEndian.PutUint16(data[10:], uint16(len(data)))
	if len(data)%2 == 0 {
		fixChecksum(data)
		return data
	}
	fixed := append(data, 0)
	fixChecksum(fixed)
	return fixed[:len(data)]
}

// step plays one event.
func (s *script) step() {
	switch s.byte() % 16 {
	case 0, 1, 2, 3:
		s.receive(s.nbma(), s.changed())
	case 4:
		s.receive(s.nbma(), sealed(s.bytes(int(s.byte()))))
	case 5, 6:
		own := s.ownRequests()
		if last := own[len(own)-1]; last != nil {
			s.receive(s.nbma(), reply(last))
		}
	case 7:
		s.handle(event.PeerSecured{Peer: s.somePeer()})
	case 8:
		s.handle(event.PeerLost{Interface: "gre1", ID: peerid.At(s.nbma()), Reason: "lost"})
	case 9:
		s.w.run(time.Duration(s.byte()) * time.Duration(s.byte()) * 10 * time.Millisecond)
	case 10:
		s.handle(event.RoutesChanged{
			Table:   testTable,
			Reset:   s.byte() > 250,
			Added:   []event.Route{of(s, stormRoutes)},
			Removed: []event.Route{of(s, stormRoutes)},
		})
	case 11:
		s.handle(
			event.Redirected{
				Interface: "gre1",
				From:      peerid.At(s.nbma()),
				Packet:    s.bytes(int(s.byte())),
			},
		)
	case 12:
		s.handle(event.LocalAddress{Interface: "gre1", NBMA: s.nbma()})
	case 13:
		s.handle(event.NHSResolved{
			Interface: "gre1",
			Name:      of(s, []string{"192.0.2.1", "hub.example.net"}),
			NBMA:      []netip.Addr{s.nbma(), s.nbma()},
		})
	case 14:
		s.handle(event.PeersSecured{
			Interface: "gre1",
			Peers:     []event.Peer{s.somePeer(), s.somePeer()},
			InKernel:  s.inKernel(),
		})
	case 15:
		s.rare()
	}
}

// rare plays an event that ends most of what the node has.
func (s *script) rare() {
	switch s.byte() % 8 {
	case 0:
		s.handle(event.Leave{Interface: "gre1"})
	case 1:
		s.boot(s.engine.Save())
	case 2:
		s.configure(func(c *overlay.InterfaceConfig) { c.Shortcut = !c.Shortcut })
	case 3:
		s.configure(func(c *overlay.InterfaceConfig) {
			c.Maps = []overlay.Map{{Protocol: addr("10.255.0.12"), NBMA: s.nbma()}}
		})
	case 4:
		s.configure(func(c *overlay.InterfaceConfig) { c.Protected = !c.Protected })
	case 5:
		s.handle(event.Missed{Interface: "gre1", Protocol: addr(of(s, stormOverlay))})
	default:
		s.handle(event.Used{
			Interface: "gre1",
			Peers:     []event.PeerUse{{ID: peerid.At(s.nbma()), Out: s.w.now, In: s.w.now}},
		})
	}
}

func (s *script) somePeer() event.Peer {
	p := event.Peer{Interface: "gre1", ID: peerid.At(s.nbma()), Identity: of(s, []string{"a", "b"})}
	how := s.byte()
	p.Initiator = how%2 == 0
	if how > 200 { // several routers behind one NAT address
		p.RemoteNAT, p.SharedWith, p.Separating = true, []string{"c"}, how > 240
	}
	return p
}

// inKernel returns the addresses to which the kernel has SAs; they are not always known.
func (s *script) inKernel() map[netip.Addr]bool {
	switch s.byte() % 3 {
	case 0:
		return nil
	case 1:
		return map[netip.Addr]bool{}
	}
	return map[netip.Addr]bool{s.nbma(): true}
}

// receive hands in a packet and checks what the node sends because of it. Any router may cause at
// most one packet. That packet is longer than the received one only by the extensions that it had
// to fill in, or, if it is an error, by its header.
func (s *script) receive(from netip.Addr, data []byte) {
	const filled = 256
	before := len(s.sent)
	s.handle(event.PacketReceived{Interface: "gre1", From: peerid.At(from), Data: data})
	sent := s.sent[before:]
	switch {
	case len(sent) > 1:
		s.w.t.Fatalf("%d packets because of one: %x", len(sent), data)
	case len(sent) == 0:
	case packet.Type(sent[0].data[17]) == packet.ErrorIndication &&
		packet.Type(data[17]) == packet.ErrorIndication && sent[0].data[9] == overlay.HopCount:
		s.w.t.Fatalf("an error answered with an error: %x", data)
	case packet.Type(sent[0].data[17]) == packet.ErrorIndication &&
		len(sent[0].data) > len(data)+errorHeader:
		s.w.t.Fatalf("an error of %d bytes because of %d bytes", len(sent[0].data), len(data))
	case len(sent[0].data) > len(data)+filled:
		s.w.t.Fatalf("%d bytes because of %d", len(sent[0].data), len(data))
	}
	var p packet.Packet
	for _, x := range sent {
		if err := p.Parse(x.data); err != nil {
			s.w.t.Fatalf("sent what cannot be read: %v", err)
		}
	}
}

// After any sequence of events, with packets of other routers among them, these hold: there is no
// panic, the tables keep to their limits, one received packet causes at most one packet, no route
// is without an SA, nothing is wanted twice, and Leave ends everything. See node.carryOut and
// node.broken.
func FuzzEngine(f *testing.F) {
	registered := []byte{7, 0, 0, 0, 5, 0, 5, 0}
	asking := append(bytes.Clone(registered), 0, 0, 5, 0, 0)
	direct := append(bytes.Clone(asking), 5, 0, 7, 3, 0, 0)
	f.Add(registered)
	f.Add(asking)
	f.Add(direct)
	// The shortcut is purged.
	f.Add(append(bytes.Clone(direct), 0, 3, 7, 0, 0))
	// The shortcut is refreshed.
	f.Add(append(bytes.Clone(direct), 9, 255, 255, 15, 7, 3, 5, 0))
	// The routes change, and the daemon is restarted.
	f.Add(append(bytes.Clone(direct), 10, 0, 1, 0, 15, 1, 9, 255, 99))
	f.Add(append(bytes.Clone(direct), 8, 3, 9, 60, 60, 14, 0, 0, 0, 3, 0, 0))
	// The kernel misses a neighbour.
	f.Add(append(bytes.Clone(registered), 15, 5, 3, 5, 0, 9, 40, 40, 7, 3, 0, 0))
	// A client announces a prefix.
	f.Add(append(bytes.Clone(registered), 7, 3, 0, 0, 0, 3, 2, 0, 0, 0, 3, 8, 0, 0))
	// The node is asked for a destination.
	f.Add(append(bytes.Clone(registered), 0, 0, 2, 1, 50, 7, 0, 7, 3, 1, 0, 0, 3, 3, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := newWorld(t).add(
			"spoke1", stormConfig(), "192.0.2.11", "172.16.1.1/24", "172.16.0.0/16",
		)
		s := &script{node: n, rest: b}
		for steps := 0; len(s.rest) > 0 && steps < 200; steps++ {
			s.step()
			if err := s.broken(); err != nil {
				t.Fatal(err)
			}
		}
		s.w.run(20 * time.Minute)
		// A node that has left joins again, since only a node that has joined can leave and so drop
		// all that it has.
		s.configure(func(*overlay.InterfaceConfig) {})
		s.handle(event.Leave{Interface: "gre1"})
		s.w.run(
			2 * purge.Tries * purge.GoodbyeRetryInterval,
		) // purges of answers, then goodbyes to NHSs
		if len(s.neighbors)+len(s.shortcuts)+len(s.want)+tablesOf(s.node) != 0 {
			t.Fatalf("left behind: %+v", s.status())
		}
		if _, ok := s.engine.Deadline(); ok {
			t.Fatal("a timer is left after leaving")
		}
	})
}
