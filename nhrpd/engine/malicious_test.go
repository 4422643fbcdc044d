package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"cygnet/nhrpd/engine/event"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/packet"
)

// The NBMA address in a packet's header binds no other router: the binding is for the address that
// the packet came from, and the reply goes there.
func TestSpoofedNBMAAddress(t *testing.T) {
	hub := hubAlone(t)
	hub.from("192.0.2.12", "victim").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	before := len(hub.sent)
	mallory := hub.from("192.0.2.66", "mallory")
	mallory.says(registrationFrom("192.0.2.12", "10.255.0.66"))
	mallory.says(requestFrom("192.0.2.66", "10.255.0.66", "203.0.113.1"))
	for _, s := range hub.sent[before:] {
		if s.to != peerAt("192.0.2.66") {
			t.Errorf("sent to %s", s.to)
		}
	}
	if hub.neighbors[addr("10.255.0.66")] != peerAt("192.0.2.66") ||
		hub.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.12") {
		t.Errorf("neighbours %v", hub.neighbors)
	}
}

// A recorded registration that another router sends again moves no binding. With IPsec it comes
// from another identity. Without IPsec it comes from another address than the one that is
// registered as unique.
func TestReplayedRegistration(t *testing.T) {
	for _, protected := range []bool{true, false} {
		hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Protected = protected })
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.Flags |= packet.RegistrationUnique
		recorded := encode(t, p)
		hub.from("192.0.2.11", "spoke1").saysBytes(recorded)
		expires := hub.status().Bindings[0].Expires
		hub.w.run(time.Minute)
		mallory := hub.from("192.0.2.66", "mallory")
		if got := only(
			t, mallory.saysBytes(recorded),
		); got.CIEs[0].Code != packet.CodeUniqueRegistered {
			t.Errorf("IPsec %v: %s", protected, got.CIEs[0].Code)
		}
		if b := hub.status().Bindings; len(b) != 1 || b[0].Peer != peerAt("192.0.2.11") ||
			b[0].Expires != expires {
			t.Errorf("IPsec %v: %+v, expired at %s before", protected, b, expires)
		}
	}
}

// No client can register the hub's other overlay addresses or the overlay address of the hub's own
// NHS.
func TestAddressesThatAreNoClients(t *testing.T) {
	cfg := hubConfig()
	cfg.NHS = []overlay.NHSConfig{{Name: "192.0.2.2", Protocol: addr("10.255.0.2")}}
	hub := newWorld(t).add("hub", cfg, "192.0.2.1", "")
	hub.addRoutes(event.Route{Prefix: mustPrefix("10.255.0.254/32"), Device: "gre1", Local: true})
	mallory := hub.from("192.0.2.66", "mallory")
	for _, overlay := range []string{"10.255.0.1", "10.255.0.254", "10.255.0.2"} {
		p := registrationFrom("192.0.2.66", "10.255.0.66")
		p.CIEs[0].Protocol = addr(overlay)
		if got := only(t, mallory.says(p)); got.CIEs[0].Code != packet.CodeProhibited {
			t.Errorf("%s: %s", overlay, got.CIEs[0].Code)
		}
	}
	if len(hub.status().Bindings) != 0 {
		t.Errorf("bindings %+v", hub.status().Bindings)
	}
	// The NHS itself may be a client as well: hubs register with each other.
	upper := hub.from("192.0.2.2", "upper")
	replies := upper.says(registrationFrom("192.0.2.2", "10.255.0.2"))
	if got := replies[len(replies)-1]; got.Type != packet.RegistrationReply ||
		got.CIEs[0].Code != packet.CodeSuccess {
		t.Errorf("the NHS's own: %s %+v", got.Type, got.CIEs)
	}
}

// One router cannot take all addresses of the overlay.
func TestAddressesOfOneRouter(t *testing.T) {
	hub := hubAlone(t)
	mallory := hub.from("192.0.2.66", "mallory")
	refused := 0
	for i := range 100 {
		p := registrationFrom("192.0.2.66", "10.255.0.66")
		p.CIEs[0].Protocol = netip.AddrFrom4([4]byte{10, 255, 0, byte(100 + i)})
		if got := only(t, mallory.says(p)); got.CIEs[0].Code == packet.CodeInsufficientResources {
			refused++
		}
	}
	if got := len(hub.status().Bindings); got != overlay.MaxAddressesOfOne ||
		refused != 100-overlay.MaxAddressesOfOne {
		t.Errorf("%d bindings, %d refused", got, refused)
	}
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	if hub.neighbors[addr("10.255.0.12")] != peerAt("192.0.2.12") {
		t.Error("another router found no place")
	}
}

// A request with more entries than any router needs is refused as a whole.
func TestRequestsWithTooManyEntries(t *testing.T) {
	for _, kind := range []packet.Type{
		packet.RegistrationRequest, packet.ResolutionRequest, packet.PurgeRequest,
	} {
		hub := hubAlone(t)
		p := registrationFrom("192.0.2.11", "10.255.0.11")
		p.Type, p.DestProtocol = kind, addr("10.255.0.1")
		for len(p.CIEs) <= overlay.MaxEntries {
			p.CIEs = append(p.CIEs, packet.CIE{
				HoldingTime: 600,
				Protocol:    netip.AddrFrom4([4]byte{10, 255, 0, byte(len(p.CIEs) + 20)}),
			})
		}
		got := only(t, hub.from("192.0.2.11", "spoke1").says(p))
		if got.ErrorCode != packet.ErrorProtocol || dropped(hub, overlay.DropTooMany) != 1 ||
			len(hub.status().Bindings) != 0 {
			t.Errorf(
				"%s: %s %s, bindings %+v", kind, got.Type, got.ErrorCode, hub.status().Bindings,
			)
		}
	}
}

// A request for an address that is no host's goes no further than this router.
func TestResolutionOfNoHost(t *testing.T) {
	for _, dest := range []string{
		"127.0.0.1", "169.254.1.1", "224.0.0.5", "255.255.255.255", "0.0.0.0",
	} {
		hub := hubAlone(t)
		hub.addRoutes(
			event.Route{Prefix: mustPrefix("127.0.0.0/8"), Device: "lo", Local: true},
			event.Route{
				Prefix: mustPrefix("0.0.0.0/0"),
				Device: "eth0",
			},
		)
		got := only(
			t,
			hub.from("192.0.2.11", "spoke1").says(requestFrom("192.0.2.11", "10.255.0.11", dest)),
		)
		if got.ErrorCode != packet.ErrorProtocolUnreachable ||
			len(hub.engine.ifaces["gre1"].Responder.Answers) != 0 {
			t.Errorf("%s: %s %s", dest, got.Type, got.ErrorCode)
		}
	}
}

// The id of a resolution request does not follow from earlier ids. This matters since an answer may
// come from any router with an SA.
func TestResolutionIDsCannotBeGuessed(t *testing.T) {
	n, hub := spokeAlone(t)
	var ids []uint32
	for i := range 16 {
		ids = append(
			ids, only(t, hub.says(indicationOf(host1, fmt.Sprintf("172.16.2.%d", i)))).RequestID,
		)
	}
	slices.Sort(ids)
	for i := range ids[1:] {
		if ids[i+1]-ids[i] < 1000 {
			t.Errorf("ids %d and %d are neighbours", ids[i], ids[i+1])
		}
	}
	mallory := n.from("192.0.2.66", "mallory")
	forged := answerTo(
		requestFrom("192.0.2.11", "10.255.0.11", "172.16.2.1"), 24, "10.255.0.66", "192.0.2.66",
	)
	for guess := range uint32(1000) {
		forged.RequestID = ids[3] + 1 + guess/2*uint32(guess%2*2-1) // close to a true id
		if slices.Contains(ids, forged.RequestID) {
			continue
		}
		mallory.says(forged)
	}
	if len(n.shortcuts) != 0 {
		t.Errorf("shortcuts %v", n.shortcuts)
	}
}

// Whatever kind of packet an admitted router floods a node with, the node sends no more than the
// router's rate allows, and counts every packet that it drops with a reason.
func TestFloodsOfEveryKind(t *testing.T) {
	const flood = 1000
	malformed := encode(t, requestFrom("192.0.2.66", "10.255.0.66", "172.16.1.9"))
	malformed[16] = 9
	fixChecksum(malformed)
	password := registrationFrom("192.0.2.66", "10.255.0.66")
	password.Extensions = append(password.Extensions, packet.PasswordExtension("guess"))
	reply := answerTo(
		requestFrom("192.0.2.11", "10.255.0.11", host2), 24, "10.255.0.12", "192.0.2.12",
	)
	passing := answerTo(
		requestFrom("192.0.2.12", "10.255.0.12", host1), 24, "10.255.0.66", "192.0.2.66",
	)
	purgeReply := purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.66", lan1)
	purgeReply.Type = packet.PurgeReply
	registered := acceptance(registrationFrom("192.0.2.11", "10.255.0.11"))
	errorForUs := packet.Packet{
		Type:           packet.ErrorIndication,
		HopCount:       255,
		SourceNBMA:     addr("192.0.2.66"),
		SourceProtocol: addr("10.255.0.66"),
		DestProtocol:   addr("10.255.0.11"),
		ErrorCode:      packet.ErrorLoop,
		Quoted:         make([]byte, 40),
	}
	errorForOther := errorForUs
	errorForOther.DestProtocol = addr("10.255.0.12")
	tests := []struct {
		kind   string
		packet packet.Packet
		raw    []byte
		sends  int // the most packets that the node may send
	}{
		{kind: "registrations", packet: registrationFrom("192.0.2.66", "10.255.0.66"), sends: 200},
		{
			kind:   "resolution requests",
			packet: requestFrom("192.0.2.66", "10.255.0.66", host1),
			sends:  200,
		},
		{
			kind:   "requests without a route",
			packet: requestFrom("192.0.2.66", "10.255.0.66", "203.0.113.1"),
			sends:  10,
		},
		{
			kind:   "purges",
			packet: purgeOf("192.0.2.66", "10.255.0.66", "10.255.0.11", lan2),
			sends:  200,
		},
		{kind: "indications", packet: indicationOf(host1, host2), sends: 0},
		{kind: "resolution replies", packet: reply, sends: 10},
		{kind: "resolution replies for others", packet: passing, sends: 200},
		{kind: "registration replies", packet: registered, sends: 0},
		{kind: "purge replies", packet: purgeReply, sends: 0},
		{kind: "errors", packet: errorForUs, sends: 0},
		{kind: "errors for others", packet: errorForOther, sends: 200},
		{kind: "wrong passwords", packet: password, sends: 10},
		{kind: "malformed packets", raw: malformed, sends: 10},
		{kind: "bytes", raw: []byte("not NHRP at all"), sends: 0},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			n, hub := spokeAlone(t)
			// This fills the tables that any router fills.
			hub.says(requestFrom("192.0.2.1", "10.255.0.1", host1))
			mallory := n.from("192.0.2.66", "mallory")
			data := tt.raw
			if data == nil {
				data = encode(t, tt.packet)
			}
			before, tables := len(n.sent), tablesOf(n)
			for range flood {
				mallory.saysBytes(data)
			}
			sent := len(n.sent) - before
			if sent > tt.sends {
				t.Errorf("%d packets sent, at most %d allowed", sent, tt.sends)
			}
			var counted uint64
			for _, c := range n.engine.Stats().Dropped {
				counted += c
			}
			if counted+uint64(sent) < flood {
				t.Errorf(
					"%d packets, %d answered or passed on, %d dropped for a reason",
					flood, sent, counted,
				)
			}
			if grown := tablesOf(n) - tables; grown > 3 {
				t.Errorf("%d entries more than before", grown)
			}
			if got := only(
				t, hub.says(requestFrom("192.0.2.1", "10.255.0.1", host1)),
			); got.Type != packet.ResolutionReply {
				t.Errorf("somebody else got %s", got.Type)
			}
		})
	}
}

func encode(t testing.TB, p packet.Packet) []byte {
	t.Helper()
	data, err := p.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tablesOf returns how many entries a node has for other routers.
func tablesOf(n *node) int {
	i := n.engine.ifaces["gre1"]
	return len(i.peers.ByID) + len(i.peers.Held.Senders()) + len(i.server.Bindings) +
		i.neighbors.Len() + len(i.Requester.Shortcuts) + len(i.Requester.Requests.ByID) +
		len(i.Requester.Unresolved.ByDest) + len(i.Responder.Answers) + len(i.purges.ByID) +
		len(i.server.Announced.ByPrefix) + len(i.Relays.ByProtocol)
}

// A packet that is cut off at any byte has no effect and is counted.
func TestTruncatedPackets(t *testing.T) {
	hub := hubAlone(t)
	spoke1 := hub.from("192.0.2.11", "spoke1")
	cut := uint64(0)
	for _, p := range []packet.Packet{
		registrationFrom("192.0.2.11", "10.255.0.11"),
		requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9"),
		purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", lan1),
		indicationOf(host1, host2),
	} {
		data := encode(t, p)
		for size := range data {
			cut++
			if got := spoke1.saysBytes(data[:size]); len(got) != 0 {
				t.Fatalf("%s of %d bytes: sent %v", p.Type, size, typesOf(got))
			}
		}
	}
	if dropped(hub, overlay.DropMalformed) != cut || len(hub.status().Bindings) != 0 {
		t.Errorf(
			"%d of %d counted, bindings %+v",
			dropped(hub, overlay.DropMalformed), cut, hub.status().Bindings,
		)
	}
}

// errorHeader is how much longer than the quoted packet an Error Indication may be: the length of
// its own header.
const errorHeader = 76

// The reply to a packet that contradicts itself is at most an Error Indication that quotes the
// packet.
func TestSelfContradictoryPackets(t *testing.T) {
	base := encode(t, requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9"))
	extensions := len(base) - 20 // extensions 3, 4, 5, 9 and End, without values
	for rule, change := range map[string]func([]byte) []byte{
		"an address longer than its family": func(b []byte) []byte {
			b[0x12] = 16
			return b
		},
		"extensions that begin inside the header": func(b []byte) []byte {
			b[15] = 20
			return b
		},
		"extensions that overlap the CIE": func(b []byte) []byte {
			b[15] -= 4
			return b
		},
		"extensions that begin after the packet": func(b []byte) []byte {
			b[14], b[15] = 0xff, 0xf0
			return b
		},
		"an extension that is longer than the rest": func(b []byte) []byte {
			b[extensions+2] = 0x10
			return b
		},
		"an extension that swallows the next": func(b []byte) []byte {
			b[extensions+3] = 4
			return b
		},
		"no End": func(b []byte) []byte {
			return b[:len(b)-4]
		},
		"an extension twice": func(b []byte) []byte {
			b[extensions+5] = 3
			return b
		},
		"a CIE that is longer than the part it is in": func(b []byte) []byte {
			b[0x28+8] = 4
			return b
		},
		"another protocol": func(b []byte) []byte {
			b[2] = 0x86
			b[3] = 0xdd
			return b
		},
		"another version": func(b []byte) []byte {
			b[16] = 2
			return b
		},
		"no type": func(b []byte) []byte {
			b[17] = 0
			return b
		},
	} {
		hub := hubAlone(t)
		spoke1 := hub.from("192.0.2.11", "spoke1")
		data := change(slices.Clone(base))
		data[10], data[11] = byte(len(data)>>8), byte(len(data))
		fixChecksum(data)
		got := spoke1.saysBytes(data)
		if len(got) > 1 ||
			len(got) == 1 && (got[0].Type != packet.ErrorIndication ||
				len(hub.sent[0].data) > len(data)+errorHeader) {
			t.Errorf("%s: sent %v", rule, typesOf(got))
		}
		if dropped(hub, overlay.DropMalformed) != 1 ||
			len(hub.engine.ifaces["gre1"].Responder.Answers) != 0 {
			t.Errorf("%s: dropped %v", rule, hub.engine.Stats().Dropped)
		}
	}
}

// Bytes after the End extension are not read, and are no reason to refuse the packet.
func TestNothingAfterEndCounts(t *testing.T) {
	hub := hubAlone(t, func(c *overlay.InterfaceConfig) { c.Authentication = "secret" })
	spoke1 := hub.from("192.0.2.11", "spoke1")
	p := registrationFrom("192.0.2.11", "10.255.0.11")
	p.Extensions = append(p.Extensions, packet.PasswordExtension("secret"))
	behind := encode(t, p)
	password := len(behind) - 4 - 14 // the last extension before End
	tail := slices.Clone(behind[password : password+14])
	behind = append(append(behind[:password:password], 0x80, 0, 0, 0), tail...)
	fixChecksum(behind)
	if got := only(t, spoke1.saysBytes(behind)); got.ErrorCode != packet.ErrorAuthentication {
		t.Errorf("a password behind End: %s %s", got.Type, got.ErrorCode)
	}
	data := append(encode(t, p), make([]byte, 16)...)
	data[10], data[11] = byte(len(data)>>8), byte(len(data))
	fixChecksum(data)
	if got := only(t, spoke1.saysBytes(data)); got.Type != packet.RegistrationReply {
		t.Errorf("zero bytes behind End: %s", got.Type)
	}
}

// No packet gets more than one reply. A reply is longer than the packet by no more than what the
// packet's extensions ask for, and an Error Indication by no more than its header.
func TestNoAmplification(t *testing.T) {
	const filled = 3 * (12 + 4 + 4) // the hub's CIE, its Responder record, one NAT address
	hub := hubAlone(t)
	hub.from("192.0.2.12", "spoke2").says(registrationFrom("192.0.2.12", "10.255.0.12"))
	spoke1 := hub.from("192.0.2.11", "spoke1")
	requests := []packet.Packet{
		registrationFrom("10.0.0.1", "10.255.0.11"),
		requestFrom("192.0.2.11", "10.255.0.11", "172.16.0.9"),
		requestFrom("192.0.2.11", "10.255.0.11", host2),
		requestFrom("192.0.2.11", "10.255.0.11", "203.0.113.1"),
		requestFrom("192.0.2.11", "10.255.0.11", "10.255.0.77"),
		purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.1", lan1, lan2),
		purgeOf("192.0.2.11", "10.255.0.11", "10.255.0.12", lan1),
		indicationOf(host1, host2),
	}
	for _, p := range requests {
		data := encode(t, p)
		before := len(hub.sent)
		got := spoke1.saysBytes(data)
		switch {
		case len(got) > 1:
			t.Errorf("%s: answered %d times", p.Type, len(got))
		case len(got) == 0:
		case got[0].Type == packet.ErrorIndication &&
			len(hub.sent[before].data) > len(data)+errorHeader:
			t.Errorf(
				"%s of %d bytes: an error of %d", p.Type, len(data), len(hub.sent[before].data),
			)
		case len(hub.sent[before].data) > len(data)+filled:
			t.Errorf("%s of %d bytes: %d bytes", p.Type, len(data), len(hub.sent[before].data))
		}
	}
	before := len(hub.sent)
	hub.w.run(5 * time.Minute)
	if len(hub.sent) != before {
		t.Errorf("and later %v", typesOf(hub.sentSince(before)))
	}
}
