package proof

import (
	"net/netip"
	"time"

	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/engine/report"
	"cygnet/nhrpd/engine/timers"
	"cygnet/nhrpd/packet"
)

// MostPings is how many pings an interface has under way.
const MostPings = 16

// PingWait is how long a ping waits for its answer.
const PingWait = 2 * time.Second

// Ping is a packet that the administrator had sent to a peer, and what came back. It changes
// nothing: no path is proven by it and none fails.
type Ping struct {
	Size     int       // of the packet in bytes
	Sent     time.Time // zero: the packet could not be sent
	Answered time.Time // zero: no answer came yet
	Over     bool      // an answer came, or came not in time

	peer peerid.ID
	id   uint32
	wait timers.Timer
}

// Ping sends a packet to a peer with an overlay address. It is a probe that is padded to a size, or
// else a plain Resolution Request for the peer's own address, which routers of other vendors answer
// too (RFC 2332 §5.2.1). It returns nil if too many are under way.
func (t *Table) Ping(peer peerid.ID, nextHop netip.Addr, plain bool, size int) *Ping {
	if len(t.pings) >= MostPings {
		return nil
	}
	p := &Ping{peer: peer, id: t.newID()}
	p.wait.Run = func() { t.endPing(p) }
	request := packet.Packet{
		Type:           packet.ResolutionRequest,
		HopCount:       overlay.HopCount,
		Flags:          packet.ResolutionRouter | packet.ResolutionAuthoritative,
		RequestID:      p.id,
		SourceNBMA:     t.LocalTo(peer),
		SourceProtocol: t.AddressFor(nextHop),
		DestProtocol:   nextHop,
		CIEs:           []packet.CIE{{MTU: t.Config.MTU}},
	}
	if plain {
		request.Flags |= packet.ResolutionSourceStable
		request.Extensions = t.EmptyExtensions()
	} else {
		request.Extensions = []packet.Extension{probe()}
		t.Authenticate(&request)
		t.pad(&request, size)
	}
	before := len(t.Out.Packets)
	t.Send(peer, &request)
	if len(t.Out.Packets) == before {
		p.Over = true
		return p
	}
	p.Sent, p.Size = t.Now, len(t.Out.Packets[before].Data)
	t.pings[p.id] = p
	t.Timers.Set(&p.wait, t.Now.Add(PingWait))
	return p
}

// PingAnswered takes the answer to a ping. It reports whether the reply is one. An answer counts
// only from the peer that the ping went to.
func (t *Table) PingAnswered(m *overlay.Message) bool {
	p := t.pings[m.RequestID]
	if p == nil {
		return false
	}
	if m.From != p.peer {
		t.Drop(overlay.DropThirdParty)
		return true
	}
	p.Answered = t.Now
	t.endPing(p)
	return true
}

// endPing ends a ping.
func (t *Table) endPing(p *Ping) {
	p.Over = true
	t.Timers.Stop(&p.wait)
	delete(t.pings, p.id)
}

// Reset forgets that the path to a peer failed, so that it may be tried at once.
func (t *Table) Reset(peer peerid.ID) {
	p := t.paths[peer]
	if p == nil {
		return
	}
	p.failures = 0
	if p.state == report.PathFailed {
		p.state, p.since, p.retry, p.reason = report.PathUnproven, t.Now, time.Time{}, ""
	}
	if p.refs == 0 {
		t.forget(p)
	}
}
