package overlay

import (
	"cygnet/nhrpd/engine/output"
	"cygnet/nhrpd/engine/peerid"
	"cygnet/nhrpd/packet"
)

// HopCount is the hop count that this router's own packets start with. Cisco's routers drop some
// packets that arrive with 0.
const HopCount = 255

// Send sends p to a peer; if it cannot, it counts the reason. It also logs the reason, unless the
// peer has no SA: the administrator of the other router, which waits for the packet, finds the
// reason only here.
func (ifc *Interface) Send(to peerid.ID, p *packet.Packet) {
	why, ok := ifc.TrySend(to, p)
	if ok {
		return
	}
	ifc.Drop(why)
	if why != DropUnsecured && ifc.Limiters.Refusals.Allow(ifc.Now, to) {
		ifc.Notice(output.Notice{
			Kind:   output.NoticeUnsent,
			Peer:   to,
			Reason: p.Type.String() + ": " + why.String(),
		})
	}
}

// TrySend sends p to a peer and reports whether it could. If it could not, it returns the reason,
// which the caller counts.
func (ifc *Interface) TrySend(to peerid.ID, p *packet.Packet) (DropReason, bool) {
	if !ifc.Peers.Secured(to) {
		return DropUnsecured, false
	}
	ifc.Authenticate(p)
	start := len(ifc.Out.Arena)
	arena, err := p.Append(ifc.Out.Arena)
	switch size := len(arena) - start; {
	case err != nil:
		return dropUnsendable, false
	case ifc.Config.MTU != 0 && size > int(ifc.Config.MTU):
		return DropTooLong, false // the tunnel does not fragment NHRP
	}
	// When the arena grows, append moves it. The packets before this one keep the old memory, and
	// nothing writes to that any more.
	ifc.Out.Arena = arena
	ifc.Out.Packets = append(ifc.Out.Packets, output.Packet{
		Interface: ifc.Config.Name,
		To:        to,
		Data:      arena[start:len(arena):len(arena)],
	})
	ifc.counters.sent[p.Type]++
	ifc.Peers.SentTo(to)
	return 0, true
}
