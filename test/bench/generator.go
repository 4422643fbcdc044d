package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"cygnet/nhrpd/packet"
)

// maxSpokes is how many spokes have addresses. Spoke number maxSpokes is an additional one, which
// asks whether the hub answers.
const maxSpokes = 60000

// nbmaOf and overlayOf return the addresses of a spoke.
func nbmaOf(i int) netip.Addr    { return numbered(198, 18, i+256) }
func overlayOf(i int) netip.Addr { return numbered(10, 64, i+256) }

func numbered(a, b byte, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{a, b, byte(n >> 8), byte(n)})
}

// generator plays all spokes at once.
type generator struct {
	*wire
	id      uint32
	first   int                 // the spoke with which register begins
	waiting map[uint32]struct{} // IDs of the requests that are not answered yet
	in      packet.Packet
	refused int
}

func newGenerator(w *wire) *generator {
	return &generator{wire: w, id: uint32(time.Now().Unix()), waiting: make(map[uint32]struct{})}
}

// registration returns a spoke's next registration in the form that Cisco's routers send.
func (g *generator) registration(spoke int) ([]byte, error) {
	g.id++
	p := packet.Packet{
		Type: packet.RegistrationRequest, HopCount: 255, Flags: packet.FlagNAT, RequestID: g.id,
		SourceNBMA: nbmaOf(spoke), SourceProtocol: overlayOf(spoke), DestProtocol: hubOverlay,
		CIEs: []packet.CIE{{PrefixLength: 32, MTU: 1400, HoldingTime: 7200}},
		Extensions: []packet.Extension{
			{Type: packet.ExtensionResponder, Compulsory: true},
			{Type: packet.ExtensionForwardTransit, Compulsory: true},
			{Type: packet.ExtensionReverseTransit, Compulsory: true},
			{Type: packet.ExtensionNATAddress,
				CIEs: []packet.CIE{{PrefixLength: 32, NBMA: hubNBMA, Protocol: hubOverlay}}},
		},
	}
	data, err := p.Append(nil)
	if err != nil {
		return nil, err
	}
	g.waiting[g.id] = struct{}{}
	return g.frame(nbmaOf(spoke), protoNHRP, data), nil
}

// sendRegistrations sends one registration of each of these spokes, all at once.
func (g *generator) sendRegistrations(first, count, of int) error {
	frames := make([][]byte, 0, count)
	for i := range count {
		f, err := g.registration(g.first + (first+i)%of)
		if err != nil {
			return err
		}
		frames = append(frames, f)
	}
	return g.send(frames)
}

// collect reads the answers that have arrived.
func (g *generator) collect() error {
	return g.receive(func(f frame) {
		if f.kind != protoNHRP || g.in.Parse(f.payload) != nil ||
			g.in.Type != packet.RegistrationReply {
			return
		}
		if _, ok := g.waiting[g.in.RequestID]; !ok {
			return
		}
		delete(g.waiting, g.in.RequestID)
		if len(g.in.CIEs) == 0 || g.in.CIEs[0].Code != packet.CodeSuccess {
			g.refused++
		}
	})
}

// patience is how long the generator waits for the next answer before it gives up.
const patience = 2 * time.Second

// register sends registrations of the spokes in turn, with up to window of them in flight, until
// enough reports true. It returns how many were answered and how many were not. When no answer
// comes for a while, it gives up on those in flight.
func (g *generator) register(
	ctx context.Context, spokes, window int, enough func(sent int) bool,
) (answered, lost int, err error) {
	clear(g.waiting)
	g.refused = 0
	sent := 0
	for !enough(sent) && ctx.Err() == nil {
		if room := window - len(g.waiting); room > window/2 {
			if err := g.sendRegistrations(sent, room, spokes); err != nil {
				return 0, 0, err
			}
			sent += room
		}
		if !g.wait(patience) {
			lost += len(g.waiting)
			clear(g.waiting)
		}
		if err := g.collect(); err != nil {
			return 0, 0, err
		}
	}
	lost += g.drain()
	if g.refused > 0 {
		return 0, 0, fmt.Errorf("the hub refused %d of %d registrations", g.refused, sent)
	}
	return sent - lost, lost, ctx.Err()
}

// drain waits for answers as long as they keep coming, and returns how many are missing.
func (g *generator) drain() int {
	for len(g.waiting) > 0 && g.wait(patience) {
		if g.collect() != nil {
			break
		}
	}
	return len(g.waiting)
}

// awaitHub registers an additional spoke again and again until the hub answers one of the requests.
func (g *generator) awaitHub(ctx context.Context) error {
	clear(g.waiting)
	for before := range 150 {
		f, err := g.registration(maxSpokes)
		if err != nil {
			return err
		}
		if err := g.send([][]byte{f}); err != nil {
			return err
		}
		g.wait(200 * time.Millisecond)
		if err := g.collect(); err != nil || len(g.waiting) <= before || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
	return errors.New("the hub does not answer registrations")
}

// data returns a small UDP packet from one spoke's overlay address to another's.
func data(from, to int) []byte {
	b := make([]byte, 64)
	b[0], b[8], b[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	src, dst := overlayOf(from).As4(), overlayOf(to).As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	binary.BigEndian.PutUint16(b[10:], checksum(b[:ipLen]))
	binary.BigEndian.PutUint16(b[20:], 9)
	binary.BigEndian.PutUint16(b[22:], 9)
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-ipLen))
	return b
}

// indication sends one packet from a spoke through the hub to another spoke. It returns the time
// between the moment when the hub forwards the packet and its Traffic Indication.
func (g *generator) indication(from, to int) (time.Duration, error) {
	if err := g.send([][]byte{g.frame(nbmaOf(from), protoIPv4, data(from, to))}); err != nil {
		return 0, err
	}
	var forwarded, indicated time.Time
	for deadline := time.Now().Add(3 * time.Second); forwarded.IsZero() || indicated.IsZero(); {
		if time.Now().After(deadline) {
			return 0, fmt.Errorf("no traffic indication within 3 s (forwarded: %v)",
				!forwarded.IsZero())
		}
		g.wait(100 * time.Millisecond)
		err := g.receive(func(f frame) {
			switch {
			case f.kind == protoIPv4 && f.to == nbmaOf(to):
				forwarded = f.at
			case f.kind == protoNHRP && f.to == nbmaOf(from) && g.in.Parse(f.payload) == nil &&
				g.in.Type == packet.TrafficIndication:
				indicated = f.at
			}
		})
		if err != nil {
			return 0, err
		}
	}
	return indicated.Sub(forwarded), nil
}

// reached returns to how many spokes the hub's kernel forwards a packet of spoke 0.
func (g *generator) reached(spokes int) (int, error) {
	seen := make(map[netip.Addr]bool)
	note := func(f frame) {
		if f.kind == protoIPv4 {
			seen[f.to] = true
		}
	}
	for i := 1; i < spokes; i++ {
		if err := g.send([][]byte{g.frame(nbmaOf(0), protoIPv4, data(0, i))}); err != nil {
			return 0, err
		}
		if i%wireBatch == 0 {
			if err := g.receive(note); err != nil {
				return 0, err
			}
		}
	}
	for g.wait(200 * time.Millisecond) {
		if err := g.receive(note); err != nil {
			return 0, err
		}
	}
	count := 0
	for i := 1; i < spokes; i++ {
		if seen[nbmaOf(i)] {
			count++
		}
	}
	return count + 1, nil // including spoke 0 itself
}
